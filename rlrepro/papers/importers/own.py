"""Our own runs and a reproduction's results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlrepro.errors import count_of
from rlrepro.papers.histories import read_run
from rlrepro.papers.importers.groups import Seed
from rlrepro.papers.units.results import read_results
from rlrepro.papers.units.unit import shared, unshared
from rlrepro.plugins.own_code import shown
from rlrepro.record import RunFolder


def of_run(path: Path) -> Iterator[Seed]:
    settings, histories = read_run(path)
    about, code = shared(settings), RunFolder(path).read_json("run.json").get("code")
    key = ("run", json.dumps([about, code], sort_keys=True))
    for h in histories:
        notes = (f"{path}: seed {h.seed} {h.taken_text}.",) if h.taken else ()
        yield Seed(key, shown(settings.agent), settings.env, path, "run", h.seed, h, None, _how(about), settings, notes)


def _how(about: Mapping[str, Any]) -> str:
    """How a run of ours was evaluated."""
    if "eval_episodes" not in about:
        return ""
    policy = "deterministic" if about.get("eval_deterministic", True) else "stochastic"
    return f"{count_of(about['eval_episodes'], 'episode')}, {policy}"


def of_results(path: Path) -> Iterator[Seed]:
    results = read_results(path)
    notes = () if results.scale == 1 else (f"{path} was run at {results.scale:g} of the paper's steps.",)
    tasks = [(unit.settings.get("agent"), unit.settings.get("env")) for unit in results.units.values()]
    for name, unit in results.units.items():
        about, settings = unit.settings, unshared(unit.settings, unit.seeds)
        agent, env = about.get("agent"), str(about.get("env", ""))
        title = shown(str(agent)) if agent and tasks.count((agent, about.get("env"))) == 1 else name
        key = ("results", str(path.resolve()), name)
        for h in unit.histories:
            yield Seed(key, title, env, path, "results", h.seed, h, None, _how(about), settings, notes)
