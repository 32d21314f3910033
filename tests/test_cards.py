"""Cards: each rule once, exact lines, and no traceback whatever is done to a card."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlrepro.errors import Problem
from rlrepro.papers import toml_lines
from rlrepro.papers.cards.card import Card
from rlrepro.papers.cards.reader import find_card, load_card, own_cards, read_card
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.toml_tables import Fault, Reader, Table
from rlrepro.papers.units.unit import settings_of, units_of

VALID = """\
# A card with one of everything.
format = 1
deviations = ["Other seeds."]

[paper]
title = "Made up"
authors = "Nobody"
year = 2020
url = "https://example.org/paper"
summary = "It claims something."

[compute]
stated = "one CPU"

[environment.pole]
paper = "CartPole-v0"
run = "CartPole-v1"
differs = "the time limit"
kwargs = { sutton_barto_reward = false }
wrappers = []
random = 22
best = 500

[environment.Acrobot-v1]
paper = "Acrobot-v1"
random = -499
best = -70.0

[implementation.dqn]
agent = "dqn"

[implementation.dqn.hyperparameters."paper: Table 1"]
total_timesteps = 50_000
num_envs = 1
learning_rate = 2.5e-4
gamma = 0.99
buffer_size = 10_000
batch_size = 128
learning_starts = 1_000

[implementation.dqn.hyperparameters."code: someone/something@0123abc dqn.py"]
train_every = 10
gradient_steps = 1
target_every = 500
tau = 1.0
epsilon_start = 1.0
epsilon_end = 0.05
exploration_fraction = 0.5
loss = "squared"
double = false
max_grad_norm = 0.0
hidden = [120, 84]

[implementation.double]
agent = "dqn"
like = "dqn"

[implementation.double.hyperparameters."ours: what the name says"]
double = true

[protocol.training]
returns = "training"
last = 100

[protocol.evaluated]
returns = "evaluation"
statistic = "max of seed mean"
policy = "deterministic"
eval_every = 5_000
eval_episodes = 5

[claim_defaults]
implementation = "dqn"
where = "Table 2"

[[claim]]
id = "pole"
environment = "pole"
protocol = "training"
reported = 490.04
spread = 6.12
spread_kind = "population sd"
seeds = 3
margin = 48
margin_why = "a tenth"

[[claim]]
id = "acrobot"
environment = "Acrobot-v1"
protocol = "training"
reported = -86.0
per_seed = [-85.0, -86.0, -87.0]
margin = 43.0
margin_why = "a tenth"
note = "each seed is printed"

[[claim]]
id = "both"
environments = ["pole", "Acrobot-v1"]
aggregate = "iqm"
protocol = "training"
reported = 0.97
margin = 0.1
margin_why = "a tenth"

[[claim]]
id = "lake"
implementation = "double"
environment = "CartPole-v1"
protocol = "evaluated"
reported = 400.0
margin = 48
margin_why = "a tenth"

