"""Suites: a grid of runs from a YAML file, played by one command, and its tables beside published numbers."""
