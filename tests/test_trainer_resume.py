"""Trainers that go on in the middle of a seed: Stable-Baselines3's algorithms, and anybody's own."""

from __future__ import annotations

import gc
import random
import textwrap
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rlrepro import checkpoint, loop, recorder, replayed, snapshot, trainer, trainer_journal
from rlrepro.errors import EvaluationFailed
from rlrepro.generators import get_generators, set_generators
from rlrepro.record import RunFolder
from rlrepro.seed_log import metric_points, read_rows
from tests.conftest import Outcome, Runs, now_and_slow

pytestmark = pytest.mark.usefixtures("one_thread")

SEED = 3
StopAt = Callable[[int], None]


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> StopAt:
    """Ctrl-C in the env step of that number, once."""
    whole = trainer.RecordedTraining.stepped
    at = 0

    def stepped(training: Any) -> None:
        nonlocal at
        if training.env_step + 1 == at:
            training._journal.stop_signal, training._journal.due, at = 2, 0, 0
        whole(training)

    def set_to(step: int) -> None:
        nonlocal at
        at = step

    monkeypatch.setattr(trainer.RecordedTraining, "stepped", stepped)
    return set_to


def left_by(run: Path) -> dict[str, Any]:
    """What a seed leaves, but for what a clock says."""
    folder = run / "seeds" / str(SEED)
    timed = ("charts/SPS", "time/fps")
    curves = [(row["env_step"], row["metric"], row["value"]) for row in read_rows(folder / "metrics.csv")]
    names = ("episodes.csv", "evaluations.csv", "policy.safetensors")
    return {
        **{name: (folder / name).read_bytes() for name in names},
        "curves": [point for point in curves if point[1] not in timed],
        "results": RunFolder(run).read_json("run.json")["results"],
    }


def steps_kept(run: Path) -> list[int]:
    """The env steps of the checkpoints."""
    found = (run / "seeds" / str(SEED) / "checkpoints").glob("step-*.safetensors")
    return sorted(int(path.stem.removeprefix("step-")) for path in found)


SMALL = "--batch-size 16 --net-arch 16 --learning-starts 150"
#: each algorithm once, and once everything that one keeps from step to step
PEERS = {
    "a2c": "Pendulum-v1 --use-sde",
    "ppo": "CartPole-v1 --num-envs 2 --n-steps 40 --batch-size 20 --normalize --learning-rate-schedule linear",
    "trpo": "FrozenLake-v1 --n-steps 40 --batch-size 20",
    "dqn": f"CartPole-v1 {SMALL} --n-steps 3 --target-update-interval 70 --exploration-fraction 0.9",
    "qrdqn": f"CartPole-v1 {SMALL} --num-envs 3 --train-freq 2 --buffer-size 120 --n-quantiles 5",
    "ddpg": f"Pendulum-v1 {SMALL} --num-envs 2 --action-noise ou",
    "td3": "MountainCarContinuous-v0 --env-kwargs max_episode_steps=60 --batch-size 16 --net-arch 16 "
           "--train-freq-unit episode --gradient-steps -1 --action-noise normal",
    "sac": f"Hopper-v5 {SMALL} --num-envs 2 --normalize --n-steps 2 --use-sde --buffer-size 120 --action-noise ou",
    "tqc": f"Pendulum-v1 {SMALL} --use-sde --use-sde-at-warmup --n-quantiles 5",
    "crossq": f"Pendulum-v1 {SMALL} --net-arch-critic 16 --action-noise ou",
}  # fmt: skip
SCHEDULE = ("--seed", SEED, "--total-timesteps", "320", "--eval-every", "75", "--eval-episodes", "1",
            "--log-every", "50", "--checkpoint-every", "110")  # fmt: skip


