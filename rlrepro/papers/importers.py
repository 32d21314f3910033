"""Runs of any origin as named groups of histories: ours, Stable-Baselines3's, TensorBoard folders, plain CSV.

What a path holds is found by looking at it; `kind` overrides that. Nothing is unpickled and nothing is run.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import io
import itertools
import json
import logging
import math
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlrepro.errors import Problem, nearest, one_line
from rlrepro.papers.protocol import History
from rlrepro.papers.rows import count_of
from rlrepro.settings import Settings

KINDS = {
    "run": "a run folder of rlrepro",
    "results": "the results of a reproduction",
    "monitor": "monitor.csv of Stable-Baselines3, a file for each sub-environment",
    "npz": "evaluations.npz of Stable-Baselines3",
    "tensorboard": "a TensorBoard folder",
    "csv": "a CSV file with a row for each episode or evaluation, or progress.csv of Stable-Baselines3",
}
# What columns of a CSV file are called, the likeliest first; --column names others.
COLUMNS = {
    "seed": ("seed", "random_seed", "trial"),
    "step": ("env_step", "env_steps", "global_step", "step", "steps", "timestep", "timesteps", "total_timesteps",
             "time/total_timesteps"),
    "return": ("return", "episode_return", "episodic_return", "mean_return", "reward", "episode_reward",
               "mean_reward", "eval_return", "score"),
    "env": ("env", "env_id", "environment", "task"),
    "agent": ("agent", "algorithm", "algo", "method", "exp_name"),
    "kind": ("kind", "returns"),
}  # fmt: skip
TAGS = {
    "training": ("charts/episodic_return", "rollout/ep_rew_mean"),
    "evaluation": ("eval/mean_reward", "evaluation/mean_return"),
}
RUNNING = {"rollout/ep_rew_mean": 100}  # a point is the mean of so many episodes: Stable-Baselines3's window
ROLES = (*COLUMNS, *TAGS)
_TAG_KINDS = {"training": "episode", "evaluation": "evaluation"}
_ROW_KINDS = {"episode": "episode", "training": "episode", "train": "episode", "evaluation": "evaluation",
              "eval": "evaluation", "test": "evaluation", "final": "final"}  # fmt: skip
LONG_NAME = 32  #: of a group: a path that is longer is cut to the end that tells it apart
SAME_LENGTH = 0.01  #: runs whose env steps differ by less are of one length
_WHOLE_RUN = 0.9  # a seed whose record ends before this share of the longest one's did not get to its end
_MAX_DEPTH = 6
_NONE = np.empty((0, 2))


@dataclasses.dataclass(frozen=True)
class Group:
    """What one agent did on one environment, a history for each seed."""

    name: str
    env: str  #: empty where its files do not say
    source: str  #: the path, or the first of several
    kind: str  #: one of `KINDS`
    histories: tuple[History, ...]
    running: int | None = None  #: a training point is not an episode but the mean of the last so many
    evaluation: str = ""  #: how it was evaluated, as far as is known
    settings: tuple[Settings, ...] = ()  #: all that its seeds were trained with, where all are known
    notes: tuple[str, ...] = ()

    def has(self, returns: str) -> bool:
        return any(len(history.points(returns)) for history in self.histories)

    @property
    def steps(self) -> int:
        """Env steps of the longest seed."""
        return max(history.steps for history in self.histories)


@dataclasses.dataclass(frozen=True)
class _Seed:
    """What one seed of one group did; groups are made of those with the same `key`."""

    key: tuple[str, ...]
    name: str
    env: str
    source: Path
    kind: str
    seed: int | None  #: None: its name has no number
    history: History
    running: int | None = None
    evaluation: str = ""
    settings: Settings | None = None
    notes: tuple[str, ...] = ()
    unsaid: str = ""  #: the column of its `history.episodes`, where nothing says that they are no evaluations


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
    found: dict[tuple[str, ...], list[_Seed]] = {}
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
    for (path, _), seeds in zip(arguments, _guess(read), strict=True):
        several: dict[str, set[str]] = {}
        for one in seeds:
            several.setdefault(one.env, set()).add(one.name)
        for one in seeds:
            if labels:
                name = label_of[path] + (f": {one.name}" if len(several[one.env]) > 1 else "")
                one = dataclasses.replace(one, name=name, key=(name,))
            found.setdefault((*one.key, one.env), []).append(one)
    groups = [_group(seeds) for seeds in found.values()]
    if not labels:
        known = dict.fromkeys(group.name for group in groups)
        short = dict(zip(known, _tails([Path(name).parts for name in known]), strict=True))
        groups = [dataclasses.replace(g, name=short[g.name]) if len(g.name) > LONG_NAME else g for g in groups]
    if env is not None:
        there = {group.env: None for group in groups}
        groups = [group for group in groups if group.env == env]
        if not groups:
            names = ", ".join(name or "none stated" for name in there)
            raise Problem(f"no run is on {env!r}{nearest(env, filter(None, there))} (there is {names})")
    return groups


def _arguments(paths: Sequence[str | Path]) -> list[tuple[Path, list[Path]]]:
    """Each path; monitor files of one folder are the sub-environments of one seed and stand together."""
    made: dict[Path, tuple[Path, list[Path]]] = {}
    for given in paths:
        path = Path(given)
        is_monitor = path.name.endswith("monitor.csv") and path.is_file()
        key = path.parent.resolve() / "*monitor.csv" if is_monitor else path.resolve()
        if key in made and (not is_monitor or path.resolve() in map(Path.resolve, made[key][1])):
            raise Problem(f"{path} is named twice: the same run must not count as two")
        made.setdefault(key, (path, []))[1].append(path)
    return list(made.values())


def _read(path: Path, files: Sequence[Path], kind: str | None, columns: Mapping[str, str]) -> Iterator[_Seed]:
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


def _folder(path: Path, root: Path, kind: str | None, columns: Mapping[str, str], depth: int) -> Iterator[_Seed]:
    """All seeds under a folder. What is recognised is not searched further."""
    if kind in (None, "run") and (path / "settings.json").is_file():
        yield from _run(path)
        return
    for results in (path, path / "results"):
        if kind in (None, "results") and (results / "results.json").is_file():
            yield from _results(results)
            return
    monitors = sorted(path.glob("*monitor.csv")) if kind in (None, "monitor") else []
    evaluations = path / "evaluations.npz"
    if (kind in (None, "npz") and evaluations.is_file()) or monitors:
        yield _stable_baselines(path, root, monitors, evaluations if kind != "monitor" else None)
        return
    if kind in (None, "tensorboard") and any(path.glob("*tfevents*")):
        yield _tensorboard(path, root, columns)
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
    if not seeds and kind in (None, "csv"):
        tables = [child for child in inside if child.name.endswith((".csv", ".csv.gz")) and child.is_file()]
        for table in (table for table in tables if not table.name.endswith("monitor.csv")):
            is_monitor = kind is None and _sniff(table) == "monitor"  # one that was given another name
            seeds += [_stable_baselines(table, root, [table], None)] if is_monitor else _table(table, root, columns)
    yield from seeds


def _file(path: Path, files: Sequence[Path], kind: str, columns: Mapping[str, str]) -> Iterator[_Seed]:
    if kind == "monitor":
        own = path.parent if path.name.endswith("monitor.csv") else path
        yield _stable_baselines(own, path.parent, files, None)
    elif kind == "npz":
        yield _stable_baselines(path.parent, path.parent, [], path)
    elif kind == "tensorboard":
        yield _tensorboard(path.parent, path.parent, columns)
    elif kind == "csv":
        yield from _table(path, path.parent, columns)
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
    if path.name.endswith((".csv", ".csv.gz")) or (b"," in start.partition(b"\n")[0] and b"\0" not in start):
        return "csv"
    raise Problem(f"{path}: not known what it is ({_expected()}); say it with --as {', '.join(list(KINDS)[2:])}")


# --- groups


def _guess(read: Sequence[Sequence[_Seed]]) -> list[list[_Seed]]:
    """Take rows of unknown kind for evaluations where all seeds of an environment have them at the same env steps.

    Else for episodes, which end anywhere. The seeds of all files count together: how rows are divided over files says
    nothing.
    """
    steps: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for one in itertools.chain(*read):
        if one.unsaid:
            steps.setdefault(one.unsaid, {}).setdefault(one.env, []).append(tuple(one.history.episodes[:, 0]))
    evaluated = {
        column: any(len(seeds) > 1 for seeds in envs.values())
        and all(len(set(seeds)) == 1 and (np.diff(seeds[0]) > 0).all() for seeds in envs.values())
        for column, envs in steps.items()
    }
    return [[_taken(one, evaluated[one.unsaid]) if one.unsaid else one for one in seeds] for seeds in read]


def _taken(one: _Seed, evaluated: bool) -> _Seed:
    note = f"{one.source}: its returns are taken for those of {'evaluation' if evaluated else 'episode'}s"
    history = one.history
    if evaluated:
        history = dataclasses.replace(history, episodes=_NONE, evaluations=history.episodes)
    return dataclasses.replace(one, history=history, notes=(*one.notes, f"{note}; --column kind=… says otherwise."))


def _group(seeds: Sequence[_Seed]) -> Group:
    """One group of its seeds. `Problem` where one is there twice."""
    first, by_seed, notes = seeds[0], {}, []
    where: dict[int, Path] = {}
    taken = {one.seed for one in seeds if one.seed is not None}
    for one in seeds:
        seed = one.seed if one.seed is not None else next(n for n in range(len(seeds) + 1) if n not in taken)
        taken.add(seed)
        if seed in by_seed:
            both = f"{where[seed]} and {one.source}" if where[seed] != one.source else str(one.source)
            raise Problem(
                f"seed {seed} of {first.name} is there twice ({both}): the same run must not count as two; "
                "leave one out, or tell them apart with --labels"
            )
        if one.seed is None:
            notes.append(f"{one.source} has no seed in its name: it is called seed {seed}.")
        by_seed[seed], where[seed] = dataclasses.replace(one.history, seed=seed), one.source
        notes += one.notes
    if len({one.running for one in seeds}) > 1:
        raise Problem(f"{first.name} has seeds with every episode and seeds with running means: give them two labels")
    histories = [by_seed[seed] for seed in sorted(by_seed)]
    if first.kind not in ("run", "results"):
        histories = _ends(histories)
    nan = [str(h.seed) for h in histories if not (np.isfinite(h.episodes).all() and np.isfinite(h.evaluations).all())]
    if nan:
        notes.append(f"{first.name}: returns that are not finite in seed {', '.join(nan)}.")
    return Group(
        first.name, first.env, str(first.source), first.kind, tuple(histories), first.running,
        first.evaluation if len({one.evaluation for one in seeds}) == 1 else "",
        _distinct([one.settings for one in seeds]), tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _distinct(settings: Sequence[Settings | None]) -> tuple[Settings, ...]:
    """Those of several seeds that differ in more than the seeds; none where those of a seed are not known."""
    found: dict[str, Settings] = {}
    for one in settings:
        if one is None:
            return ()
        found.setdefault(dataclasses.replace(one, seeds=(0,)).digest(), one)
    return tuple(found.values())


def _ends(histories: Sequence[History]) -> list[History]:
    """Imported records do not say whether they are whole, nor how long their last episode was still running.

    One that ends long before the others is not whole; one that ends a little before them is as long as they are.
    """
    longest = max(history.steps for history in histories)
    ends = f"its record ends there, the longest at {longest:,}"
    return [
        dataclasses.replace(history, stopped=ends)
        if history.steps < _WHOLE_RUN * longest
        else dataclasses.replace(history, steps=longest)
        if history.steps >= (1 - SAME_LENGTH) * longest
        else history
        for history in histories
    ]


@dataclasses.dataclass(frozen=True)
class _Identity:
    """What the names between a given path and a seed's folder or file say."""

    key: tuple[str, ...]  #: its path without the seed: that of all seeds of a group
    name: str
    seed: int | None  #: None: no name has a number
    notes: tuple[str, ...] = ()


