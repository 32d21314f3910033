"""The record of a trainer, with checkpoints where it says that it could go on."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import torch

from rlrepro import checkpoint, loop, snapshot
from rlrepro.agent import Trainer, goes_on
from rlrepro.errors import EvaluationFailed, Interrupted, Problem, one_line
from rlrepro.generators import generators_kept, get_generators, set_generators
from rlrepro.group import OneSeed
from rlrepro.plugins.env_source import EnvSource
from rlrepro.record import RunFolder
from rlrepro.recorder import KEPT_CHECKPOINTS, Journal, Send, checkpoint_path
from rlrepro.settings import Job

if TYPE_CHECKING:
    from rlrepro.trainer import RecordedTraining

LONG_WAIT = 1.0  #: seconds; a trainer that takes longer to its next resume point is told of, when it is to stop


class TrainerJournal(Journal):
    """The record of a trainer; the last checkpoint marks a finished seed."""

    training: RecordedTraining

    def __init__(
        self, job: Job, trainer: Trainer, action_space: gymnasium.Space[Any], source: EnvSource, send: Send
    ) -> None:
        super().__init__(job, OneSeed(trainer, action_space), source, send)
        self._trainer: Any = trainer
        self.keeps_state = goes_on(type(trainer))  #: whether it and its environments can give their state
        self.at_points = False  #: whether it has come to a resume point
        self._is_owed = self._told_of_debt = False
        self._stopping_since = 0.0

    @property
    def env_step(self) -> int:
        return self.training.env_step

    def begin(self) -> None:
        """The first step is taken, or a checkpoint gone on from: from here on there is something to keep."""
        (seed,) = self.job.seeds
        self.folder.policy(seed).unlink(missing_ok=True)  # of an end whose evaluation failed
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
            self.send("stopping", text=f"stopping where {self.settings.agent} can go on")

    def resume_point(self) -> None:
        """Write what is due, and stop where that is asked for."""
        env_step = self.env_step
        if not (self._is_owed or self.stop_signal) or env_step == 0:
            return
        self._is_owed = False
        if env_step != self._checkpointed:
            with self.phase("writing a checkpoint"):
                self._try_to_write(env_step)
        if self.stop_signal:
            lost = "" if env_step == self._checkpointed else f"; {self.last_checkpoint()}"
            raise Interrupted(f"stopped at env step {env_step:,}{lost}")

    def check_state(self) -> None:
        """`Problem` where the trainer's state is nothing that a checkpoint holds."""
        try:
            checkpoint.check_plain(self._trainer.get_state())
        except checkpoint.NotPlain as error:
            what = f"get_state() of {self.settings.agent} gives more than arrays and plain data"
            raise Problem(f"{what}: {error}") from error

    def _try_to_write(self, env_step: int) -> None:
        """A run that finds no room in memory for a checkpoint, or holds more than it did, goes on without."""
        try:
            self._write(env_step)
        except MemoryError:
            self.send("warn", text=f"no memory for a checkpoint at env step {env_step:,}: {self.last_checkpoint()}")
        except snapshot.NotNow as error:
            if not self._told_of_debt:
                self.send("warn", text=f"{error}: the checkpoint is written as soon as it does")
            self._is_owed = self._told_of_debt = True
        except (snapshot.Unrestorable, checkpoint.NotPlain) as error:
            self.keeps_state = self.at_points = False
            self.send("warn", text=f"{error}: there are no more checkpoints; {self.last_checkpoint()}")

    def _write(self, env_step: int) -> None:
        (seed,), (log,) = self.job.seeds, self.logs
        envs = [env.get_state() for env in self.training.envs]  # first: one of them may have none now
        sizes = log.flush(durable=True)
        record = {
            "last": list(self.last[0]),
            "since_log": self.since_log[0],
            "num_episodes": self.num_episodes[0],
            "told": self.training.told,
        }
        state = {
            "envs": envs,
            "trainer": self._trainer.get_state(),
            "generators": get_generators(),
            "record": record,
        }
        about = self.about(seed, env_step, sizes, keeps_env=True, reads_length=True)
        checkpoint.save(checkpoint_path(self.folder, seed, env_step), state, {**about, "goes_on": True})
        self._checkpointed, self._told_of_debt = env_step, False
        self.forget_checkpoints(KEPT_CHECKPOINTS)

    def restore(self, kept: Mapping[str, Any]) -> int:
        """Go on from what was kept; the env step. `Problem` where it cannot be."""
        env_step, envs, record = self.job.resume_step or 0, self.training.envs, kept["record"]
        if len(envs) != len(kept["envs"]):
            raise self.cannot(f"it has made {len(envs)} environments here, and had {len(kept['envs'])}")
        try:
            for env, state in zip(envs, kept["envs"], strict=True):
                env.set_state(state)
            self._trainer.set_state(kept["trainer"])
            set_generators(kept["generators"])
        except Problem:
            raise
        except Exception as error:
            why = str(error) if isinstance(error, snapshot.Unrestorable) else one_line(error)
            raise self.cannot(why) from error
        self.last[0].extend(map(tuple, record["last"]))
        self.since_log[0] = [tuple(episode) for episode in record["since_log"]]
        self.num_episodes[0] = record["num_episodes"]
        self.training.told.update(record["told"])
        self.ticked_step = self._clock_step = self._checkpointed = env_step
        self.schedule(env_step - env_step % self.settings.num_envs)  # the last step of all sub-environments
        return env_step

    def cannot(self, why: str) -> Problem:
        """That the checkpoint of this job cannot be gone on from."""
        (seed,) = self.job.seeds
        path = checkpoint_path(self.folder, seed, self.job.resume_step or 0)
        way = f"with {self.folder.seed(seed)} moved away a resume begins seed {seed} at its start"
        return Problem(f"{path}: {self.settings.agent} as it is here cannot go on from it: {why}; {way}")

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
            score = f"the policy is kept (rlrepro evaluate {shlex.quote(str(self.folder))})"
            kept = f"{score}, and a resume evaluates again after what it has no checkpoint of"
            raise EvaluationFailed(f"{failure}; {kept}") from failure
        results = self._results(outcome)
        (sizes,) = self.seal()
        about = self.about(seed, env_step, sizes, keeps_env=False, reads_length=True)
        checkpoint.save(checkpoint_path(self.folder, seed, env_step), {"result": results[seed]}, about)
        self.forget_checkpoints(1)
        self.send("done", results=results)


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
