"""Settings: what wins, what is said of it, and that settings.json alone starts a run again."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rlrepro import request
from rlrepro.errors import Problem
from rlrepro.flags import MAX_SEED, train_parser
from rlrepro.papers.authoring.command import skeleton
from rlrepro.plugins.agents import IN_A_PRESET, find_agent
from rlrepro.plugins.importing import installed
from rlrepro.request import Request, parse_train
from rlrepro.settings import Settings
from tests.conftest import BRIEF, Runs

LAYERED = """
import dataclasses
from rlrepro.agent import hyper

class Layered:
    @dataclasses.dataclass(frozen=True)
    class Config:
        default: int = hyper(0, "set nowhere", "the default's source", low=0)
        star: int = hyper(0, "set by * alone", "paper", low=0)
        kind: int = hyper(0, "set by * and the kind of actions", "paper", low=0)
        env: int = hyper(0, "set by *, the kind and the environment", "paper", low=0)
        rate: float = hyper(0.5, "a float", "paper", low=0, high=1)
        gamma: float = hyper(0.9, "discount factor", "paper", low=0, high=1)
        flag: bool = hyper(True, "a switch", "paper")
        mode: str = hyper("slow", "a choice", "paper", choices=("slow", "fast"))
        layers: tuple[int, ...] = hyper((8, 8), "a list", "paper", low=1)

    PRESETS = {
        "*": {"star": 1, "kind": 1, "env": 1, "num_envs": 2, "total_timesteps": 200, "normalise_reward": True,
              "source": "all's source"},
        "Discrete": {"kind": 2, "env": 2, "total_timesteps": 300, "source": "the kind's source"},
        "Box": {"kind": 4, "env": 4},
        "CartPole-v1": {"env": 3, "total_timesteps": 400, "source": "the environment's source"},
    }

    def act(self, obs, step): ...
    def predict(self, obs, streams, deterministic): ...
    def update(self, batch, step): ...
    def get_state(self): ...
    def set_state(self, state): ...
    def get_policy(self): ...
    def set_policy(self, policy): ...
