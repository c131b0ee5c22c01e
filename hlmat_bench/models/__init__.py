"""Code that the files in `adapters/models` share, and the catalogue of models."""
