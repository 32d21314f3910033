"""Trainers: algorithms that own their whole training, recorded and evaluated as our agents are.

A trainer takes its environments from here. They count, so that nothing depends on what it says of itself. Where it says
that it could go on from the present step, it is checkpointed with them.
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

from rlrepro import checkpoint, loop, snapshot
from rlrepro.agent import Setup, Trainer, goes_on
from rlrepro.errors import EvaluationFailed, Interrupted, Problem, RunStopped, close_quietly, one_line, place_of
from rlrepro.group import OneSeed
from rlrepro.learnt import KEY, told
from rlrepro.plugins.env_source import EnvSource
from rlrepro.record import RunFolder
from rlrepro.recorder import KEPT_CHECKPOINTS, Journal, Send, checkpoint_path
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

    def get_state(self) -> dict[str, Any]:
        """Where its episode is, once it has begun."""
        state = {"episode_return": self._return, "episode_length": self._length, "going_on": self._going_on}
        return {**state, "env": snapshot.take(self.env)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.env.reset(seed=0)  # some environments build what they hold in their first reset
        snapshot.put_back(self.env, state["env"])
        self._seed, self._going_on = None, state["going_on"]
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
        self._source, self._journal, self._send, self._kept = source, journal, send, kept
        self.told: dict[str, float] = {}
        self.envs: list[RecordedEnv] = []
        self._begun = False

    def make_env(self, index: int = 0) -> RecordedEnv:
        if not 0 <= index < self.setup.num_envs:
            raise ValueError(f"sub-environment {index} of --num-envs {self.setup.num_envs} was asked for")
        self.envs.append(RecordedEnv(self._source.make(), index, self))
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
            self.env_step = self._journal.restore(self._kept)
            self._kept = None
        self._journal.at_points = True

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
            self._begun = True
            self._journal.begin()
        self.env_step = count = self.env_step + 1
        if count >= self._journal.due and count % self.setup.num_envs == 0:
            self._journal.tick(count)

    def close(self) -> None:
        for env in self.envs:
            close_quietly(env)


class TrainerJournal(Journal):
    """The record of a trainer, kept where it says that it could go on; the last checkpoint marks a finished seed."""

    training: RecordedTraining

    def __init__(
        self, job: Job, trainer: Trainer, action_space: gymnasium.Space[Any], source: EnvSource, send: Send
    ) -> None:
        super().__init__(job, OneSeed(trainer, action_space), source, send)
        self._trainer: Any = trainer
        self.keeps_state = goes_on(type(trainer))  #: whether it and its environments can give their state
        self.at_points = False  #: whether it has come to a resume point
        self._is_owed = False
        self._stopping_since = 0.0

    @property
    def env_step(self) -> int:
        return self.training.env_step

    def begin(self) -> None:
        """The first step is taken: from here on there is something to keep."""
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

    # Resume points

    def checkpoint(self, env_step: int) -> None:
        """One is due: it is written at the next resume point."""
        self._is_owed = True

    def stop(self, env_step: int) -> None:
        """At once where there are no resume points, else at the next one."""
        if not self.at_points:
            super().stop(env_step)
        now = time.monotonic()
        self._stopping_since = self._stopping_since or now
        if now - self._stopping_since > LONG_WAIT and not self._told_of_stop:
            self._told_of_stop = True
            text = f"stopping where {self.settings.agent} can go on; asked again, it stops at once"
            self.send("warn", text=f"{text} with what was saved before")

    def resume_point(self) -> None:
        """Write what is due, and stop where that is asked for."""
        env_step = self.env_step
        if not (self._is_owed or self.stop_signal) or env_step == 0:
            return
        self._is_owed = False
        with self.phase("writing a checkpoint"):
            try:
                self._write(env_step)
            except (snapshot.Unrestorable, checkpoint.NotPlain) as error:  # it holds more than it did
                self.keeps_state = self.at_points = False
                self.send("warn", text=f"{error}: from here on nothing is kept that a resume could go on from")
        if self.stop_signal:
            raise Interrupted(f"stopped at env step {env_step:,}")

    def check_state(self) -> None:
        """`Problem` where the trainer's state is nothing that a checkpoint holds."""
        try:
            checkpoint.check_plain(self._trainer.get_state())
        except checkpoint.NotPlain as error:
            what = f"get_state() of {self.settings.agent} gives more than arrays and plain data"
            raise Problem(f"{what}: {error}") from error

    def _write(self, env_step: int) -> None:
        (seed,), (log,) = self.job.seeds, self.logs
        sizes = log.flush(durable=True)
        record = {
            "last": list(self.last[0]),
            "since_log": self.since_log[0],
            "num_episodes": self.num_episodes[0],
            "told": self.training.told,
        }
        state = {
            "trainer": self._trainer.get_state(),
            "envs": [env.get_state() for env in self.training.envs],
            "generators": get_generators(),
            "record": record,
        }
        about = self.about(seed, env_step, sizes, keeps_env=True, reads_length=True)
        checkpoint.save(checkpoint_path(self.folder, seed, env_step), state, {**about, "goes_on": True})
        self._forget_checkpoints(KEPT_CHECKPOINTS)

    def restore(self, kept: Mapping[str, Any]) -> int:
        """Go on from what was kept; the env step."""
        (seed,), env_step, envs = self.job.seeds, self.job.resume_step or 0, self.training.envs
        record = kept["record"]
        try:
            for env, state in zip(envs, kept["envs"], strict=True):
                env.set_state(state)
            self._trainer.set_state(kept["trainer"])
        except (ValueError, KeyError, RuntimeError, AttributeError) as error:
            path, agent = checkpoint_path(self.folder, seed, env_step), self.settings.agent
            raise Problem(f"{path}: {agent} as it is here cannot go on from it: {one_line(error)}") from error
        self.last[0].extend(map(tuple, record["last"]))
        self.since_log[0] = [tuple(episode) for episode in record["since_log"]]
        self.num_episodes[0] = record["num_episodes"]
        self.training.told.update(record["told"])
        set_generators(kept["generators"])
        self.ticked_step = self._clock_step = env_step
        self.schedule(env_step)
        return env_step

    def _forget_checkpoints(self, but: int) -> None:
        paths = sorted(self.folder.checkpoints(self.job.seeds[0]).glob("step-*.safetensors"))
        for path in paths[: len(paths) - but]:
            path.unlink(missing_ok=True)

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
        self._forget_checkpoints(1)
        self.send("done", results={seed: result})


