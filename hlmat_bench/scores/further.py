"""Scores beyond the standard ones: each is a function under `hlmat_bench.scores.registry.score`.

docs/adding-a-score.md shows one, from its declaration to its test.
"""
