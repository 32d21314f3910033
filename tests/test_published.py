"""The book of published results: its data, its converter, its command, and a run beside it."""

from __future__ import annotations

import dataclasses
import fnmatch
import io
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from rlrepro.checkpoint import write_whole
from rlrepro.errors import Problem
from rlrepro.papers.book import beside as beside_book
from rlrepro.papers.book import published
from rlrepro.papers.book.beside import comparable, compare
from rlrepro.papers.book.command import traps_page
from rlrepro.papers.book.convert import convert
from rlrepro.papers.book.published import (
    BOOK,
    DATA,
    Published,
    agent_name,
    base_name,
    load_book,
    load_traps,
    write_book,
)
from rlrepro.papers.book.sentences import METRICS
from rlrepro.papers.protocol import Protocol, refuse
from rlrepro.papers.scoring import History, score
from rlrepro.papers.spreads import SPREADS
from rlrepro.request import parse_train
from rlrepro.settings import Settings
from tests.conftest import Command, Runs

ROOT = Path(__file__).resolve().parent.parent
BOOKS = load_book()


# --- the data


def faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str = "") -> list[str]:
    """What of a value a JSON schema forbids; as much of JSON Schema as ours uses."""
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    known = {"type", "description", "properties", "required", "additionalProperties", "items", "enum", "pattern",
             "minimum", "minLength"}  # fmt: skip
    assert set(schema) <= known
    kind = schema["type"]
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [f"{place} is no {kind}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place} is none of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{place} is not {schema['pattern']}")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{place} is below {schema['minimum']}")
    if "minLength" in schema and len(value) < schema["minLength"]:
        found.append(f"{place} is empty")
    if kind == "array":
        found += [fault for one in value for fault in faults(one, schema["items"], root, f"{place}[]")]
    if kind == "object":
        found += [f"{place} lacks {name}" for name in schema.get("required", ()) if name not in value]
        for name, one in value.items():
            inner = schema.get("properties", {}).get(name, schema["additionalProperties"])
            found += [f"{place}.{name} is not known"] if inner is False else faults(one, inner, root, f"{place}.{name}")
    return found


