"""What a path holds, found by looking at it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rlrepro.errors import Problem, nearest
from rlrepro.papers.importers.event_files import of_event_files
from rlrepro.papers.importers.groups import Group, Seed, group_of, with_kinds
from rlrepro.papers.importers.names import tails
from rlrepro.papers.importers.own import of_results, of_run
from rlrepro.papers.importers.roles import ROLES
from rlrepro.papers.importers.stable_baselines import of_stable_baselines
from rlrepro.papers.importers.tables import of_table
from rlrepro.plugins.own_code import shown

KINDS = {
    "run": "a run folder of rlrepro",
    "results": "the results of a reproduction",
    "monitor": "monitor.csv of Stable-Baselines3, a file for each sub-environment",
    "npz": "evaluations.npz of Stable-Baselines3",
    "tensorboard": "a TensorBoard folder",
    "csv": "a CSV file with a row for each episode or evaluation, or progress.csv of Stable-Baselines3",
}
LONG_NAME = 32  #: of a group: a path that is longer is cut to the end that tells it apart
#: The columns of what `rlrepro compare` writes, which is no run.
COMPARED = ("env", "label", "source", "protocol", "seed", "score", "missing", "steps_to_threshold")
_MAX_DEPTH = 6
# Of one seed the monitor files of all sub-environments are called so; another name before them is whose they are.
_OF_SEED = re.compile(r"(\d+\.){0,2}monitor\.csv")


def load(
    paths: Sequence[str | Path],
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
    env: str | None = None,
    labels: Sequence[str] | None = None,
) -> list[Group]:
    """The groups of all paths, in their order.

    Paths of the same settings, or folders whose names differ by their seed alone, are one group; with `labels`, one
    a path, those of the same label. `columns` names columns or tags by their role (`ROLES`). `Problem` where a
    path cannot be read, or a seed of a group is there twice.
    """
    columns = dict(columns or {})
    for role in columns:
        if role not in ROLES:
            raise Problem(f"--column {role}: there is no such role{nearest(role, ROLES)} (one of {', '.join(ROLES)})")
    if labels and len(labels) != len(paths):
        raise Problem(f"{len(labels)} labels for {len(paths)} runs; expected one for each, in their order")
    found: dict[tuple[str, ...], list[Seed]] = {}
    label_of = dict(zip(map(Path, paths), labels or [], strict=bool(labels)))
    arguments = _arguments(paths)
    for path, files in arguments:
        if len({label_of.get(file) for file in files}) > 1:
            raise Problem(f"{path.parent}: its monitor files are one seed, and have several labels")
    read = [list(_read(path, files, kind, columns)) for path, files in arguments]
    whose: dict[tuple[Path, str], Path] = {}
    for (path, _), seeds in zip(arguments, read, strict=True):
        for one in seeds:
            if (other := whose.setdefault((one.source.resolve(), one.kind), path)) != path:
                raise Problem(f"{one.source} is part of {other} and of {path}: the same run must not count as two")
    for (path, _), seeds in zip(arguments, _with_envs(with_kinds(read)), strict=True):
        several: dict[str, set[str]] = {}
        for one in seeds:
            several.setdefault(one.env, set()).add(one.name)
        for one in seeds:
            if labels:
                name = label_of[path] + (f": {one.name}" if len(several[one.env]) > 1 else "")
                one = dataclasses.replace(one, name=name, key=(name,))
            found.setdefault((*one.key, one.env), []).append(one)
    groups = [group_of(seeds) for seeds in found.values()]
    if not labels:
        known = dict.fromkeys(group.name for group in groups)
        short = dict(zip(known, tails([Path(name).parts for name in known]), strict=True))
        groups = [dataclasses.replace(g, name=short[g.name]) if len(g.name) > LONG_NAME else g for g in groups]
    if env is not None:
        there = {group.env: None for group in groups}
        groups = [group for group in groups if group.env in (env, shown(env))]
        if not groups:
            names = ", ".join(name or "none stated" for name in there)
            raise Problem(f"no run is on {env!r}{nearest(env, filter(None, there))} (there is {names})")
    return groups


def _with_envs(read: Sequence[Sequence[Seed]]) -> list[list[Seed]]:
    """Environments that share the name of a file, and were others, told apart by the beginning of its SHA-256."""
    codes: dict[str, set[str]] = {}
    for one in itertools.chain(*read):
        codes.setdefault(one.env, set()).add(one.env_code)

    def told(one: Seed) -> Seed:
        if not one.env_code or len(codes[one.env] - {""}) < 2:
            return one
        return dataclasses.replace(one, env=f"{one.env} ({one.env_code[:8]})")

    return [[told(one) for one in seeds] for seeds in read]


def _arguments(paths: Sequence[str | Path]) -> list[tuple[Path, list[Path]]]:
    """Each path; a folder's `monitor.csv` and `0.monitor.csv`, … are sub-environments of a seed and stand together."""
    made: dict[Path, tuple[Path, list[Path]]] = {}
    for given in paths:
        path = Path(given)
        is_monitor = _OF_SEED.fullmatch(path.name) is not None and path.is_file()
        key = path.parent.resolve() / "*monitor.csv" if is_monitor else path.resolve()
        if key in made and (not is_monitor or path.resolve() in map(Path.resolve, made[key][1])):
            raise Problem(f"{path} is named twice: the same run must not count as two")
        made.setdefault(key, (path, []))[1].append(path)
    return list(made.values())