def _identity(path: Path, root: Path) -> _Identity:
    """The seed, by its word in any of the names, else by the last number of one; the deepest first."""
    parts, top = Path(os.path.abspath(path)).parts, Path(os.path.abspath(root)).parts
    inside = parts[len(top) :]
    parts = (*parts[:-1], re.sub(r"\.csv(\.gz)?$", "", parts[-1]))
    for named in (True, False):
        for index in range(len(parts) - 1, len(parts) - 1 - max(1, len(inside)), -1):
            stem, seed = _seed_of(parts[index], named)
            if seed is None:
                continue
            key = (*parts[:index], stem, *parts[index + 1 :])
            shown = [part for part in key[len(top) if inside else -1 :] if part] or [parts[index - 1]]
            name = "/".join(shown)
            note = f"{name}: its seeds are read from the numbers at the end of their names; --labels can part them."
            return _Identity(key, name, seed, () if named else (note,))
    return _Identity(parts, "/".join(parts[len(top) :]) or parts[-1], None)


def _seed_of(name: str, named: bool = False) -> tuple[str, int | None]:
    """A folder's name without its seed, and the seed: `seed-3`, `td3_s3`; unless it must be `named`, `PPO_3`, `3`."""
    found = re.search(r"(?:^|[-_. ]+)(?:seed|trial|s)[-_=.]?(\d{1,10})(?=$|[-_. ])", name, re.IGNORECASE)
    if found is None and not named:  # longer numbers are dates, and 1e-3 or 0.99 is a hyperparameter
        found = re.search(r"(?:^|(?<!\de)-|_)(\d{1,5})$", name)
    return (name, None) if found is None else (name[: found.start()] + name[found.end() :], int(found[1]))


