"""The order of a step, the count of episodes, and evaluation, each against a slower way to the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rlrepro import loop
from rlrepro.agent import Setup, Transition
from rlrepro.errors import Problem, RunStopped
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.environments import find_env
from rlrepro.seed_log import read_rows
from rlrepro.streams import Streams, env_seed
from rlrepro.vector import EnvBatch, SyncEnvBatch, VectorEnv
from tests.conftest import Runs

# --- the order


class Tape:
    """Agent, memory, environment and record in one, which notes how the loop calls it."""

    num_envs = 2

    def __init__(self, due: int, ends_at: tuple[int, ...]) -> None:
        self.tape: list[tuple[Any, ...]] = []
        self.memory, self.due, self.ends_at = self, due, ends_at
        self.obs, self.steps, self.ended = np.array([[0, 0]]), 0, None

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        self.tape.append(("act", obs.tolist(), step))
        return obs + 100, {"extra": obs}

    def step(self, action: np.ndarray, extras: Mapping[str, Any]) -> tuple[Transition, np.ndarray]:
        self.tape.append(("step", action.tolist(), extras["extra"].tolist()))
        self.steps += 1
        end = np.array([[False, self.steps in self.ends_at]])
        self.ended = end if end.any() else None
        self.reward, self.terminated, self.truncated = np.array([[1.0, 2.0]]), end, ~end
        self.transition = Transition(self.obs, action, self.reward, self.obs + 1, end, ~end, extras)
        self.obs = self.obs + 10
        return self.transition, self.obs

    def add(self, transition: Transition) -> None:
        assert transition is self.transition
        self.tape.append(("add",))

    def ended_(self, env_step: int, episodes: list[loop.Episode]) -> None:
        self.tape.append(("ended", env_step, [tuple(episode) for episode in episodes]))

    def ready(self, step: int) -> Iterator[str]:
        self.tape.append(("ready", step))
        yield from ("first", "second")[: 2 if step else 0]  # nothing at step 0

    def update(self, batch: str, step: int) -> str:
        self.tape.append(("update", batch, step))
        return f"metrics of {batch}"

    def updated(self, metrics: str) -> None:
        self.tape.append(("updated", metrics))

    def tick(self, env_step: int) -> None:
        self.tape.append(("tick", env_step))
        self.due = 100


class Record:
    """The record's side of a tape, since `ended` is a value of the environment and a method of the record."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.updated, self.tick, self.ended = tape, tape.updated, tape.tick, tape.ended_

    @property
    def due(self) -> int:
        return self.tape.due


def test_a_step_is_act_step_add_learn_record_in_that_order() -> None:
    tape = Tape(due=3, ends_at=(2,))
    loop.train(tape, tape, 5, Record(tape), loop.EpisodeCounter(1, 2))  # type: ignore[arg-type]
    assert tape.tape == [
        ("act", [[0, 0]], 0),
        ("step", [[100, 100]], [[0, 0]]),
        ("add",),
        ("ready", 0),
        ("act", [[10, 10]], 2),
        ("step", [[110, 110]], [[10, 10]]),
        ("add",),
        ("ended", 4, [(0, 1, 4.0, 2, True, False)]),
        ("ready", 2),
        ("update", "first", 2),
        ("updated", "metrics of first"),
        ("update", "second", 2),
        ("updated", "metrics of second"),
        ("tick", 4),
        ("act", [[20, 20]], 4),
        ("step", [[120, 120]], [[20, 20]]),
        ("add",),
        ("ready", 4),
        ("update", "first", 4),
        ("updated", "metrics of first"),
        ("update", "second", 4),
        ("updated", "metrics of second"),
    ]


def test_training_goes_on_from_the_step_of_a_resume() -> None:
    whole, second = Tape(100, (3,)), Tape(100, (3,))
    loop.train(whole, whole, 10, Record(whole), loop.EpisodeCounter(1, 2))  # type: ignore[arg-type]
    counter = loop.EpisodeCounter(1, 2)
    loop.train(second, second, 4, Record(second), counter)  # type: ignore[arg-type]
    loop.train(second, second, 10, Record(second), counter, first_step=4)  # type: ignore[arg-type]
    assert second.tape == whole.tape