"""
LAYERED = LAYERED.replace("env: int", "env_: int").replace('"env":', '"env_":')


@pytest.fixture
def layered(tmp_path: Path) -> str:
    """An agent with a hyperparameter for each layer."""
    (tmp_path / "layered.py").write_text(LAYERED, encoding="utf-8")
    return f"{tmp_path / 'layered.py'}:Layered"


def parse(*arguments: str) -> Settings:
    request = parse_train(arguments)
    assert isinstance(request, Request)
    return request.settings


def changed(settings: Settings, file: Path, **changes: Any) -> str:
    """A settings file like these settings, but for some values; None leaves one out."""
    values = {**json.loads(settings.to_json()), **changes}
    file.write_text(json.dumps({k: v for k, v in values.items() if v is not None}), encoding="utf-8")
    return str(file)


# --- precedence


def test_the_nearest_preset_wins_and_its_source_is_shown(layered: str) -> None:
    settings = parse("--agent", layered, "--env", "CartPole-v1")
    names = ("default", "star", "kind", "env_")
    assert [settings.hyperparameters[name] for name in names] == [0, 1, 2, 3]
    assert [settings.sources[name] for name in names] == [
        "the default's source",
        "preset * (all's source)",
        "preset Discrete (the kind's source)",
        "preset CartPole-v1 (the environment's source)",
    ]
    assert (settings.total_timesteps, settings.num_envs) == (400, 2)


def test_another_environment_falls_back_to_the_preset_of_its_kind(layered: str) -> None:
    discrete = parse("--agent", layered, "--env", "Acrobot-v1")
    assert (discrete.hyperparameters["env_"], discrete.total_timesteps) == (2, 300)
    box = parse("--agent", layered, "--env", "Pendulum-v1")
    assert (box.hyperparameters["env_"], box.total_timesteps) == (4, 200)
    assert box.sources["env_"] == "preset Box (no source given)"


def test_a_settings_file_beats_presets_and_a_flag_beats_a_settings_file(layered: str, tmp_path: Path) -> None:
    base = parse("--agent", layered)
    kept = {"default": 10, "star": 10, "kind": 10, "env_": 10}
    file = changed(base, tmp_path / "s.json", hyperparameters=kept, sources=None, num_envs=5, total_timesteps=None)
    settings = parse("--settings", file, "--star", "20", "--num-envs", "7")
    assert settings.agent == layered
    assert settings.hyperparameters == {**base.hyperparameters, **kept, "star": 20}
    of_values = {name: source for name, source in base.sources.items() if name in base.hyperparameters}
    assert settings.sources == {**of_values, **dict.fromkeys(kept, "settings file"), "star": "flag"}
    assert settings.num_envs == 7
    assert parse("--settings", file).num_envs == 5
    assert settings.total_timesteps == 400  # in neither: the preset


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", (0, 1, 2)), ("3,", (3,)), ("7-7", (7,)), ("8-11", (8, 9, 10, 11)), ("1_000 - 1_001", (1000, 1001)),
     ("4,0-2, 9", (4, 0, 1, 2, 9)),
     ("4294967294-4294967295", (4294967294, 4294967295))],
)  # fmt: skip
def test_seeds_are_a_number_of_them_or_a_list_with_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert parse("--agent", "random", "--seeds", text).seeds == seeds


def test_each_flag_of_a_run_beats_its_settings_file(layered: str, tmp_path: Path) -> None:
    flags = {
        "seeds": ("--seeds", "4,2", (4, 2)),
        "total_timesteps": ("--total-timesteps", "5_000", 5000),
        "num_envs": ("--num-envs", "3", 3),
        "device": ("--device", "cuda:1", "cuda:1"),
        "env_kwargs": ("--env-kwargs", "sutton_barto_reward=True", {"sutton_barto_reward": True}),
        "wrappers": ("--wrapper", "FlattenObservation", ("FlattenObservation",)),
        "log_every": ("--log-every", "11", 11),
        "eval_every": ("--eval-every", "0", 0),
        "eval_episodes": ("--eval-episodes", "13", 13),
        "final_eval_episodes": ("--final-eval-episodes", "14", 14),
        "checkpoint_every": ("--checkpoint-every", "0", 0),
        "processes": ("--processes", "2", 2),
        "env_processes": ("--env-processes", "2", 2),
        "capture_video": ("--capture-video", "", True),
        "check_env": ("--no-check-env", "", False),
        "compile": ("--compile", "", True),
        "normalise_obs": ("--normalise-obs", "", True),
        "normalise_reward": ("--no-normalise-reward", "", False),  # which the preset sets
        "normalise_as": ("--normalise-as", "gymnasium", "gymnasium"),
        "eval_deterministic": ("--no-eval-deterministic", "", False),
        "env": ("--env", "Acrobot-v1", "Acrobot-v1"),
    }
    base = parse("--agent", layered, "--env", "CartPole-v1", "--processes", "1")
    file = changed(base, tmp_path / "s.json")
    for name, (flag, text, value) in flags.items():
        if name == "env":
            file = changed(base, tmp_path / "s.json", hyperparameters={}, sources={})
        others = ("--wrapper", "FlattenObservation") if name == "env_processes" else ()  # for want of a vector form
        settings = parse("--settings", file, *filter(None, (flag, text)), *others)
        assert getattr(settings, name) == value, name
        assert getattr(base, name) != value, name
    rest = {field.name for field in dataclasses.fields(Settings)} - set(flags)
    of_the_agent = {"hyperparameters", "sources", "stackable", "frames_per_step"}  # no flags of a run
    assert rest == {"agent", *of_the_agent}, "a setting that this test leaves out"


def test_another_agent_than_the_settings_file_s_takes_its_own_hyperparameters(layered: str, tmp_path: Path) -> None:
    file = changed(parse("--agent", layered), tmp_path / "s.json")
    settings = parse("--settings", file, "--agent", "dqn")
    assert settings.agent == "dqn"
    assert settings.hyperparameters == parse("--agent", "dqn").hyperparameters


def test_every_kind_of_hyperparameter_is_read_from_its_flag(layered: str) -> None:
    settings = parse("--agent", layered, "--rate", "1e-1", "--no-flag", "--mode", "fast", "--layers", "3,4,5",
                     "--default", "1e3")  # fmt: skip
    chosen = {"rate": 0.1, "flag": False, "mode": "fast", "layers": (3, 4, 5), "default": 1000}
    assert {name: settings.hyperparameters[name] for name in chosen} == chosen
    assert {settings.sources[name] for name in chosen} == {"flag"}
    assert all(type(settings.hyperparameters[name]) is type(value) for name, value in chosen.items())


def test_help_and_the_closing_list_show_where_each_value_came_from(layered: str, runs: Runs) -> None:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as left:
        parse("--agent", layered, "--help")
    assert left.value.code == 0
    text = " ".join(shown.getvalue().split())
    assert "set by * alone (1) [paper]" in text
    assert "CartPole-v1: env_ = 3, total_timesteps = 400 [the environment's source]" in text


# --- values as their flags take them

WHOLE_DEFAULTS = """
import dataclasses
from rlrepro.agent import hyper
from rlrepro.agents.random import Random

