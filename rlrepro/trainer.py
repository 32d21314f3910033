"""Trainers: algorithms that own their whole training, recorded and evaluated as our agents are.

A trainer takes its environments from here. They count, so that nothing depends on what it says of itself. Where it says
that it could go on from the present step, it is checkpointed with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from rlrepro import loop, snapshot
from rlrepro.agent import Setup
from rlrepro.errors import Problem, RunStopped, close_quietly, one_line, place_of
from rlrepro.learnt import KEY, told
from rlrepro.plugins.env_source import EnvSource
from rlrepro.recorder import Send
from rlrepro.streams import env_seed
from rlrepro.trainer_journal import TrainerJournal
from rlrepro.vector import LARGEST, EnvironmentFailed, Observations, as_refused, check_numbers, first_of


class RecordedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A sub-environment that tells of its steps and episodes: outermost, so rewards are the environment's own.

    `step` gives the reward and the termination to learn from, where a wrapper tells them apart (`info["learn"]`, as
    Atari's clipped rewards and lost lives). After an end of that kind the game goes on: the next `reset()` gives the
    last observation again.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], index: int, training: RecordedTraining) -> None:
        super().__init__(env)
        self._index, self._training = index, training
        self._seed: int | None = env_seed(training.setup.seeds[0], "env", index)
        self._floats = isinstance(env.observation_space, Box) and env.observation_space.dtype.kind == "f"
        self._wrong = Observations(env.observation_space).wrong
        self._return, self._length = 0.0, 0
        self._going_on: Any = None  # the observation to go on with

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; the first time from the seed's own stream, unless another is asked for."""
        going_on, self._going_on = self._going_on, None
        if going_on is not None and seed is None and not options:
            return going_on, {}
        seed, self._seed = self._seed if seed is None else seed, None
        self._return, self._length = 0.0, 0
        try:
            obs, info = first_of(self.env.reset(seed=seed, options=options))
            if (wrong := self._wrong(obs)) is not None:
                raise EnvironmentFailed(self._index, f"{wrong}, in reset")
            self._check_numbers(obs, 0.0)
        except EnvironmentFailed as failure:
            raise self._stopped(failure.what) from None
        except (Exception, SystemExit) as error:
            raise self._stopped(f"raised {one_line(error)} in reset{place_of(error)}") from error
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        try:
            given = obs, reward, terminated, truncated, info = self.env.step(action)
            if reward is None:
                raise EnvironmentFailed(self._index, "gave the reward None")
            number, ended = float(reward), (bool(terminated), bool(truncated))
            if (wrong := self._wrong(obs)) is not None:
                raise EnvironmentFailed(self._index, wrong)
            self._check_numbers(obs, number)
            to_learn = told(info) if KEY in info else None
        except EnvironmentFailed as failure:
            raise self._stopped(failure.what) from None
        except (Exception, SystemExit) as error:
            raise self._stopped(f"raised {one_line(error)} in step{place_of(error)}") from error
        self._return += number
        self._length += 1
        if any(ended):
            self._training.ended(self._index, self._return, self._length, *ended)
        self._training.stepped()
        if to_learn is None:
            return given
        learn_reward, learn_end = to_learn
        if not abs(learn_reward) <= LARGEST:
            raise self._stopped(f"gave the reward {as_refused(learn_reward)} to learn from")
        self._going_on = obs if learn_end and not (terminated or truncated) else None
        return obs, learn_reward, learn_end, truncated or (terminated and not learn_end), info

    def _check_numbers(self, obs: Any, reward: float) -> None:
        if abs(reward) <= LARGEST and (not self._floats or float(np.vdot(obs, obs)) <= LARGEST):  # quick
            return
        check_numbers(np.asarray(obs if self._floats else 0)[None], np.array([reward]))

    def get_state(self) -> dict[str, Any]:
        """Where its episode is, or the seed that it is to begin from."""
        state = {"episode_return": self._return, "episode_length": self._length, "going_on": self._going_on}
        state["seed"] = self._seed  # of the first reset, where that is still to come
        drawn = self.action_space.np_random.bit_generator.state  # which scripts draw from; no state of ours holds it
        return {**state, "env": snapshot.take(self.env), "action_space": drawn}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.env.reset(seed=0)  # some environments build what they hold in their first reset
        snapshot.put_back(self.env, state["env"])
        self.action_space.np_random.bit_generator.state = state["action_space"]
        self._seed, self._going_on = state.get("seed"), state["going_on"]
        self._return, self._length = state["episode_return"], state["episode_length"]

    def _stopped(self, what: str) -> RunStopped:
        training = self._training
        return RunStopped(f"{training.name} {what} (seed {training.setup.seeds[0]}, sub-environment {self._index})")


class RecordedTraining:
    """`rlrepro.agent.Training`, written to a run folder by a journal."""

    def __init__(
        self,
        setup: Setup,
        source: EnvSource,
        journal: TrainerJournal,
        send: Send,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        """`kept` is what a checkpoint of this seed holds that is to be gone on from."""
        self.setup, self.name, self.env_step = setup, source.name, 0
        self._journal, self._send, self._kept = journal, send, kept
        self._make = source.make_kept if journal.keeps_state else source.make
        self.told: dict[str, float] = {}
        self.envs: list[RecordedEnv] = []
        self._begun = False

    def make_env(self, index: int = 0) -> RecordedEnv:
        if self._journal.at_points:
            name = self._journal.settings.agent
            raise Problem(f"{name} makes an environment after its first resume_point(): all are made before it")
        if not 0 <= index < self.setup.num_envs:
            raise ValueError(f"sub-environment {index} of --num-envs {self.setup.num_envs} was asked for")
        self.envs.append(RecordedEnv(self._make(), index, self))
        return self.envs[-1]

    def tell(self, metrics: Mapping[str, float]) -> None:
        for tag, value in metrics.items():
            if tag not in self.told:
                loop.check_tag(tag)
            self.told[tag] = float(value)

    def note(self, text: str) -> None:
        self._send("warn", text=text)

    def resume_point(self) -> None:
        if self._journal.keeps_state:
            if not self._journal.at_points:
                self._first_point()
            self._journal.resume_point()

    def _first_point(self) -> None:
        """Before the first step: that a checkpoint can be written is known from here on, and one is gone on from."""
        name = self._journal.settings.agent
        if self._begun:
            raise Problem(f"{name} takes a step before its first resume_point(): it belongs before the first")
        if self._kept is None:
            self._journal.check_state()
        else:
            kept, self._kept = self._kept, None
            self.env_step = self._journal.restore(kept)
            self._begin()
        self._journal.at_points = True

    def _begin(self) -> None:
        self._begun = True
        self._journal.begin()

    def ended(self, index: int, episode_return: float, length: int, terminated: bool, truncated: bool) -> None:
        """An episode ended in the step that is under way; its env step is the end of that step of all."""
        count = self.env_step + 1
        episode = loop.Episode(0, index, episode_return, length, terminated, truncated)
        self._journal.ended(count + -count % self.setup.num_envs, [episode])

    def stepped(self) -> None:
        """One step of one sub-environment is over."""
        if not self._begun:
            if self._kept is not None:
                name = self._journal.settings.agent
                raise Problem(f"{name} takes a step before its resume_point(), and cannot go on")
            self._begin()
        self.env_step = count = self.env_step + 1
        if count >= self._journal.due and count % self.setup.num_envs == 0:
            self._journal.tick(count)

    def close(self) -> None:
        for env in self.envs:
            close_quietly(env)
