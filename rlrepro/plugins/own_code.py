"""Code of a person's own that a run names by file, module or plug-in: its bytes belong to what was run, as settings do.

`agent.py:Mine` is read from the working directory by `train`, and from the card's folder where a card names it. With a
file go those beside it that it imports. Of a module it is its own file alone.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path, PurePosixPath

from rlrepro.errors import INSTALLED, Problem
from rlrepro.plugins.importing import plug_ins_of, ran

_FILE = re.compile(r"(.+?\.py)(?=[:(]|$)(.*)", re.DOTALL)


def file_of(name: str) -> str | None:
    """The file in `file.py`, `file.py:Name` or `file.py:Name(key=value)`; None in any other name."""
    found = _FILE.fullmatch(name)
    return found[1] if found else None


def shown(name: str) -> str:
    """The name for people: of a file without its folders."""
    file = file_of(name)
    return name if file is None else f"{os.path.basename(file)}{name[len(file) :]}"


def from_folder(name: str, folder: Path) -> str:
    """The name with its file's path taken from `folder`; names without a file, and whole paths, as they are.

    `Problem` where a path leads out of the folder: the two could not be moved together.
    """
    file = file_of(name)
    if file is None:
        return name
    path = Path(file).expanduser()
    if ".." in path.parts and not path.is_absolute():
        raise Problem(f"{file} leads out of the card's folder: lay it beside the card, or write its whole path")
    return f"{os.path.abspath(folder / path)}{name[len(file) :]}"


def to_folder(name: str, folder: Path) -> str:
    """The inverse, of a file inside `folder`."""
    return name.removeprefix(f"{folder}{os.sep}") if file_of(name) else name


def is_same_name(one: str, other: str) -> bool:
    """Whether two names may be of one file: it can have been named from elsewhere, or moved."""
    if file_of(one) is None or file_of(other) is None:
        return one == other
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")


def is_inside(file: str) -> bool:
    """Whether a file that a card names lies in its folder, and so moves with it."""
    return not Path(file).expanduser().is_absolute()


def sources(names: Iterable[str]) -> dict[str, bytes]:
    """The code that these agents, environments and wrappers name, by the path of its file or by module.

    What is installed is left out: it has a version. Of a file that was imported it is what ran. `Problem` where one
    cannot be read.
    """
    found: dict[str, bytes] = {}
    for name in names:
        file = file_of(name)
        if file is not None:
            found |= with_helpers(file, lambda path: read(Path(path)) if os.path.isfile(path) else None)
            continue
        modules = [point.module for point in plug_ins_of(name)] or [name.partition("(")[0].rpartition(":")[0]]
        for module in filter(None, modules):
            try:
                spec = importlib.util.find_spec(module)
            except (ImportError, ValueError, AttributeError):  # `sb3:ppo` names a family
                continue
            origin = Path(spec.origin) if spec is not None and spec.origin else None
            if origin is not None and origin.suffix == ".py" and not INSTALLED.search(str(origin)):
                found[module] = read(origin)
    return found


def plug_ins(names: Iterable[str]) -> dict[str, str]:
    """The distribution, its version and the entry point of those names that are plug-ins of somebody else's."""
    return {name: " and ".join(map(_described, points)) for name in names if (points := plug_ins_of(name))}


def _described(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name} {point.dist.version}" if point.dist else point.value


def with_helpers(file: str, get: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """A file and those beside it that it imports, by path; `get` gives what stands at a path, None for nothing."""
    folder, found, waiting = str(PurePosixPath(file).parent), {}, [file]
    while waiting:
        path = waiting.pop()
        data = get(path) if path not in found else None
        if data is None:
            continue
        found[path] = data
        waiting += [str(PurePosixPath(folder, beside)) for beside in _imported(data)]
    if file not in found:
        raise Problem(f"there is no file {file}")
    return found


def _imported(data: bytes) -> Iterator[str]:
    """Where what a file imports would lie in its folder, if it is there."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            parts = module.split(".")
            for end in range(1, len(parts) + 1):
                yield "/".join(parts[:end]) + ".py"
                yield "/".join([*parts[:end], "__init__.py"])


def copies(names: Iterable[str]) -> dict[str, str]:
    """What to call the copies of `sources` in one folder, by name."""
    taken: dict[str, str] = {}
    for name in names:
        stem = Path(name).stem if name.endswith(".py") else name
        tails = (f"{stem}{f'-{count}' if count > 1 else ''}.py" for count in itertools.count(1))
        taken[name] = next(tail for tail in tails if tail not in taken.values())
    return taken


def hashes(sources: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sources.items()}


def read(file: Path) -> bytes:
    """What ran, of a file that was imported, else what stands there."""
    try:
        return ran.get(file) or file.read_bytes()
    except OSError as error:
        raise Problem(f"{file}: {error.strerror}") from None


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Which of the code is not what it was; what one side says nothing of was not recorded."""
    return [name for name, digest in then.items() if now.get(name, digest) != digest]
