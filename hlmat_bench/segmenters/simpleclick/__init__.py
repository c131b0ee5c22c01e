"""SimpleClick: checkpoints, network, and how clicks become masks."""