def _tails(paths: Sequence[Sequence[str]]) -> list[str]:
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
    seedless = [tuple(filter(None, (_seed_of(part, named=True)[0] for part in own))) for own in parts]
    if len(set(seedless)) == len(parts):
        parts = seedless
    if len({own[-1:] for own in parts}) < len(parts):
        ends = zip(*(own[::-1] for own in parts), strict=False)
        shared = len(list(itertools.takewhile(lambda end: len(set(end)) == 1, ends)))
        parts = [own[: max(1, len(own) - shared)] for own in parts]
    return _tails(parts)


# --- our own


def _run(path: Path) -> Iterator[_Seed]:
    from rlrepro.papers.histories import read_run
    from rlrepro.papers.units import shared
    from rlrepro.record import RunFolder

    settings, histories = read_run(path)
    about, code = shared(settings), RunFolder(path).read_json("run.json").get("code")
    key = ("run", json.dumps([about, code], sort_keys=True))
    for h in histories:
        yield _Seed(key, settings.agent, settings.env, path, "run", h.seed, h, None, _how(about), settings)


def _how(about: Mapping[str, Any]) -> str:
    """How a run of ours was evaluated."""
    if "eval_episodes" not in about:
        return ""
    policy = "deterministic" if about.get("eval_deterministic", True) else "stochastic"
    return f"{count_of(about['eval_episodes'], 'episode')}, {policy}"