class Odd(Random):
    @dataclasses.dataclass(frozen=True)
    class Config:
        alpha: float = hyper(1, "a float whose default is whole", "ours", low=0)
        norm: float = hyper(0.5, "a float whose preset is whole", "ours", low=0)
        none: int = hyper(0, "whole, at most 0", "ours", high=0)
        range: tuple[float, ...] = hyper((-20.0, 2.0), "numbers", "ours")
        epochs: int = hyper(4, "whole", "ours", low=1)
        layers: tuple[int, ...] = hyper((8,), "whole numbers", "ours", low=1)

    PRESETS = {"*": PRESET}
"""


def odd(folder: Path, preset: Mapping[str, Any]) -> str:
    """An agent with a preset for all."""
    (folder / "odd.py").write_text(WHOLE_DEFAULTS.replace("PRESET}", f"{preset!r}}}"), encoding="utf-8")
    return f"{folder / 'odd.py'}:Odd"


def test_a_hyperparameter_takes_what_it_is_declared_as_not_what_its_default_looks_like(tmp_path: Path) -> None:
    name = odd(tmp_path, {"norm": 10})
    settings = parse("--agent", name, "--alpha", "0.5", "--norm", "0.25", "--range", "-4.5,2")
    assert [settings.hyperparameters[one] for one in ("alpha", "norm", "range")] == [0.5, 0.25, (-4.5, 2.0)]
    assert type(parse("--agent", name).hyperparameters["norm"]) is float
    with pytest.raises(Problem, match="--none: 1 is not from"):
        parse("--agent", name, "--none", "1")
    with pytest.raises(Problem, match=r"'1\.5' is not a whole number"):
        parse("--agent", name, "--epochs", "1.5")


def test_values_of_presets_and_settings_files_are_what_their_flags_make_of_them(tmp_path: Path) -> None:
    settings = parse("--agent", odd(tmp_path, {"total_timesteps": 6e2, "epochs": 3.0, "layers": [4, 5.0]}))
    found = settings.total_timesteps, settings.hyperparameters["epochs"], settings.hyperparameters["layers"]
    assert repr(found) == "(600, 3, (4, 5))"
    assert Settings.from_json(settings.to_json(), "a file") == settings
    file = changed(settings, tmp_path / "s.json", hyperparameters={"norm": "1e-3", "epochs": 4.0, "range": [-1, 2]})
    values = parse("--settings", file).hyperparameters
    assert repr((values["norm"], values["epochs"], values["range"])) == "(0.001, 4, (-1.0, 2.0))"


def test_a_hyperparameter_of_an_agent_that_another_builds_on_keeps_that_one_s_source(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import dataclasses\n"
        "from rlrepro.agent import hyper\n"
        "from rlrepro.agents.dqn import DQN\n"
        "class Mine(DQN):\n"
        "    @dataclasses.dataclass(frozen=True)\n"
        "    class Config(DQN.Config):\n"
        "        gamma: float = hyper(0.9, 'discount factor', 'paper: Table 2')\n"
    )
    agent = f"{tmp_path / 'mine.py'}:Mine"
    sources, base = parse("--agent", agent).sources, parse("--agent", "dqn").sources
    assert sources["gamma"] == "paper: Table 2"
    assert sources["learning_rate"] == f"of DQN: {base['learning_rate']}"
    text = skeleton(agent, "CartPole-v1")
    assert 'hyperparameters."paper: Table 2"]\ngamma = 0.9' in text
    assert 'hyperparameters."secondary: the paper of DQN, ' in text


def test_a_preset_may_give_what_is_looked_for_there(tmp_path: Path) -> None:
    parsed = ast.parse(inspect.getsource(request))
    calls = [
        node for node in ast.walk(parsed) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("pick")
    ]
    looked_for = {node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)}
    assert looked_for | {"normalise_obs", "normalise_reward"} == set(IN_A_PRESET)  # these two by a loop


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ({"total_timesteps": 0.5}, "its preset '*': total_timesteps: '0.5' is not a whole number"),
        ({"normalise_obs": 1}, "its preset '*': normalise_obs: 1 is neither true nor false"),
        ({"epochs": 0}, "its preset '*': epochs: 0 is not from 1"),
        ({"seeds": 3}, "its preset '*' sets 'seeds', which no preset may set"),
        ({"env_kwargs": "gravity=1"}, "its preset '*' sets 'env_kwargs', which no preset may set"),
        ({"alpha": None}, "its preset '*': alpha: cannot be None"),
    ],
)
def test_a_preset_that_no_flag_would_take_is_refused(
    preset: Mapping[str, Any], words: str, runs: Runs, tmp_path: Path
) -> None:
    assert words in runs.begin("r", "--agent", odd(tmp_path, preset)).problem
    assert runs.left() == []


@pytest.mark.parametrize("flag", ["--env", "--agent"])
def test_an_empty_name_is_not_the_default(flag: str, runs: Runs) -> None:
    assert runs.begin("r", flag, "").problem.startswith(f"{flag}: '' is no name")


# --- settings that follow from others


def derived(settings: Settings) -> tuple[int, ...]:
    return settings.log_every, settings.eval_every, settings.checkpoint_every, settings.processes


def test_what_was_derived_is_derived_anew_where_a_flag_changes_what_it_follows_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    small = parse("--agent", "random", "--seeds", "1", "--total-timesteps", "6000", "--eval-every", "0")
    assert derived(small) == (30, 0, 600, 1)
    file = changed(small, tmp_path / "s.json")
    assert parse("--settings", file) == small
    large = parse("--settings", file, "--total-timesteps", "1000000", "--seeds", "10")
    assert derived(large) == (5000, 0, 100_000, 2)
    again = changed(large, tmp_path / "again.json")
    assert derived(parse("--settings", again, "--num-envs", "9000", "--seed", "3")) == (9000, 0, 100_000, 1)
    assert derived(parse("--settings", again, "--log-every", "7", "--total-timesteps", "100")) == (7, 0, 10, 2)


def test_processes_are_of_the_cores_that_are_there_unless_they_were_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    there, chosen = parse("--agent", "random", "--seeds", "10"), parse("--agent", "random", "--processes", "3")
    assert (there.processes, chosen.processes) == (8, 3)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    here = parse("--settings", changed(there, tmp_path / "there.json"))
    assert here == dataclasses.replace(there, processes=2)
    assert parse("--settings", changed(chosen, tmp_path / "chosen.json")).processes == 3


def test_what_a_file_chooses_stays_and_so_does_all_of_an_older_one(tmp_path: Path) -> None:
    chosen = parse("--agent", "random", "--seeds", "1", "--total-timesteps", "6000", "--log-every", "30",
                   "--processes", "1", "--eval-every", "600", "--checkpoint-every", "600")  # fmt: skip
    more = "--total-timesteps", "1000000", "--seeds", "10"
    assert derived(parse("--settings", changed(chosen, tmp_path / "s.json"), *more)) == (30, 600, 600, 1)
    base = parse("--agent", "random", "--seeds", "1", "--total-timesteps", "6000")
    older = changed(base, tmp_path / "older.json", sources={}, processes=1)
    assert derived(parse("--settings", older, *more)) == (30, 600, 600, 1)


# --- seeds and processes


@pytest.mark.parametrize(
    ("flags", "seeds"),
    [
        ("", (0, 1, 2, 3, 4)),
        ("--seeds 3", (0, 1, 2)),
        ("--seeds 1", (0,)),
        ("--seeds 0,3,7", (0, 3, 7)),
        ("--seeds 7,0", (7, 0)),
        ("--seeds 9,", (9,)),
        ("--seed 9", (9,)),
        ("--seed 9 --seeds 3", (9, 10, 11)),
        (f"--seed {MAX_SEED}", (MAX_SEED,)),
    ],
)
def test_seeds_are_a_number_or_a_list(flags: str, seeds: tuple[int, ...]) -> None:
    assert parse("--agent", "random", *flags.split()).seeds == seeds


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--seeds 0,3,0", "seed 0 stands twice"),
        ("--seeds 0,1.5", "'1.5' is not a whole number"),
        ("--seeds ,", "names no seed"),
        ("--seeds 0", "0 is not from 1"),
        ("--seeds -3", "-3 is not from 1"),
        (f"--seeds 0,{MAX_SEED + 1}", f"{MAX_SEED + 1} is not from 0"),
        ("--seeds 1,2 --seed 4", "--seed is the first of a number of seeds"),
        (f"--seed {MAX_SEED} --seeds 2", "leaves no room for 2 seeds"),
    ],
)
def test_seeds_that_make_no_sense_are_refused(flags: str, words: str) -> None:
    with pytest.raises(Problem, match=words):
        parse("--agent", "random", *flags.split())


@given(count=st.integers(1, 40), processes=st.integers(1, 60))
def test_seeds_are_dealt_evenly_in_order_and_none_is_lost(count: int, processes: int) -> None:
    seeds = tuple(range(100, 100 + count))
    settings = dataclasses.replace(SOME, seeds=seeds, processes=processes)
    groups = settings.groups()
    assert tuple(itertools.chain(*groups)) == seeds
    assert len(groups) == min(count, processes)
    sizes = [len(group) for group in groups]
    assert max(sizes) - min(sizes) <= 1


SOME = parse("--agent", "random", *BRIEF)


# --- the environment


@pytest.mark.parametrize(
    ("text", "kwargs"),
    [
        ("g=9.8,continuous=True", {"g": 9.8, "continuous": True}),
        ("name=rocket", {"name": "rocket"}),
        ("name='a, b'", {"name": "a, b"}),
        ("map_name=8x8", {"map_name": "8x8"}),
        ("mode=rgb-array,xml_file=/data/a b.xml", {"mode": "rgb-array", "xml_file": "/data/a b.xml"}),
        ("how=raise", {"how": "raise"}),
        ("sizes=[1, 2],corner=(0, -1)", {"sizes": [1, 2], "corner": (0, -1)}),
        ("limit=None,rate=-1e-3", {"limit": None, "rate": -1e-3}),
        ('{"g": 9.8, "sizes": [1, 2]}', {"g": 9.8, "sizes": [1, 2]}),
        ("", {}),
    ],
)
def test_env_kwargs_are_names_with_python_values_or_plain_text_or_json(text: str, kwargs: Mapping[str, Any]) -> None:
    parser = train_parser(None)
    assert parser.parse_args(["--env-kwargs", text]).env_kwargs == kwargs


@pytest.mark.parametrize("text", ["9.8", "g", "=1", "g=[", "1=2", "{", '{"g": }', "[1]", "g=1,g=2", "**{'a': 1}"])
def test_env_kwargs_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(Problem, match="--env-kwargs: "):
        train_parser(None).parse_args(["--env-kwargs", text])


def test_an_environment_that_cannot_be_closed_is_no_problem(tmp_path: Path) -> None:
    source = """
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

