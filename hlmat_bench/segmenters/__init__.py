"""Networks, algorithms and caches for the files in `adapters/segmenters`."""
