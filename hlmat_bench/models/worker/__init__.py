"""Models in programs of their own: the process and its messages."""
