"""Random and hostile input for every reader of foreign files and replies; see targets.py."""