[[order]]
id = "double-better"
better = "double"
worse = "dqn"
environments = ["pole", "Acrobot-v1"]
at_least = 1
protocol = "training"
where = "Section 4"
"""
LINES = VALID.splitlines()


def read(folder: Path, text: str | bytes) -> tuple[Card | None, list[Fault]]:
    file = folder / "card.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_card(file)


def line_of(text: str, start: str, nth: int = 1) -> int:
    """The line that begins so, counted from 1."""
    return [i for i, line in enumerate(text.splitlines(), 1) if line.startswith(start)][nth - 1]


def test_the_card_with_one_of_everything_has_no_fault(tmp_path: Path) -> None:
    card, faults = read(tmp_path, VALID)
    assert faults == []
    assert card is not None
    assert card.implementations["double"].hyperparameters["double"].value is True
    assert card.implementations["double"].hyperparameters["tau"].source == "code: someone/something@0123abc dqn.py"
    assert [claim.id for claim in card.claims] == ["pole", "acrobot", "both", "lake"]
    assert card.claims[1].seeds == 3
    units = units_of(card, card.claims, card.orders)
    assert {unit.name for unit in units} == {
        "dqn-pole", "dqn-Acrobot-v1", "double-CartPole-v1", "double-pole", "double-Acrobot-v1",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["cleanrl-ppo", "cleanrl-dqn"])
def test_the_kits_own_cards_have_no_fault(name: str) -> None:
    assert load_card(name).name == name


# --- each rule once

# what is replaced, by what, the line that the fault is on (as it begins, and its number among such), field, words
RULES: dict[str, tuple[str, str, tuple[str, int], str, str]] = {
    "a rule beside a spread": (
        "reported = 490.04", 'reported = 490.04\nrule = "about"', ("spread =", 1), "claim[1].spread",
        "says how sure the paper is, and by rule = 'about' its number counts as it is printed",
    ),
    "another format": ("format = 1", "format = 2", ("format", 1), "format", "should be 1"),
    "a truth value for a format": ("format = 1", "format = true", ("format", 1), "format", "should be 1"),
    "unknown top field": (
        "[compute]", "[computed]", ("[computed]", 1), "computed", "unknown field; did you mean 'compute'?",
    ),
    "title missing": ('title = "Made up"\n', "", ("[paper]", 1), "paper.title", "is missing"),
    "title empty": ('title = "Made up"', 'title = " "', ("title", 1), "paper.title", "is not the paper's title"),
    "a year that cannot be": ("year = 2020", "year = 20200", ("year", 1), "paper.year", "is not a year from 1900"),
    "an address that is none": (
        'url = "https://example.org/paper"', 'url = "javascript:alert(1)"', ("url", 1), "paper.url", "https://",
    ),
    "no paper": ("[paper]", "[papers]", ("#", 1), "paper", "is missing"),
    "differs missing": (
        'differs = "the time limit"\n', "", ("[environment.pole]", 1), "environment.pole.differs",
        "what differs between CartPole-v0 and CartPole-v1",
    ),
    "best missing": ("best = 500\n", "", ("[environment.pole]", 1), "environment.pole.best", "needs both"),
    "best equals random": ("best = 500", "best = 22", ("best", 1), "environment.pole.best", "equals random"),
    "kwargs that are no table": (
        "kwargs = { sutton_barto_reward = false }", "kwargs = 3", ("kwargs", 1), "environment.pole.kwargs",
        "is not a table of arguments",
    ),
    "unknown agent": ('agent = "dqn"', 'agent = "dqm"', ("agent", 1), "implementation.dqn.agent", "mean 'dqn'?"),
    "like nothing": (
        'like = "dqn"', 'like = "dqq"', ("like", 1), "implementation.double.like", "did you mean 'dqn'?",
    ),
    "no source": (
        '[implementation.dqn.hyperparameters."paper: Table 1"]', "[implementation.dqn.hyperparameters]",
        ("total_timesteps", 1), "implementation.dqn.hyperparameters.total_timesteps", "has no source",
    ),
    "a source of no form": (
        '"paper: Table 1"', '"Table 1"', ("[implementation.dqn.hyperparameters.", 1),
        "implementation.dqn.hyperparameters.Table 1", "is no source",
    ),
    "code without a commit": (
        '"code: someone/something@0123abc dqn.py"', '"code: someone/something"',
        ("[implementation.dqn.hyperparameters.", 2), "implementation.dqn.hyperparameters.code: someone/something",
        "is no source",
    ),
    "unknown hyperparameter": (
        "gamma = 0.99", "gama = 0.99", ("gama", 1), "implementation.dqn.hyperparameters.paper: Table 1.gama",
        "did you mean 'gamma'?",
    ),
    "hyperparameter missing": (
        "tau = 1.0\n", "", ("[implementation.dqn.hyperparameters.", 1), "implementation.dqn.hyperparameters",
        "also needs tau",
    ),
    "hyperparameter out of range": (
        "gamma = 0.99", "gamma = 1.5", ("gamma", 1), "implementation.dqn.hyperparameters.paper: Table 1.gamma",
        "not from 0 to 1",
    ),
    "hyperparameter of another type": (
        "double = false", 'double = "no"', ("double", 1),
        "implementation.dqn.hyperparameters.code: someone/something@0123abc dqn.py.double", "neither true nor false",
    ),
    "one number for a list": (
        "hidden = [120, 84]", "hidden = 120", ("hidden", 1),
        "implementation.dqn.hyperparameters.code: someone/something@0123abc dqn.py.hidden", "a list is expected",
    ),
    "hyperparameter twice": (
        "train_every = 10", "train_every = 10\ngamma = 0.9", ("gamma", 2),
        "implementation.dqn.hyperparameters.code: someone/something@0123abc dqn.py.gamma", "is given twice",
    ),
    "steps missing": (
        "total_timesteps = 50_000\n", "", ("[implementation.dqn.hyperparameters.", 1),
        "implementation.dqn.hyperparameters", "also needs total_timesteps",
    ),
    "unknown protocol field": (
        "last = 100", "lasts = 100", ("lasts", 1), "protocol.training.lasts", "did you mean 'last'?",
    ),
    "protocol of no returns": (
        'returns = "training"\n', "", ("[protocol.training]", 1), "protocol.training", "needs `returns`",
    ),
    "protocol that no runs answer": (
        'statistic = "max of seed mean"', 'statistic = "other"\nnote = "a rank"', ("protocol", 4),
        "claim[4].protocol", "cannot be judged",
    ),
    "claim without an id": ('id = "pole"\n', "", ("[[claim]]", 1), "claim[1].id", "is missing"),
    "an id that is markup": ('id = "pole"', 'id = "[/bold]"', ("id", 1), "claim[1].id", "is not a short name"),
    "id twice": ('id = "acrobot"', 'id = "pole"', ("id", 2), "claim[2].id", "is there twice"),
    "id of a claim and an order": (
        'id = "double-better"', 'id = "pole"', ("id", 5), "order[1].id", "is there twice",
    ),
    "unknown implementation": (
        'implementation = "double"', 'implementation = "duoble"', ("implementation", 2), "claim[4].implementation",
        "did you mean 'double'?",
    ),
    "unknown environment": (
        'environment = "CartPole-v1"', 'environment = "CartPool-v1"', ("environment", 4), "claim[4].environment",
        "did you mean 'CartPole-v1'?",
    ),
    "unknown environment, near to one of the card": (
        'environment = "pole"', 'environment = "poole"', ("environment", 1), "claim[1].environment",
        "did you mean 'pole'?",
    ),
    "order on one environment that is unknown": (
        'environments = ["pole", "Acrobot-v1"]\nat_least = 1', 'environment = "CartPool-v1"',
        ("environment", 5), "order[1].environment", "did you mean 'CartPole-v1'?",
    ),
    "code as environment": (
        'environment = "CartPole-v1"', 'environment = "evil.py:E"', ("environment", 4), "claim[4].environment",
        "needs a table",
    ),
    "environment and environments": (
        'environments = ["pole", "Acrobot-v1"]\naggregate', 'environment = "pole"\nenvironments = ["pole"]\naggregate',
        ("environment =", 3), "claim[3].environment", "one of the two",
    ),
    "several without an aggregate": (
        'aggregate = "iqm"\n', "", ("[[claim]]", 3), "claim[3].aggregate", "is missing",
    ),
    "aggregate of what cannot be normalised": (
        "random = -499\nbest = -70.0\n", "", ("aggregate", 1), "claim[3].aggregate", "Acrobot-v1 needs random and best",
    ),
    "reported is a text": (
        "reported = 490.04", 'reported = "490"', ("reported", 1), "claim[1].reported", "is not the number",
    ),
    "reported is not a number": (
        "reported = 490.04", "reported = nan", ("reported", 1), "claim[1].reported", "is not the number",
    ),
    "margin of zero": ("margin = 48", "margin = 0", ("margin", 1), "claim[1].margin", "above 0"),
    "margin missing": ("margin = 48\n", "", ("[[claim]]", 1), "claim[1].margin", "is missing"),
    "margin without a reason": (
        'margin_why = "a tenth"\n', "", ("[[claim]]", 1), "claim[1].margin_why", "why that margin",
    ),
    "spread without its kind": (
        'spread_kind = "population sd"\n', "", ("[[claim]]", 1), "claim[1].spread_kind", "what is ± 6.12?",
    ),
    "kind without a spread": ("spread = 6.12\n", "", ("[[claim]]", 1), "claim[1].spread", "is missing"),
    "unknown kind": (
        '"population sd"', '"population std"', ("spread_kind", 1), "claim[1].spread_kind", "mean 'population sd'?",
    ),
    "spread below zero": ("spread = 6.12", "spread = -6.12", ("spread", 1), "claim[1].spread", "at least 0"),
    "an end of what is no interval": (
        "spread = 6.12", "low = 480.0\nhigh = 500.0", ("low", 1), "claim[1].low", "spread_kind = 'population sd'",
    ),
    "one end of an interval": (
        'spread = 6.12\nspread_kind = "population sd"', 'low = 480.0\nspread_kind = "interval 95"', ("[[claim]]", 1),
        "claim[1].high", "both low and high",
    ),
    "an interval and half of it": (
        'spread = 6.12\nspread_kind = "population sd"',
        'spread = 6.12\nlow = 480.0\nhigh = 500.0\nspread_kind = "interval 95"', ("spread =", 1), "claim[1].spread",
        "beside low and high",
    ),
    "an interval of something else": (
        'spread = 6.12\nspread_kind = "population sd"', 'low = 480\nhigh = 490\nspread_kind = "interval 95"',
        ("low", 1), "claim[1].low", "480 to 490 does not hold the 490.04",
    ),
    "an interval of no ends": (
        'spread = 6.12\nspread_kind = "population sd"', 'spread_kind = "interval 95"', ("[[claim]]", 1),
        "claim[1].spread", "or low and high",
    ),
    "no seeds": ("seeds = 3", "seeds = 0", ("seeds", 1), "claim[1].seeds", "at least 1"),
    "per seed of another mean": (
        "reported = -86.0", "reported = -80.0", ("per_seed", 1), "claim[2].per_seed", "has the mean -86",
    ),
    "per seed of another small mean": (
        "reported = -86.0\nper_seed = [-85.0, -86.0, -87.0]", "reported = 0.004\nper_seed = [0.02, 0.01, 0.012]",
        ("per_seed", 1), "claim[2].per_seed", "has the mean 0.014, but reported = 0.004",
    ),
    "per seed of another spread": (
        "reported = -86.0\n", 'reported = -86.0\nspread = 3.0\nspread_kind = "sample sd"\n', ("per_seed", 1),
        "claim[2].per_seed", "has the sample sd 1, but spread = 3",
    ),
    "one seed with a spread": (
        "seeds = 3", "seeds = 1", ("seeds", 1), "claim[1].seeds", "is 1, and one seed has no population sd",
    ),
    "a spread whose square is no number": ("spread = 6.12", "spread = 1e200", ("spread", 1), "claim[1].spread", ""),
    "per seed of another number": (
        "reported = -86.0", "seeds = 4\nreported = -86.0", ("per_seed", 1), "claim[2].per_seed", "has 3 values",
    ),
    "order of more tasks than there are": (
        "at_least = 1", "at_least = 3", ("at_least", 1), "order[1].at_least", "more than the 2 environments",
    ),
    "order of an unknown number of tasks": (
        "at_least = 1\n", "", ("[[order]]", 1), "order[1].at_least", "is missing",
    ),
    "order against itself": (
        'worse = "dqn"', 'worse = "double"', ("worse", 1), "order[1].worse", "cannot beat itself",
    ),
    "no environment in the list": (
        'environments = ["pole", "Acrobot-v1"]\nat_least', "environments = []\nat_least",
        ("environments", 2), "order[1].environments", "names none",
    ),
    "an environment without a name": (
        'environment = "CartPole-v1"', 'environment = ""', ("environment", 4), "claim[4].environment", "names none",
    ),
    "an environment named twice": (
        'environments = ["pole", "Acrobot-v1"]\nat_least', 'environments = ["pole", "pole"]\nat_least',
        ("environments", 2), "order[1].environments", "names one twice",
    ),
    "an addition without what belongs to it": (
        "double = false", "double = false\nprioritised = true", ("[implementation.dqn.hyperparameters", 1),
        "implementation.dqn.hyperparameters", "also needs alpha, beta",
    ),
    "deviations that are no list": ('["Other seeds."]', '"Other seeds."', ("deviations", 1), "deviations", "list"),
    "one claim for a list": ("[[order]]", "[order]", ("[order]", 1), "order", "write [[order]]"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_names_its_line_and_field(rule: str, tmp_path: Path) -> None:
    old, new, (start, nth), field, words = RULES[rule]
    assert old in VALID
    text = VALID.replace(old, new, 1)
    card, faults = read(tmp_path, text)
    assert card is None
    found = [fault for fault in faults if fault.field == field]
    assert found, f"no fault of {field}: {[str(fault) for fault in faults]}"
    assert any(words in fault.text for fault in found), [str(fault) for fault in found]
    assert found[0].line == line_of(text, start, nth), str(found[0])
    assert found[0].file == str(tmp_path / "card.toml")


def test_an_interval_is_given_by_half_its_width_or_its_ends(tmp_path: Path) -> None:
    old = 'spread = 6.12\nspread_kind = "population sd"'
    spreads = []
    for spread in ("spread = 6.5", "low = 483.0\nhigh = 496.0"):
        card, faults = read(tmp_path, VALID.replace(old, f'{spread}\nspread_kind = "interval 95"'))
        assert card is not None, faults
        spreads.append((card.claims[0].spread, card.claims[0].spread_kind))
    assert spreads == [(6.5, "interval 95")] * 2
    for ends in ("low = 490.04\nhigh = 496.0", "low = 483.0\nhigh = 490.04"):  # the number may be one of them
        assert read(tmp_path, VALID.replace(old, f'{ends}\nspread_kind = "interval 95"'))[1] == []


def test_the_page_names_every_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, set[str]] = {"protocol": {field.name for field in dataclasses.fields(Protocol)}}
    begin = Table.__init__

    def told(table: Table, reader: Reader, values: Any, path: toml_lines.Path, fields: Sequence[str]) -> None:
        begin(table, reader, values, path, fields)
        if path[-1:] != ("hyperparameters",):
            known.setdefault(str(path[0]) if path else "", set()).update(fields)

    monkeypatch.setattr(Table, "__init__", told)
    measured = '[measurement.m]\nfunction = "best_arm"\nwhat = "x"\nhyperparameters."ours: x" = { arms = 10 }\n\n'
    card, faults = read(tmp_path, VALID.replace("[claim_defaults]", f"{measured}[claim_defaults]"))
    assert card is not None, faults
    assert known.pop("claim_defaults") == known["claim"]  # "any field of a claim", says the page
    assert set(known) == known[""] - {"format", "deviations", "claim_defaults"} | {""}
    page = (Path(__file__).resolve().parent.parent / "docs" / "read-a-paper.md").read_text(encoding="utf-8")
    section = page.split("## Every field")[1]
    rows = dict(re.findall(r"^\| (?:`\[+(\w+)|the card)[^|]* \| (.+) \|$", section, re.MULTILINE))
    del rows["claim_defaults"]
    tables = known[""] - {"format", "deviations"}
    assert tables == {*rows, "claim_defaults"} - {""}
    known[""] -= tables
    assert {table: set(re.findall(r"`(\w+)`", row)) - {"other"} for table, row in rows.items()} == known


def test_lengths_are_known_of_one_sub_environment_alone(tmp_path: Path) -> None:
    of_lengths = VALID.replace('returns = "training"', 'returns = "training"\nof = "length"', 1)
    of_lengths = of_lengths[: of_lengths.index("[[order]]")]  # which are of returns
    (fault,) = read(tmp_path, of_lengths)[1]
    assert (fault.field, fault.text) == (
        "claim[3].aggregate",
        "is of returns, by what a random and the best policy get: not of 'length'",
    )
    _, faults = read(tmp_path, of_lengths.replace("num_envs = 1", "num_envs = 4", 1))
    assert {fault.field for fault in faults} - {"claim[3].aggregate"} == {f"claim[{k}].protocol" for k in (1, 2, 3)}
    assert "known for num_envs = 1, not 4" in faults[0].text


def test_iterations_are_those_of_one_sub_environment_alone(tmp_path: Path) -> None:
    of_iterations = VALID.replace('returns = "training"', 'returns = "training"\niteration = 500', 1)
    assert read(tmp_path, of_iterations)[1] == []
    _, faults = read(tmp_path, of_iterations.replace("num_envs = 1", "num_envs = 4", 1))
    assert faults
    assert all("known for num_envs = 1, not 4" in fault.text for fault in faults)


def test_no_measurement_is_an_empty_one(tmp_path: Path) -> None:
    """As a claim says that has one by default; the agent's are then asked for."""
    card, faults = read(tmp_path, VALID.replace('id = "pole"', 'id = "pole"\nmeasurement = ""', 1))
    assert card is not None, faults
    assert (card.claims[0].implementation, card.claims[0].measurement) == ("dqn", "")
    bare = VALID.replace('id = "pole"', 'id = "pole"\nmeasurement = ""', 1).replace('implementation = "dqn"\n', "", 1)
    assert {fault.field for fault in read(tmp_path, bare)[1]} == {f"claim[{k}].implementation" for k in (1, 2, 3)}


