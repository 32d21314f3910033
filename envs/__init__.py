"""Environments: batched classic control, a custom example, and wrappers."""
