"""Trajectories as training data, in the formats of trainers."""