@pytest.mark.parametrize(
    ("window", "there"),
    [
        ("after_step = 48_000", None),
        ("after_step = 45_000", None),
        ("after_step = 4_999\nto_step = 5_000", None),
        ("after_step = 48_000\nlast = 1", None),
        ("after_step = 40_001\nlast = 3", "counts 3 evaluations, and there are 2"),
        ("after_step = 45_000\nlast = 2", "counts 2 evaluations, and there are 1"),
        ("after_step = 49_999\nlast = 1", None),
        ("after_step = 50_000\nlast = 1", "looks beyond the 50,000 env steps that are trained"),
        ("to_step = 50_000", None),
        ("last = 11", "counts 11 evaluations, and there are 10"),
    ],
)
def test_a_window_has_the_evaluations_that_count(tmp_path: Path, window: str, there: str | None) -> None:
    """After the one and up to the other env step; a window shorter than the way between two may hold one."""
    _, faults = read(tmp_path, VALID.replace("eval_every = 5_000", f"eval_every = 5_000\n{window}"))
    assert [fault.text for fault in faults] == ([there] if there else [])


@pytest.mark.parametrize(
    ("window", "fault"),
    [
        ("last = 50_000", None),
        ("last = 50_001", "counts 50,001 episodes, more than 50,000 env steps have"),
        ("last = 30_001\nafter_step = 20_000", "counts 30,001 episodes, more than 30,000 env steps have"),
        ("last = 5_000\nafter_step = 20_000\nto_step = 25_000", None),
        ("last = 5_001\nto_step = 5_000", "counts 5,001 episodes, more than 5,000 env steps have"),
        ("iteration = 5_000\nlast = 11", "counts 11 iterations, more than 50,000 env steps have"),
    ],
)
def test_a_run_has_no_more_episodes_than_env_steps(tmp_path: Path, window: str, fault: str | None) -> None:
    """Each fault stands once, also of an order, whose two sides have it."""
    _, faults = read(tmp_path, VALID.replace("last = 100", window, 1))
    assert {one.text for one in faults} == ({fault} if fault else set())
    assert len({one.line for one in faults}) == len(faults)