def _results(path: Path) -> Iterator[_Seed]:
    from rlrepro.papers.results import read_results
    from rlrepro.papers.units import unshared

    results = read_results(path)
    notes = () if results.scale == 1 else (f"{path} was run at {results.scale:g} of the paper's steps.",)
    tasks = [(unit.settings.get("agent"), unit.settings.get("env")) for unit in results.units.values()]
    for name, unit in results.units.items():
        about, settings = unit.settings, unshared(unit.settings, unit.seeds)
        agent, env = about.get("agent"), str(about.get("env", ""))
        title = str(agent) if agent and tasks.count((agent, about.get("env"))) == 1 else name
        key = ("results", str(path.resolve()), name)
        for h in unit.histories:
            yield _Seed(key, title, env, path, "results", h.seed, h, None, _how(about), settings, notes)


# --- Stable-Baselines3


def _stable_baselines(path: Path, root: Path, monitors: Sequence[Path], npz: Path | None) -> _Seed:
    """A seed from its monitor files, its evaluations.npz, or both."""
    who = _identity(path, root)
    episodes, env, notes = _monitors(monitors) if monitors else (_NONE, "", [])
    evaluations, how = _evaluations(npz) if npz is not None and npz.is_file() else (_NONE, "")
    steps = int(max([0, *episodes[-1:, 0], *evaluations[-1:, 0]]))
    history = History(who.seed or 0, episodes, evaluations, np.empty(0), steps)
    kind = "monitor" if monitors else "npz"
    return _Seed(who.key, who.name, env, path, kind, who.seed, history, None, how, None, (*who.notes, *notes))


