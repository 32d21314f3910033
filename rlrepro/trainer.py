"""Trainers: algorithms that own their whole training, recorded and evaluated as our agents are.

A trainer takes its environments from here. They count, so that nothing depends on what it says of itself.
"""

from __future__ import annotations

import contextlib
import math
import random
import shlex
import time
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

from rlrepro import checkpoint, loop
from rlrepro.agent import Setup
from rlrepro.errors import EvaluationFailed, Problem, RunStopped, close_quietly, one_line, place_of
from rlrepro.learnt import KEY, told
from rlrepro.plugins.env_source import EnvSource
from rlrepro.record import RunFolder
from rlrepro.recorder import Journal, Send, checkpoint_path
from rlrepro.settings import Job
from rlrepro.streams import env_seed
from rlrepro.vector import Observations


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
            obs, info = self.env.reset(seed=seed, options=options)
        except (Exception, SystemExit) as error:
            raise self._stopped(f"raised {one_line(error)} in reset{place_of(error)}") from error
        if self._floats and not np.isfinite(obs).all():
            raise self._stopped("gave an observation with NaN or infinity")
        if (wrong := self._wrong(obs)) is not None:
            raise self._stopped(f"{wrong}, in reset")
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        try:
            given = self.env.step(action)
            to_learn = told(given[4]) if KEY in given[4] else None
        except (Exception, SystemExit) as error:
            raise self._stopped(f"raised {one_line(error)} in step{place_of(error)}") from error
        obs, reward, terminated, truncated, info = given
        self._return += float(reward)
        self._length += 1
        if not math.isfinite(self._return):
            raise self._stopped(f"gave the reward {float(reward)}")
        # One pass: a sum is finite unless a term is not, or it overflowed.
        if self._floats and not math.isfinite(np.add.reduce(obs, None)) and not np.isfinite(obs).all():
            raise self._stopped("gave an observation with NaN or infinity")
        if (wrong := self._wrong(obs)) is not None:
            raise self._stopped(wrong)
        if terminated or truncated:
            self._training.ended(self._index, self._return, self._length, bool(terminated), bool(truncated))
        self._training.stepped()
        if to_learn is None:
            return given
        learn_reward, learn_end = to_learn
        if not math.isfinite(learn_reward):
            raise self._stopped(f"gave the reward {learn_reward} to learn from")
        self._going_on = obs if learn_end and not (terminated or truncated) else None
        return obs, learn_reward, learn_end, truncated or (terminated and not learn_end), info

    def _stopped(self, what: str) -> RunStopped:
        training = self._training
        return RunStopped(f"{training.name} {what} (seed {training.setup.seeds[0]}, sub-environment {self._index})")


class RecordedTraining:
    """`rlrepro.agent.Training`, written to a run folder by a journal."""

    def __init__(self, setup: Setup, source: EnvSource, journal: TrainerJournal, send: Send) -> None:
        self.setup, self.name, self.env_step = setup, source.name, 0
        self._source, self._journal, self._send = source, journal, send
        self.told: dict[str, float] = {}
        self._envs: list[RecordedEnv] = []

    def make_env(self, index: int = 0) -> RecordedEnv:
        if not 0 <= index < self.setup.num_envs:
            raise ValueError(f"sub-environment {index} of --num-envs {self.setup.num_envs} was asked for")
        self._envs.append(RecordedEnv(self._source.make(), index, self))
        return self._envs[-1]

    def tell(self, metrics: Mapping[str, float]) -> None:
        for tag, value in metrics.items():
            if tag not in self.told:
                loop.check_tag(tag)
            self.told[tag] = float(value)

    def note(self, text: str) -> None:
        self._send("warn", text=text)

    def ended(self, index: int, episode_return: float, length: int, terminated: bool, truncated: bool) -> None:
        """An episode ended in the step that is under way; its env step is the end of that step of all."""
        count = self.env_step + 1
        episode = loop.Episode(0, index, episode_return, length, terminated, truncated)
        self._journal.ended(count + -count % self.setup.num_envs, [episode])

    def stepped(self) -> None:
        """One step of one sub-environment is over."""
        self.env_step = count = self.env_step + 1
        if count == 1:
            self._journal.begin()
        if count >= self._journal.due and count % self.setup.num_envs == 0:
            self._journal.tick(count)

    def close(self) -> None:
        for env in self._envs:
            close_quietly(env)


class TrainerJournal(Journal):
    """The record of a trainer: no checkpoints, but one at its end, which says that the seed is finished."""

    training: RecordedTraining

    @property
    def env_step(self) -> int:
        return self.training.env_step

    def begin(self) -> None:
        """The first step was taken: from here on there is something to keep."""
        self._clock = time.perf_counter()
        self.send("ready")

    def close(self) -> None:
        """With the episodes since the last log point: of a trainer that broke there is no more to come."""
        with contextlib.suppress(Problem):
            self.logs[0].flush()
        super().close()

    def _log(self, env_step: int) -> None:
        self._metrics = {tag: torch.tensor([value], dtype=torch.float64) for tag, value in self.training.told.items()}
        super()._log(env_step)

    def evaluate(self, env_step: int, num_episodes: int, final: bool = False) -> loop.Evaluation:
        with generators_kept():
            return super().evaluate(env_step, num_episodes, final)

    def finish(self) -> None:
        """After the last step: the policy, the last evaluation, and the mark of a finished seed."""
        if self.env_step == 0:
            self.begin()
        env_step = self.ticked_step = self.env_step
        settings, (seed,) = self.settings, self.job.seeds
        self.save_policy()
        try:
            outcome = self.evaluate(env_step, settings.final_eval_episodes, final=True)
        except EvaluationFailed as failure:
            kept = (
                f"the policy is kept (rlrepro evaluate {shlex.quote(str(self.folder))}), and a resume trains it again"
            )
            raise EvaluationFailed(f"{failure}; {kept}") from failure
        result = self._result(0, outcome)
        (sizes,) = self.seal()
        about = self.about(seed, env_step, sizes, keeps_env=False, reads_length=True)
        checkpoint.save(checkpoint_path(self.folder, seed, env_step), {"result": result}, about)
        self.send("done", results={seed: result})


def tell_finished(job: Job, send: Send) -> None:
    """How a seed ended that was finished before this resume."""
    (seed,), env_step = job.seeds, job.resume_step or 0
    state, _ = checkpoint.load(checkpoint_path(RunFolder(job.run_path), seed, env_step))
    send("ready")
    send("progress", env_step=env_step, phase="")
    send("done", results={seed: state["result"]})


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """The process's own random generators, which scripts and libraries draw from, are afterwards as before."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
