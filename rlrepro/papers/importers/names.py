"""What the names of folders and files say: whose they are, and of which seed."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Identity:
    """What the names between a given path and a seed's folder or file say."""

    key: tuple[str, ...]  #: its path without the seed: that of all seeds of a group
    name: str
    seed: int | None  #: None: no name has a number
    notes: tuple[str, ...] = ()


def identity(path: Path, root: Path) -> Identity:
    """The seed, by its word in any of the names, else by the last number of one; the deepest first."""
    parts, top = Path(os.path.abspath(path)).parts, Path(os.path.abspath(root)).parts
    inside = parts[len(top) :]
    parts = (*parts[:-1], re.sub(r"\.(monitor\.csv|csv(\.gz)?|npz)$", "", parts[-1]))
    for named in (True, False):
        for index in range(len(parts) - 1, len(parts) - 1 - max(1, len(inside)), -1):
            stem, seed = seed_of(parts[index], named)
            if seed is None:
                continue
            key = (*parts[:index], stem, *parts[index + 1 :])
            shown = [part for part in key[len(top) if inside else -1 :] if part] or [parts[index - 1]]
            name = "/".join(shown)
            note = f"{name}: its seeds are read from the numbers at the end of their names; --labels can part them."
            return Identity(key, name, seed, () if named else (note,))
    return Identity(parts, "/".join(parts[len(top) :]) or parts[-1], None)


def seed_of(name: str, named: bool = False) -> tuple[str, int | None]:
    """A folder's name without its seed, and the seed: `seed-3`, `td3_s3`; unless it must be `named`, `PPO_3`, `3`."""
    words = (rf"(?:^|[-_. ]+)(?:{word})[-_=.]?(\d{{1,10}})(?=$|[-_. ])" for word in ("seed", "trial|s"))
    found = next(filter(None, (re.search(word, name, re.IGNORECASE) for word in words)), None)
    if found is None and not named:  # longer numbers are dates, and 1e-3 or 0.99 is a hyperparameter
        found = re.search(r"(?:^|(?<!\de)-|_)(\d{1,5})$", name)
    return (name, None) if found is None else (name[: found.start()] + name[found.end() :], int(found[1]))


def tails(paths: Sequence[Sequence[str]]) -> list[str]:
    """The last parts of each path, as few as tell it from all others."""
    made = []
    for own in paths:
        others = [other for other in paths if other != own]
        count = next((n for n in range(1, len(own)) if all(o[-n:] != own[-n:] for o in others)), len(own))
        made.append(str(Path(*own[-count:])))
    return made


def apart(paths: Sequence[str]) -> list[str]:
    """A short name for each of several paths: what tells it from the others beside a seed and how all of them end."""
    parts = [Path(path).parts for path in paths]
    seedless = [tuple(filter(None, (seed_of(part, named=True)[0] for part in own))) for own in parts]
    if len(set(seedless)) == len(parts):
        parts = seedless
    if len({own[-1:] for own in parts}) < len(parts):
        ends = zip(*(own[::-1] for own in parts), strict=False)
        shared = len(list(itertools.takewhile(lambda end: len(set(end)) == 1, ends)))
        parts = [own[: max(1, len(own) - shared)] for own in parts]
    return tails(parts)
