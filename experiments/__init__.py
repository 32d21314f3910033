"""Experiments: one folder a paper, with card and results; and functions that measure what no return tells."""
