"""Build tiny checkpoints of real architectures, without a network."""