@pytest.mark.parametrize("name", now_and_slow(PEERS, ("a2c", "ppo", "dqn", "td3", "sac")))
def test_a_peer_stopped_in_the_middle_goes_on_to_the_bytes_of_one_undisturbed(
    name: str, runs: Runs, stop_at: StopAt
) -> None:
    arguments = ("--agent", f"sb3:{name}", "--env", *PEERS[name].split(), *SCHEDULE)
    whole = runs.finish("whole", *arguments)
    stop_at(202)
    stopped = runs.begin("stopped", *arguments)
    assert stopped.status == 130
    first, last = steps_kept(runs.folder / "stopped")
    assert 110 <= first < 202 <= last <= 240, "at the next point at which it can go on"
    assert f"stopped at env step {last}; go on with: python -m rlrepro.train --resume" in stopped.problem
    again = runs.resume("stopped")
    assert (again.status, again.err) == (0, "")
    assert "begins again" not in again.out
    assert left_by(runs.folder / "stopped") == left_by(whole)
    assert steps_kept(runs.folder / "stopped") == steps_kept(whole) == [max(steps_kept(whole))], "a finished one's mark"


def test_from_an_older_checkpoint_it_goes_on_to_the_same_too(runs: Runs, stop_at: StopAt) -> None:
    """As after a kill: the newest one is gone, and more was recorded since."""
    arguments = ("--agent", "sb3:sac", "--env", "Pendulum-v1", *SMALL.split(), *SCHEDULE)
    whole = runs.finish("whole", *arguments)
    stop_at(290)
    assert runs.begin("stopped", *arguments).status == 130
    folder = runs.folder / "stopped"
    assert steps_kept(folder) == [220, 290]
    newest = folder / f"seeds/{SEED}/checkpoints/step-000000000290.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    again = runs.resume("stopped")
    assert again.status == 0
    assert "cannot be read" in again.err
    assert "seed 3 goes back to env step 220" in again.out
    assert left_by(folder) == left_by(whole)


def test_a_peer_s_run_is_not_made_longer(runs: Runs, stop_at: StopAt) -> None:
    arguments = ("--agent", "sb3:sac", "--env", "Pendulum-v1", *SMALL.split(), *SCHEDULE)
    stop_at(200)
    assert runs.begin("r", *arguments).status == 130
    said = runs.command("train", "--resume", runs.folder / "r", "--total-timesteps", "500")
    assert said.status == 2
    assert "sb3:sac owns its loop, and may have asked how long its run would be" in said.problem
    assert steps_kept(runs.folder / "r") == [110, 200]


def test_where_an_environment_cannot_give_its_state_a_seed_begins_again(runs: Runs, stop_at: StopAt) -> None:
    arguments = ("--agent", "sb3:ppo", "--env", "BipedalWalker-v3", "--n-steps", "40", "--batch-size", "20", *SCHEDULE)
    stop_at(202)
    stopped = runs.begin("stopped", *arguments)
    assert stopped.status == 130
    assert "a resume will begin a seed of sb3:ppo at its start" in stopped.out
    assert "stopped at env step 202" in stopped.problem, "at once, since there is nothing to wait for"
    assert steps_kept(runs.folder / "stopped") == []
    again = runs.resume("stopped")
    assert again.status == 0
    assert "no whole checkpoint to go on from for seed 3: begins again at the start" in again.out
    assert left_by(runs.folder / "stopped") == left_by(runs.finish("whole", *arguments))


# --- one's own

WALK = """
import dataclasses, os, random, time
import numpy as np
import torch
from rlrepro.agent import hyper

class Walk:
    '''Random actions, of all three generators of the process, that are kept in a growing array.'''

    @dataclasses.dataclass(frozen=True)
    class Config:
        rest: int = hyper(10, "env steps between resume points", "ours")
        pause: float = hyper(0.0, "seconds that a step takes", "ours")

    def __init__(self, setup, config):
        self.setup, self.config, self.drawn, self.ends, self.over = setup, config, np.zeros(0), [], False
        random.seed(setup.seeds[0]), np.random.seed(setup.seeds[0]), torch.manual_seed(setup.seeds[0])

    def train(self, training):
        env = training.make_env()
        if os.environ.get("WALK") == "another environment":
            training.make_env()
        if os.environ.get("WALK") == "late":
            training.resume_point()
            training.make_env()
        env.reset()
        while True:
            if training.env_step % self.config.rest == 0 and os.environ.get("WALK") != "no point":
                training.resume_point()
            if training.env_step >= self.setup.total_timesteps:
                break
            if self.over:
                env.reset()
            drawn = random.gauss(0, 1) + np.random.normal() + float(torch.randn(()))
            self.drawn = np.append(self.drawn, drawn)
            time.sleep(self.config.pause)
            *_, terminated, truncated, _ = env.step(int(drawn > 0))
            self.over = terminated or truncated
            if self.over:
                self.ends.append(training.env_step)
            training.tell({"losses/drawn": drawn})

    def predict(self, obs, generator, deterministic):
        np.random.normal(), random.gauss(0, 1), torch.randn(())
        return np.zeros(len(obs), int)

    def get_state(self):
        return {"drawn": self.drawn, "ends": self.ends, "over": self.over}

    def set_state(self, state):
        name = "steps" if os.environ.get("WALK") == "another state" else "drawn"
        self.drawn, self.ends, self.over = state[name], list(state["ends"]), state["over"]

    def get_policy(self):
        return {"drawn": self.drawn, "ends": np.array(len(self.ends))}

    def set_policy(self, policy):
        pass
"""


