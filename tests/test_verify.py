"""`rlrepro verify` of a card whose numbers are trained, drawn and computed."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from rlrepro.errors import Problem, Stop
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.reproduce.reproduction import Reproduction
from rlrepro.papers.sharing import bundle, verify
from rlrepro.papers.units.results import read_results
from rlrepro.papers.units.unit import choose, units_of
from tests.conftest import Command

FUNCTIONS = """
def one():
    return 0.5858

def drawn(seeds):
    import numpy as np
    return np.array([np.random.default_rng(seed).normal() for seed in seeds])
"""
CARD = """
format = 1
[paper]
title = "Made up"
authors = "Nobody"
year = 2020
url = "https://example.org"
[implementation.random]
agent = "random"
hyperparameters."ours: small" = { total_timesteps = 400, num_envs = 2 }
[protocol.training]
returns = "training"
last = 5
[measurement.one]
function = "numbers_of.py:one"
what = "One number"
[measurement.drawn]
function = "numbers_of.py:drawn"
what = "A number a seed"
[claim_defaults]
environment = "CartPole-v1"
where = "nowhere"
[[claim]]
id = "pole"
implementation = "random"
protocol = "training"
reported = 22
margin = 10
margin_why = "made up"
[[claim]]
id = "one"
measurement = "one"
rule = "exact"
reported = 0.59
[[claim]]
id = "drawn"
measurement = "drawn"
rule = "at most"
reported = 8.0
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of what takes seeds."""
    folder = tmp_path_factory.mktemp("made") / "mixed"
    folder.mkdir()
    (folder / "card.toml").write_text(CARD)
    (folder / "numbers_of.py").write_text(FUNCTIONS)
    card = load_card(str(folder / "card.toml"))
    assert Reproduction(folder, card, 1.0, ["test"], 1).run(units_of(card, *choose(card, [])), (2, 3, 5)) == []
    return bundle.pack(folder, folder.parent / "mixed.rlrepro.zip")


def test_what_is_computed_stands_once_beside_the_seeds_of_the_others(packed: Path, command: Command) -> None:
    """Its one seed is not what all have in common."""
    outcome = command("verify", packed, "--trust", "--claims", "*")
    assert outcome.status == 0, outcome.out
    assert "random-CartPole-v1: the same bit for bit, 3 of 3 seeds" in outcome.out
    assert "drawn-CartPole-v1: the same bit for bit, 3 of 3 seeds" in outcome.out
    assert "one-CartPole-v1: the same bit for bit, 1 of 1 seeds" in outcome.out


def test_seeds_are_those_of_what_takes_seeds(packed: Path, command: Command) -> None:
    outcome = command("verify", packed, "--trust", "--claims", "one", "drawn", "--seeds", "2")
    assert outcome.status == 0, outcome.out
    assert "drawn-CartPole-v1: the same bit for bit, 2 of 2 seeds" in outcome.out
    assert "no finished run of seed 0 (it has 2, 3, 5)" in command(
        "verify", packed, "--trust", "--claims", "one", "drawn", "--seeds", "0,"
    ).problem  # fmt: skip


def test_a_claim_that_is_a_bound_has_no_margin_to_be_the_same_within(packed: Path) -> None:
    card = load_card(str(packed.parent / "mixed" / "card.toml"))
    assert [(claim.id, verify._margin(card, claim)) for claim in card.claims if not card.is_computed(claim)] == [
        ("pole", 10.0),
        ("drawn", 0.0),
    ]


def test_seeds_that_stopped_are_not_run_again_and_all_that_finished_may_be(packed: Path) -> None:
    folder = packed.parent / "mixed"
    card, theirs = load_card(str(folder / "card.toml")), read_results(folder / "results")
    units = units_of(card, *choose(card, ["pole", "drawn"]))
    assert (
        verify._seeds(packed, card, theirs, units, 3) == verify._seeds(packed, card, theirs, units, None) == (2, 3, 5)
    )
    with pytest.raises(Problem, match="has 3 finished seeds, not 4"):
        verify._seeds(packed, card, theirs, units, 4)
    unit = theirs.units["random-CartPole-v1"]
    broke = (dataclasses.replace(unit.histories[0], stopped="it broke"), *unit.histories[1:])
    some = dataclasses.replace(
        theirs, units={**theirs.units, "random-CartPole-v1": dataclasses.replace(unit, histories=broke)}
    )
    assert verify._seeds(packed, card, some, units, None) == (3, 5)


def test_the_cheapest_has_the_fewest_env_steps_where_nothing_is_computed(packed: Path) -> None:
    """What a function of many seeds takes is not known before it ran."""
    folder = packed.parent / "mixed"
    card, theirs = load_card(str(folder / "card.toml")), read_results(folder / "results")
    assert verify.cheapest(card, theirs).id == "one"
    seeded = dataclasses.replace(card, claims=tuple(c for c in reversed(card.claims) if c.id != "one"))
    assert [claim.id for claim in seeded.claims] == ["drawn", "pole"]
    assert verify.cheapest(seeded, theirs).id == "pole"


def test_runs_that_verify_did_not_make_are_not_taken_for_its_own(
    packed: Path, command: Command, tmp_path: Path
) -> None:
    """The folder that was packed would be the same as itself, and nothing would run."""
    asked = ("verify", packed, "--trust", "--claims", "pole", "--seeds", "2", "--into")
    outcome = command(*asked, packed.parent / "mixed")
    assert f"{packed.parent / 'mixed'} has runs of `test`, and none of them is run again" in outcome.problem
    assert command(*asked, tmp_path / "own").status == 0
    again = command(*asked, tmp_path / "own")
    assert again.status == 0
    assert "2 seeds are there already" in again.out


def test_the_cheapest_is_one_that_the_bundle_has_runs_of(packed: Path, command: Command, tmp_path: Path) -> None:
    """Also where another, that was not run, takes less."""
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("card.toml", "numbers_of.py"):
        (folder / name).write_bytes((packed.parent / "mixed" / name).read_bytes())
    card = load_card(str(folder / "card.toml"))
    Reproduction(folder, card, 1.0, ["test"], 1).run(units_of(card, *choose(card, ["pole"])), (0, 1))
    outcome = command("verify", bundle.pack(folder, tmp_path / "some.rlrepro.zip"), "--trust")
    assert (outcome.status, outcome.err) == (0, "")
    assert "random-CartPole-v1: the same bit for bit" in outcome.out


def test_an_interrupted_one_names_the_whole_command(
    packed: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Stop("interrupted before training began", 130, from_outside=True)
    monkeypatch.setattr("rlrepro.worker.guarded", lambda job, send: stop)
    asked = ["verify", str(packed), "--trust", "--claims", "pole", "--seeds", "2,", "--into", str(tmp_path / "own")]
    ended = command(*asked)
    assert ended.status == 130
    assert ended.problem.endswith(f"; go on with: rlrepro {shlex.join(asked)}")


def test_what_is_computed_alone_takes_no_seeds(packed: Path, command: Command) -> None:
    outcome = command("verify", packed, "--trust", "--seeds", "2")
    assert outcome.status == 0, outcome.out
    assert "one-CartPole-v1: the same bit for bit, 1 of 1 seeds" in outcome.out