def _monitors(files: Sequence[Path]) -> tuple[np.ndarray, str, list[str]]:
    """Episodes `[n, 2]` of all sub-environments in order of time, the environment's id, notes.

    An episode's env step is the sum of the lengths of those that ended until then, as Stable-Baselines3 counts. A file
    that was gone on with (`override_existing=False`) begins its clock anew: what follows comes after what was there.
    """
    sessions: list[list[tuple[float, float, float]]] = []  # time, length, return; those of all files that are the k-th
    envs: dict[str, None] = {}
    notes: list[str] = []
    for file in sorted(files):
        text, note = _text(file, always_ends=True)
        notes += note
        header, _, body = text.partition("\n")
        try:
            about = json.loads(header.removeprefix("#"))
            began, env = float(about["t_start"]), about.get("env_id")
        except (ValueError, TypeError, KeyError):
            raise Problem(f'{file}:1: not a monitor file: its first line is no #{{"t_start": …}}') from None
        envs.setdefault("" if env in (None, "None") else str(env))  # the library writes None as a text
        lines = _csv_rows(body, file, above=1)
        _, names = next(lines, (0, []))
        lacking = [name for name in "rlt" if name not in names]
        if lacking:
            raise Problem(f"{file}:2: it has no column {lacking[0]!r}, but {', '.join(names) or 'none'}")
        r, length, t = (names.index(name) for name in "rlt")
        session, latest = 0, -math.inf
        for line, cells in lines:
            values = [_float(cells, at, file, line, what) for at, what in ((t, "t"), (length, "l"), (r, "r"))]
            if not values[1] >= 1 or not math.isfinite(values[0] + values[1]):
                raise Problem(f"{file}:{line}: an episode of length {cells[length]} at time {cells[t]}")
            if values[0] < latest:
                session += 1
                notes.append(f"{file}: its clock begins anew in line {line}: read as one run that was gone on with.")
            latest = values[0]
            while len(sessions) <= session:
                sessions.append([])
            sessions[session].append((values[0] + (0.0 if session else began), values[1], values[2]))
    if len(envs) > 1:
        raise Problem(f"{files[0].parent}: its monitor files are of several environments ({', '.join(envs)})")
    if not sessions:
        notes.append(f"{files[0].parent} has no finished episode.")
        return _NONE, next(iter(envs)), notes
    table = np.array([row for session in sessions for row in sorted(session, key=lambda row: row[0])])
    return np.column_stack([np.cumsum(table[:, 1]), table[:, 2]]), next(iter(envs)), notes


def _evaluations(path: Path) -> tuple[np.ndarray, str]:
    """The evaluations `[m, 2]` of evaluations.npz, and how many episodes each has."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("timesteps", "results") if name in archive.files}
            names = ", ".join(archive.files) or "none"
    except Exception as error:  # whatever a damaged archive makes of zipfile, zlib and numpy
        raise Problem(f"{path}: not an evaluations.npz that can be read: {one_line(error)}") from None
    for name in ("timesteps", "results"):
        if name not in arrays:
            raise Problem(f"{path}: it has no array {name!r}, but {names}")
    steps, results = arrays["timesteps"], arrays["results"]
    if steps.ndim != 1 or results.ndim != 2 or len(steps) != len(results) or not results.shape[1]:
        raise Problem(f"{path}: timesteps {list(steps.shape)} and results {list(results.shape)}; expected [m], [m, k]")
    if not all(np.issubdtype(a.dtype, np.integer) or np.issubdtype(a.dtype, np.floating) for a in (steps, results)):
        raise Problem(f"{path}: timesteps are {steps.dtype} and results {results.dtype}; expected numbers")
    points = np.column_stack([steps, results.mean(1)]).astype(float)
    _check_steps(points, lambda row: f"{path}: evaluation {row + 1}")
    return points, count_of(results.shape[1], "episode")


# --- TensorBoard


def _tensorboard(path: Path, root: Path, columns: Mapping[str, str]) -> _Seed:
    """A seed from a folder of event files. CleanRL's folder names say environment, agent and seed."""
    if any(path.glob("*tfevents*.rlrepro")):
        raise Problem(f"{path} is the TensorBoard view of a run folder: give the run folder, which has every episode")
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    try:
        events.Reload()
    except Exception as error:  # whatever a damaged record makes of protobuf
        raise Problem(f"{path}: its event files cannot be read: {one_line(error)}") from None
    tags = events.Tags()
    there = [*tags["scalars"], *(tag for tag in tags["tensors"] if _is_scalar(events, tag))]
    chosen = {}
    for returns, usual in TAGS.items():
        asked = columns.get(returns)
        if asked is not None and asked not in there:
            raise Problem(f"{path}: no tag {asked!r}{nearest(asked, there)} (there is {', '.join(there) or 'none'})")
        chosen[returns] = asked or next((tag for tag in usual if tag in there), None)
    if not any(chosen.values()):
        wanted = " or ".join(tag for usual in TAGS.values() for tag in usual)
        raise Problem(
            f"{path}: no returns under a tag that is known ({wanted}); --column training=TAG names one "
            f"(there is {', '.join(there) or 'none'})"
        )
    points = {returns: _points(events, tag, path) if tag else _NONE for returns, tag in chosen.items()}
    steps = int(max([0, *points["training"][-1:, 0], *points["evaluation"][-1:, 0]]))
    name = re.fullmatch(r"(.+?)__(.+)__(\d+)__(\d+)", path.resolve().name)
    if name:
        env, folder = name[1], path.resolve().parent
        env = f"ALE/{env}" if folder.name == "ALE" else env
        who = _Identity(("tensorboard", str(folder), name[2]), name[2], int(name[3]))
    else:
        env, own = "", path
        counted = re.fullmatch(r"(.+)_\d+", path.name)  # Stable-Baselines3 numbers the runs of one name
        if counted and _seed_of(counted[1])[1] is not None:
            own = path.with_name(counted[1])
        who = _identity(own, own if path == root else root)
    running = RUNNING.get(chosen["training"] or "")
    history = History(who.seed or 0, points["training"], points["evaluation"], np.empty(0), steps)
    return _Seed(who.key, who.name, env, path, "tensorboard", who.seed, history, running, notes=who.notes)


