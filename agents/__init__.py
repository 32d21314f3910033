"""Agents: one algorithm, one file, readable beside its paper."""