@pytest.fixture
def walk(runs: Runs, tmp_path: Path) -> Callable[..., Outcome]:
    """Begins a run by WALK, with changes to its source: `walk(name, (old, new), flags=...)`."""

    def begin(name: str, *changes: tuple[str, str], flags: tuple[str, ...] = ()) -> Outcome:
        source = WALK
        for old, new in changes:
            assert source.count(old) == 1
            source = source.replace(old, new)
        (tmp_path / f"{name}.py").write_text(source)
        return runs.begin(name, "--agent", f"{tmp_path / name}.py:Walk", "--env", "CartPole-v1", *SCHEDULE, *flags)

    return begin


def test_a_trainer_of_one_s_own_goes_on_with_its_generators(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt
) -> None:
    """Also where it draws from them as it is built anew."""
    assert walk("whole").status == 0
    begins = "    def set_state(self, state):\n"
    for name, change in {"stopped": begins, "draws": f"{begins}        random.random(), np.random.normal()\n"}.items():
        stop_at(123)
        stopped = walk(name, (begins, change))
        assert "stopped at env step 130; go on with" in stopped.problem
        for seed in (random, np.random):
            seed.seed(0)  # another process would have others
        torch.manual_seed(0)
        assert runs.resume(name).status == 0
        assert left_by(runs.folder / name) == left_by(runs.folder / "whole")


def test_an_environment_that_was_never_reset_begins_from_its_seed_after_a_resume() -> None:
    setup = SimpleNamespace(seeds=(3,), num_envs=2)
    whole, stopped, resumed = (
        trainer.RecordedEnv(gymnasium.make("CartPole-v1"), 1, SimpleNamespace(setup=setup))  # type: ignore[arg-type]
        for _ in range(3)
    )
    resumed.set_state(checkpoint.as_loaded(stopped.get_state()))
    assert resumed.reset()[0].tobytes() == whole.reset()[0].tobytes()
    assert resumed.reset()[0].tobytes() == whole.reset()[0].tobytes()


def test_evaluations_take_nothing_from_the_generators_of_training(runs: Runs, walk: Callable[..., Outcome]) -> None:
    assert walk("whole").status == 0
    assert walk("busy", flags=("--eval-every", "20")).status == 0
    whole, busy = (left_by(runs.folder / name) for name in ("whole", "busy"))
    for name in ("episodes.csv", "policy.safetensors"):
        assert busy[name] == whole[name]


