"""What the files in `adapters/segmenters` share."""
