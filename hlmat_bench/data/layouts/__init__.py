"""Annotation layouts: one module per layout, with its settings and its reader."""
