"""What off-policy agents share beside their losses: when a target network follows, a memory, and their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rlrepro.agent import Setup, UnsupportedSpace
from rlrepro.distributions import UnitBox
from rlrepro.memory import Replay
from rlrepro.networks import features, is_image
from rlrepro.schedules import linear
from rlrepro.seeds import Stack, Streams


class TargetClock:
    """Moves a target network every `target_every` env steps: target ← (1 − τ) target + τ online.

    The env steps are those at which a time of learning is due: every `train_every`, `gradient_steps` at once. Where N
    sub-environments make several times due in one step of the loop, each has the env step that it would have with one
    sub-environment, so that every gradient step meets the target that it would meet there.

    The target moves after the last gradient step of a time. If k multiples of `target_every` have been passed since the
    time before, these are k moves at once, of weight 1 − (1 − τ)^k: no more than fit between two times, for until the
    first time the networks are the same.
    """

    def __init__(self, config: Any, num_envs: int) -> None:
        """The config has `target_every`, `train_every`, `learning_starts`, and may have `tau`, `gradient_steps`."""
        self.target_every, self.train_every = config.target_every, config.train_every
        self.learning_starts, self.num_envs = config.learning_starts, num_envs
        self.gradient_steps, self.tau = getattr(config, "gradient_steps", 1), getattr(config, "tau", 1.0)
        self.period = 0  #: multiples of `target_every` passed so far: all that a resume needs
        self._step, self._count = -1, 0  # of the loop, and the gradient steps in it

    def follow(self, target: Stack, online: Stack, step: int) -> None:
        """Called after every gradient step, in the loop's `step`: move the target where it is due."""
        self._count = self._count + 1 if step == self._step else 1
        self._step = step
        if self._count % self.gradient_steps == 0:
            if moves := self._moves(step, self._count // self.gradient_steps):
                target.track(online, self.tau if moves == 1 else 1 - (1 - self.tau) ** moves)

    def _moves(self, step: int, time: int) -> int:
        """How many are due after the `time`-th time of learning, from 1, in the loop's `step`."""
        before = max(step, self.learning_starts) // self.train_every
        env_step = min((before + time) * self.train_every, step + self.num_envs)
        passed, self.period = env_step // self.target_every - self.period, env_step // self.target_every
        return min(passed, -(-self.train_every // self.target_every))
