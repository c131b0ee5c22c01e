"""Models that are programs of their own: the process, and the messages that it exchanges."""
