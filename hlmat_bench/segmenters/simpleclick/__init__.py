"""SimpleClick: its checkpoints, its network, and the prediction of masks from clicks."""