def test_the_data_are_as_the_schema_says() -> None:
    schema = json.loads((DATA / "published.schema.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in BOOK.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 2981
    for row in rows:
        assert faults(row, schema["$defs"]["row"], schema, row["id"]) == []
    texts = json.loads((DATA / "published.texts.json").read_text(encoding="utf-8"))
    assert faults(texts, schema["$defs"]["texts"], schema) == []
    kinds = {"source": "sources", "protocol": "protocols", "env_note": "env_notes", "place": "places",
             "hyperparameters": "hyperparameters"}  # fmt: skip
    for field, kind in kinds.items():
        assert {row[field] for row in rows if field in row} == set(texts[kind])  # none lacks, none is left over
    assert [row["id"] for row in rows] == sorted({row["id"] for row in rows})


def test_the_schema_finds_what_is_wrong() -> None:
    schema = json.loads((DATA / "published.schema.json").read_text(encoding="utf-8"))
    row = json.loads(BOOK.read_text(encoding="utf-8").splitlines()[0])
    for change in ({"seeds": 0}, {"steps": 1.5}, {"quote": "words"}, {"spread_kind": "sd"}, {"mean": "7"}, {"id": ""}):
        assert faults({**row, **change}, schema["$defs"]["row"], schema)
    assert faults({k: v for k, v in row.items() if k != "mean"}, schema["$defs"]["row"], schema)


def test_the_schema_lists_what_the_code_knows() -> None:
    schema = json.loads((DATA / "published.schema.json").read_text(encoding="utf-8"))["$defs"]
    assert schema["row"]["properties"]["spread_kind"]["enum"] == list(SPREADS)
    assert set(schema["texts"]["properties"]["protocols"]["additionalProperties"]["properties"]) == {
        field.name for field in dataclasses.fields(Protocol)
    }


def test_the_numbers_agree_with_their_seeds() -> None:
    for row in BOOKS.rows:
        if row.per_seed:
            values = np.array(row.per_seed)
            assert len(values) == row.seeds
            assert values.mean() == pytest.approx(row.mean, rel=5e-3, abs=5e-3), row.id
            if row.spread_kind == "population sd":
                assert values.std() == pytest.approx(row.spread, rel=5e-3, abs=5e-3), row.id
            else:
                assert row.spread_kind == "standard error"
                assert values.std() / math.sqrt(len(values)) == pytest.approx(row.spread, rel=5e-3, abs=0.1), row.id
        assert all(math.isfinite(value) for value in (row.mean, row.spread or 0))
        assert (row.spread is None) == (row.spread_kind in ("none", "interval 95"))


def test_known_numbers() -> None:
    row = BOOKS.get("cleanrl-ppo-cartpole-v1-0")
    assert (row.mean, row.spread, row.spread_kind, row.seeds, row.steps) == (490.04, 6.12, "population sd", 3, 500_000)
    assert row.protocol == Protocol("training", last=100)
    assert row.read_from == "vwxyzjn/cleanrl@fe8d8a03c41a7ef5b523e2e354bd01c363e786bb docs/rl-algorithms/ppo.md"
    row = BOOKS.get("td3-table1-td3-halfcheetah-0")
    assert (row.mean, row.spread, row.seeds) == (9636.95, 859.065, 10)
    assert row.protocol == Protocol(
        "evaluation", "max of seed mean", policy="deterministic", eval_every=5000, eval_episodes=10
    )
    row = BOOKS.get("engstrom-ppo-walker2d-v2")
    assert (row.spread_kind, row.low, row.mean, row.high) == ("interval 95", 3157, 3292, 3426)
    row = BOOKS.get("mushroom-ppo-pendulum-v0-epoch5")
    assert (row.protocol.to_step, row.protocol.eval_every, row.protocol.eval_episodes) == (150_000, 30_000, 10)
    assert BOOKS.get("mushroom-ppo-pendulum-v0-r-window").protocol.last == 1
    assert BOOKS.get("mushroom-sac-hopper-v3-r-window").protocol.last == 5
    assert BOOKS.get("mushroom-ppo-pendulum-v0-j-last").protocol.discount == 0.99
    window = BOOKS.get("dopamine-c51-airraid-10m")
    assert (window.protocol.after_step, window.protocol.to_step) == (2_000_000, 2_750_000)
    assert window.steps == window.protocol.to_step
    sac = BOOKS.get("dopamine-sac-ant-v2-100000").protocol
    assert (sac.returns, sac.after_step, sac.to_step) == ("training", 60_000, 91_000)
    assert (sac.iteration, window.protocol.iteration) == (1000, 250_000)
    atari = BOOKS.get("zoo-dqn-pongnoframeskip-v4").protocol
    assert (atari.policy, BOOKS.get("zoo-dqn-cartpole-v1").protocol.policy) == ("stochastic", "deterministic")
    curves = BOOKS.get("td3-curves-halfcheetah-v1-0")
    assert curves.steps == 1_000_000
    assert "975,000" in curves.where
    assert BOOKS.get("td3-curves-halfcheetah-v1-9").protocol.last is None


def test_no_sentence_of_a_source_came_along() -> None:
    texts = [BOOK.read_text(encoding="utf-8"), (DATA / "published.texts.json").read_text(encoding="utf-8")]
    for text in texts:
        assert not re.search(r"quote|/work|shared/|read from the text \(", text)
    for kind, longest in (("env_notes", 250), ("hyperparameters", 500)):
        assert max(map(len, json.loads(texts[1])[kind].values())) <= longest


def test_the_book_opens_quickly_and_without_torch() -> None:
    code = (
        "import sys, time\nfrom rlrepro.papers.book import published\n"
        "began = time.perf_counter()\npublished.load_book()\n"
        "took = time.perf_counter() - began\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else f'{took} s' if took > 1.0 else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    best = float("inf")
    for _ in range(3):
        published._load.cache_clear()
        began = time.perf_counter()
        load_book()
        best = min(best, time.perf_counter() - began)
    assert best < 0.5


# --- the traps, one by one


def test_there_are_twenty_traps_and_each_is_handled() -> None:
    traps = load_traps()
    assert len(traps.traps) == 20
    for trap in traps.traps:
        assert trap.by in ("protocol", "spread", "caution", "version", "loop")
        found = [row for row in BOOKS.rows if any(fnmatch.fnmatchcase(row.id, pattern) for pattern in trap.rows)]
        assert bool(found) == bool(trap.rows), trap.title
        for pattern in trap.rows:
            assert any(fnmatch.fnmatchcase(row.id, pattern) for row in found), pattern
        for name in trap.cautions:
            assert name in traps.cautions
        if trap.cautions:
            for row in found:
                assert set(row.traps) & set(trap.cautions), f"{trap.title}: {row.id}"
                assert any(traps.cautions[name].text in row.warnings for name in trap.cautions)


def rows(pattern: str) -> list[Published]:
    found = [row for row in BOOKS.rows if fnmatch.fnmatchcase(row.id, pattern)]
    assert found, pattern
    return found


TRAPS: list[tuple[str, Callable[[Published], bool]]] = [
    ("td3-table1-*", lambda r: r.protocol.statistic == "max of seed mean"),
    ("td3-table1-td3-*", lambda r: r.spread_kind == "population sd"),
    ("td3-curves-*-3", lambda r: r.protocol.statistic == "mean of seed maxima"),
    ("oaidqn-noop-*", lambda r: r.spread_kind == "standard error" and "standard error" in r.warnings[0]),
    ("oaidqn-train-*", lambda r: r.spread_kind == "standard error" and r.protocol == Protocol("training")),
    ("sb3docs-*", lambda r: r.spread_kind == "standard error" and "standard error" in r.warnings[0]),
    ("zoo-*", lambda r: (r.spread_kind, r.protocol.statistic, r.seeds) == ("over episodes", "one agent", 1)),
    ("cleanrl-ppo-hopper-v2-90", lambda r: r.spread_kind == "unknown" and "spread-undefined" in r.traps),
    ("cleanrl-ppo-hopper-v4-*", lambda r: r.spread_kind in ("population sd", "none")),
    ("cleanrl-td3-*-v4-*", lambda r: r.protocol == Protocol("training", last=100) and "training-return" in r.traps),
    ("cleanrl-sac-hopper-v2-165", lambda r: "-v4" in " ".join(r.warnings)),
    ("ppo37-tianshou-hopper", lambda r: "shifted" in " ".join(r.warnings)),
    ("oaibase-*", lambda r: r.protocol.can_score is not None and "whole-run" in r.traps),
    ("orlb-baselines_vs_tianshou-*",
     lambda r: r.protocol.returns == ("evaluation" if r.variant == "tianshou" else "training")),
    ("cleanrl-dqn-breakoutnoframeskip-v4-121",
     lambda r: (r.spread_kind, r.protocol.statistic, r.protocol.eval_episodes) == ("over episodes", "one agent", 30)),
    ("dopamine-sac-*", lambda r: r.protocol.returns == "training" and "sampled-actions" in r.traps),
    ("dopamine-rainbow-*", lambda r: "sticky-actions" in r.traps and "does not say whether" in " ".join(r.warnings)),
    ("ppo-table6-ppo-*", lambda r: "3 epochs" in " ".join(r.warnings)),
    ("ppo-table6-a2c-*", lambda r: "ppo-paper-atari" not in r.traps),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "holds"), TRAPS, ids=[pattern for pattern, _ in TRAPS])
def test_rows_carry_what_is_known_of_them(pattern: str, holds: Callable[[Published], bool]) -> None:
    wrong = [row.id for row in rows(pattern) if not holds(row)]
    assert wrong == []


def test_traps_without_rows_can_be_expressed() -> None:
    henderson = Protocol.from_table({"returns": "training", "last": 100})
    assert henderson.can_score is None
    assert "standard error" in SPREADS
    duan = Protocol.from_table({"returns": "training"})  # all episodes of the training
    episodes = np.array([[10, 1.0], [20, 3.0], [30, 8.0]])
    history = History(0, episodes, np.empty((0, 2)), np.empty(0), 30)
    assert score(duan, [history]).mean == 4
    assert load_traps().cautions["best-of-settings"].text


def test_a_score_by_another_protocol_is_no_answer() -> None:
    table1, maxima = BOOKS.get("td3-table1-td3-halfcheetah-0"), BOOKS.get("td3-curves-halfcheetah-v1-3")
    cleanrl = BOOKS.get("cleanrl-td3-hopper-v4-153")
    assert refuse(table1.protocol, maxima.protocol) is not None
    assert refuse(table1.protocol, cleanrl.protocol) is not None
    assert refuse(table1.protocol, BOOKS.get("td3-curves-halfcheetah-v1-0").protocol) is None


def test_the_page_of_the_traps_is_up_to_date() -> None:
    page = (ROOT / "docs" / "metric-traps.md").read_text(encoding="utf-8")
    assert page == traps_page(), "rlrepro published traps > docs/metric-traps.md"


@pytest.mark.parametrize(
    ("env", "first", "second", "same"),
    [
        ("Pendulum-v1", 0, 1, True),
        ("Hopper-v5", 1, 5, True),
        ("Walker2d-v4", 4, 5, False),
        ("Walker2d-v4", 2, 4, True),
        ("Ant-v5", 3, 5, False),
        ("LunarLander-v3", 2, 3, True),
        ("CartPole-v1", 0, 1, False),
        ("MinAtar/Breakout-v1", 0, 1, False),
        ("Taxi-v4", 3, 4, None),
    ],
)
def test_versions(env: str, first: int, second: int, same: bool | None) -> None:
    assert load_traps().between(env, first, second)[0] is same
    assert load_traps().between(env, second, first)[0] is same


# --- finding


def test_env_and_agent_spellings_have_one_base_name() -> None:
    for env in ("Breakout", "ALE/Breakout-v5", "BreakoutNoFrameskip-v4", "breakout", "BreakoutDeterministic-v4"):
        assert base_name(env) == "breakout"
    assert base_name("package.module:Hopper-v5") == "hopper"
    assert base_name("dm_control/hopper-hop-v0") != base_name("Hopper-v4")
    assert base_name("HopperBulletEnv-v0") != base_name("Hopper-v4")
    assert agent_name("sb3:ppo") == agent_name("PPO") == "ppo"
    assert agent_name("qrdqn") == agent_name("QR-DQN")
    assert agent_name("ppo") != agent_name("PPO-LSTM")


def test_rows_are_found_nearest_version_first() -> None:
    found = BOOKS.find("Hopper-v4", "sb3:td3")
    assert {row.algorithm for row in found} == {"TD3"}
    versions = [row.env for row in found]
    assert versions[0] == "Hopper-v4"
    assert set(versions) >= {"Hopper-v1", "Hopper-v2", "Hopper-v3", "Hopper-v4"}
    distances = [abs(published.version(env) - 4) for env in versions]  # type: ignore[operator]
    assert distances == sorted(distances)
    assert {row.env for row in BOOKS.find("Hopper", "td3")} == set(versions)
    assert all("cleanrl" in row.citation.lower() for row in BOOKS.find("CartPole-v1", paper="CleanRL documentation"))
    assert BOOKS.find("Walk-v0") == []


# --- comparing


@pytest.fixture(scope="module")
def cartpole() -> Settings:
    request = parse_train(["--env", "CartPole-v1", "--agent", "ppo", "--seeds", "3", "--total-timesteps", "500000"])
    return request.settings  # type: ignore[union-attr]


def reason(identity: str, settings: Settings) -> str:
    return comparable(BOOKS.get(identity), settings).reason or ""


CLEANRL, ZOO = "cleanrl-ppo-cartpole-v1-0", "zoo-ppo-cartpole-v1"


def test_comparable_steps(cartpole: Settings) -> None:
    assert comparable(BOOKS.get(CLEANRL), cartpole).reasons == ()
    shorter = dataclasses.replace(cartpole, total_timesteps=400_000)
    assert reason(CLEANRL, shorter) == "steps 400,000 against 500,000"
    longer = comparable(BOOKS.get(CLEANRL), dataclasses.replace(cartpole, total_timesteps=600_000))
    assert (longer.reasons, longer.protocol) == ((), Protocol("training", last=100, to_step=500_000))
    assert longer.caveats == ("at env step 500,000 of 600,000",)
    assert reason(ZOO, cartpole) == "steps 500,000 against 100,000"
    assert reason(ZOO, dataclasses.replace(cartpole, total_timesteps=100_000)) == ""
    unknown = dataclasses.replace(BOOKS.get(CLEANRL), steps=None)
    assert comparable(unknown, cartpole).reason == "its number of env steps is not stated"
    frames = dataclasses.replace(BOOKS.get(CLEANRL), frames=True)
    assert comparable(frames, cartpole).reason == "its steps are frames"


@pytest.mark.parametrize("policy", ["deterministic", "stochastic"])
@pytest.mark.parametrize("is_deterministic", [True, False])
def test_comparable_policies(cartpole: Settings, policy: str, is_deterministic: bool) -> None:
    settings = dataclasses.replace(cartpole, eval_deterministic=is_deterministic)
    row = dataclasses.replace(BOOKS.get(CLEANRL), protocol=Protocol("evaluation", policy=policy, last=1))
    ours = "deterministic" if is_deterministic else "stochastic"
    theirs = {"deterministic": "did not explore", "stochastic": "explored"}[policy]
    differs = f"its policy {theirs}, and this run's evaluations are {ours}"
    assert comparable(row, settings).reasons == (() if policy == ours else (differs,))


def test_a_milestone_is_reached_where_the_last_step_of_all_sub_environments_ends(cartpole: Settings) -> None:
    """149,999 env steps on 7 sub-environments are 21,429 of each: 150,003."""
    row = dataclasses.replace(BOOKS.get(CLEANRL), protocol=Protocol("training", last=100, to_step=150_000))
    assert comparable(row, dataclasses.replace(cartpole, total_timesteps=149_999, num_envs=7)).reasons == ()
    alone = dataclasses.replace(cartpole, total_timesteps=149_999, num_envs=1)
    assert comparable(row, alone).reason == "steps 149,999 against 150,000"


def test_comparable_environments(cartpole: Settings) -> None:
    assert "made with" in reason(CLEANRL, dataclasses.replace(cartpole, env_kwargs={"sutton_barto_reward": True}))
    assert "wrapped in" in reason(CLEANRL, dataclasses.replace(cartpole, wrappers=("DelayedReward",)))
    for wrapper in ("FlattenObservation", "ScaleReward(scale=0.1)"):  # which leave returns as they are
        assert reason(CLEANRL, dataclasses.replace(cartpole, wrappers=(wrapper,))) == ""
    assert "500 steps instead of 200" in reason(CLEANRL, dataclasses.replace(cartpole, env="CartPole-v0"))
    atari = dataclasses.replace(cartpole, env="ALE/Breakout-v5", total_timesteps=10_000_000)
    assert "it is of BreakoutNoFrameskip-v4" in reason("cleanrl-ppo-breakoutnoframeskip-v4-6", atari)
    pendulum = dataclasses.replace(cartpole, env="Pendulum-v1", total_timesteps=300_000, eval_every=30_000, num_envs=4)
    one = comparable(BOOKS.get("mushroom-ppo-pendulum-v0-r-last"), pendulum)
    assert one.reasons == ()
    assert "the same behaviour" in one.caveats[0]
    assert one.caveats[1] == "its policy is not stated"
    assert "discounted" in reason("mushroom-ppo-pendulum-v0-j-last", pendulum)
    milestone = "mushroom-ppo-pendulum-v0-epoch5"
    assert reason(milestone, pendulum) == ""
    assert "no evaluation at env step 150,000" in reason(milestone, dataclasses.replace(pendulum, eval_every=40_000))
    assert "no evaluation at env step 150,000" in reason(milestone, dataclasses.replace(pendulum, num_envs=7))
    assert "no evaluation" in reason(milestone, dataclasses.replace(pendulum, eval_every=0))
    closing = dataclasses.replace(pendulum, eval_every=40_000, total_timesteps=150_000)
    assert reason(milestone, closing) == ""  # the run is evaluated where it ends
    assert "steps 90,000 against 150,000" in reason(milestone, dataclasses.replace(pendulum, total_timesteps=90_000))


def test_comparable_evaluations(cartpole: Settings) -> None:
    hopper = dataclasses.replace(
        cartpole, env="Hopper-v5", agent="td3", total_timesteps=1_000_000, eval_every=5000, eval_episodes=10,
        num_envs=1, seeds=tuple(range(10)),
    )  # fmt: skip
    row = next(row for row in rows("td3-table1-td3-*") if row.env == "Hopper-v1")
    one = comparable(row, hopper)
    assert one.reasons == ()
    assert "Hopper-v1" in one.caveats[0]
    every = dataclasses.replace(hopper, eval_every=10_000)
    assert comparable(row, every).reason == "evaluations every 10,000 env steps against 5,000 (--eval-every)"
    few = dataclasses.replace(hopper, eval_episodes=5)
    assert comparable(row, few).reason == "evaluations of 5 episodes against 10"
    mean = dataclasses.replace(row, protocol=dataclasses.replace(row.protocol, statistic="mean", last=10))
    assert comparable(mean, few).reasons == ()  # of fewer episodes, and the same on average: not so a maximum
    assert "3 against 10" in comparable(row, dataclasses.replace(hopper, seeds=(0, 1, 2))).caveats[-1]
    assert "20 against 10" in comparable(row, dataclasses.replace(hopper, seeds=tuple(range(20)))).caveats[-1]
    walker = next(row for row in rows("td3-table1-td3-*") if row.env == "Walker2d-v1")
    assert "friction" in (comparable(walker, dataclasses.replace(hopper, env="Walker2d-v5")).reason or "")
    jaxrl = dataclasses.replace(row, protocol=dataclasses.replace(row.protocol, eval_every=None))
    assert comparable(jaxrl, hopper).reason == "how often it was evaluated is not stated"
    explored = dataclasses.replace(row, protocol=dataclasses.replace(row.protocol, policy="stochastic"))
    assert "explored" in (comparable(explored, hopper).reason or "")


def test_what_bars_a_row(cartpole: Settings) -> None:
    hopper = dataclasses.replace(cartpole, env="Hopper-v3", total_timesteps=3_000_000)
    assert comparable(BOOKS.get("ppo37-tianshou-hopper"), hopper).reasons[0] == "the cell belongs to another task"
    ant = dataclasses.replace(cartpole, env="Ant-v2", agent="sac", total_timesteps=100_000, num_envs=2)
    assert "its iterations are of one sub-environment" in str(comparable(BOOKS.get("dopamine-sac-ant-v2-100000"), ant))
    atari = dataclasses.replace(cartpole, env="breakout", agent="dqn", total_timesteps=2_750_000)
    assert "does not say" in comparable(BOOKS.get("dopamine-dqn-breakout-10m"), atari).reasons[0]
    assert "cannot be computed" in reason("gymthr-cartpole-v1", cartpole)


def history(seed: int, value: float, steps: int = 500_000, episodes: int = 120) -> History:
    ends = np.linspace(1, steps, episodes).round()
    returns = np.full(episodes, value)
    returns[:-100] = 0
    return History(
        seed, np.column_stack([ends, returns]), np.array([[steps, value]]), np.full(100, value + seed), steps
    )


def test_a_run_beside_the_book(cartpole: Settings) -> None:
    lines = compare(cartpole, [history(0, 480), history(1, 500), history(2, 490)])
    assert lines[0] == (
        "CleanRL documentation, cleanrl ppo.py 490.04 ± 6.12 (3 seeds, 500 k steps; training return, mean of the last "
        "100 episodes): this run 490.00, difference -0.04"
    )
    assert "not comparable (steps 500,000 against 100,000)" in lines[-1]
    short = compare(cartpole, [history(0, 480), history(1, 500, episodes=110), history(2, 1, episodes=99)])
    assert "this run 490.00" in short[0]
    assert "no value for 1 of 3 seeds (seed 2: it has 99 of the 100 episodes that count)" in short[0]
    accepted = compare(
        dataclasses.replace(cartpole, total_timesteps=100_000), [history(s, 498, 100_000) for s in range(4)]
    )
    assert "this run 499.50, 2 of 4 seeds reach it" in accepted[0]
    assert accepted[0].startswith("RL Baselines3 Zoo")
    shorter = dataclasses.replace(cartpole, total_timesteps=400_000)
    line = next(one for one in compare(shorter, [history(0, 487.1, 400_000)]) if "cleanrl ppo.py" in one)
    assert line.endswith("this run 487.10, not comparable (steps 400,000 against 500,000)")


def test_of_numbers_that_are_as_near_the_one_of_more_seeds_comes_first(cartpole: Settings) -> None:
    same = [dataclasses.replace(BOOKS.get(CLEANRL), seeds=seeds) for seeds in (None, 3, 10)]
    ranked = sorted((comparable(row, cartpole) for row in same), key=lambda one: beside_book._rank(one, cartpole))
    assert [one.row.seeds for one in ranked] == [10, 3, None]


def test_at_most_five_lines_and_a_hint(cartpole: Settings) -> None:
    pendulum = dataclasses.replace(cartpole, env="Pendulum-v1", total_timesteps=300_000, eval_every=30_000, num_envs=4)
    points = np.array([[step, -200.0] for step in range(30_000, 300_001, 30_000)])
    one = History(0, np.empty((0, 2)), points, np.empty(0), 300_000)
    lines = compare(pendulum, [one])
    assert len(lines) == 6
    assert [("difference" in line) for line in lines] == [True] * 5 + [False]
    assert re.fullmatch(r"\d+ more: rlrepro published --env Pendulum-v1 --agent ppo", lines[-1])
    assert compare(dataclasses.replace(cartpole, env="mine.py:Mine"), [one]) == []
    assert compare(dataclasses.replace(cartpole, agent="random"), [one])[0].startswith("nothing by random")


def test_the_closing_summary(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = runs.begin("a", "--env", "CartPole-v1", "--seeds", "2")
    assert outcome.status == 0
    assert "published    CleanRL documentation, cleanrl ppo.py 490.04 ± 6.12" in outcome.out
    assert "not comparable (steps 120 against 500,000)" in outcome.out

    def broken(*_: object) -> list[str]:
        raise RuntimeError("no book")

    monkeypatch.setattr(beside_book, "compare", broken)
    shown = Console(file=io.StringIO())
    beside_book.show_comparison(runs.folder / "a", shown)
    assert shown.file.getvalue() == "published    not compared: RuntimeError: no book\n"  # type: ignore[attr-defined]


# The converter

GOOD = """
[[result]]
id = "b"
paper = "A paper"
citation = "Somebody. A Paper. 2026"
algorithm = "PPO"
env_id = "CartPole-v1"
steps = 1000
seeds = 2
protocol = { returns = "training", last = 100 }
mean = 2.0
spread = 1.0
spread_kind = "population sd"
per_seed = [1.0, 3.0]
where = "Table 1"
read_from = "the page, 2026"
quote = "A whole sentence of the source."
note = "Another sentence."

[[result]]
id = "a"
paper = "A paper"
citation = "Somebody. A Paper. 2026"
algorithm = "SAC"
variant = "x"
env_id = "Hopper-v4"
metric = "average return over the last 10 evaluations over 3 trials"
mean = -1.5
where = "Table 1"
read_from = "github.com/some/where path/file.md @ 0123456789abcdef0123456789abcdef01234567 (read)"
hyperparameters = 'file.yml: {"lr": 0.1, "layers": [64, 64], "none": null, "on": true}'
traps = ["best-of-settings"]
"""


def test_convert(tmp_path: Path, command: Command) -> None:
    file, book = tmp_path / "mine.toml", tmp_path / "mine.jsonl"
    file.write_text(GOOD)
    assert command("published", "convert", file, "--into", book).status == 0
    made = load_book(book)
    assert [row.id for row in made.rows] == ["a", "b"]
    a, b = made.rows
    assert (b.mean, b.spread, b.per_seed, b.protocol) == (2, 1, (1, 3), Protocol("training", last=100))
    assert b.read_from == "the page, 2026"
    assert a.read_from == "some/where@0123456789abcdef0123456789abcdef01234567 path/file.md"
    assert (a.protocol.last, a.protocol.eval_every, a.spread_kind, a.seeds) == (10, 5000, "none", None)
    assert a.hyperparameters == "file.yml: lr 0.1, layers [64, 64], on true"
    assert a.warnings == (load_traps().cautions["best-of-settings"].text,)
    text = book.read_text() + book.with_suffix(".texts.json").read_text()
    assert "sentence" not in text
    again = tmp_path / "again.jsonl"
    write_book(reversed(made.rows), again)
    assert again.read_bytes() == book.read_bytes()
    assert again.with_suffix(".texts.json").read_bytes() == book.with_suffix(".texts.json").read_bytes()

    file.write_text(GOOD.replace("mean = -1.5", "mean = -2.5").replace('id = "b"', 'id = "c"'))
    assert command("published", "convert", file, "--into", book).status == 0
    merged = load_book(book)
    assert [(row.id, row.mean) for row in merged.rows] == [("a", -2.5), ("b", 2), ("c", 2)]


def test_the_book_is_what_it_would_be_written_as(tmp_path: Path) -> None:
    write_book(BOOKS.rows, tmp_path / BOOK.name)
    assert (tmp_path / BOOK.name).read_bytes() == BOOK.read_bytes()
    assert (tmp_path / "published.texts.json").read_bytes() == (DATA / "published.texts.json").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "b"', 'id = "a"', "a: id: the same id is there twice"),
        ('id = "b"\n', "", "result 1: id: missing"),
        ("mean = 2.0", "mean = nan", "b: mean: nan is not a finite number"),
        ("mean = 2.0", "mean = 2.5", "b: per_seed: their mean is 2, not 2.5"),
        ("mean = 2.0", "mean = true", "b: mean: True is not"),
        ("mean = 2.0\n", "", "b: mean: missing"),
        ("spread = 1.0", "spread = -1.0", "b: spread: -1.0 is below 0"),
        ("spread = 1.0", "spread = 1.41", "b: spread: the population sd of per_seed is 1, not 1.41"),
        ('spread = 1.0\nspread_kind = "population sd"\nper_seed = [1.0, 3.0]', 'spread_kind = "population sd"',
         "b: spread: is missing"),
        ('spread_kind = "population sd"\n', "", "b: spread_kind: is missing: what is ± 1?"),
        ('"population sd"', '"population s"', "did you mean 'population sd'?"),
        ("seeds = 2", "seeds = 3", "b: per_seed: 2 values of 3 seeds"),
        ("seeds = 2", "seeds = 0", "b: seeds: 0 is not a whole number above 0"),
        ("steps = 1000", "steps = 1e3", "b: steps: 1000.0 is not a whole number"),
        ("last = 100", "lost = 100", "b: protocol: a protocol has no 'lost'; did you mean 'last'?"),
        ("[1.0, 3.0]", '[1.0, "3"]', "b: per_seed: not a list of finite numbers"),
        ("steps = 1000", "frames = 1", "b: frames: 1 is neither true nor false"),
        ("steps = 1000", "low = 1.0\nhigh = 3.0", "b: low: is an end of an 'interval 95'"),
        ('spread = 1.0\nspread_kind = "population sd"', 'low = 1.0\nspread_kind = "interval 95"',
         "b: high: is missing"),
        ('spread = 1.0\nspread_kind = "population sd"', 'low = 2.5\nhigh = 3.0\nspread_kind = "interval 95"',
         "b: low: the interval 2.5 to 3 does not hold the 2"),
        ('spread_kind = "population sd"', 'low = 1.0\nhigh = 3.0\nspread_kind = "interval 95"',
         "b: spread: is there beside low and high"),
        ('"average return over', '"some return over', "a: metric: 'some return over"),
        ("mean = 2.0", f"mean = 1{'0' * 400}", "b: mean: 1"),
        ("average return over the last 10 evaluations over 3 trials",
         "mean over seeds of (mean return of the last 0 logged training episodes)",
         "a: metric: last 0 is not a whole number of at least 1"),
        ('paper = "A paper"\ncitation', 'paper = ""\ncitation', "b: paper: '' is not a text"),
        ('["best-of-settings"]', '["best-of-setting"]', "did you mean 'best-of-settings'?"),
        ('["best-of-settings"]', '"best-of-settings"', "a: traps: 'best-of-settings' is not a list of texts"),
        ('["best-of-settings"]', '[["best-of-settings"]]', "a: traps: no caution is called ['best-of-settings']"),
        ("[[result]]", "[result]", "mine.toml"),
        (GOOD, "[[results]]\nid = 'a'\n", "has no [[result]] table; did you mean 'results'?"),
        ("mean = 2.0", "mean = ", "is not TOML"),
    ],
)  # fmt: skip
def test_faults_name_file_row_and_field(tmp_path: Path, command: Command, old: str, new: str, said: str) -> None:
    assert old in GOOD
    file, book = tmp_path / "mine.toml", tmp_path / "mine.jsonl"
    file.write_text(GOOD.replace(old, new, 1))
    problem = command("published", "convert", file, "--into", book).problem
    assert "mine.toml" in problem
    assert said in problem
    assert not book.exists()


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ('spread = 1.0\nspread_kind = "population sd"\nper_seed = [1.0, 3.0]',
         'spread = 0.5\nspread_kind = "interval 95"', "2 ± 0.5"),
        ('spread = 1.0\nspread_kind = "population sd"\nper_seed = [1.0, 3.0]',
         'low = 1.5\nhigh = 3\nspread_kind = "interval 95"', "2 [1.5, 3]"),
        ("spread = 1.0\n", "", "2"),
    ],
)  # fmt: skip
def test_the_spreads_that_cards_take(tmp_path: Path, command: Command, old: str, new: str, value: str) -> None:
    """Half an interval's width, its ends, or the values of the seeds alone."""
    file, book = tmp_path / "mine.toml", tmp_path / "mine.jsonl"
    file.write_text(GOOD.replace(old, new, 1))
    assert command("published", "convert", file, "--into", book).status == 0
    row = load_book(book).get("b")
    assert row.value() == value
    told = command("published", "b", "--book", book).out
    assert (SPREADS["none"] in told) == (value == "2")
    assert (row.spread_kind in command("published", "--env", "CartPole", "--book", book).out) == (value != "2")