def test_an_agent_learns_from_a_step_before_it_acts_again() -> None:
    tape = Tape(due=100, ends_at=())
    loop.train(tape, tape, 8, Record(tape), loop.EpisodeCounter(1, 2))  # type: ignore[arg-type]
    kinds = "".join(call[0][0] for call in tape.tape if call[0] in ("act", "update"))
    assert kinds == "a" + "auu" * 3


# --- episode counts


class Kept:
    """The record of a run of the loop: its episodes with their env steps."""

    due = 10**9

    def __init__(self) -> None:
        self.episodes: list[tuple[int, loop.Episode]] = []

    def updated(self, metrics: Any) -> None: ...

    def tick(self, env_step: int) -> None: ...

    def ended(self, env_step: int, episodes: list[loop.Episode]) -> None:
        self.episodes += [(env_step, episode) for episode in episodes]


@pytest.mark.parametrize("form", ["batched", "singles"])
@pytest.mark.parametrize(("gym_id", "limit"), [("CartPole-v1", 25), ("Pendulum-v1", 13)])
def test_episodes_are_those_of_record_episode_statistics(form: str, gym_id: str, limit: int) -> None:
    seeds, num_envs, num_steps = (0, 3), 2, 150
    source = find_env(gym_id, {"max_episode_steps": limit})
    batch = source.batch(4) if form == "batched" else SyncEnvBatch(source.make, 4)
    env = VectorEnv(batch, seeds, num_envs)
    agent = build("random", env, seeds, num_envs)
    actions: list[np.ndarray] = []
    step = env.step

    def noted(action: np.ndarray, extras: Mapping[str, Any]) -> tuple[Transition, np.ndarray]:
        actions.append(action)
        return step(action, extras)

    env.step = noted  # type: ignore[method-assign]
    env.reset()
    kept = Kept()
    loop.train(agent, env, num_steps * num_envs, kept, loop.EpisodeCounter(2, num_envs))

    for row, seed in enumerate(seeds):
        for n in range(num_envs):
            single = gym.wrappers.RecordEpisodeStatistics(gym.make(gym_id, max_episode_steps=limit))
            single.reset(seed=env_seed(seed, "env", n))
            expected = []
            for t, action in enumerate(actions):
                _, _, terminated, truncated, info = single.step(action[row, n])
                if terminated or truncated:
                    statistics = info["episode"]
                    expected.append(((t + 1) * num_envs, statistics["l"], terminated, truncated, statistics["r"]))
                    single.reset()
            found = [(step, e.episode_length, e.terminated, e.truncated, e.episode_return)
                     for step, e in kept.episodes if (e.row, e.env) == (row, n)]  # fmt: skip
            assert len(expected) >= 5
            assert [one[:4] for one in found] == [one[:4] for one in expected]
            # RecordEpisodeStatistics adds up in single precision.
            np.testing.assert_allclose([one[4] for one in found], [one[4] for one in expected], rtol=1e-5)


def build(name: str, spaces: Any, seeds: Sequence[int], num_envs: int = 1, **config: Any) -> Any:
    """An agent that has learnt nothing yet."""
    form = find_agent(name).load()
    setup = Setup(spaces.observation_space, spaces.action_space, tuple(seeds), num_envs, 1000)
    return form(setup, form.Config(**config))


# --- evaluation


