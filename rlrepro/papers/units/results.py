"""The results of a reproduction: every episode and evaluation of every seed, small enough to commit.

results/
  results.json           of each unit: its settings, seeds, commands, versions, hardware, and the hash of its file
  ppo-CartPole-v1.csv.gz   seed, kind (episode, evaluation or final), env_step, return
  best-Gridworld-v0.csv.gz the same, of kind measured: what a function gave, in place of the return, at env step 0
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlrepro.checkpoint import make_folder, write_whole
from rlrepro.errors import Problem, nearest
from rlrepro.papers.cards.card import Card
from rlrepro.papers.cards.reader import find_card, load_card
from rlrepro.papers.scoring import History
from rlrepro.papers.toml_tables import is_id
from rlrepro.seed_log import cell

RESULTS_FORMAT = 1
REPRODUCTIONS = Path("reproductions")  #: where they are made
_MOST_SEEDS = 10**7
_KINDS = ("episode", "evaluation", "final", "measured")
_COLUMNS = np.dtype([("seed", np.int64), ("kind", "U11"), ("env_step", np.float64), ("return", np.float64)])


@dataclasses.dataclass(frozen=True)
class UnitResults:
    """What one implementation did on one environment."""

    settings: Mapping[str, Any]  #: of the runs, their seeds left out
    runs: tuple[Mapping[str, Any], ...]  #: of each run: command, seeds, dates, versions, git, hardware
    histories: tuple[History, ...]
    #: by a claim's id, what was claimed when results were first kept; empty where these are older than that record
    claimed: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    planned: tuple[int, ...] = ()  #: the seeds that were asked for; empty as above, and where the card says how many
    added: tuple[int, ...] = ()  #: those of them that were asked for when a verdict could be seen

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(history.seed for history in self.histories)


@dataclasses.dataclass(frozen=True)
class Results:
    """The results of a card's units, and the scale at which they were run (1: the paper's own)."""

    scale: float
    units: Mapping[str, UnitResults]


def write_results(folder: Path, results: Results, only: str | None = None) -> None:
    """Write `folder/results.json` and a file for each unit; whole or not at all, and the same bytes every time.

    With `only`, the other units' files are there already. A unit's new file stands beside the old one until
    results.json names it: whenever this is killed, one of the two is the one that is named.
    """
    make_folder(folder)
    settle(folder)
    about: dict[str, Any] = {"format": RESULTS_FORMAT, "scale": results.scale, "units": {}}
    for name, unit in results.units.items():
        file = folder / f"{name}.csv.gz"
        if only in (None, name):
            data = gzip.compress(_rows(unit.histories), 9, mtime=0)
            write_whole(_newer(file), data)
        else:
            data = file.read_bytes()
        about["units"][name] = {
            "settings": dict(unit.settings),
            "runs": [dict(run) for run in unit.runs],
            "seeds": {str(h.seed): _of_seed(h) for h in unit.histories},
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        if unit.claimed:
            about["units"][name]["claimed"] = {key: dict(terms) for key, terms in unit.claimed.items()}
        if unit.planned:
            about["units"][name]["planned"] = _ranges(unit.planned)
        if unit.added:
            about["units"][name]["added"] = _ranges(unit.added)
        if _is_measured(unit.settings):  # of thousands of seeds, which have no more to tell
            about["units"][name]["seeds"] = _ranges(unit.seeds)
            about["units"][name]["runs"] = [{**run, "seeds": _ranges(run["seeds"])} for run in unit.runs]
    write_whole(folder / "results.json", (json.dumps(about, indent=1) + "\n").encode())
    settle(folder)


def _newer(file: Path) -> Path:
    """Where a unit's file lies until results.json names it."""
    return file.with_name(f"{file.name}.new")


def settle(folder: Path) -> None:
    """What a kill left undone: files that results.json names go to their places, others were never finished."""
    waiting = {new.with_suffix(""): new for new in folder.glob("*.csv.gz.new")}
    if not waiting:
        return
    file = folder / "results.json"
    named = {unit["sha256"] for unit in _about(file)["units"].values()} if file.exists() else set()
    for place, new in waiting.items():
        if hashlib.sha256(new.read_bytes()).hexdigest() in named:
            new.replace(place)
        else:
            new.unlink()