class Stuck(CartPoleEnv):
    max_episode_steps = 20

    def close(self):
        raise RuntimeError("stuck")
"""
    (tmp_path / "stuck.py").write_text(source, encoding="utf-8")
    assert parse("--env", f"{tmp_path / 'stuck.py'}:Stuck", "--agent", "random").num_envs >= 1


def test_env_kwargs_reach_the_environment(runs: Runs) -> None:
    short = runs.finish("short", "--agent", "random", "--seed", "0", "--env-kwargs", "max_episode_steps=3",
                        "--num-envs", "1", "--env", "Pendulum-v1")  # fmt: skip
    lengths = {line.split(",")[3] for line in (short / "seeds/0/episodes.csv").read_text().splitlines()[1:]}
    assert lengths == {"3"}


@pytest.mark.parametrize("nothing", ["none", ""])
def test_a_network_may_have_no_hidden_layer(nothing: str) -> None:
    asked = parse_train(["--env", "CartPole-v1", "--agent", "reinforce", "--hidden", nothing])
    assert isinstance(asked, Request)
    assert asked.settings.hyperparameters["hidden"] == ()


# --- round trip


@pytest.mark.parametrize("agent", ["ppo", "dqn"])
def test_a_run_started_from_settings_json_alone_gives_the_same_bytes(agent: str, runs: Runs, tmp_path: Path) -> None:
    flags = {"ppo": ["--num-steps", "8", "--gamma", "0.9"], "dqn": ["--hidden", "9,5", "--learning-starts", "20"]}
    first = runs.finish(
        "first", "--agent", agent, "--seeds", "5,2", "--wrapper", "TimeLimit(max_episode_steps=11)",
        "--env-kwargs", "sutton_barto_reward=True", "--eval-every", "40", "--eval-episodes", "3", *flags[agent],
    )  # fmt: skip
    alone = tmp_path / "alone.json"
    alone.write_bytes((first / "settings.json").read_bytes())
    outcome = runs.command("train", "--settings", alone, "--run-dir", runs.folder, "--name", "again")
    assert (outcome.status, outcome.err) == (0, "")
    again = runs.folder / "again"
    assert (again / "settings.json").read_bytes() == (first / "settings.json").read_bytes()
    for seed in (5, 2):
        for name in ("episodes.csv", "evaluations.csv", "policy.safetensors"):
            one, other = (run / "seeds" / str(seed) / name for run in (first, again))
            assert one.read_bytes() == other.read_bytes(), name
        assert (first / f"seeds/{seed}/episodes.csv").read_text().count("\n") > 5


@given(data=st.data())
def test_settings_survive_their_file(data: st.DataObject) -> None:
    plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5)
    settings = dataclasses.replace(
        SOME,
        seeds=tuple(data.draw(st.lists(st.integers(0, MAX_SEED), min_size=1, max_size=4, unique=True))),
        env_kwargs=data.draw(st.dictionaries(st.text(max_size=5), plain | st.lists(plain, max_size=3), max_size=3)),
        wrappers=tuple(data.draw(st.lists(st.text(max_size=5), max_size=3))),
        hyperparameters=data.draw(
            st.dictionaries(st.text(max_size=5), plain | st.lists(st.integers(), max_size=3).map(tuple), max_size=3)
        ),
    )
    assert Settings.from_json(settings.to_json(), "a file") == settings


# --- any value

FLAGS = {
    name: [
        flag
        for action in train_parser(find_agent(name), *find_agent(name).description()[:2])._actions
        for flag in action.option_strings
        if flag not in ("-h", "--help")
    ]
    for name in installed("agents")
}
NUMBERS = st.one_of(
    st.integers(-(10**14), 10**14).map(str),
    st.floats().map(repr),
    st.sampled_from(["-1e-3", "1e400", "-0", "1_0", "0x10", "١٢", "1e5", "1.0", "00", "+5", " 7 ", "½", "1/2"]),
)
LISTS = st.lists(NUMBERS, max_size=4).map(",".join)
# What an argument of a process can be: no NUL, and bytes that are not UTF-8 arrive as lone surrogates.
TEXT = st.text(st.characters(exclude_characters="\0") | st.sampled_from("\udc80:=,()[]{}/~.-\n"), max_size=12)
NAMES = st.sampled_from(["ppo", "dqn", "random", "CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "cuda", "cpu",
                         "TimeLimit(max_episode_steps=3)", "JaxToNumpy", "vector", "~no-such-user/x.py", "x.py:Y",
                         f"{'long' * 70}.py", "os:path", "..", "/", "math:pi", "huber"])  # fmt: skip


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(sorted(FLAGS)))
    arguments = ["--agent", name]
    for _ in range(draw(st.integers(1, 3))):
        flag = draw(st.sampled_from(FLAGS[name]) | TEXT)
        value = draw(NUMBERS | LISTS | TEXT | NAMES)
        arguments += draw(st.sampled_from([[flag, value], [f"{flag}={value}"], [flag], [value]]))
    return arguments


@pytest.mark.filterwarnings("ignore")
@hypothesis_settings(max_examples=400, deadline=None, derandomize=True)
@given(arguments=command_lines())
@example(["--env", "~no-such-user/x.py"])
@example(["--env", "long" * 70 + ".py"])
@example(["--settings", "long" * 70])
@example(["--settings", "two\nlines"])
@example(["--wrapper", "JaxToNumpy"])
@example(["--wrapper", "TimeLimit(" + "(" * 300])
@example(["--env-kwargs", "a=" + "[" * 300])
@example(["--env", "json:tool"])
@example(["--env", "math:pi"])
@example(["--agent", "math:pi"])
@example(["--seeds", "1" * 5000])
@example(["--gamma", "1" * 5000])
def test_no_value_of_any_flag_gives_anything_but_settings_or_a_problem_in_one_line(arguments: list[str]) -> None:
    outcome: Any
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            outcome = parse_train(arguments)
        except (Problem, SystemExit) as left:
            outcome = left
    if isinstance(outcome, Problem):
        assert len(str(outcome).splitlines()) == 1, str(outcome)
    elif isinstance(outcome, SystemExit):
        assert outcome.code == 0
        assert {"-h", "--help"} & set(arguments)
    elif isinstance(outcome, Request):
        assert Settings.from_json(outcome.settings.to_json(), "a file") == outcome.settings
