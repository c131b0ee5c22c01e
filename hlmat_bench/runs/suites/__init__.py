"""Suites: grids of runs from YAML files, played by one command, and tables that compare them with published numbers."""
