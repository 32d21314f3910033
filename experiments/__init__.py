"""Experiments: one folder a paper, with its card and its results. Data only, no code."""