def _is_scalar(events: Any, tag: str) -> bool:
    return str(events.SummaryMetadata(tag).plugin_data.plugin_name) == "scalars"


def _points(events: Any, tag: str, path: Path) -> np.ndarray:
    """`[n, 2]`: env step, value, in the order of env steps."""
    from tensorboard.util.tensor_util import make_ndarray

    if tag in events.Tags()["scalars"]:
        rows = [(event.step, event.value) for event in events.Scalars(tag)]
    else:
        rows = [(event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
    points = np.array(rows, float).reshape(-1, 2)
    if (points[:, 0] < 0).any():
        raise Problem(f"{path}: {tag} has a point at env step {int(points[:, 0].min())}")
    back = np.flatnonzero(np.diff(points[:, 0]) < 0)
    if len(back):
        here, there = points[back[0], 0], points[back[0] + 1, 0]
        raise Problem(
            f"{path}: {tag} goes back from env step {int(here):,} to {int(there):,}: two runs in one folder? "
            "Give each a folder of its own"
        )
    return points


# --- CSV


def _table(path: Path, root: Path, columns: Mapping[str, str]) -> Iterator[_Seed]:
    """The seeds of a CSV file: a row for each episode or evaluation, or for each time that a logger wrote."""
    text, notes = _text(path)
    lines = _csv_rows(text, path)
    names = [name.strip() for name in next(lines, (0, []))[1]]
    places, returns = _roles(path, names, columns)
    rows: dict[tuple[str, str, int | None], dict[str, list[tuple[float, float, int]]]] = {}
    for line, cells in lines:
        filled = [one for one in returns if not one.may_lack or "".join(cells[one.place : one.place + 1]).strip()]
        if not cells or not filled:
            continue
        step = _float(cells, places["step"], path, line, "env step")
        if not (0 <= step < 1e15 and step == int(step)):
            raise Problem(f"{path}:{line}: env step {cells[places['step']]!r} is not a whole number from 0 up")
        seed = _seed_cell(cells, places, path, line)
        env, agent = (cells[places[r]].strip() if _has(cells, places, r) else "" for r in ("env", "agent"))
        if "env" not in columns and env.isdecimal():  # which of several sub-environments
            env = ""
        for one in filled:
            value = _float(cells, one.place, path, line, "return")
            kind = one.kind or _kind_cell(cells, places, path, line)
            rows.setdefault((agent, env, seed), {}).setdefault(kind, []).append((step, value, line))
    if not rows:
        raise Problem(f"{path} has no rows" + " with a return" * any(one.may_lack for one in returns))
    column = names[returns[0].place]
    running = next((RUNNING[names[one.place]] for one in returns if names[one.place] in RUNNING), None)
    episodes = re.search(r"(\d+)_episodes", column)
    how = count_of(int(episodes[1]), "episode") if episodes else ""
    if "seed" in places:  # then a number in the file's name is something else
        who = _Identity((os.path.abspath(path),), re.sub(r"\.csv(\.gz)?$", "", path.name), None)
    else:  # every log of Stable-Baselines3 has the same name: its folder says whose it is
        who = _identity(path.parent if path.name == "progress.csv" else path, root)
    notes += who.notes
    for (agent, env, seed), kinds in rows.items():
        points = {k: _ordered(kinds.get(k, []), path, k or "row", seed) for k in ("", *_ROW_KINDS.values())}
        final = points["final"][:, 1]
        steps = int(max(p[-1, 0] for p in points.values() if len(p)))
        number = seed if seed is not None else who.seed
        history = History(number or 0, points["" if "" in kinds else "episode"], points["evaluation"], final, steps)
        yield _Seed(
            (*who.key, agent), agent or who.name, env, path, "csv", number, history, running, how, None, tuple(notes),
            column if "" in kinds else "",
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Returns:
    """A column of returns."""

    place: int
    kind: str = ""  #: of all its rows; empty: each row says it, or nothing does
    may_lack: bool = False  #: a logger leaves a cell empty where it had nothing to say


def _roles(path: Path, names: Sequence[str], columns: Mapping[str, str]) -> tuple[dict[str, int], list[_Returns]]:
    """Where each role's column is, and the columns of returns: those of tags only where there is no other."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Problem(f"{path}:1: it has two columns {twice!r}")
    lower = [name.lower() for name in names]
    places = {}
    for role, usual in COLUMNS.items():
        asked = columns.get(role)
        if asked is not None:
            if asked in names or role != "kind" or asked not in _ROW_KINDS:
                places[role] = _asked(path, asked, names, _ROW_KINDS if role == "kind" else ())
            continue
        found = next((name for name in usual if name in lower), None)
        if found is None and role == "return":
            found = next((name for name in lower if name.startswith(("mean_return", "mean_episode_return"))), None)
        if found is not None:
            places[role] = lower.index(found)
    named = any(columns.get(role) in names for role in TAGS)
    if "return" in places and ("return" in columns or not named):
        place = places["return"]
        kind = next((_TAG_KINDS[role] for role, usual in TAGS.items() if names[place] in usual), "")
        returns = [_Returns(place, kind, may_lack=bool(kind))]
    else:
        tags = {r: columns.get(r) or next((tag for tag in usual if tag in names), "") for r, usual in TAGS.items()}
        returns = [_Returns(_asked(path, tag, names), _TAG_KINDS[role], True) for role, tag in tags.items() if tag]
    for role, is_there in (("step", "step" in places), ("return", bool(returns))):
        if not is_there:
            raise Problem(
                f"{path}:1: it has no column that is the {role} ({', '.join(COLUMNS[role][:4])}, …), but "
                f"{', '.join(names) or 'none'}; --column {role}=NAME names it"
            )
    return places, _of_kind(path, names, returns, columns.get("kind", "") if "kind" not in places else None)


def _asked(path: Path, asked: str, names: Sequence[str], words: Iterable[str] = ()) -> int:
    """The place of a column that --column names, or could name by one of `words`."""
    if asked not in names:
        hint = nearest(asked, [*names, *words])
        none_of = f", and no kind of row ({', '.join(words)})" if words else ""
        raise Problem(f"{path}:1: no column {asked!r}{none_of}{hint} (there is {', '.join(names)})")
    return names.index(asked)


def _of_kind(path: Path, names: Sequence[str], returns: Sequence[_Returns], asked: str | None) -> list[_Returns]:
    """The columns with the kind that --column states, else with what their names say; None: each row says its own."""
    if asked is None:
        return list(returns)
    if not asked:
        return [dataclasses.replace(one, kind=one.kind or _kind_by_name(names[one.place])) for one in returns]
    kind = _ROW_KINDS[asked]
    kept = [dataclasses.replace(one, kind=kind) for one in returns if one.kind in ("", kind)]
    if not kept:
        told = " and ".join(f"{names[one.place]!r} is of {one.kind}s" for one in returns)
        raise Problem(f"{path}:1: --column kind={asked} cannot be: {told}; leave it out")
    return kept


def _kind_by_name(name: str) -> str:
    """What the rows under a column of returns are; empty where its name does not say it."""
    if name.lower().startswith(("mean", "eval")):
        return "evaluation"
    return "episode" if "episod" in name.lower() else ""


def _ordered(rows: Sequence[tuple[float, float, int]], path: Path, kind: str, seed: int | None) -> np.ndarray:
    points = np.array([row[:2] for row in rows], float).reshape(-1, 2)
    whose = "" if seed is None else f" of seed {seed}"
    if kind != "final":
        _check_steps(points, lambda row: f"{path}:{rows[row][2]}: this {kind}{whose}", strict=kind == "evaluation")
    return points


def _check_steps(points: np.ndarray, where: Callable[[int], str], strict: bool = True) -> None:
    """`Problem` where env steps go back (or stand still): two runs under one seed."""
    gaps = np.diff(points[:, 0])
    bad = np.flatnonzero(gaps <= 0 if strict else gaps < 0)
    if len(bad):
        row = int(bad[0]) + 1
        here, before = int(points[row, 0]), int(points[row - 1, 0])
        raise Problem(f"{where(row)} is at env step {here:,}, the one before at {before:,}: are there two runs in it?")
    if len(points) and points[0, 0] < 0:
        raise Problem(f"{where(0)} is at env step {int(points[0, 0]):,}")


def _has(cells: Sequence[str], places: Mapping[str, int], role: str) -> bool:
    return role in places and places[role] < len(cells)


def _seed_cell(cells: Sequence[str], places: Mapping[str, int], path: Path, line: int) -> int | None:
    if "seed" not in places:
        return None
    value = _float(cells, places["seed"], path, line, "seed")
    if not (0 <= value < 1e15 and value == int(value)):
        raise Problem(f"{path}:{line}: seed {cells[places['seed']]!r} is not a whole number from 0 up")
    return int(value)


def _kind_cell(cells: Sequence[str], places: Mapping[str, int], path: Path, line: int) -> str:
    """The kind that a row says it is of; empty where no column has it."""
    if "kind" not in places:
        return ""
    found = cells[places["kind"]].strip().lower() if _has(cells, places, "kind") else ""
    if found not in _ROW_KINDS:
        raise Problem(f"{path}:{line}: kind {found!r} is none of {', '.join(_ROW_KINDS)}")
    return _ROW_KINDS[found]


def _csv_rows(text: str, path: Path, above: int = 0) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV text, each with the line that it ends in; `above` it the file has so many lines more."""
    reader = csv.reader(io.StringIO(text))
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise Problem(f"{path}:{reader.line_num + above}: {error}") from None
        if cells is None:
            return
        yield reader.line_num + above, cells


def _float(cells: Sequence[str], place: int, path: Path, line: int, what: str) -> float:
    """A cell as a number; NaN and infinity are numbers here, and scoring says what it makes of them."""
    if place >= len(cells):
        raise Problem(f"{path}:{line}: it has {len(cells)} cells, and no {what}")
    try:
        return float(cells[place])
    except ValueError:
        raise Problem(f"{path}:{line}: {what} {cells[place]!r} is not a number") from None


def _text(path: Path, always_ends: bool = False) -> tuple[str, list[str]]:
    """A text file without a half-written last line, and a note where there was one.

    A last line without its end is whole where it has all its cells, unless its writer always ends them.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise Problem(f"{path}: {error.strerror or error}") from None
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise Problem(f"{path}: not a text file that can be read: {one_line(error)}") from None
    if not text.strip():
        raise Problem(f"{path} is empty")
    if text.endswith("\n"):
        return text, []
    whole, _, last = text.rpartition("\n")
    header = next((line for line in whole.splitlines() if not line.startswith("#")), "")
    if not header or (not always_ends and last.count(",") == header.count(",") and last.rpartition(",")[2].strip()):
        return text + "\n", []
    return whole + "\n", [f"{path}: its last line is half-written and left out."]