LONG_WAIT = 1.0  #: seconds; a trainer that takes longer to its next resume point is told of, when it is to stop


def kept_of(job: Job) -> dict[str, Any] | None:
    """What the checkpoint holds that a job is to go on from; None of one that begins at the start."""
    (seed,) = job.seeds
    if job.resume_step is None:
        return None
    state, _ = checkpoint.load(checkpoint_path(RunFolder(job.run_path), seed, job.resume_step))
    return state


def tell_finished(job: Job, result: Mapping[str, Any], send: Send) -> None:
    """How a seed ended that was finished before this resume."""
    (seed,) = job.seeds
    send("ready")
    send("progress", env_step=job.resume_step, phase="")
    send("done", results={seed: result})


def get_generators() -> dict[str, Any]:
    """The state of the process's own random generators, which scripts and libraries draw from."""
    version, numbers, gauss = random.getstate()
    kind, key, *rest = np.random.get_state()
    state = {"python": [version, list(numbers), gauss], "numpy": [kind, np.asarray(key), *rest]}
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {**state, "torch": torch.get_rng_state(), "cuda": cuda}


def set_generators(state: Mapping[str, Any]) -> None:
    """The inverse of `get_generators`."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(torch.as_tensor(state["torch"]))
    if cuda := [torch.as_tensor(one) for one in state["cuda"]]:
        torch.cuda.set_rng_state_all(cuda)


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """The process's own random generators are afterwards as before."""
    state = get_generators()
    try:
        yield
    finally:
        set_generators(state)
