"""The record of a group of seeds while it trains: curves, episodes, evaluations, checkpoints, videos."""

from __future__ import annotations

import collections
import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

from rlrepro import checkpoint, loop, snapshot
from rlrepro.agent import Metrics, Policy
from rlrepro.checksums import write_sums
from rlrepro.errors import (
    EndlessEvaluation,
    EvaluationFailed,
    Interrupted,
    Problem,
    close_quietly,
    named_seeds,
    one_line,
)
from rlrepro.group import Group
from rlrepro.memory import Rollout
from rlrepro.n_step import NStep
from rlrepro.plugins.env_source import EnvSource
from rlrepro.record import RunFolder
from rlrepro.replay import Replay
from rlrepro.seed_log import SeedLog
from rlrepro.seeds import learnt_stacks
from rlrepro.settings import Job
from rlrepro.vector import EnvironmentFailed, to_env

Send = Callable[..., None]
LAST_EPISODES = 100  # what `rollout/ep_rew_mean` averages over, as in Stable-Baselines3
KEPT_CHECKPOINTS = 2
LONGEST_FILM = 3_000  # frames; they are held in memory until the video is written


class Journal:
    """Logs, evaluates and saves when that is due, as the loop tells (`loop.Listener`); what to save a subclass says."""

    def __init__(self, job: Job, policy: Policy, source: EnvSource, send: Send) -> None:
        self.job, self.settings, self.policy, self.send = job, job.settings, policy, send
        self._digest = job.settings.digest()
        self.folder = RunFolder(job.run_path)
        self.source = source
        self.logs = [SeedLog(self.folder, seed) for seed in job.seeds]
        self.last: list[collections.deque[tuple[float, int]]] = [
            collections.deque(maxlen=LAST_EPISODES) for _ in job.seeds
        ]
        self.since_log: list[list[tuple[float, int]]] = [[] for _ in job.seeds]
        self.num_episodes = [0] * len(job.seeds)
        self.ticked_step = 0
        self.due = 0
        self._checkpointed = -1  # the env step of the last checkpoint
        self.stop_signal = 0
        self._told_of_stop = False
        self._metrics: Mapping[str, Any] = {}
        self._updates: list[Metrics] = []  # since `_metrics`
        self._clock = time.perf_counter()
        self._clock_step = 0
        self._diverged: set[int] = set()
        self._updated = np.zeros(len(job.seeds), bool)
        self._phase = ""

    @property
    def env_step(self) -> int:
        """The env steps of each seed by now; read from another thread too."""
        return self.ticked_step

    # What the loop tells

    def updated(self, metrics: Metrics) -> None:
        if not self._metrics and not self._updates:  # the first
            loop.check_metrics(metrics, len(self.logs))
        self._updates.append(metrics)
        if len(self._updates) == 100:
            self._merge()

    def _merge(self) -> None:
        """Of each seed the metrics of its own last update, whatever its neighbours did since."""
        if not self._updates:
            return
        newest = loop.as_arrays(self._updates[-1])
        absent = loop.took_no_part(newest, len(self.logs))
        if absent.any():  # or diverged: such a seed has none
            diverged = self._not_finite()
            absent &= np.array([seed not in diverged for seed in self.job.seeds])
        for update in [*reversed(self._updates[:-1]), self._metrics]:
            if not absent.any():
                break
            older = loop.as_arrays(update)
            for tag in newest.keys() & older.keys():
                newest[tag] = np.where(absent & np.isnan(newest[tag]), older[tag], newest[tag])
            absent &= loop.took_no_part(older, len(self.logs))
        self._metrics, self._updates = newest, []
        self._updated |= ~loop.took_no_part(newest, len(self.logs))

    def ended(self, env_step: int, episodes: list[loop.Episode]) -> None:
        for e in episodes:
            self.logs[e.row].add(
                "episodes", env_step, e.env, e.episode_return, e.episode_length, e.terminated, e.truncated
            )
            outcome = (e.episode_return, e.episode_length)
            self.last[e.row].append(outcome)
            self.since_log[e.row].append(outcome)
            self.num_episodes[e.row] += 1

    def tick(self, env_step: int) -> None:
        """Hold the appointments of this env step; the interval of each is counted from step 0, never from now."""
        settings = self.settings
        self.ticked_step = env_step
        if self._is_due(env_step, settings.log_every):
            self._log(env_step)
        if self._is_due(env_step, settings.eval_every) and env_step < settings.total_timesteps:
            self.evaluate(env_step, settings.eval_episodes)
        stopping = self.stop_signal
        if self._is_due(env_step, settings.checkpoint_every) or stopping:
            self.checkpoint(env_step)
        if stopping:
            self.stop(env_step)
        self.schedule(env_step)

    def schedule(self, env_step: int) -> None:
        """Set `due` to the next appointment after `env_step`."""
        settings = self.settings
        periods = [p for p in (settings.log_every, settings.eval_every, settings.checkpoint_every) if p]
        self.due = min((env_step // period + 1) * period for period in periods)
        if self.stop_signal:
            self.due = 0

    def _is_due(self, env_step: int, period: int) -> bool:
        """Whether a multiple of `period` lies in the step that ended at `env_step`."""
        return period > 0 and env_step // period != (env_step - self.settings.num_envs) // period

    def stop(self, env_step: int) -> None:
        """End the run, as was asked for."""
        raise Interrupted(f"stopped at env step {env_step:,}")

    def checkpoint(self, env_step: int) -> None:
        """Keep what a resume needs, where there is such a thing."""

    def finish(self) -> None:
        """The final evaluation and the policies, when all steps are taken."""
        raise NotImplementedError

    # What it keeps

    def _log(self, env_step: int) -> None:
        values: dict[str, np.ndarray] = {}
        means = [np.mean(episodes, 0) if episodes else (np.nan, np.nan) for episodes in self.since_log]
        values["charts/episodic_return"], values["charts/episodic_length"] = np.array(means, np.float64).T
        means = [np.mean(episodes, 0) if episodes else (np.nan, np.nan) for episodes in self.last]
        values["rollout/ep_rew_mean"], values["rollout/ep_len_mean"] = np.array(means, np.float64).T
        self._merge()
        values |= loop.as_arrays(self._metrics)
        now = time.perf_counter()
        rate = (env_step - self._clock_step) / max(now - self._clock, 1e-9)
        values["charts/SPS"] = values["time/fps"] = np.full(len(self.logs), rate)
        self._clock, self._clock_step = now, env_step
        self.since_log = [[] for _ in self.logs]
        self._write_metrics(env_step, values)
        losses = [v for tag, v in values.items() if tag.startswith("losses/") and tag != "losses/explained_variance"]
        bad = {seed for row, seed in enumerate(self.job.seeds) if not np.isfinite([v[row] for v in losses]).all()}
        if bad - self._diverged:
            for seed in sorted(bad & self._not_finite() - self._diverged):  # others may just not have learnt
                self._diverged.add(seed)
                self.send(
                    "warn", text=f"the losses of seed {seed} are not finite since env step {env_step:,}: it diverged"
                )

    def _not_finite(self) -> set[int]:
        """The seeds whose policy holds NaN or infinity."""
        values = loop.as_arrays(self.policy.get_policy()).values()
        floats = [v.reshape(len(self.job.seeds), -1) for v in values if v.dtype.kind == "f"]
        return {seed for row, seed in enumerate(self.job.seeds) if not all(np.isfinite(v[row]).all() for v in floats)}

    def _write_metrics(self, env_step: int, values: Mapping[str, np.ndarray]) -> None:
        wall_time = round(time.time(), 3)
        rows = []
        for row, log in enumerate(self.logs):
            point = {tag: float(value[row]) for tag, value in values.items() if not np.isnan(value[row])}
            for tag, value in point.items():
                log.add("metrics", env_step, wall_time, tag, value)
            log.flush()
            rows.append(point)
        self.send(
            "point",
            env_step=env_step,
            wall_time=wall_time,
            values=dict(zip(self.job.seeds, rows, strict=True)),
        )

    def evaluate(self, env_step: int, num_episodes: int, final: bool = False) -> loop.Evaluation:
        """Evaluate the present policy on fresh episodes and write the result."""
        started = time.perf_counter()
        seeds = self.job.seeds
        warning = loop.LongEpisodeWarning(lambda text: self.send("warn", text=text))

        def watch(longest: int, seed: int) -> None:
            warning(longest, seed)
            if self.stop_signal and longest >= loop.LONG_EPISODE:
                which = "the last evaluation, which" if final else "an evaluation that"
                raise EndlessEvaluation(f"stopped in {which} did not end, at env step {env_step:,}")
            if final and self.stop_signal:  # all is saved; of any other the checkpoint comes after it
                raise Interrupted(f"stopped in the last evaluation, at env step {env_step:,}")
            if self.stop_signal and not self._told_of_stop:
                self._told_of_stop = True
                self.send(
                    "stopping",
                    text=f"stopping after the evaluation at env step {env_step:,}",
                )

        with self.phase("evaluating"):
            try:
                batch = self.source.batch(len(seeds) * loop.evaluation_slots(num_episodes))
            except Problem as problem:  # a hundred environments a seed may be more than the machine gives
                raise EvaluationFailed(f"{problem} (evaluation)") from problem
            try:
                purpose = ("final evaluation",) if final else ("evaluation", env_step)
                deterministic = self.settings.eval_deterministic
                outcome = loop.evaluate(self.policy, batch, seeds, num_episodes, deterministic, purpose, watch)
            finally:
                close_quietly(batch)
            for row, log in enumerate(self.logs):
                for episode in range(num_episodes):
                    log.add(
                        "evaluations",
                        f"{env_step}" if not final else f"{env_step}-final",
                        episode,
                        float(outcome.episode_return[row, episode]),
                        int(outcome.episode_length[row, episode]),
                    )
            self._write_metrics(env_step, loop.evaluation_metrics(outcome))
            if self.settings.capture_video and self.job.is_first:
                self.film(env_step, watch)
        self._clock += time.perf_counter() - started
        return outcome

    def film(self, env_step: int, watch: Callable[[int, int], None]) -> None:
        """One episode of the first seed as a video; a failure to film is told and does no harm."""

        def watch_film(length: int, seed: int) -> None:
            watch(length, seed)
            if self.stop_signal:
                raise Problem("the run stops")

        name = f"seed-{self.job.seeds[0]}-step-{env_step}"
        deterministic = self.settings.eval_deterministic
        try:
            film(self.policy, self.source, self.job.seeds, self.folder.videos, name, deterministic, watch_film)
        except Interrupted:
            raise
        except Problem as problem:
            self.send("warn", text=f"no video: {problem}")
        except (Exception, SystemExit) as error:
            self.send("warn", text=f"no video: {one_line(error)}")

    def save_policy(self) -> None:
        """Each seed's policy, for `rlrepro evaluate`."""
        policy = self.policy.get_policy()
        for row, seed in enumerate(self.job.seeds):
            tensors = {name: np.ascontiguousarray(checkpoint.split(value, row)) for name, value in policy.items()}
            checkpoint.write_whole(self.folder.policy(seed), safetensors.numpy.save(tensors))

    def seal(self) -> list[dict[str, int]]:
        """Write all out at the end of the seeds, with its checksums; the lengths of each seed's files in bytes."""
        sizes = [log.flush(durable=True) for log in self.logs]
        for seed in self.job.seeds:
            write_sums(self.folder, seed)
        return sizes

    def _results(self, outcome: loop.Evaluation) -> dict[int, dict[str, Any]]:
        """By seed, what run.json and the last table say."""
        bad = self._not_finite()
        results = {seed: self._result(row, outcome) for row, seed in enumerate(self.job.seeds)}
        return {seed: {**one, "diverged": True} if seed in bad else one for seed, one in results.items()}

    def _result(self, row: int, outcome: loop.Evaluation) -> dict[str, Any]:
        training = [episode_return for episode_return, _ in self.last[row]]
        returns = outcome.episode_return[row]
        return {
            "episodes": self.num_episodes[row],
            "training_return": float(np.mean(training)) if training else None,
            "eval_return": float(returns.mean()),
            "eval_std": float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
            "eval_length": float(outcome.episode_length[row].mean()),
        }

    def about(
        self, seed: int, env_step: int, sizes: Mapping[str, int], *, keeps_env: bool, reads_length: bool
    ) -> dict[str, Any]:
        """What a checkpoint says of itself.

        `sizes` are those of the seed's files; `keeps_env`: it has the state of the environments; `reads_length`: its
        agent has asked how long the run would be.
        """
        settings = self.settings
        whose = {"agent": settings.agent, "env": settings.env, "seed": seed, "settings": self._digest}
        return {"env_step": env_step, **whose, "sizes": sizes, "keeps_env": keeps_env, "reads_length": reads_length}

    def forget_checkpoints(self, but: int) -> None:
        """Let all of each seed go but the newest so many."""
        for seed in self.job.seeds:
            for path in sorted(self.folder.checkpoints(seed).glob("step-*.safetensors"))[:-but]:
                path.unlink(missing_ok=True)

    @property
    def has_checkpoint(self) -> bool:
        return self._checkpointed >= 0

    def last_checkpoint(self) -> str:
        """Where a resume would go on, in words."""
        if self._checkpointed < 0:
            return "there is no checkpoint yet, a resume begins at the start"
        return f"everything up to env step {self._checkpointed:,} is saved"

    def close(self) -> None:
        for log in self.logs:
            log.close()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        before, self._phase = self._phase, name
        self.send("progress", env_step=self.ticked_step, phase=name)
        try:
            yield
        finally:
            self._phase = before
        self.send("progress", env_step=self.ticked_step, phase=before)

    def progress(self) -> None:
        """Tell how far the run is; called from another thread."""
        self.send("progress", env_step=max(self.ticked_step, self.env_step), phase=self._phase)


class Recorder(Journal):
    """A journal that also keeps checkpoints of agents and their environments, and goes on from them."""

    def __init__(self, job: Job, group: Group, source: EnvSource, send: Send) -> None:
        super().__init__(job, group.policy, source, send)
        self.group = group
        self.keeps_env_state = True
        self._reads_length = self._owes_evaluation = False  # before a resume

    @property
    def env_step(self) -> int:
        return self.group.env.env_step

    def _not_finite(self) -> set[int]:
        """Also those of which a `Stack` that learns does, or whose squares do: the actor may stand still."""
        found = super()._not_finite()
        for _, stack in learnt_stacks(self.group.agent):
            whole = torch.isfinite(stack.matrix.detach().square()).all(1).tolist()
            found |= {seed for seed, is_finite in zip(self.job.seeds, whole, strict=True) if not is_finite}
        return found

    def checkpoint(self, env_step: int, env_lost: bool = False, owes_evaluation: bool = False) -> None:
        """Write the state of every seed, then let the oldest go.

        `env_lost`: the environment broke behind this env step, so that a resume is to begin new episodes.
        `owes_evaluation`: a resume is to begin with the evaluation that was due here.
        """
        if env_step == self._checkpointed and not env_lost:
            return
        with self.phase("writing a checkpoint"):
            self._merge()
            sizes = [log.flush(durable=True) for log in self.logs]
            env_state = None
            if self.keeps_env_state and not env_lost:
                try:
                    held = self.group.env.get_state()
                    checkpoint.check_plain(held)
                    env_state = held
                except snapshot.NotNow as error:
                    self.send("warn", text=f"{error}: a resume from env step {env_step:,} begins new episodes")
                # It holds more than it did, or is gone with the process that stepped it.
                except (snapshot.Unrestorable, checkpoint.NotPlain, EnvironmentFailed) as error:
                    self.keeps_env_state = False
                    self.send("warn", text=f"{error}: a resume begins new episodes")
            learnt = self.group.get_state()
            for name, part in learnt.items():
                checkpoint.check_seeds(part, len(self.job.seeds), f"the state of {self.settings.agent}: {name}")
            state = {
                **learnt,
                "env": env_state,
                "record": {
                    "last": [list(one) for one in self.last],
                    "since_log": list(self.since_log),
                    "num_episodes": list(self.num_episodes),
                    "metrics": loop.as_arrays(self._metrics),
                    "updated": self._updated.tolist(),
                },
            }
            asked = self._reads_length or self.group.setup.reads_length
            for row, seed in enumerate(self.job.seeds):
                keeps_env = env_state is not None
                about = self.about(seed, env_step, sizes[row], keeps_env=keeps_env, reads_length=asked)
                if owes_evaluation:
                    about["owes_evaluation"] = True
                checkpoint.save(checkpoint_path(self.folder, seed, env_step), checkpoint.split(state, row), about)
            self._checkpointed = env_step
            self.forget_checkpoints(KEPT_CHECKPOINTS)

    def restore(self, env_step: int) -> None:
        """Go on from a checkpoint, its files cut back to it already."""
        loaded = [checkpoint.load(checkpoint_path(self.folder, seed, env_step)) for seed in self.job.seeds]
        self._reads_length = any(about["reads_length"] for _, about in loaded)
        self._owes_evaluation = any(about.get("owes_evaluation", False) for _, about in loaded)
        try:
            state = checkpoint.join([part for part, _ in loaded])
            self.group.set_state(state)
        except (ValueError, KeyError, RuntimeError) as error:
            files = ", ".join(str(checkpoint_path(self.folder, seed, env_step)) for seed in self.job.seeds)
            hyper = ", ".join(self.settings.hyperparameters)
            raise Problem(
                f"{files}: not of one run of {self.settings.agent} with these {hyper}: {one_line(error)}"
            ) from error
        self.last = [collections.deque(map(tuple, one), maxlen=LAST_EPISODES) for one in state["record"]["last"]]
        self.since_log = [[tuple(e) for e in one] for one in state["record"]["since_log"]]
        self.num_episodes = list(state["record"]["num_episodes"])
        self._metrics = state["record"]["metrics"]
        self._updated = np.array(state["record"]["updated"])
        why = "the environments' state is lost"
        try:
            self.group.go_on(env_step, state["env"])
        except (snapshot.Unrestorable, EnvironmentFailed) as error:  # of another version than it was
            why = str(error)
            self.group.go_on(env_step, None)
            state["env"] = None
        if state["env"] is None:
            what = f"new episodes begin at env step {env_step:,}, as {why}"
            self.send("warn", text=f"{what}: from here on it is not what it would have been undisturbed")
        self.ticked_step = self._clock_step = self._checkpointed = env_step

    def catch_up(self) -> None:
        """The evaluation that failed here, or that a run which ended here left to its last one, if it goes on now."""
        was_left = self.job.was_end and self._is_due(self.ticked_step, self.settings.eval_every)
        if (self._owes_evaluation or was_left) and self.ticked_step < self.settings.total_timesteps:
            self.evaluate(self.ticked_step, self.settings.eval_episodes)

    def finish(self) -> None:
        """After the last step: a checkpoint, the policies, and the last evaluation."""
        settings = self.settings
        self.ticked_step = self.env_step
        self.checkpoint(self.ticked_step)
        self._tell_who_learnt_nothing()
        self.save_policy()
        outcome = self.evaluate(self.ticked_step, settings.final_eval_episodes, final=True)
        self.seal()
        self.send("done", results=self._results(outcome))

    def _tell_who_learnt_nothing(self) -> None:
        """A warning of seeds whose policy is the one they began with, where there was anything to learn."""
        same = {seed for seed, updated in zip(self.job.seeds, self._updated, strict=True) if not updated}
        seeds = sorted(same - self._not_finite()) if same else []
        if seeds and self.policy.get_policy():
            why = self.no_update_before(self.ticked_step) or "its first batch was never whole"
            self.send(
                "warn",
                text=f"nothing was learnt by {named_seeds(seeds)}: no update in {self.ticked_step:,} env steps ({why})",
            )

    def no_update_before(self, env_step: int) -> str:
        """Why no update can come before an env step is over, or "" where one may."""
        wait = self.settings.hyperparameters.get("learning_starts")
        if isinstance(wait, int) and wait >= env_step:
            return f"learning_starts is {wait:,}"
        memory = self.group.memory
        if isinstance(memory, NStep):
            memory = memory.memory
        if isinstance(memory, Replay) and (first := memory.first_due) > env_step:
            return f"train_every is {memory.learn_every:,}, and the first update is due at env step {first:,}"
        batch = memory.num_steps * self.settings.num_envs if isinstance(memory, Rollout) else 0
        return f"a batch takes {batch:,}" if batch > env_step else ""


def checkpoint_path(folder: RunFolder, seed: int, env_step: int) -> Path:
    return folder.checkpoints(seed) / f"step-{env_step:012d}.safetensors"


def film(
    policy: Policy,
    source: EnvSource,
    seeds: tuple[int, ...],
    folder: Path,
    name: str,
    deterministic: bool,
    watch: Callable[[int, int], None] | None = None,
) -> None:
    """Record one episode of the first seed, or its first `LONGEST_FILM` frames, as `folder/name-episode-0.mp4`.

    `watch` is called after every step that does not end the film, with the episode's length so far and its seed.
    `Problem` where there is nothing to be seen.
    """
    import gymnasium

    from rlrepro.streams import Streams, env_seed

    file = folder / f"{name}-episode-0.mp4"
    file.unlink(missing_ok=True)
    env = source.make_filmed()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the folder is there already when a run is filmed again
            env = gymnasium.wrappers.RecordVideo(
                env, str(folder), episode_trigger=lambda _: True, name_prefix=name, disable_logger=True
            )
        streams = Streams(seeds, "video")
        obs, _ = env.reset(seed=env_seed(seeds[0], "video"))
        for length in range(1, LONGEST_FILM):  # the first frame is the reset's
            rows = np.broadcast_to(np.asarray(obs), (len(seeds), 1, *np.shape(obs))).copy()
            action: Any = to_env(policy.predict(rows, streams, deterministic)[0, 0], env.action_space)
            if isinstance(env.action_space, gymnasium.spaces.Discrete):
                action = int(action)
            obs, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
            if watch is not None:
                watch(length, seeds[0])
        if env.recording:
            env.stop_recording()
        if not file.is_file():
            raise Problem(f"{source.name} renders no frames")
    except gymnasium.error.DependencyNotInstalled:
        raise Problem("recording needs the 'video' extra: pip install 'rlrepro[video]'") from None
    finally:
        close_quietly(env)
