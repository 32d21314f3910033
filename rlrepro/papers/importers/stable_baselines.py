"""What Stable-Baselines3 writes: its monitor files and evaluations.npz."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rlrepro.errors import Problem, count_of, one_line
from rlrepro.papers.importers.groups import NONE, Seed
from rlrepro.papers.importers.names import identity
from rlrepro.papers.importers.text import as_number, check_steps, csv_rows, whole_text
from rlrepro.papers.scoring import History


def of_stable_baselines(path: Path, root: Path, monitors: Sequence[Path], npz: Path | None) -> Seed:
    """A seed from its monitor files, its evaluations.npz, or both."""
    who = identity(path, root)
    episodes, env, notes = _monitors(monitors) if monitors else (NONE, "", [])
    evaluations, how = _evaluations(npz) if npz is not None and npz.is_file() else (NONE, "")
    steps = int(max([0, *episodes[-1:, 0], *evaluations[-1:, 0]]))
    history = History(who.seed or 0, episodes, evaluations, np.empty(0), steps)
    kind = "monitor" if monitors else "npz"
    return Seed(who.key, who.name, env, path, kind, who.seed, history, None, how, None, (*who.notes, *notes))


def _monitors(files: Sequence[Path]) -> tuple[np.ndarray, str, list[str]]:
    """Episodes `[n, 2]` of all sub-environments in order of time, the environment's id, notes.

    An episode's env step is the sum of the lengths of those that ended until then, as Stable-Baselines3 counts. A file
    that was gone on with (`override_existing=False`) begins its clock anew: what follows comes after what was there.
    """
    sessions: list[list[tuple[float, float, float]]] = []  # time, length, return; those of all files that are the k-th
    envs: dict[str, None] = {}
    notes: list[str] = []
    counts: dict[Path, int] = {}  # how often each was gone on with
    for file in sorted(files):
        text, note = whole_text(file, always_ends=True)
        notes += note
        header, _, body = text.partition("\n")
        try:
            about = json.loads(header.removeprefix("#"))
            began, env = float(about["t_start"]), about.get("env_id")
        except (ValueError, TypeError, KeyError):
            raise Problem(f'{file}:1: not a monitor file: its first line is no #{{"t_start": …}}') from None
        envs.setdefault("" if env in (None, "None") else str(env))  # the library writes None as a text
        lines = csv_rows(body, file, above=1)
        _, names = next(lines, (0, []))
        lacking = [name for name in "rlt" if name not in names]
        if lacking:
            raise Problem(f"{file}:2: it has no column {lacking[0]!r}, but {', '.join(names) or 'none'}")
        r, length, t = (names.index(name) for name in "rlt")
        session, latest = 0, -math.inf
        for line, cells in lines:
            values = [as_number(cells, at, file, line, what) for at, what in ((t, "t"), (length, "l"), (r, "r"))]
            if not values[1] >= 1 or not math.isfinite(values[0] + values[1]):
                raise Problem(f"{file}:{line}: an episode of length {cells[length]} at time {cells[t]}")
            if values[0] < latest:
                session += 1
                notes.append(f"{file}: its clock begins anew in line {line}: read as one run that was gone on with.")
            latest = values[0]
            while len(sessions) <= session:
                sessions.append([])
            sessions[session].append((values[0] + (0.0 if session else began), values[1], values[2]))
        counts[file] = session
    if len(set(counts.values())) > 1:
        most = max(counts, key=lambda file: counts[file])
        notes.append(
            f"{files[0].parent}: {most.name} was gone on with, and not every file beside it shows where: the order of "
            "their episodes is not known."
        )
    if len(envs) > 1:
        raise Problem(f"{files[0].parent}: its monitor files are of several environments ({', '.join(envs)})")
    if not sessions:
        notes.append(f"{files[0].parent} has no finished episode.")
        return NONE, next(iter(envs)), notes
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
    check_steps(points, lambda row: f"{path}: evaluation {row + 1}")
    return points, count_of(results.shape[1], "episode")