@pytest.mark.parametrize(
    ("window", "never"),
    [
        ("eval_every = 20_000", "50,000"),
        ("eval_every = 20_000\nto_step = 40_000", None),  # whatever the length of the run
        ("eval_every = 20_000\nto_step = 30_000", "30,000"),
        ("eval_every = 25_000", None),
    ],
)
def test_a_protocol_ends_with_an_evaluation(tmp_path: Path, window: str, never: str | None) -> None:
    _, faults = read(tmp_path, VALID.replace("eval_every = 5_000", window))
    fault = f"evaluates every 20,000 env steps, and never at env step {never}, where it ends"
    assert {one.text for one in faults} == ({fault} if never else set())


def test_evaluations_that_many_sub_environments_put_off_are_a_fault(tmp_path: Path) -> None:
    """One at 2,560 would be taken for later than 2,500, where it was due."""
    late = VALID.replace("eval_every = 5_000", "eval_every = 500").replace("num_envs = 1", "num_envs = 64")
    assert late.count("num_envs = 64") == 1
    _, faults = read(tmp_path, late)
    assert "evaluates every 500 env steps, up to 60 late by so many num_envs" in {fault.text for fault in faults}
    _, faults = read(tmp_path, late.replace("eval_every = 500", "eval_every = 6_400"))
    assert not any("late" in fault.text for fault in faults)


