"""Comparisons of runs on the same samples: paired differences, sentences, tables and pages."""
