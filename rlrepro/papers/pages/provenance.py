"""What results were made with and on, as texts: the runs, their versions and hardware, the environments."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rlrepro.papers.cards.card import Card
from rlrepro.papers.pages.rows import exact
from rlrepro.papers.units.results import Results
from rlrepro.papers.units.unit import known_traps


def runs(results: Results) -> list[dict[str, str]]:
    """Every run: what was trained, on which seeds, from when, and by what command."""
    rows = []
    for name, unit in results.units.items():
        for run in unit.runs:
            status, reason = str(run.get("status", "")), str(run.get("reason") or "")
            rows.append({
                "unit": name,
                "seeds": seeds_text(run.get("seeds", ())),
                "started": re.sub(r"^(\S{10})T(\d\d:\d\d)\S*\+00:00$", r"\1 \2 UTC", str(run.get("started", ""))),
                "took": _took(run.get("started"), run.get("ended")),
                "status": f"{status}; {reason}" if reason else status,
                "command": str(run.get("command", "")),
            })  # fmt: skip
    return rows


def makings(results: Results) -> list[dict[str, Any]]:
    """The hardware, versions and commit that runs were made with, each different set once."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, unit in results.units.items():
        for run in unit.runs:
            hardware, versions = (
                ", ".join(f"{key} {value}" for key, value in sorted(run.get(part, {}).items()))
                for part in ("hardware", "versions")
            )
            units = found.setdefault((hardware, versions, commit_text(run)), [])
            units += [name] if name not in units else []
    return [
        {"units": units, "hardware": hardware, "versions": versions, "git": git}
        for (hardware, versions, git), units in found.items()
    ]


def commit_text(run: Mapping[str, Any]) -> str:
    """The commit of this code that a run was made with, "" where none is known."""
    git = run.get("git") or {}
    changed = ", with changes that were not committed" if git.get("changed") else ""
    return f"{git.get('commit', 'unknown')}{changed}" if git else ""


def environment(card: Card, name: str) -> dict[str, Any]:
    """One environment: the paper's, what runs here, and how these differ."""
    one = card.environments[name]
    options = [f"{key}={value!r}" for key, value in one.kwargs.items()]
    return {
        "name": name,
        "paper": one.paper,
        "run": one.run + (f" ({', '.join(options)})" if options else ""),
        "wrappers": ", ".join(one.wrappers),
        "differs": one.differs or ("nothing: the same version" if one.paper == one.run else "nothing"),
        "warnings": known_traps(one),
        "scale": "" if one.random is None or one.best is None else f"{exact(one.random)} to {exact(one.best)}",
    }


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds in a row as their first and last."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _took(started: Any, ended: Any) -> str:
    try:
        seconds = (datetime.datetime.fromisoformat(ended) - datetime.datetime.fromisoformat(started)).total_seconds()
    except (TypeError, ValueError):
        return ""
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"
