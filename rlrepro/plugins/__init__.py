"""What is not ours until a run names it: agents, environments and wrappers.

The core imports neither agents nor environments: it asks here, by the name of an entry point, `package.module:Name` or
a file.
"""