class Probe(gym.Env[np.ndarray, int]):
    """Lasts 1 to 30 steps, the longer the better: its return is its length times `1000 a`, for a constant action a.

    What it is worth is drawn at the reset, so that each episode's return tells which seed it began from.
    """

    observation_space = Box(0, 1000, (2,), np.float32)
    action_space = Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = self.length = int(self.np_random.integers(1, 31))
        return np.array([self.length, self.left], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.left > 0, "a step after the end"
        self.left -= 1
        reward = self.length if action else 0.0
        return np.array([self.length, self.left], np.float32), reward, self.left == 0, False, {}


class Constant:
    """Always acts alike."""

    def __init__(self, action: Any) -> None:
        self.action = np.asarray(action)

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        return np.broadcast_to(self.action, (*obs.shape[:2], *self.action.shape))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (2, r"the agent's predict gives the action 2, which is not in Discrete\(2\)"),
        (-1, "the action -1"),
        (0.5, "actions of float64, not whole numbers"),
        ([0, 1], r"actions of shape \[1, 3, 2\], not \[1, 3\]: \[S, E, ...\] for Discrete"),
    ],
)
def test_predictions_that_are_no_actions_are_refused(action: Any, words: str) -> None:
    agent: Any = Constant(action)
    with pytest.raises(Problem, match=words):
        loop.evaluate(agent, find_env("CartPole-v1").batch(3), (0,), 3, True)


def test_an_action_that_comes_late_is_refused_too() -> None:
    env = VectorEnv(find_env("CartPole-v1").batch(2), (0, 1), 1)
    env.reset()
    for action in range(64):
        env.step(np.full((2, 1), action % 2), {})
    with pytest.raises(Problem, match="the agent's act gives the action 2"):
        env.step(np.array([[0], [2]]), {})
    with pytest.raises(Problem, match="the agent's act gives the action -1"):
        env.step(np.array([[0], [-1]]), {})
    env.step(np.zeros((2, 1), int), {})
    with pytest.raises(Problem, match=r"actions of shape \[1, 2\], not \[2, 1\]"):
        env.step(np.zeros((1, 2), int), {})


def one_by_one(
    agent: Any, make: Any, seeds: Sequence[int], num_episodes: int, purpose: Sequence[str | int]
) -> list[list[float]]:
    """The returns of a deterministic policy, one episode after the other."""
    returns = []
    for row, seed in enumerate(seeds):
        returns.append([])
        for episode in range(num_episodes):
            env = make()
            obs, _ = env.reset(seed=env_seed(seed, *purpose, episode))
            total, over = 0.0, False
            while not over:
                rows = np.repeat(np.asarray(obs)[None, None], len(seeds), 0)
                action = agent.predict(rows, Streams(seeds, "unused"), True)[row, 0]
                obs, reward, terminated, truncated, _ = env.step(action)
                total += float(reward)
                over = terminated or truncated
            returns[-1].append(total)
    return returns


@pytest.mark.parametrize("num_slots", [1, 3, 7, 20])
def test_evaluation_gives_the_returns_of_episodes_played_one_by_one(
    num_slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, purpose, num_episodes = (4, 0, 9), ("evaluation", 50), 20
    monkeypatch.setattr(loop, "evaluation_slots", lambda _: num_slots)
    batch = SyncEnvBatch(Probe, 3 * num_slots)
    agent = build("dqn", batch, seeds)
    found = loop.evaluate(agent, batch, seeds, num_episodes, True, purpose)
    expected = one_by_one(agent, Probe, seeds, num_episodes, purpose)
    assert found.episode_return.tolist() == expected
    assert np.unique(found.episode_length).size > 5


def test_evaluation_of_a_batched_form_gives_the_returns_of_single_environments() -> None:
    source, seeds = find_env("CartPole-v1"), (0, 3)
    batch = source.batch(len(seeds) * loop.evaluation_slots(12))
    agent = build("ppo", batch, seeds)
    found = loop.evaluate(agent, batch, seeds, 12, True)
    assert found.episode_return.tolist() == one_by_one(agent, source.make, seeds, 12, ("evaluation",))
    np.testing.assert_array_equal(found.episode_return, found.episode_length)  # CartPole pays 1 a step


def test_short_episodes_are_not_over_represented() -> None:
    """Of the episodes that end first too many are short, so that to take those would be seen."""
    batch = SyncEnvBatch(Probe, loop.evaluation_slots(1000))
    lengths = loop.evaluate(Constant(1), batch, (0,), 1000, True).episode_length[0]  # type: ignore[arg-type]
    error = lengths.std() / np.sqrt(len(lengths))
    assert abs(lengths.mean() - 15.5) < 3 * error
    slots = lengths.reshape(10, 100)  # [share of a slot, slot]
    ends = slots.cumsum(0)
    first_to_end = slots[ends <= np.sort(ends, None)[199]]
    assert first_to_end.mean() < 15.5 - 3 * error  # so the test could have failed


def test_a_known_return_is_measured_exactly() -> None:
    batch = SyncEnvBatch(Probe, 10)
    for action in (0, 1):
        found = loop.evaluate(Constant(action), batch, (5,), 10, True)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.episode_return, action * found.episode_length**2)