def _of_seed(history: History) -> dict[str, Any]:
    broke = {"broke": history.broke} if history.stopped else {}
    gaps = {"gaps": list(history.gaps)} if history.gaps else {}
    diverged = {"diverged": True} if history.diverged else {}
    taken = {"taken": history.taken} if history.taken else {}
    return {"steps": history.steps, "stopped": history.stopped, **broke, **gaps, **diverged, **taken}


def read_results(folder: Path) -> Results:
    """The inverse of `write_results`; a unit of no seed is none. `Problem` where a file is damaged or not there."""
    file = folder / "results.json"
    about = _about(file)
    try:
        units = {name: _unit(folder / f"{name}.csv.gz", unit) for name, unit in about["units"].items()}
        scale = float(about["scale"])
        if not 0 < scale < math.inf:
            raise ValueError(f"scale {scale:g}")
        return Results(scale, {name: unit for name, unit in units.items() if unit.histories})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Problem(f"{file} is damaged: {type(error).__name__} {error}") from None


def _about(file: Path) -> dict[str, Any]:
    """What results.json says, which has units."""
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        way = f"run the card first (python -m rlrepro.reproduce CARD), and give {REPRODUCTIONS}/NAME"
        raise Problem(f"{file}: {error.strerror}; {way}") from None
    except ValueError as error:
        raise Problem(f"{file} is damaged: {error}") from None
    if not isinstance(about, dict) or about.get("format") != RESULTS_FORMAT:
        raise Problem(f"{file} is not of this version (format {RESULTS_FORMAT})")
    return about


def find_reproduction(name: str) -> Path:
    """A reproduction's folder by its path, by the name of a card that comes with the kit, or by its own."""
    if Path(name).exists():
        return Path(name)
    made = {path.parent.name: path.parent for path in REPRODUCTIONS.glob("*/card.toml")}
    try:
        return find_card(name).parent
    except Problem as problem:
        if name in made:
            return made[name]
        near = nearest(name, made)
        raise Problem(f"there is no reproduction {name}{near}") if near else problem from None


def open_reproduction(folder: Path) -> tuple[Card, Results]:
    """A reproduction's card and its results. `Problem` where either is not there, or damaged."""
    file = folder / "card.toml"
    if not file.is_file():
        raise Problem(f"{folder} is no reproduction: it has no card.toml")
    return load_card(str(file)), read_results(folder / "results")


def _unit(file: Path, about: Mapping[str, Any]) -> UnitResults:
    _check_about(about)
    # A kill may have come before the newer one was put in its place.
    there = [one.read_bytes() for one in (file, _newer(file)) if one.is_file()]
    data = next((one for one in there if hashlib.sha256(one).hexdigest() == about["sha256"]), None)
    if not there:
        raise Problem(f"{file}: No such file or directory")
    if data is None:
        raise Problem(f"{file} is not the file that results.json names: its hash differs")
    try:
        lines = gzip.decompress(data).decode().splitlines()[1:]
        table = np.empty(0, _COLUMNS)
        if lines:
            table = np.loadtxt(lines, _COLUMNS, comments=None, delimiter=",", ndmin=1)
        if len(table) != len(lines) or not np.isin(table["kind"], _KINDS).all():
            raise ValueError("a row that is none")
        points = np.column_stack([table["env_step"], table["return"]])
        of_seed, of_kind = table["seed"], table["kind"]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise Problem(f"{file} is damaged: {error}") from None
    told = [about.get("claimed", {}), *(tuple(_listed(about.get(name, ()))) for name in ("planned", "added"))]
    if _is_measured(about["settings"]):
        order = np.argsort(of_seed, kind="stable")
        own = dict(zip(*_groups(of_seed[order], points[order, 1]), strict=True))
        made = [History(s, *_EMPTY, 0, measured=own.get(s, np.empty(0))) for s in _listed(about["seeds"])]
        runs = tuple({**run, "seeds": _listed(run["seeds"])} for run in about["runs"])
        return UnitResults(about["settings"], runs, tuple(made), *told)
    histories = []
    for name, one in about["seeds"].items():
        mine = of_seed == int(name)
        episodes, evaluations, final, measured = (points[mine & (of_kind == kind)] for kind in _KINDS)
        gaps = tuple(int(step) for step in one.get("gaps", ()))
        if list(gaps) != sorted(set(gaps)) or (gaps and not gaps[-1] < max(episodes[:, 0], default=0)):
            raise ValueError(f"gaps of seed {name} that lie between no episodes")
        one_seed = History(
            seed=int(name),
            episodes=episodes,
            evaluations=evaluations,
            final=final[:, 1],
            steps=int(one["steps"]),
            stopped=str(one["stopped"]),
            broke=bool(one.get("broke", False)),
            measured=measured[:, 1],
            gaps=gaps,
            diverged=bool(one.get("diverged", False)),
            taken=int(one.get("taken", 0)),
        )
        histories.append(one_seed)
    return UnitResults(about["settings"], tuple(about["runs"]), tuple(histories), *told)


