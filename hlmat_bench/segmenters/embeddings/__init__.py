"""Encoded images, kept in memory and on disk."""