def _read(path: Path, files: Sequence[Path], kind: str | None, columns: Mapping[str, str]) -> Iterator[Seed]:
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from None
    if (run := _run_around(path)) is not None:
        raise Problem(f"{path} is part of the run folder {run}: give that")
    if is_folder:
        if path.name == "tensorboard" and (path.parent / "settings.json").is_file():
            path = path.parent  # a view of the run beside it
        seeds = list(_folder(path, path, kind, columns, 0))
        if not seeds:
            wanted = KINDS[kind] if kind else "no run"
            raise Problem(f"{path} holds {'not ' if kind else ''}{wanted} that can be read: {_expected()}")
        yield from seeds
    elif is_file:
        yield from _file(path, files, kind or _sniff(path), columns)
    elif path.exists():
        raise Problem(f"{path} is neither a file nor a folder")
    else:
        beside = [str(other) for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise Problem(f"there is no {path}{nearest(str(path), beside)}")


def _run_around(path: Path) -> Path | None:
    """The run folder among whose seeds a path lies."""
    whole = Path(os.path.abspath(path))
    for place in (whole, *whole.parents):
        if place.name == "seeds" and (place.parent / "settings.json").is_file():
            return place.parent
    return None


def _expected() -> str:
    return f"expected {', '.join(KINDS.values())}"


def _folder(path: Path, root: Path, kind: str | None, columns: Mapping[str, str], depth: int) -> Iterator[Seed]:
    """All seeds under a folder. What is recognised is not searched further."""
    is_run = (path / "settings.json").is_file() or ((path / "run.json").is_file() and (path / "seeds").is_dir())
    if kind in (None, "run") and is_run:
        yield from of_run(path)
        return
    for results in (path, path / "results"):
        if kind in (None, "results") and (results / "results.json").is_file():
            yield from of_results(results)
            return
    monitors = sorted(path.glob("*monitor.csv")) if kind in (None, "monitor") else []
    evaluations = path / "evaluations.npz" if kind in (None, "npz") else None
    if evaluations is not None and not evaluations.is_file():
        evaluations = None
    if evaluations is not None or monitors:
        yield from _of_stable_baselines(path, root, monitors, evaluations, kind)
        return
    if kind in (None, "tensorboard") and any(path.glob("*tfevents*")):
        yield of_event_files(path, root, columns)
        return
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from None
    seeds = [
        seed
        for child in inside
        if depth < _MAX_DEPTH and child.is_dir() and not child.is_symlink() and not child.name.startswith(".")
        for seed in _folder(child, root, kind, columns, depth + 1)
    ]
    tables = [child for child in inside if child.name.endswith((".csv", ".csv.gz")) and child.is_file()]
    tables = [table for table in tables if not _is_comparison(table)]
    if seeds and kind is None and tables:
        notes = _beside(path, "what lies in its folders", [table.name for table in tables])
        seeds[0] = dataclasses.replace(seeds[0], notes=(*seeds[0].notes, *notes))
    if not seeds and kind in (None, "csv"):
        for table in (table for table in tables if not table.name.endswith("monitor.csv")):
            is_monitor = kind is None and _sniff(table) == "monitor"  # one that was given another name
            seeds += [of_stable_baselines(table, root, [table], None)] if is_monitor else of_table(table, root, columns)
    yield from seeds


def _is_comparison(table: Path) -> bool:
    if table.name != "compare.csv":
        return False
    with contextlib.suppress(OSError), open(table, "rb") as file:
        return file.readline().startswith(",".join(COMPARED[:5]).encode())
    return False


def _of_stable_baselines(
    path: Path, root: Path, monitors: Sequence[Path], evaluations: Path | None, kind: str | None
) -> Iterator[Seed]:
    """The seeds of one folder's monitor files and evaluations.npz, which is the only named one's too."""
    of_seed = [monitor for monitor in monitors if _OF_SEED.fullmatch(monitor.name)]
    named = [monitor for monitor in monitors if monitor not in of_seed]
    if evaluations is not None and len(named) == 1 and not of_seed:
        yield of_stable_baselines(named[0], root, named, evaluations)
        return
    if of_seed or evaluations is not None:
        notes = () if of_seed or kind else _beside(path, "evaluations.npz", ["progress.csv"])
        made = of_stable_baselines(path, root, of_seed, evaluations)
        yield dataclasses.replace(made, notes=(*made.notes, *notes))
    for monitor in named:
        yield of_stable_baselines(monitor, root, [monitor], None)


def _beside(path: Path, read: str, names: Sequence[str]) -> tuple[str, ...]:
    """A note on files that may be runs too, and are left out."""
    there = [name for name in names if (path / name).is_file()]
    return (f"{path}: {read} is read, {', '.join(there)} beside it is not: name it to read it.",) if there else ()


def _file(path: Path, files: Sequence[Path], kind: str, columns: Mapping[str, str]) -> Iterator[Seed]:
    if kind == "monitor":
        own = path.parent if _OF_SEED.fullmatch(path.name) else path
        yield of_stable_baselines(own, path.parent, files, None)
    elif kind == "npz":
        own = path.parent if path.name == "evaluations.npz" else path
        yield of_stable_baselines(own, path.parent, [], path)
    elif kind == "tensorboard":
        yield of_event_files(path.parent, path.parent, columns)
    elif kind == "csv":
        yield from of_table(path, path.parent, columns)
    else:
        raise Problem(f"{path} is a file; {KINDS[kind]} is a folder")


def _sniff(path: Path) -> str:
    """The kind of a file, by its name, else by its beginning."""
    if path.name == "results.json":
        raise Problem(f"{path} is part of a folder; give {path.parent}")
    if path.name.endswith("monitor.csv"):
        return "monitor"
    if path.suffix == ".npz":
        return "npz"
    if "tfevents" in path.name:
        return "tensorboard"
    start = b""
    with contextlib.suppress(OSError), path.open("rb") as file:
        start = file.read(4096)
    if start.startswith(b'#{"t_start"'):
        return "monitor"
    first = start.partition(b"\n")[0]
    if path.name.endswith((".csv", ".csv.gz")) or (any(one in first for one in b",;\t") and b"\0" not in start):
        return "csv"
    raise Problem(f"{path}: not known what it is ({_expected()}); say it with --as {', '.join(list(KINDS)[2:])}")
