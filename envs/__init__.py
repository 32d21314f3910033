"""Environments and wrappers: classic control and MinAtar in batches, Atari's protocols, the book's tasks, probes."""
