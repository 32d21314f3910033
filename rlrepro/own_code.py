"""Code of a person's own that a run names by file or module: its bytes belong to what was run, as the settings do.

`agent.py:Mine` is read from the working directory by `train`, and from the card's folder where a card names it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from rlrepro.errors import Problem

_FILE = re.compile(r"(.+?\.py)(?=[:(]|$)(.*)", re.DOTALL)


def file_of(name: str) -> str | None:
    """The file in `file.py`, `file.py:Name` or `file.py:Name(key=value)`; None in any other name."""
    found = _FILE.fullmatch(name)
    return found[1] if found else None


def from_folder(name: str, folder: Path) -> str:
    """The name with its file's path taken from `folder`; names without a file, and whole paths, as they are."""
    file = file_of(name)
    return name if file is None else f"{(folder / Path(file).expanduser()).resolve()}{name[len(file) :]}"


def to_folder(name: str, folder: Path) -> str:
    """The inverse, of a file inside `folder`."""
    return name.removeprefix(f"{folder}/") if file_of(name) else name


def is_inside(file: str) -> bool:
    """Whether a file named from a folder lies in it, and so moves with it."""
    path = Path(file)
    return not path.is_absolute() and ".." not in path.parts and not file.startswith("~")


def sources(names: Iterable[str]) -> dict[str, Path]:
    """The files of the code that these agents, environments and wrappers name, by path or by module.

    What is installed is left out: it has a version.
    """
    found = {}
    for name in names:
        file = file_of(name)
        if file is not None:
            found[file] = Path(file)
            continue
        module, colon, _ = name.partition("(")[0].rpartition(":")
        try:
            spec = importlib.util.find_spec(module) if colon else None
        except (ImportError, ValueError, AttributeError):  # `sb3:ppo` names a family
            continue
        origin = Path(spec.origin) if spec is not None and spec.origin else None
        if origin is not None and origin.suffix == ".py" and "site-packages" not in origin.parts:
            found[module] = origin
    return found


def copies(names: Iterable[str]) -> dict[str, str]:
    """What to call the copies of `sources` in one folder, by name."""
    taken: dict[str, str] = {}
    for name in names:
        stem = Path(name).stem if name.endswith(".py") else name
        tails = (f"{stem}{f'-{count}' if count > 1 else ''}.py" for count in itertools.count(1))
        taken[name] = next(tail for tail in tails if tail not in taken.values())
    return taken


def hashes(names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each of `sources`; `Problem` where one cannot be read."""
    return {name: digest(read(file)) for name, file in sources(names).items()}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Problem(f"{file}: {error.strerror}") from None


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Which of the code is not what it was; what one side says nothing of was not recorded."""
    return [name for name, digest in then.items() if now.get(name, digest) != digest]
