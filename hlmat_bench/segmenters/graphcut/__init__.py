"""The algorithms of the segmenter ``graphcut``: a minimum cut, and its use in a window around a click."""
