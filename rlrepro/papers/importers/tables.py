"""CSV files: a row for each episode or evaluation, or for each time that a logger wrote."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from rlrepro.errors import Problem, count_of
from rlrepro.papers.importers.groups import Seed, full_window
from rlrepro.papers.importers.names import Identity, identity
from rlrepro.papers.importers.roles import LENGTHS, ROW_KINDS, RUNNING, roles
from rlrepro.papers.importers.text import as_number, check_steps, csv_rows, whole_text
from rlrepro.papers.scoring import History


def of_table(path: Path, root: Path, columns: Mapping[str, str]) -> Iterator[Seed]:
    """The seeds of a CSV file: a row for each episode or evaluation, or for each time that a logger wrote."""
    text, notes = whole_text(path)
    lines = csv_rows(text, path)
    names = [name.strip() for name in next(lines, (0, []))[1]]
    places, returns = roles(path, names, columns)
    rows: dict[tuple[str, str, int | None], dict[str, list[tuple[float, float, int]]]] = {}
    lengths: dict[tuple[str, str, int | None], list[tuple[float, float]]] = {}
    of_running = next((names[one.place] for one in returns if names[one.place] in RUNNING), None)
    lengths_at = names.index(LENGTHS[of_running]) if of_running and LENGTHS[of_running] in names else None
    for line, cells in lines:
        filled = [one for one in returns if not one.may_lack or "".join(cells[one.place : one.place + 1]).strip()]
        if not cells or not filled:
            continue
        step = as_number(cells, places["step"], path, line, "env step")
        if not (0 <= step < 1e15 and step == int(step)):
            raise Problem(f"{path}:{line}: env step {cells[places['step']]!r} is not a whole number from 0 up")
        seed = _seed_cell(cells, places, path, line)
        env, agent = (cells[places[r]].strip() if _has(cells, places, r) else "" for r in ("env", "agent"))
        if "env" not in columns and env.isdecimal():  # which of several sub-environments
            env = ""
        if lengths_at is not None and "".join(cells[lengths_at : lengths_at + 1]).strip():
            length = as_number(cells, lengths_at, path, line, "length")
            lengths.setdefault((agent, env, seed), []).append((step, length))
        for one in filled:
            value = as_number(cells, one.place, path, line, "return")
            kind = one.kind or _kind_cell(cells, places, path, line)
            rows.setdefault((agent, env, seed), {}).setdefault(kind, []).append((step, value, line))
    if not rows:
        raise Problem(f"{path} has no rows" + " with a return" * any(one.may_lack for one in returns))
    column = names[returns[0].place]
    running = RUNNING.get(of_running or "")
    episodes = re.search(r"(\d+)_episodes", column)
    how = count_of(int(episodes[1]), "episode") if episodes else ""
    if "seed" in places:  # then a number in the file's name is something else
        who = Identity((os.path.abspath(path),), re.sub(r"\.csv(\.gz)?$", "", path.name), None)
    else:  # every log of Stable-Baselines3 has the same name: its folder says whose it is
        who = identity(path.parent if path.name == "progress.csv" else path, root)
    notes += who.notes
    for (agent, env, seed), kinds in rows.items():
        points = {k: _ordered(kinds.get(k, []), path, k or "row", seed) for k in ("", *ROW_KINDS.values())}
        final = points["final"][:, 1]
        steps = int(max(p[-1, 0] for p in points.values() if len(p)))
        number = seed if seed is not None else who.seed
        known = np.array(lengths.get((agent, env, seed), []), float).reshape(-1, 2)
        history = History(number or 0, points["" if "" in kinds else "episode"], points["evaluation"], final, steps)
        yield Seed(
            (*who.key, agent), agent or who.name, env, path, "csv", number, history, running, how, None, tuple(notes),
            column if "" in kinds else "", full_window(known, running) if running else 0.0,
        )  # fmt: skip


def _ordered(rows: Sequence[tuple[float, float, int]], path: Path, kind: str, seed: int | None) -> np.ndarray:
    points = np.array([row[:2] for row in rows], float).reshape(-1, 2)
    whose = "" if seed is None else f" of seed {seed}"
    if kind != "final":
        check_steps(points, lambda row: f"{path}:{rows[row][2]}: this {kind}{whose}", strict=kind == "evaluation")
    return points


def _has(cells: Sequence[str], places: Mapping[str, int], role: str) -> bool:
    return role in places and places[role] < len(cells)


def _seed_cell(cells: Sequence[str], places: Mapping[str, int], path: Path, line: int) -> int | None:
    if "seed" not in places:
        return None
    value = as_number(cells, places["seed"], path, line, "seed")
    if not (0 <= value < 1e15 and value == int(value)):
        raise Problem(f"{path}:{line}: seed {cells[places['seed']]!r} is not a whole number from 0 up")
    return int(value)


def _kind_cell(cells: Sequence[str], places: Mapping[str, int], path: Path, line: int) -> str:
    """The kind that a row says it is of; empty where no column has it."""
    if "kind" not in places:
        return ""
    found = cells[places["kind"]].strip().lower() if _has(cells, places, "kind") else ""
    if found not in ROW_KINDS:
        raise Problem(f"{path}:{line}: kind {found!r} is none of {', '.join(ROW_KINDS)}")
    return ROW_KINDS[found]