def _check_about(about: Mapping[str, Any]) -> None:
    """`ValueError` where the settings of a unit, or what is told of a run, are not as they are written."""
    settings = about["settings"]
    if not isinstance(settings, dict) or not isinstance(settings.get("hyperparameters", {}), dict):
        raise ValueError("settings that are no table")
    claimed = about.get("claimed", {})
    if not isinstance(claimed, dict) or not all(isinstance(terms, dict) for terms in claimed.values()):
        raise ValueError("claims that are no tables")
    if not all(is_id(key) and all(map(str.isidentifier, terms)) for key, terms in claimed.items()):
        raise ValueError("claims whose names are none")  # pages and terminals show them
    for run in about["runs"]:
        for name in ("versions", "hardware", "code", "git"):
            told = run.get(name, {})
            if not isinstance(told, dict) and not (told is None and name in ("code", "git")):
                raise ValueError(f"a run whose {name} are no table")
        if not all(isinstance(version, str) for version in run.get("versions", {}).values()):
            raise ValueError("a run whose versions are no texts")
        if not isinstance(run.get("seeds", []), list):
            raise ValueError("a run whose seeds are no list")
        mended = run.get("mended", [])
        if not isinstance(mended, list) or not all(_is_told(one) for one in mended):
            raise ValueError("a run that was mended in a way that is not told")


def _is_told(mended: Any) -> bool:
    """Whether it says which seeds broke and went on, and why they broke."""
    if not isinstance(mended, dict) or not isinstance(mended.get("reason"), str):
        return False
    seeds = mended.get("seeds")
    return isinstance(seeds, list) and all(type(seed) is int for seed in seeds)


_EMPTY = np.empty((0, 2)), np.empty((0, 2)), np.empty(0)


def _is_measured(settings: Mapping[str, Any]) -> bool:
    return "function" in settings


def _groups(keys: np.ndarray, values: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
    """The values of each key; the keys are sorted."""
    found, first = np.unique(keys, return_index=True)
    return found.tolist(), np.split(values, first[1:])


def _ranges(seeds: Sequence[int]) -> list[list[int]]:
    """Seeds in their order, as first and last of those that follow one another."""
    found: list[list[int]] = []
    for seed in seeds:
        if found and seed == found[-1][1] + 1:
            found[-1][1] = seed
        else:
            found.append([seed, seed])
    return found


def _listed(ranges: Sequence[Sequence[int]]) -> list[int]:
    """The inverse."""
    if any(not -1 < last - first < _MOST_SEEDS for first, last in ranges):
        raise ValueError("a range of seeds that cannot be")
    return [seed for first, last in ranges for seed in range(first, last + 1)]


def _rows(histories: Sequence[History]) -> bytes:
    lines = ["seed,kind,env_step,return\n"]
    for h in histories:
        final = np.column_stack([np.full(len(h.final), h.steps), h.final])
        measured = np.column_stack([np.zeros(len(h.measured)), h.measured])
        for kind, points in zip(_KINDS, (h.episodes, h.evaluations, final, measured), strict=True):
            lines += [f"{h.seed},{kind},{int(step)},{cell(value)}\n" for step, value in points.tolist()]
    return "".join(lines).encode()