def test_a_name_is_no_longer_than_a_folders_may_be(tmp_path: Path) -> None:
    _, faults = read(tmp_path, VALID.replace("[implementation.dqn", f'[implementation."{"ä" * 80}"'))
    assert "a name of 160 bytes; folders take 80" in {fault.text for fault in faults}


def test_additions_are_off_unless_named(tmp_path: Path) -> None:
    """Somebody's extensions of the algorithm need no place on the card of a paper without them."""
    card, faults = read(tmp_path, VALID)
    assert card is not None, faults
    values = card.implementations["dqn"].hyperparameters
    assert (values["prioritised"].value, values["num_steps"].value) == (False, 1)
    assert "does not name it" in values["prioritised"].source
    named = VALID.replace("double = false", "double = false\nprioritised = true\nalpha = 0.5\nbeta = 0.4", 1)
    card, faults = read(tmp_path, named)
    assert card is not None, faults
    assert card.implementations["dqn"].hyperparameters["alpha"].value == 0.5


def test_several_faults_come_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = (
        VALID.replace("gamma = 0.99", "gamma = 9").replace("year = 2020", "year = 1").replace("seeds = 3", "seeds = 0")
    )
    _, faults = read(tmp_path, text)
    assert [fault.field.rsplit(".", 1)[-1] for fault in faults][:1] == ["year"]
    assert [fault.line for fault in faults] == sorted(fault.line for fault in faults)
    assert len(faults) >= 3
    with pytest.raises(Problem, match=r"more: rlrepro card check"):
        load_card(str(tmp_path / "card.toml"))


