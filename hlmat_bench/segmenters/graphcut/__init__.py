"""The cheapest labelling of an image by a cut, whole and in a window."""
