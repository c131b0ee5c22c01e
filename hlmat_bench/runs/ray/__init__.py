"""Runs on Ray (https://docs.ray.io): workers on this machine's GPUs or on a cluster, and the driver that feeds them."""