def test_an_episode_that_runs_on_and_on_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A greedy policy may walk round in a circle for ever, where the environment has no time limit."""
    monkeypatch.setattr(loop, "LONG_EPISODE", 20)  # Probe's episodes have up to 30 steps
    told: list[str] = []
    batch = SyncEnvBatch(Probe, 80)
    patience = loop.LongEpisodeWarning(told.append)
    found = loop.evaluate(Constant(1), batch, (5, 6), 40, True, watch=patience)  # type: ignore[arg-type]
    assert (found.episode_length >= 20).sum() > 1
    assert len(told) == 1
    assert "has not ended after 20 env steps (evaluation)" in told[0]


def test_episodes_begin_from_seeds_of_their_own() -> None:
    def lengths(seeds: Sequence[int], num_episodes: int, *purpose: str | int) -> list[list[int]]:
        batch = SyncEnvBatch(Probe, len(seeds) * num_episodes)
        agent: Any = Constant(1)
        return loop.evaluate(agent, batch, seeds, num_episodes, True, purpose).episode_length.tolist()

    def first_length(seed: int) -> int:
        return int(Probe().reset(seed=seed)[0][0])

    many = lengths((0, 3), 30, "evaluation", 50)
    assert many == [[first_length(env_seed(seed, "evaluation", 50, e)) for e in range(30)] for seed in (0, 3)]
    assert many[0] != many[1]
    assert lengths((3,), 30, "evaluation", 50) == many[1:]  # whatever is evaluated beside it
    assert [row[:7] for row in many] == lengths((0, 3), 7, "evaluation", 50)  # however many come after
    assert lengths((0, 3), 30, "evaluation", 60) != many
    assert lengths((0, 3), 30, "final evaluation") != many


@pytest.mark.parametrize("name", ["ppo", "ppo_split", "dqn", "c51", "qrdqn", "rainbow", "pqn", "random"])
def test_evaluation_changes_nothing_in_the_agent_and_can_be_repeated(name: str) -> None:
    source, seeds = find_env("CartPole-v1"), (0, 3)
    env = VectorEnv(source.batch(4), seeds, 2)
    agent = build(name, env, seeds, 2)
    obs = env.reset()
    agent.act(obs, 0)
    before = repr(agent.get_state())
    rounds = [loop.evaluate(agent, source.batch(10), seeds, 5, False).episode_return.tolist() for _ in range(3)]
    assert rounds[0] == rounds[1] == rounds[2]
    assert repr(agent.get_state()) == before
    untouched = build(name, env, seeds, 2)
    untouched.act(obs, 0)
    np.testing.assert_array_equal(agent.act(obs, 2)[0], untouched.act(obs, 2)[0])


class Coin(gym.Env[np.ndarray, int]):
    """Twenty throws: a step pays 1 for action 1."""

    observation_space = Box(0, 1, (1,), np.float32)
    action_space = Discrete(2)

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.left = 20
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return np.zeros(1, np.float32), float(action), self.left == 0, False, {}


def test_a_deterministic_policy_repeats_itself_and_a_stochastic_one_explores() -> None:
    batch = SyncEnvBatch(Coin, 2 * 50)
    agent = build("ppo", batch, (0, 1))
    fixed = loop.evaluate(agent, batch, (0, 1), 50, True).episode_return
    for returns in fixed:
        assert set(returns) in ({0.0}, {20.0})  # the same observation, the same action
    free = loop.evaluate(agent, batch, (0, 1), 50, False).episode_return
    # PPO begins near uniform: 1000 throws a seed have a mean of 10 an episode and a standard error of 0.32.
    assert (abs(free.mean(1) - 10) < 1.5).all()
    assert (free.std(1) > 1).all()
    assert (free[0] != free[1]).any()


def test_every_evaluation_explores_by_numbers_of_its_own() -> None:
    """One that drew those of the evaluation before it would try the same again."""

    class Drawing:
        def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
            return streams.integers(2, obs.shape[1])

    def returns(seeds: tuple[int, ...], *purpose: str | int) -> list[list[float]]:
        batch, agent = SyncEnvBatch(Coin, 30 * len(seeds)), Drawing()
        found = loop.evaluate(agent, batch, seeds, 30, False, purpose)  # type: ignore[arg-type]
        return found.episode_return.tolist()

    both = returns((0, 3), "evaluation", 50)
    assert returns((0, 3), "evaluation", 50) == both
    assert returns((3,), "evaluation", 50) == both[1:] != both[:1]
    others = returns((0, 3), "evaluation", 60), returns((0, 3), "final evaluation")
    assert all(other[row] != both[row] for other in others for row in range(2))


def test_a_dqn_explores_in_a_stochastic_evaluation_as_often_as_its_last_epsilon_says() -> None:
    batch = SyncEnvBatch(Coin, 50)
    agent = build("dqn", batch, (0,), epsilon_end=0.4)
    fixed = loop.evaluate(agent, batch, (0,), 50, True).episode_return
    free = loop.evaluate(agent, batch, (0,), 50, False).episode_return
    assert abs(abs(free - fixed).mean() / 20 - 0.2) < 0.05  # half of the random actions are the greedy one


class Told(gym.Env[np.ndarray, Any]):
    """Pays what it is told, one step long."""

    observation_space = Box(0, 1, (1,), np.float32)

    def __init__(self, action_space: gym.Space[Any]) -> None:
        self.action_space = action_space

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), repr(action)
        return np.zeros(1, np.float32), float(np.sum(action)), True, False, {}


@pytest.mark.parametrize(
    ("space", "action", "paid"),
    [
        (Discrete(3, start=-7), 2, -5),
        (Box(-1, np.array([2, 3], np.float32)), np.array([9, -9], np.float32), 1),
    ],
    ids=["Discrete", "Box"],
)
def test_actions_in_evaluation_are_shifted_and_clipped_as_in_training(
    space: gym.Space[Any], action: Any, paid: float
) -> None:
    batch = SyncEnvBatch(lambda: Told(space), 2)
    agent: Any = Constant(action)
    assert loop.evaluate(agent, batch, (0,), 2, True).episode_return.tolist() == [[paid, paid]]
    env = VectorEnv(batch, (0,), 2)
    env.reset()
    transition, _ = env.step(agent.predict(np.zeros((1, 2, 1)), Streams((0,), "unused"), True), {})
    assert transition.reward.tolist() == [[paid, paid]]


class Failing(Probe):
    """Fails in its second episode."""

    episodes = 0

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.episodes += 1
        if self.episodes == 2:
            raise OSError("the licence ran out")
        return super().reset(**options)


def test_an_environment_that_fails_in_evaluation_is_named_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "evaluation_slots", lambda _: 2)
    envs = iter([Probe, Probe, Failing, Failing])
    batch = SyncEnvBatch(lambda: next(envs)(), 4)
    agent: Any = Constant(1)
    with pytest.raises(
        RunStopped, match=r"raised OSError: the licence ran out in reset, test_loop\.py:\d+ \(evaluation, seed 8\)$"
    ):
        loop.evaluate(agent, batch, (3, 8), 4, True)


@pytest.mark.parametrize(("place", "seed"), [(0, 3), (1, 3), (2, 8), (3, 8), (4, 5), (5, 5)])
def test_whichever_sub_environment_fails_its_seed_is_named(
    place: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaks(Told):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            raise OSError("it broke")

    monkeypatch.setattr(loop, "evaluation_slots", lambda _: 2)
    kinds = iter([Breaks if place == one else Told for one in range(6)])
    batch, agent = SyncEnvBatch(lambda: next(kinds)(Discrete(2)), 6), Constant(1)
    with pytest.raises(RunStopped, match=rf"it broke.*\(evaluation, seed {seed}\)$"):
        loop.evaluate(agent, batch, (3, 8, 5), 2, True)  # type: ignore[arg-type]


def test_the_longest_running_episode_is_watched_with_its_seed() -> None:
    lengths = [[4, 2], [3, 9], [5, 1]]

    class Lasting(Told):
        def __init__(self, length: int) -> None:
            super().__init__(Discrete(2))
            self.length = length

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            self.length -= 1
            return np.zeros(1, np.float32), 1.0, self.length == 0, False, {}

    several = iter(np.ravel(lengths).tolist())
    batch, seen = SyncEnvBatch(lambda: Lasting(next(several)), 6), list[tuple[int, int]]()
    agent: Any = Constant(1)
    found = loop.evaluate(agent, batch, (3, 8, 5), 2, True, watch=lambda *told: seen.append(told))
    assert found.episode_length.tolist() == lengths
    assert [length for length, _ in seen] == [1, 2, 3, 4, 5, 6, 7, 8, 0]  # none runs after the last
    assert [seed for _, seed in seen[4:8]] == [8] * 4
    assert [seed for _, seed in seen[:3]] == [3] * 3


@pytest.mark.parametrize("wrong", ["reward", "observation"])
def test_a_number_that_is_not_finite_stops_an_evaluation(wrong: str) -> None:
    class Wrong(Told):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            obs = np.full(1, np.nan if wrong == "observation" else 0, np.float32)
            return obs, np.nan if wrong == "reward" else 0.0, False, True, {}

    batch: EnvBatch = SyncEnvBatch(lambda: Wrong(Discrete(2)), 2)
    agent: Any = Constant(1)
    with pytest.raises(RunStopped, match=wrong):
        loop.evaluate(agent, batch, (0,), 2, True)


# --- in whole runs


def test_a_run_keeps_every_episode_and_evaluates_when_it_should(runs: Runs) -> None:
    file = Path(__file__).resolve()
    folder = runs.finish(
        "probe", "--env", f"{file}:Probe", "--agent", "random", "--seeds", "2", "--num-envs", "3",
        "--total-timesteps", "900", "--eval-every", "300", "--eval-episodes", "4", "--final-eval-episodes", "5",
    )  # fmt: skip
    for seed in range(2):
        episodes = list(read_rows(folder / "seeds" / str(seed) / "episodes.csv"))
        for n in range(3):  # the lengths of a sub-environment's episodes are those of its stream
            found = [int(row["episode_length"]) for row in episodes if row["env"] == str(n)]
            env = Probe()
            expected = [int(env.reset(seed=env_seed(seed, "env", n))[0][0])]
            while len(expected) < len(found):
                expected.append(int(env.reset()[0][0]))
            assert found == expected
            assert 300 - 30 < sum(found) <= 300
            steps = [int(row["env_step"]) for row in episodes if row["env"] == str(n)]
            assert steps == [3 * step for step in np.cumsum(found)]
        rows = list(read_rows(folder / "seeds" / str(seed) / "evaluations.csv"))
        assert [row["env_step"] for row in rows] == ["300"] * 4 + ["600"] * 4 + ["900-final"] * 5
        purposes = [("evaluation", 300)] * 4 + [("evaluation", 600)] * 4 + [("final evaluation",)] * 5
        expected = [int(Probe().reset(seed=env_seed(seed, *purpose, int(row["episode"])))[0][0])
                    for purpose, row in zip(purposes, rows, strict=True)]  # fmt: skip
        assert [int(row["episode_length"]) for row in rows] == expected