OTHER = """
[implementation.other]
like = "dqn"
agent = "ppo"
"""


def test_like_leaves_out_what_without_names(tmp_path: Path) -> None:
    """PPO's fields that DQN lacks are still to be given; DQN's that PPO lacks are named with where they stand."""
    text = VALID.replace("[protocol.training]", OTHER + "\n[protocol.training]")
    _, faults = read(tmp_path, text)
    told = {fault.text.split("'")[1]: fault for fault in faults if "has no hyperparameter" in fault.text}
    assert "tau" in told
    assert "gamma" not in told  # both have it
    at = line_of(text, "tau")
    assert f'it is dqn\'s, line {at}; without = ["tau"] leaves it out' in told["tau"].text
    assert (told["tau"].field, told["tau"].line) == ("implementation.other.like", line_of(text, 'like = "dqn"', 2))
    names = ", ".join(f'"{name}"' for name in told)
    _, left = read(tmp_path, text.replace('agent = "ppo"\n', f'agent = "ppo"\nwithout = [{names}]\n'))
    assert not [fault for fault in left if "has no hyperparameter" in fault.text]
    left = [fault for fault in left if "also needs" in fault.text]
    assert [fault.field for fault in left] == ["implementation.other.hyperparameters"]
    assert f"; it is like dqn, line {line_of(text, '[implementation.dqn]')}" in left[0].text


