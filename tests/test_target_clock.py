"""When a target network follows: in env steps, the same however many sub-environments there are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlrepro import checkpoint
from rlrepro.agent import Setup, Transition
from rlrepro.agents import c51, dqn, qrdqn, rainbow, sac_discrete
from rlrepro.off_policy import TargetClock
from rlrepro.replay import Replay
from rlrepro.seeds import Stack
from rlrepro.streams import Streams

TIMING = {"target_every": 3, "train_every": 4, "gradient_steps": 2, "learning_starts": 5, "tau": 0.25}


class Number:
    """A network of one number, which moves as a `Stack` does."""

    def __init__(self) -> None:
        self.value, self.moves = 0.0, 0

    def polyak_update(self, online: Number, tau: float) -> None:
        self.value, self.moves = self.value + tau * (online.value - self.value), self.moves + 1


def met(num_envs: int, total: int, timing: dict[str, Any], resumed: bool = False) -> list[float]:
    """The target that each gradient step meets, where the k-th one sets the online number to k.

    `resumed`: before each, in the middle of a phase too, a new clock takes over the state of the one before.
    """
    config = SimpleNamespace(**timing)
    clock, target, online = TargetClock(config), Number(), Number()
    memory = Replay(
        Streams([0], "replay"), 10, 1, config.learning_starts, config.train_every, getattr(config, "gradient_steps", 1)
    )
    flags = np.zeros((1, num_envs), bool)
    found = []
    for step in range(0, total, num_envs):
        memory.add(Transition(np.zeros((1, num_envs, 1)), flags, flags, np.zeros((1, num_envs, 1)), flags, flags, {}))
        for _ in memory.ready(step):
            found.append(target.value)
            online.value += 1
            if resumed:
                before, clock = clock, TargetClock(config)
                clock.set_state(checkpoint.as_loaded(before.get_state()))
            clock.follow(target, online, step)  # type: ignore[arg-type]
    return found


@given(
    num_envs=st.integers(2, 13),
    rounds=st.integers(1, 12),
    timing=st.fixed_dictionaries(
        {
            "target_every": st.integers(1, 30),
            "train_every": st.integers(1, 12),
            "gradient_steps": st.integers(1, 3),
            "learning_starts": st.integers(0, 40),
            "tau": st.sampled_from([1.0, 0.25]),
        }
    ),
)
def test_every_gradient_step_meets_the_target_that_it_would_meet_with_one_sub_environment(
    num_envs: int, rounds: int, timing: dict[str, Any]
) -> None:
    total = num_envs * rounds
    assert met(num_envs, total, timing) == met(1, total, timing)


def test_phases_in_which_there_was_nothing_to_learn_from_move_no_target() -> None:
    """A memory of 10-step returns is empty for nine steps, in which both networks are the same."""
    timing = {"target_every": 1, "train_every": 1, "gradient_steps": 2, "learning_starts": 0, "tau": 0.25}
    clock, target, online = TargetClock(SimpleNamespace(**timing)), Number(), Number()
    online.value = 1.0
    found = []
    for step in (9, 9, 10, 10):
        clock.follow(target, online, step)  # type: ignore[arg-type]
        found.append(target.value)
    assert found == [0, 0.25, 0.25, 0.4375]


def test_the_times_are_those_counted_by_hand() -> None:
    """Times of learning at 8, 12, 16 and 20; multiples of 3 from 5: 6 | 9, 12 | 15 | 18. Two gradient steps a time."""
    after_8 = 2 - 2 * 0.75
    after_12 = 4 - (4 - after_8) * 0.75**2
    after_16 = 6 - (6 - after_12) * 0.75
    expected = [0, 0, after_8, after_8, after_12, after_12, after_16, after_16]
    for num_envs in (1, 2, 4, 10):
        assert met(num_envs, 20, TIMING) == pytest.approx(expected)


def test_copies_that_were_due_before_learning_are_not_made_up_for() -> None:
    """CleanRL's DQN, whose learning starts at 10,000: after the gradient step at 10,010 no copy, one at 10,500."""
    timing = {"target_every": 500, "train_every": 10, "learning_starts": 10_000}
    found = met(1, 10_520, timing)
    assert found == [0] * 50 + [50, 50]


def test_soft_moves_of_one_time_are_as_many_as_of_several() -> None:
    """One time of learning with five moves due is five moves of weight τ towards the same parameters."""
    timing = TIMING | {"train_every": 15, "learning_starts": 0, "gradient_steps": 1}
    value = 0.0
    for _ in range(5):
        value += 0.25 * (1 - value)
    assert met(1, 30, timing)[1] == pytest.approx(value)


def test_a_copy_that_is_due_between_gradient_steps_of_one_loop_step_is_made_there() -> None:
    """Eight sub-environments, learning at every env step: the copy at env step 4 is made after the fourth of eight."""
    timing = {"target_every": 4, "train_every": 1, "learning_starts": 0}
    assert met(8, 8, timing) == [0, 0, 0, 0, 4, 4, 4, 4]


AGENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dqn": (dqn.DQN, {"tau": 0.1}),
    "qrdqn": (qrdqn.QRDQN, {"tau": 0.1, "num_quantiles": 3}),
    "sac_discrete": (sac_discrete.SACDiscrete, {"tau": 0.1}),
    "c51": (c51.C51, {"num_atoms": 3}),
    "rainbow": (rainbow.Rainbow, {"num_atoms": 3, "num_steps": 1}),
}


@pytest.mark.parametrize("name", AGENTS)
def test_agents_of_many_sub_environments_move_their_targets_as_often_as_of_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent_class, options = AGENTS[name]
    moves: list[int] = []
    track = Stack.polyak_update
    monkeypatch.setattr(Stack, "polyak_update", lambda *arguments: (moves.append(updates), track(*arguments)))
    space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    config = agent_class.Config(
        learning_starts=0, train_every=2, target_every=4, batch_size=2, hidden=(4,), buffer_size=50, **options
    )
    agent = agent_class(Setup(space, gymnasium.spaces.Discrete(2), (0,), 16, 1000), config)
    ends = np.zeros((1, 16), bool)
    obs = torch.randn(3, 1, 16, 3, generator=torch.Generator().manual_seed(0)).numpy()
    updates = 0
    for step in (0, 16):
        action, extras = agent.act(obs[0], step)
        agent.memory.add(Transition(obs[1], action, np.ones((1, 16)), obs[2], ends, ends, extras))
        for batch in agent.memory.ready(step):
            updates += 1
            agent.update(batch, step)
    assert updates == 16
    assert moves == [2, 4, 6, 8, 10, 12, 14, 16]


@pytest.mark.parametrize("num_envs", [1, 8, 13])
def test_a_resume_between_two_gradient_steps_moves_the_target_when_it_would_have(num_envs: int) -> None:
    timing = {"target_every": 100, "train_every": 8, "gradient_steps": 4, "learning_starts": 20, "tau": 1.0}
    whole = met(num_envs, 520, timing)
    assert len(set(whole)) == 6
    assert met(num_envs, 520, timing, resumed=True) == whole
