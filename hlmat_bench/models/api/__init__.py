"""Models behind HTTP: sending, asking again, what refusals mean, prices, limits, kept replies."""