def test_without_drops_an_extension_that_the_other_names(tmp_path: Path) -> None:
    text = VALID.replace("double = false", "double = false\ndueling = true")
    card, _ = read(tmp_path, text.replace('like = "dqn"', 'like = "dqn"\nwithout = ["dueling"]'))
    assert card is not None
    assert [one.hyperparameters["dueling"].value for one in card.implementations.values()] == [True, False]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('like = "dqn"', 'like = "dqn"\nwithout = ["gama"]', "dqn has no hyperparameter 'gama'; did you mean 'gamma'?"),
        ('like = "dqn"', 'like = "dqn"\nwithout = ["double"]', "name it once"),
        ('like = "dqn"', 'like = "dqn"\nwithout = "tau"', "is not a list of hyperparameters"),
        ("[implementation.dqn]\n", '[implementation.dqn]\nwithout = ["tau"]\n', "where there is no `like`"),
    ],
)
def test_without_that_leaves_nothing_out(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert old in VALID
    changed = VALID.replace(old, new)
    _, faults = read(tmp_path, changed)
    assert [fault.line for fault in faults if text in fault.text] == [line_of(changed, "without")], faults


def test_a_fault_that_is_taken_over_names_where_it_stands(tmp_path: Path) -> None:
    text = VALID.replace("gamma = 0.99", "gamma = 1.5").replace('agent = "dqn"\nlike', "like")
    _, (own, taken) = read(tmp_path, text)
    assert own.line == line_of(text, "gamma")
    assert taken.field == "implementation.double.like"
    assert taken.text == f"{own.text}; it is dqn's, line {own.line}"
    text = VALID.replace('agent = "dqn"\nlike', "like").replace('agent = "dqn"', 'agent = "dqm"')
    _, (own, taken) = read(tmp_path, text)
    assert taken.text == f"{own.text}; it is like dqn, line {line_of(text, '[implementation.dqn]')}"


def test_a_card_that_is_not_there() -> None:
    with pytest.raises(Problem, match="did you mean 'cleanrl-ppo'"):
        find_card("cleanrl-po")


def test_a_card_that_is_not_toml_names_its_line(tmp_path: Path) -> None:
    _, faults = read(tmp_path, VALID.replace('authors = "Nobody"', 'authors = "Nobody'))
    assert [fault.line for fault in faults] == [line_of(VALID, "authors")]


# --- lines of TOML

BARE = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
PLAIN = st.one_of(
    st.sampled_from(["a\u2028b", "\x85", "a\u2029[b]", "# no comment", "[x]"]),
    st.integers(-9, 9),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8),
)


