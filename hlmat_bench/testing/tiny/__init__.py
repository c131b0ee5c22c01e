"""Tiny checkpoints of real architectures, made on the spot."""