def test_the_pace_after_a_resume_counts_from_its_step(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that stands still, which counts for a billionth of a second."""
    clock = SimpleNamespace(perf_counter=lambda: 7.0, time=lambda: 0.0, monotonic=lambda: 0.0)
    monkeypatch.setattr(recorder, "time", clock)
    monkeypatch.setattr(trainer_journal, "time", clock)
    stop_at(123)
    assert "stopped at env step 130" in walk("r").problem
    assert runs.resume("r").status == 0
    paces = [values["charts/SPS"] for *_, values in metric_points(RunFolder(runs.folder / "r"), [SEED])
             if "charts/SPS" in values]  # fmt: skip
    assert paces == [pytest.approx(steps * 1e9) for steps in (50, 50, 20, 50, 50, 50)]


def test_asked_to_stop_before_its_first_step_it_stops_at_the_first_point_behind_one(
    runs: Runs, walk: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = trainer_journal.TrainerJournal.check_state

    def check_and_stop(journal: Any) -> None:
        journal.stop_signal = 2
        check(journal)

    with monkeypatch.context() as patched:
        patched.setattr(trainer_journal.TrainerJournal, "check_state", check_and_stop)
        assert "stopped at env step 10; go on with" in walk("r").problem
    assert steps_kept(runs.folder / "r") == [10]
    assert runs.resume("r").status == walk("whole").status == 0
    assert left_by(runs.folder / "r") == left_by(runs.folder / "whole")


def test_a_policy_whose_last_evaluation_failed_goes_once_training_goes_on(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = loop.evaluate

    def fails(*given: Any) -> loop.Evaluation:
        if ("final evaluation",) in given:
            raise EvaluationFailed("no room")
        return evaluate(*given)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "evaluate", fails)
        assert "no room; the policy is kept (rlrepro evaluate " in walk("r").problem
    policy = RunFolder(runs.folder / "r").policy(SEED)
    assert policy.is_file()
    stop_at(303)
    assert "stopped at env step 310" in runs.resume("r").problem
    assert not policy.exists()
    assert runs.resume("r").status == 0
    assert policy.is_file()


def test_an_interrupt_of_one_that_comes_to_no_more_points_is_kept_for_its_end(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt
) -> None:
    stop_at(318)
    stopped = walk("stopped", flags=("--rest", "300"))
    assert stopped.status == 130
    assert "stopped in the last evaluation, at env step 320" in stopped.problem
    assert steps_kept(runs.folder / "stopped") == [300]
    assert runs.resume("stopped").status == 0
    assert walk("whole", flags=("--rest", "300")).status == 0
    assert left_by(runs.folder / "stopped") == left_by(runs.folder / "whole")


def test_a_long_way_to_the_next_point_is_told(
    walk: Callable[..., Outcome], stop_at: StopAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_journal, "LONG_WAIT", 0.02)
    stop_at(123)
    told = walk("slow", flags=("--pause", "0.01")).out
    assert told.count("can go on; asked again, it stops at once with what was saved before") == 1
    monkeypatch.setattr(trainer_journal, "LONG_WAIT", 60)
    stop_at(123)
    assert "asked again" not in walk("soon").out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("self.config.rest == 0", "self.config.rest == 5",
         "Walk takes a step before its first resume_point(): it belongs before the first"),
        ('"ends": self.ends,', '"ends": set(self.ends),',
         "Walk gives more than arrays and plain data: ends: a checkpoint holds arrays and plain data, not set"),
        ('"ends": self.ends,', "3: self.ends,",
         "Walk gives more than arrays and plain data: a checkpoint holds tables with texts as keys, not 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_gone_on_from_is_said_at_once(
    old: str, new: str, said: str, runs: Runs, walk: Callable[..., Outcome]
) -> None:
    outcome = walk("wrong", (old, new))
    assert outcome.status in (1, 2)
    assert said in outcome.problem


def test_an_environment_that_is_made_late_is_refused_at_once(
    walk: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WALK", "late")
    assert "Walk makes an environment after its first resume_point(): all are made before it" in walk("late").problem


def test_without_memory_for_a_checkpoint_the_run_goes_on(
    runs: Runs, walk: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert walk("whole").status == 0
    save, count = checkpoint.save, 0

    def save_but_once(*given: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise MemoryError
        save(*given)

    monkeypatch.setattr(checkpoint, "save", save_but_once)
    outcome = walk("r")
    assert outcome.status == 0
    assert "no memory for a checkpoint at env step 220: everything up to env step 110 is saved" in outcome.out
    assert left_by(runs.folder / "r") == left_by(runs.folder / "whole")


def test_a_checkpoint_waits_for_an_episode_that_has_a_state(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = """
    import gymnasium as gym

    class Engine:
        t = 0

    class Long(gym.Env):
        observation_space, action_space = gym.spaces.Discrete(71), gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.engine = Engine()
            return 0, {}

        def step(self, action):
            self.engine.t += 1
            return self.engine.t, 0.0, False, self.engine.t == 70, {}
    """
    (tmp_path / "long.py").write_text(textwrap.dedent(source))
    monkeypatch.setattr(replayed, "LONGEST", 60)
    flags = ("--env", f"{tmp_path / 'long.py'}:Long", "--rest", "5", "--checkpoint-every", "205")
    waits = "Long gives no state now: its episode is longer than 60 steps: the checkpoint is written as soon as it does"
    stop_at(225)
    outcome = walk("r", flags=flags)
    assert steps_kept(runs.folder / "r") == [215, 225], "the fourth episode begins after the point at 210"
    assert outcome.out.count(waits) == 1
    stop_at(203)
    stopped = walk("early", flags=flags)
    assert stopped.out.count(waits) == 1
    assert "stopped at env step 205; there is no checkpoint yet, a resume begins at the start" in stopped.problem


def test_what_was_kept_is_let_go_once_it_is_put_back(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the replay buffer that is made of it there is no room for it."""
    stop_at(123)
    assert walk("r").status == 130
    loaded: list[weakref.ref[np.ndarray]] = []
    load, finish = checkpoint.load, trainer_journal.TrainerJournal.finish

    def load_watched(path: Path) -> Any:
        state, about = load(path)
        loaded.append(weakref.ref(state["trainer"]["drawn"]))
        return state, about

    def finish_looked_at(journal: Any) -> None:
        journal._trainer.drawn = journal._trainer.drawn.copy()
        gc.collect()
        assert [one() for one in loaded] == [None] * len(loaded)
        finish(journal)

    monkeypatch.setattr(checkpoint, "load", load_watched)
    monkeypatch.setattr(trainer_journal.TrainerJournal, "finish", finish_looked_at)
    assert runs.resume("r").status == 0
    assert loaded


@pytest.mark.parametrize("num_envs", ["2", "3"])
def test_a_point_between_the_sub_environments_steps_loses_no_appointment(
    num_envs: str, runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt
) -> None:
    """Evaluations are due at 75, 150 and 225, points of the curves at 50, 100 …; each is held after a whole step."""
    flags = ("--num-envs", num_envs, "--rest", "25")
    assert walk("whole", flags=flags).status == 0
    for step in (74, 98, 149):
        stop_at(step)
        assert f"stopped at env step {-(-step // 25) * 25}" in walk(f"r{step}", flags=flags).problem
        assert runs.resume(f"r{step}").status == 0
        assert left_by(runs.folder / f"r{step}") == left_by(runs.folder / "whole")


def test_a_resume_that_has_no_step_to_take_ends_well_and_one_that_is_stopped_at_once_says_how_to_go_on(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert walk("whole").status == 0
    stop_at(320)
    assert "stopped at env step 320" in walk("r").problem
    folder = runs.folder / "r"
    restore = trainer_journal.TrainerJournal.restore

    def restore_and_stop(journal: Any, kept: Any) -> int:
        journal.stop_signal = 2
        return restore(journal, kept)

    with monkeypatch.context() as patched:
        patched.setattr(trainer_journal.TrainerJournal, "restore", restore_and_stop)
        written = (folder / f"seeds/{SEED}/checkpoints/step-000000000320.safetensors").stat().st_mtime_ns
        assert "stopped at env step 320; go on with" in runs.resume("r").problem
        assert (folder / f"seeds/{SEED}/checkpoints/step-000000000320.safetensors").stat().st_mtime_ns == written
    assert runs.resume("r").status == 0
    assert not (folder / ".tensorboard").exists(), "the curves that were set aside"
    assert left_by(folder) == left_by(runs.folder / "whole")


def test_where_the_environment_gives_no_state_any_more_that_is_said(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(123)
    assert walk("r").status == 130
    monkeypatch.setattr(snapshot, "can_restore", lambda *_, **__: "it forgot")
    said = runs.resume("r").problem
    assert "cannot go on from it: CartPole-v1 has no state (it forgot; replaying its actions: it forgot); with " in said
    assert said.endswith("seeds/3 moved away a resume begins seed 3 at its start")


def test_a_broken_environment_says_what_is_saved(runs: Runs, walk: Callable[..., Outcome], tmp_path: Path) -> None:
    source = """
    import gymnasium as gym

    class Breaks(gym.Env):
        observation_space, action_space, total = gym.spaces.Discrete(9), gym.spaces.Discrete(2), 0

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.total += seed is None
            return 0, {}

        def step(self, action):
            self.total += 1
            if self.total > 260:
                raise OSError("no wheel")
            return 1, 0.0, False, self.total % 20 == 0, {}
    """
    (tmp_path / "breaks.py").write_text(textwrap.dedent(source))
    outcome = walk("r", flags=("--env", f"{tmp_path / 'breaks.py'}:Breaks", "--eval-every", "0"))
    assert "no wheel in step" in outcome.problem
    assert "; everything up to env step 220 is saved; go on with" in outcome.problem


def test_a_state_that_grows_beyond_plain_data_is_told_and_the_run_goes_on(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt
) -> None:
    change = ("self.ends.append(training.env_step)", "self.ends.append({1})")
    outcome = walk("grows", change)
    assert outcome.status == 0
    said = "not set: there are no more checkpoints; there is no checkpoint yet, a resume begins at the start"
    assert outcome.out.count(f"ends: a checkpoint holds arrays and plain data, {said}") == 1
    stop_at(202)
    assert "stopped at env step 202" in walk("stops", change).problem, "at once, since there is nothing to wait for"


@pytest.mark.parametrize(
    ("change", "said"),
    {
        "another environment": "cannot go on from it: it has made 2 environments here, and had 1",
        "another state": "cannot go on from it: KeyError: 'steps'",
        "no point": "takes a step before its resume_point(), and cannot go on",
    }.items(),
)
def test_one_that_goes_on_otherwise_than_it_began_is_refused_with_all_as_it_was(
    change: str, said: str, runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(123)
    assert walk("r").status == 130

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (runs.folder / "r/seeds").rglob("*") if path.is_file()}

    before = files()
    monkeypatch.setenv("WALK", change)
    assert said in runs.resume("r").problem
    assert files() == before
    monkeypatch.delenv("WALK")
    assert runs.resume("r").status == 0


def test_one_without_resume_points_begins_again_as_before(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt
) -> None:
    stop_at(123)
    stopped = walk("r", ("    def set_state", "    def take_state"))
    assert "stopped at env step 123" in stopped.problem
    assert steps_kept(runs.folder / "r") == []
    again = runs.resume("r")
    assert "cannot go on in the middle, and begins again from the start: seed 3" in again.out


def test_a_cut_episode_and_a_lost_life_are_gone_on_with(
    runs: Runs, walk: Callable[..., Outcome], stop_at: StopAt, tmp_path: Path
) -> None:
    """A resume between an end that is learnt and the reset after it: the game goes on, and so does its return."""
    source = """
    import gymnasium as gym, numpy as np

    class Lives(gym.Env):
        max_episode_steps = 1000
        observation_space, action_space = gym.spaces.Discrete(1000), gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.t = 0
            return 0, {}

        def step(self, action):
            self.t += 1
            reward = float(self.np_random.random())
            return self.t, reward, self.t == 50, False, {"learn": (1.0, self.t % 10 == 0)}
    """
    (tmp_path / "lives.py").write_text(textwrap.dedent(source))
    env = ("--env", f"{tmp_path / 'lives.py'}:Lives")
    assert walk("whole", flags=env).status == 0
    stop_at(125)
    assert "stopped at env step 130" in walk("stopped", flags=env).problem
    state, _ = checkpoint.load(runs.folder / f"stopped/seeds/{SEED}/checkpoints/step-000000000130.safetensors")
    assert state["envs"][0]["going_on"] == 30
    assert state["envs"][0]["episode_length"] == 30
    assert runs.resume("stopped").status == 0
    assert left_by(runs.folder / "stopped") == left_by(runs.folder / "whole")
    lengths = [row["episode_length"] for row in read_rows(runs.folder / f"whole/seeds/{SEED}/episodes.csv")]
    assert lengths == ["50"] * 6


def test_generators_are_put_back_as_they_were() -> None:
    def draw() -> list[float]:
        return [random.gauss(0, 1), random.random(), np.random.normal(), float(torch.randn(()))]

    before = get_generators()
    try:
        draw()  # the second of a pair of normal numbers is held back
        state = checkpoint.as_loaded(get_generators())
        first = [draw() for _ in range(3)]
        set_generators(state)
        assert [draw() for _ in range(3)] == first
    finally:
        set_generators(before)