@pytest.mark.parametrize("dies_before", ["texts", "rows", "tidying"])
def test_a_kill_between_the_writes_leaves_a_whole_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_before: str
) -> None:
    """Before, or after: every key of it has its text."""
    first, second = BOOKS.rows[:3], BOOKS.rows[-3:]
    book = tmp_path / "mine.jsonl"
    write_book(first, book)
    writes = 0

    def dies(path: Path, data: bytes) -> None:
        nonlocal writes
        if writes == ("texts", "rows", "tidying").index(dies_before):
            raise KeyboardInterrupt
        writes += 1
        write_whole(path, data)

    monkeypatch.setattr(published, "write_whole", dies)
    with pytest.raises(KeyboardInterrupt):
        write_book(second, book)
    published._load.cache_clear()
    assert load_book(book).rows == (second if dies_before == "tidying" else first)
    monkeypatch.undo()
    write_book(second, book)
    assert load_book(book).rows == second
    whole = book.with_suffix(".texts.json").read_bytes()
    write_book(second, tmp_path / "other.jsonl")
    assert whole == (tmp_path / "other.texts.json").read_bytes()


@pytest.mark.parametrize(
    ("row", "texts", "said"),
    [
        ({"traps": ["n"]}, {}, "a: traps: no caution is called 'n'"),
        ({"traps": "name"}, {}, "a: traps: 'name' is not a list of texts"),
        ({"traps": [{}]}, {}, "a: traps: no caution is called {}"),
        ({}, {"protocols": []}, "KeyError"),
        ({}, {"protocols": 3}, "is not a book"),
        ({}, {"protocols": {"x": []}}, "is not a book"),
        ({}, {"protocols": {"x": {"lost": 1}}}, "a protocol has no 'lost'"),
        ({}, {"env_notes": []}, "is not a book"),
        ([], {}, "is not a book"),
    ],
)
def test_a_damaged_book_is_one_line(
    tmp_path: Path, command: Command, row: Any, texts: dict[str, Any], said: str
) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    book = tmp_path / "mine.jsonl"
    assert command("published", "convert", tmp_path / "mine.toml", "--into", book).status == 0
    first, *others = book.read_text().splitlines()
    changed = {**json.loads(first), **row} if isinstance(row, dict) else row
    book.write_text("\n".join([json.dumps(changed), *others]))
    beside = book.with_suffix(".texts.json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **texts}))
    published._load.cache_clear()
    problem = command("published", "--env", "Hopper", "--book", book).problem
    assert f"{book} is not a book of published results: " in problem
    assert said in problem


def test_prose_beside_a_protocol_is_left_as_it_is(tmp_path: Path) -> None:
    """What the sentences of the book's own sources give away is nothing that another's words say."""
    prose = """
        where = "Table 6; the number that the text prints below"
        note = "1 seed was dropped"
        spread_kind = "standard error"
        spread = 0.7071
        hyperparameters = 'ppo: {"lr": 0.1}'
        env_version_note = "gym id CartPole-v1; with sticky actions"
    """
    own = re.sub(r"(where|note|spread_kind|spread) = .*\n", "", GOOD.partition('\n[[result]]\nid = "a"')[0])
    (tmp_path / "mine.toml").write_text(own + prose)
    (row,) = convert([tmp_path / "mine.toml"], load_traps())
    assert (row.traps, row.warnings) == ((), ())
    assert row.where == "Table 6; the number that the text prints below"
    assert row.hyperparameters == 'ppo: {"lr": 0.1}'
    assert row.env_note == "gym id CartPole-v1; with sticky actions"


def sentences_of(pattern: str) -> list[str]:
    """Some sentences that a pattern knows."""
    values = {
        "step": ("1M", "50000"), "last": ("100", "10", "5", "198"), "first": ("194",), "every": ("4000", "10000"),
        "episodes": ("5", "10", "20", "30", "100", "150"), "iterations": ("160, 170, 180, 190",), "epoch": ("5", "10"),
        "kind": ("undiscounted",),
    }  # fmt: skip
    group = r"\(\?P<(\w+)>(?:\[[^]]*\]|[^()])*\)"
    made = [pattern.replace(r"\d+", "3").replace(".*", "so")]
    while any(re.search(group, one) for one in made):
        made = [
            one[: found.start()] + value + one[found.end() :]
            for one in made
            if (found := re.search(group, one))
            for value in values[found[1]]
        ]
    return [re.sub(r"\\(.)", r"\1", one) for one in made]


@pytest.mark.parametrize("number", range(len(METRICS)))
def test_every_sentence_makes_a_protocol_that_the_book_has(number: int) -> None:
    pattern, make = METRICS[number]
    known = {row.protocol for row in BOOKS.rows}
    if not callable(make):
        assert make[0] in known
        return
    matches = [found for one in sentences_of(pattern) if (found := re.fullmatch(pattern, one))]
    assert matches, pattern
    table = {"env_id": "Ant-v3", "steps": 150_000, "steps_note": "n_epochs 50 x n_steps 30000"}
    assert any(make(found, table)[0] in known for found in matches)


def test_books_that_are_none_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="No such file"):
        convert([tmp_path / "nothing.toml"], load_traps())
    with pytest.raises(Problem, match=r"nothing\.jsonl: No such file or directory$"):
        load_book(tmp_path / "nothing.jsonl")
    (tmp_path / "alone.jsonl").write_text("")
    with pytest.raises(Problem, match=r"alone\.texts\.json: No such file or directory, the texts of alone\.jsonl that"):
        load_book(tmp_path / "alone.jsonl")
    with pytest.raises(Problem, match=r"did you mean 'traps'\?"):
        BOOKS.get("trap", ("traps", "convert"))
    (tmp_path / "bad.jsonl").write_text('{"id": 1}\n')
    (tmp_path / "bad.texts.json").write_text("{}")
    with pytest.raises(Problem, match="is not a book"):
        load_book(tmp_path / "bad.jsonl")


