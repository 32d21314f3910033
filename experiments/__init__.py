"""Experiments: one folder a paper, with its card and its results; and the functions that measure what no return tells."""
