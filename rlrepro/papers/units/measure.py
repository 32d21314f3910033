"""Measurements: numbers of a paper that are no returns of an agent, made by the function that its card names.

A function with seeds is given them in groups and keeps what each group gave, so that a run that is stopped loses one
group at most; what is there is never made again. A seed's number does not depend on the group that it is in: that is
the function's to keep, as it is an agent's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rlrepro.circumstances import circumstances, now
from rlrepro.errors import Problem
from rlrepro.papers.cards.card import Card
from rlrepro.papers.cards.measurements import MeasurementSource, call, find_measurement
from rlrepro.papers.scoring import History
from rlrepro.papers.units.results import UnitResults
from rlrepro.papers.units.unit import Unit, env_of
from rlrepro.plugins import own_code

GROUP = 1_000  #: seeds that a function is given at a time


def measure(
    card: Card, unit: Unit, settings: Mapping[str, Any], seeds: Sequence[int], have: UnitResults | None,
    command: Sequence[str],
) -> Iterator[tuple[UnitResults | None, list[str]]]:  # fmt: skip
    """Measure the seeds that are lacking, group by group; after each, all that is known, or None and what is wrong."""
    source = find_measurement(card.whole(settings["function"]))
    arguments = _arguments(card, unit, source)
    histories = {h.seed: h for h in have.histories} if have else {}
    runs = list(have.runs) if have else []
    lacking = [seed for seed in seeds if seed not in histories]
    environment = card.environments[unit.environment]
    code = own_code.hashes(card.code([settings["function"], environment.run, *environment.wrappers]))
    begun = {**circumstances(command), "status": "finished", **({"code": code} if code else {})}
    done: list[int] = []
    for first in range(0, len(lacking), GROUP):
        group = tuple(lacking[first : first + GROUP])
        try:
            values = call(source, arguments, group)
        except Problem as problem:
            yield None, [str(problem)]
            return
        done += group
        for seed, own in zip(group, values, strict=True):
            histories[seed] = History(seed, np.empty((0, 2)), np.empty((0, 2)), np.empty(0), 0, measured=own)
        made = [*runs, {**begun, "seeds": list(done), "ended": now()}]
        yield UnitResults(settings, tuple(made), tuple(histories[s] for s in sorted(histories))), []


def _arguments(card: Card, unit: Unit, source: MeasurementSource) -> dict[str, Any]:
    measurement = card.measurements[unit.implementation]
    arguments = {name: one.value for name, one in measurement.hyperparameters.items()}
    if source.takes_env:
        arguments["env"] = env_of(card, unit.environment)
    return arguments