# --- the command


def test_ask(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in ("60", "100", "160"):
        monkeypatch.setenv("COLUMNS", width)
        out = command("published", "--env", "Hopper", "--agent", "td3", "--limit", "3").out
        assert max(map(len, out.splitlines())) <= int(width)
        assert "more: --limit" in out
        assert "TD3" in out
    monkeypatch.setenv("COLUMNS", "160")
    out = command("published", "--env", "Hopper-v5", "--agent", "TD3").out
    assert "hopper -v4 and -v5: comparable" in out
    out = command("published", CLEANRL).out
    for text in (
        "490.04 ± 6.12",
        "divided by n",
        "Huang, Dossa",
        "ppo.md",
        "last 100 episodes",
        "500,000",
        "lr 2.5e-4",
    ):
        assert text in out
    assert "One tuned agent" in command("published", ZOO).out
    assert "2,981  numbers" in command("published").out
    table = json.loads(command("published", "--env", "CartPole-v1", "--agent", "ppo", "--json").out)
    assert next(row for row in table if row["id"] == CLEANRL)["protocol"] == {"returns": "training", "last": 100}
    assert all({"warnings", "per_seed", "spread_kind"} <= set(row) for row in table)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env", "Hoper"], "for the environment 'Hoper'; did you mean 'Hopper'?"),
        (["--env", "Hopper", "--agent", "tdd3"], "for the agent 'tdd3'; did you mean 'TD3'?"),
        (["--env", "Acrobot", "--agent", "td3"], "nothing is published for --agent td3 --env Acrobot (there is"),
        (["--paper", "Clean RL documentation"], "did you mean 'CleanRL documentation'?"),
        (["cleanrl-ppo-cartpole-v1-00"], "did you mean 'cleanrl-ppo-cartpole-v1-0'?"),
        (["zoo-ppo-cartpole-v1", "--env", "Hopper"], "leave --env, --agent and --paper out"),
        (["--limit", "0"], "--limit"),
        (["convert", "x.toml", "--into", "x.txt"], "a book is a .jsonl file"),
    ],
)
def test_bad_questions(command: Command, arguments: list[str], said: str) -> None:
    assert said in command("published", *arguments).problem