def _toml(value: Any, broken: bool) -> str:
    """A value as TOML; lists may be broken over lines."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        parts = [_toml(one, False) for one in value]
        return "[\n  " + ",\n  ".join(parts) + "\n]" if broken and parts else "[" + ", ".join(parts) + "]"
    return str(value)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["table", "array"]),
            BARE,
            st.dictionaries(BARE, st.tuples(st.one_of(PLAIN, st.lists(PLAIN, max_size=3)), st.booleans()), max_size=4),
            st.sampled_from(["", "\n", "# a = 1\n", "\n# [x]\n\n"]),
        ),
        max_size=5,
        unique_by=lambda one: one[1],
    ),
    st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_the_line_of_each_key_is_where_it_is_written(
    tables: list[tuple[str, str, dict[str, tuple[Any, bool]], str]], repeats: int
) -> None:
    lines: list[str] = []
    expected: dict[toml_lines.Path, int] = {(): 1}
    for kind, name, values, gap in tables:
        for index in range(repeats if kind == "array" else 1):
            lines += gap.splitlines()
            lines.append(f"[[{name}]]" if kind == "array" else f"[{name}]")
            path: toml_lines.Path = (name, index) if kind == "array" else (name,)
            expected.setdefault((name,), len(lines))
            expected[path] = len(lines)
            for key, (value, broken) in values.items():
                expected[(*path, key)] = len(lines) + 1
                lines += f"{key} = {_toml(value, broken)}".split("\n")
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    found = toml_lines.line_numbers(text)
    assert {path: found.get(path) for path in expected} == expected


# --- mutated cards

_VALUES = r"""
nan | inf | -inf | 0 | -1 | 1 | 1e308 | 1e400 | -0.0 | 1e-320 | 3.5 | 99999999999999999999999999 | 0x7f | true | false
"" | " " | "a" | "../x" | "a.py:B" | "sb3:ppo" | "x:y" | 'é' | "\u0000" | "\u001b[31m" | "\n" | "\u202e" | "%s{}"
"--env=x" | "none" | "other" | "dqn" | "pole" | "[bold]" | "CartPole-v1" | "ALE/Pong-v5" | "training" | "one agent"
[] | [[]] | [1] | [""] | ["a","a"] | [nan] | [inf,1] | [true] | [1e300] | [{}] | [{a={}}] | {} | {a=1} | {a=[1,{b=2}]}
1979-05-27 | 07:32:00 | 1979-05-27T07:32:00Z | 1979-05-27T07:32:00 | "" "" | 1__0 | 'a' 'b' | [1 | "over episodes"
"population sd" | "evaluation" | "max of seed mean" | "iqm" | ["pole"] | ["pole","Acrobot-v1","nowhere"] | 100000
"""
VALUES = st.sampled_from([value.strip() for line in _VALUES.splitlines() for value in line.split("|") if value.strip()])
KEYS = st.sampled_from([*sorted({line.split(" = ")[0] for line in LINES if " = " in line}), "x", '"a b"', "a.b", "é"])
HEADERS = st.sampled_from(
    [line for line in LINES if line.startswith("[")]
    + ["[claim]", "[[paper]]", "[[implementation]]", "[protocol]", "[[environment]]", "[order]", "[a.b.c]",
       '[implementation."x\\ny"]', '[environment.""]', "[implementation.dqn.hyperparameters]", "[[compute]]",
       "[[implementation.dqn.hyperparameters.'paper: x']]"]
)  # fmt: skip
WHERE = st.integers(0, len(LINES) - 1)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid card to which one to four things were done."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(WHERE) % max(1, len(lines))
        kind = draw(
            st.sampled_from(["value", "value", "value", "key", "drop", "twice", "swap", "header", "insert", "noise"])
        )
        if not lines:
            break
        line = lines[at]
        if kind == "value":
            at = next((i for i in [*range(at, len(lines)), *range(at)] if " = " in lines[i]), at)
            lines[at] = f"{lines[at].split(' = ')[0]} = {draw(VALUES)}"
        elif kind == "key" and " = " in line:
            lines[at] = f"{draw(KEYS)} = {line.split(' = ', 1)[1]}"
        elif kind == "drop":
            del lines[at : at + draw(st.integers(1, 12))]
        elif kind == "twice":
            lines.insert(at, line)
        elif kind == "swap":
            other = draw(WHERE) % len(lines)
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == "header":
            at = next((i for i in [*range(at, len(lines)), *range(at)] if lines[i].startswith("[")), at)
            lines[at] = draw(HEADERS)
        elif kind == "insert":
            lines.insert(at, f"{draw(KEYS)} = {draw(VALUES)}")
        else:
            lines[at] = line + draw(st.text(max_size=4))
    data = "\n".join(lines).encode("utf-8", "replace")
    end = draw(st.sampled_from(["none"] * 8 + ["cut", "bytes"]))
    if end == "cut":
        data = data[: draw(st.integers(0, len(data)))]
    elif end == "bytes":
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at:]
    return data


@given(mutated())
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_mutated_card_gives_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "mutated.toml"
    file.write_bytes(data)
    card, faults = read_card(file)
    assert (card is None) == bool(faults)
    lines = max(1, len(re.split(rb"\r\n|\n|\r", data.rstrip(b"\n"))))
    for fault in faults:
        assert fault.file == str(file)
        assert 1 <= fault.line <= lines, str(fault)
        assert fault.field.strip()
        assert fault.text.strip()
        assert len(str(fault).splitlines()) == 1, repr(str(fault))
        assert str(fault).isprintable(), repr(str(fault))
    if card is None:
        return
    with contextlib.suppress(Problem):  # which is of one line, always
        for unit in units_of(card, card.claims, card.orders)[:2]:
            made = settings_of(card, unit, (0,))
            assert all(not isinstance(v, float) or math.isfinite(v) for v in made.hyperparameters.values())


def test_numbers_are_what_their_flags_read(tmp_path: Path) -> None:
    """A quoted number, and a whole one that is written as a fraction."""
    file = tmp_path / "card.toml"
    text = VALID.replace("total_timesteps = 50_000", "total_timesteps = 5e4").replace("gamma = 0.99", 'gamma = "0.99"')
    file.write_text(text, encoding="utf-8-sig")  # as some editors save it
    values = load_card(str(file)).implementations["dqn"].hyperparameters
    assert repr((values["total_timesteps"].value, values["gamma"].value)) == "(50000, 0.99)"
    file.write_text(text.replace("total_timesteps = 5e4", "total_timesteps = 5.5"))
    with pytest.raises(Problem, match=r"total_timesteps: '5\.5' is not a whole number"):
        load_card(str(file))


@pytest.mark.parametrize(
    ("given", "there"),
    [
        ("experimens/mine/card.toml", "experiments/mine/card.toml"),
        ("experiments/mien", "experiments/mine/card.toml"),
        ("experiments/mine/card.tml", "experiments/mine/card.toml"),
    ],
)
def test_a_mistyped_path_is_answered_with_the_nearest_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, there: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments" / "mine").mkdir(parents=True)
    (tmp_path / "experiments" / "mine" / "card.toml").write_text("")
    for start in ("", f"{tmp_path}/"):
        with pytest.raises(Problem) as met:
            find_card(start + given)
        assert f"did you mean {start + there!r}?" in str(met.value)
        assert "with the kit come" not in str(met.value)


def test_a_path_near_to_no_card_lists_the_kit_s_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the package's folder of experiments is a link to the checkout's."""
    kit = tmp_path / "kit" / "some-card"
    kit.mkdir(parents=True)
    (kit / "card.toml").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "kit")
    monkeypatch.setattr("rlrepro.papers.cards.reader._OWN", (tmp_path / "link", tmp_path / "kit"))
    with pytest.raises(Problem) as met:
        find_card("elsewhere/zzz/card.toml")
    assert str(met.value).count("some-card") == 1
    assert own_cards() == [tmp_path / "link" / "some-card" / "card.toml"]
    with pytest.raises(Problem, match="did you mean 'some-card'"):
        find_card("elsewhere/som-card/card.toml")
