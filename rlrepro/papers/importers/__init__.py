"""Runs of any origin as named groups of histories: ours, Stable-Baselines3's, TensorBoard folders, plain CSV.

What a path holds is found by looking at it; `kind` overrides that. Nothing is unpickled and nothing is run.

`found`                                         looks and loads; `own` results and runs
`event_files`, `stable_baselines`, `tables`     what others write; `text`: their CSV
`groups`, `names`, `roles`                      seeds of one kind, what sets them apart, which column is what
"""

from rlrepro.papers.importers.found import KINDS, load
from rlrepro.papers.importers.groups import SAME_LENGTH, Group
from rlrepro.papers.importers.names import apart
from rlrepro.papers.importers.roles import ROLES

__all__ = ["KINDS", "ROLES", "SAME_LENGTH", "Group", "apart", "load"]