# --- what a card's environment is warned of

BINDING = "-v3 to -v4, comparable, though mujoco-py became mujoco"


@pytest.mark.parametrize(
    ("paper", "run", "kwargs", "words"),
    [
        ("Walker2d-v1", "Walker2d-v5", {}, [BINDING, "-v4 to -v5, NOT comparable: another friction of one foot"]),
        ("Ant-v2", "Ant-v5", {}, ["Ant-v2: with MuJoCo 2", "-v3 to -v4, NOT", "-v4 to -v5, NOT"]),
        ("Humanoid-v2", "Humanoid-v5", {}, ["its model changed with gym 0.21", "-v3 to -v4, NOT", "-v4 to -v5, NOT"]),
        ("Reacher-v2", "Reacher-v5", {}, [BINDING, "the distance is rewarded after the physics step"]),
        ("InvertedDoublePendulum-v1", "InvertedDoublePendulum-v5", {}, [BINDING, "one healthy reward (10) less"]),
        ("Pusher-v4", "Pusher-v5", {}, ["Pusher-v4: does not run with MuJoCo 3", "the object's density"]),
        ("HalfCheetah-v1", "HalfCheetah-v5", {}, [BINDING]),
        ("Hopper-v1", "Hopper-v5", {}, [BINDING, "-v4 to -v5, comparable, though an episode that ends by falling"]),
        ("InvertedPendulum-v5", "InvertedPendulum-v4", {}, ["comparable, though the step that ends"]),
        ("Hopper-v2", "Hopper-v4", {}, [BINDING]),
        ("Swimmer-v4", "Swimmer-v5", {}, []),
        ("LunarLander-v2", "LunarLander-v3", {}, ["comparable, though the bounds of the observation"]),
        ("LunarLander-v2", "LunarLander-v3", {"enable_wind": True}, ["wind differs between", "the bounds"]),
        (
            "LunarLanderContinuous-v2",
            "LunarLanderContinuous-v3",
            {"enable_wind": True},
            ["wind differs between", "the bounds"],
        ),
        ("CartPole-v1", "CartPole-v1", {"sutton_barto_reward": True}, ["with sutton_barto_reward a step pays 0"]),
        ("CartPole-v1", "CartPole-v1", {}, []),
        ("MinAtar/Breakout-v0", "MinAtar/Breakout-v1", {}, ["the minimal set of actions instead of all six"]),
        ("FrozenLake-v0", "FrozenLake-v1", {}, ["what changed between FrozenLake-v0 and FrozenLake-v1 is not known"]),
        ("BreakoutNoFrameskip-v4", "ALE/Breakout-v5", {}, ["the wrapper Atari2015"]),
        ("Hopper-v1", "Walker2d-v5", {}, []),
    ],
)
def test_what_a_cards_environment_is_warned_of(paper: str, run: str, kwargs: dict[str, Any], words: list[str]) -> None:
    told = load_traps().warnings(paper, run, kwargs)
    assert len(told) == len(words)
    for text, word in zip(told, words, strict=True):
        assert word in text
    if run.startswith("ALE/"):
        assert load_traps().warnings(paper, run, kwargs, ("Atari2015",)) == []
    assert load_traps().warnings(paper, run, kwargs, ("AsMujocoPy",)) == [one for one in told if BINDING not in one]


def test_as_many_rows_are_given_as_are_asked_for(command: Command) -> None:
    asked = ("published", "--env", "Hopper", "--agent", "td3")
    assert len(json.loads(command(*asked, "--json", "--limit", "2").out)) == 2
    every = len(json.loads(command(*asked, "--json").out))
    assert every > 20
    assert f"{every - 20:,} more: --limit {every}" in command(*asked).out


def test_another_book_is_asked(command: Command, tmp_path: Path) -> None:
    row = BOOKS.get("cleanrl-ppo-cartpole-v1-0")
    published.write_book([dataclasses.replace(row, id="mine")], tmp_path / "mine.jsonl")
    assert "mine" in command("published", "--book", tmp_path / "mine.jsonl", "mine").out
    assert "mine" not in command("published", "--env", "CartPole-v1", "--agent", "ppo", "--json").out
