"""A run folder as histories: what each of its seeds did, in the form that a protocol scores."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlrepro.checksums import RECORD, changed
from rlrepro.errors import Problem
from rlrepro.papers.scoring import LATE, History
from rlrepro.record import RunFolder
from rlrepro.seed_log import CSV_COLUMNS
from rlrepro.settings import Settings

_NONE = np.empty((0, 2))


def read_run(path: str | Path) -> tuple[Settings, list[History]]:
    """The settings of a run and the history of each of its seeds, in the order of the settings.

    A seed that did not get to its end is there too, with the step that it reached and the reason, and one whose record
    was lost or changed since, with nothing of it. `Problem` where `path` is no run folder, or one of its files cannot
    be read.
    """
    folder, settings = RunFolder.open(Path(path))
    about = folder.read_json("run.json")
    return settings, [_history(folder, settings, about, seed) for seed in settings.seeds]


def _history(folder: RunFolder, settings: Settings, about: Mapping[str, Any], seed: int) -> History:
    files = {name: folder.seed(seed) / f"{name}.csv" for name in CSV_COLUMNS}
    if lost := lost_record(folder, seed):
        return History(seed, _NONE, _NONE, np.empty(0), 0, lost)
    episodes, lengths = _episodes(files["episodes"])
    evaluations, final, final_step = _evaluations(files["evaluations"])
    is_over = about.get("status") == "finished" or len(final) > 0  # a seed can be at its end in a run that is not
    reached = int(max([*episodes[-1:, 0], *evaluations[-1:, 0], _last_step(files["metrics"])]))
    broke = False
    if len(final) and final_step < settings.total_timesteps:
        stopped, reached = "it ended by itself", final_step
    elif is_over:
        stopped, reached = "", max(settings.end_step, final_step)
    else:
        stopped = _reason(about)
        broke = seed in about.get("broke", ())
    gaps = _gaps(episodes[:, 0], lengths) if settings.num_envs == 1 else ()
    diverged = folder.is_diverged(seed, about)
    made = History(seed, episodes, evaluations, final, reached, stopped, broke, gaps=gaps, diverged=diverged)
    asked = settings.total_timesteps
    return _cut(made, asked) if reached > max(settings.end_step, (1 + LATE) * asked) else made


def lost_record(folder: RunFolder, seed: int) -> str:
    """Why what a seed had recorded is not there any more, or ""."""
    gone = next((name for name in RECORD if not (folder.seed(seed) / name).exists()), None)
    if gone is not None:
        return f"its {gone} is not there"
    name = changed(folder, seed, RECORD)
    return f"its {name} is not what it was when it ended (SHA256SUMS)" if name else ""


def _cut(history: History, asked: int) -> History:
    """What a run had done after the env steps that were asked for, where it took far more: its policy is of later."""
    episodes, evaluations = (points[points[:, 0] <= asked] for points in (history.episodes, history.evaluations))
    gaps = tuple(step for step in history.gaps if step < max(episodes[:, 0], default=0))
    return dataclasses.replace(
        history, episodes=episodes, evaluations=evaluations, final=np.empty(0), steps=asked, gaps=gaps,
        taken=history.steps, stopped="", broke=False, diverged=False,
    )  # fmt: skip


def _gaps(ends: np.ndarray, lengths: np.ndarray) -> tuple[int, ...]:
    """The env steps at which an episode began that does not follow on the one before."""
    begins = ends - lengths
    return tuple(int(step) for step in begins[begins != np.concatenate([[0.0], ends[:-1]])])


def _reason(about: Mapping[str, Any]) -> str:
    """Why a run is not finished, in words."""
    status = about.get("status")
    if status == "running":
        return "the run is going on, or was killed"
    if status == "interrupted":  # its reason names the env steps of all seeds
        return status
    return str(about.get("reason") or status or "run.json does not say that it is finished")


def _lines(path: Path, *columns: str) -> tuple[bytes, list[int]]:
    """The rows of a CSV file without a half-written last one, and where the named columns are."""
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from None
    header, _, rows = data[: data.rfind(b"\n") + 1].partition(b"\n")
    names = header.decode(errors="replace").rstrip("\r").split(",")
    lacking = [name for name in columns if name not in names]
    if lacking and header:
        raise Problem(f"{path}:1: it has no column {lacking[0]!r}, but {', '.join(names)}")
    return rows, [names.index(name) for name in columns if header]


def _episodes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`[n, 2]`: env step at the end, return; and the lengths `[n]`."""
    rows, columns = _lines(path, "env_step", "episode_return", "episode_length")
    if not rows:
        return _NONE, np.empty(0)
    try:
        table = np.loadtxt(io.BytesIO(rows), delimiter=",", usecols=columns, ndmin=2, comments=None, encoding="utf-8")
    except ValueError as error:
        raise Problem(f"{path}: not the episodes of a run: {error}") from None
    if not np.isfinite(table[:, [0, 2]]).all():
        raise Problem(f"{path}: not the episodes of a run: an env step or a length that is no number")
    return table[:, :2], table[:, 2]


def _evaluations(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """The evaluations `[m, 2]` (env step, mean return), the returns `[k]` of the final one's episodes, and its step.

    Rows of `50000-final` are the final evaluation, and the point of the curve at that step as well, unless an
    ordinary evaluation was made there.
    """
    rows, columns = _lines(path, "env_step", "episode_return")
    returns: dict[str, list[float]] = {}
    for number, line in enumerate(rows.decode(errors="replace").splitlines(), 2):
        cells = line.split(",")
        try:
            step, value = (cells[column] for column in columns)
            int(step.removesuffix("-final"))
            returns.setdefault(step, []).append(float(value))
        except (ValueError, IndexError):
            raise Problem(f"{path}:{number}: not an episode of an evaluation: {line!r}") from None
    points = {int(step): float(np.mean(values)) for step, values in returns.items() if step.isdigit()}
    final = [step for step in returns if not step.isdigit()]
    for step in final:
        points.setdefault(int(step.removesuffix("-final")), float(np.mean(returns[step])))
    curve = np.array(sorted(points.items()), float) if points else _NONE
    if not final:
        return curve, np.empty(0), 0
    return curve, np.array(returns[final[-1]]), int(final[-1].removesuffix("-final"))


def _last_step(path: Path) -> int:
    """The env step of the last whole row of metrics.csv; 0 where there is none."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().split(b"\n")[:-1]
    step = lines[-1].split(b",")[0] if lines else b""
    return int(step) if step.isdigit() else 0
