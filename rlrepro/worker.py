"""One group of seeds in one process: build, resume, train, evaluate, checkpoint, and tell what happens.

What is told are events, `send(kind, **values)`: to the board in the same process, or through a pipe to the process
that started this one. Nothing that is told changes what is done.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from threadpoolctl import threadpool_limits

from rlrepro import checkpoint, graphs, loop, snapshot
from rlrepro.agent import Trainer
from rlrepro.compiled import try_losses
from rlrepro.contract import check_state
from rlrepro.ctrl_c import handled
from rlrepro.distributions import DiagonalGaussian, far_from_normal
from rlrepro.env_processes import Asked, AsyncEnvBatch
from rlrepro.errors import (
    STOPPED_AT_ONCE,
    AgentFault,
    EndlessEvaluation,
    EvaluationFailed,
    Interrupted,
    Problem,
    RunStopped,
    Stop,
    WriteFailed,
    close_quietly,
    named_seeds,
    one_line,
)
from rlrepro.generators import generators_kept
from rlrepro.group import Group, build_agent, check_observations, is_out_of_memory, problems_of, setup_of
from rlrepro.networks import no_image
from rlrepro.plugins import own_code
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.env_source import EnvSource
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.importing import passed_over
from rlrepro.plugins.wrappers import wrapper_name
from rlrepro.record import RunFolder
from rlrepro.recorder import Journal, Recorder, Send
from rlrepro.settings import Job, Settings
from rlrepro.standard_output import guarded_output
from rlrepro.stateful import forgotten
from rlrepro.trainer import RecordedTraining
from rlrepro.trainer_journal import TrainerJournal, kept_of, tell_finished
from rlrepro.vector import EnvBatch, EnvironmentFailed

# Wrappers that keep statistics of their own: what is evaluated is another environment, with statistics just begun.
_BY_FLAG = {
    "NormalizeObservation": "is evaluated with fresh statistics; --normalise-obs evaluates with the trained ones",
    "NormalizeReward": "changes the returns that are recorded; --normalise-reward keeps the environment's own",
}


def use_device(device: str) -> None:
    """`Problem` where the device is not there; on the host one thread, of torch's and of NumPy's BLAS.

    The cores are taken by processes (Settings.processes), and with two threads MKL gives a lone seed other bits than
    one among several.
    """
    torch.set_num_threads(1)
    threadpool_limits(1)
    if device == "cpu":
        return
    torch.backends.cudnn.allow_tf32 = False  # as of matrix products: convolutions in whole float32
    if not torch.cuda.is_available():
        raise Problem(f"--device {device}: torch {torch.__version__} sees no CUDA device here; use --device cpu")
    index = int(device.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise Problem(f"--device {device}: there are {torch.cuda.device_count()} CUDA devices, from cuda:0")
    torch.cuda.set_device(index)  # on which graphs are captured


def prepare(job: Job, send: Send) -> Recorder:
    """The record of a group of seeds that is ready to train, from `group.env.env_step`."""
    settings = job.settings
    use_device(settings.device)
    source = find_env(settings.env, settings.env_kwargs, settings.wrappers)
    num = len(job.seeds) * settings.num_envs
    if settings.env_processes == 1:
        return _prepare(job, send, source, source.batch(num, kept=True))
    asked = Asked(settings.env, settings.env_kwargs, settings.wrappers, source.is_replayed)
    batch = AsyncEnvBatch(asked, num, settings.env_processes)
    try:
        return _prepare(job, send, source, batch)
    except BaseException:
        batch.close()
        raise


def _prepare(job: Job, send: Send, source: EnvSource, batch: EnvBatch) -> Recorder:
    settings = job.settings
    group = Group(settings, batch, job.seeds)
    agent = group.agent
    if job.resume_step is None:
        check_state(agent, settings.agent, len(job.seeds))
        if names := " and ".join(forgotten(agent)):
            send("warn", text=f"no STATE of {settings.agent} names {names}: a resume would begin with new ones")
    recorder = Recorder(job, group, source, send)
    if settings.compile and settings.device != "cpu":
        send("warn", text="--compile: on CUDA whole updates are graphs, which gains more: losses train as they are")
    elif settings.compile:
        whose = "" if job.seeds == settings.seeds else f" ({named_seeds(job.seeds)})"
        try_losses(agent, settings.agent, lambda text: send("warn", text=text + whose))
    if settings.device != "cpu":
        graphs.capture(agent, settings.device, lambda text: send("warn", text=f"{settings.agent}: {text}"))
    for name in (settings.agent, settings.env, *settings.wrappers) if job.is_first else ():
        for place in passed_over(name):
            send("warn", text=f"{name} is the kit's, and not that of somebody else's by the same name: write {place}")
    for wrapper in source.wrappers if job.is_first else ():
        found, name = getattr(wrapper, "func", wrapper), wrapper_name(wrapper)
        if name in _BY_FLAG and str(getattr(found, "__module__", "")).startswith("gymnasium."):
            send("warn", text=f"{name} {_BY_FLAG[name]}")
    if job.is_first and source.time_limit() is None:
        text = f"{settings.env} states no time limit: an evaluation ends only if its episodes do"
        send("warn", text=f"{text} (--env-kwargs max_episode_steps=N gives it one)")
    if job.is_first and (odd := no_image(batch.observation_space)):
        send("warn", text=f"{settings.env} gives {odd}")
    if job.is_first and isinstance(getattr(agent, "policy", None), DiagonalGaussian):
        log_std = settings.hyperparameters.get("log_std_init", 0.0)
        if isinstance(log_std, float) and (far := far_from_normal(batch.action_space, log_std)):
            send("warn", text=f"{settings.env} takes {far}")
    recorder.keeps_env_state = source.is_batched or _gives_state(job, source, send, "will begin a new episode")
    if job.is_first and (why := recorder.no_update_before(settings.end_step)):
        send("warn", text=f"nothing will be learnt in {settings.total_timesteps:,} env steps: {why}")
    if job.resume_step is None:
        group.env.reset()
    else:
        recorder.restore(job.resume_step)
    recorder.schedule(group.env.env_step)
    return recorder


def _gives_state(job: Job, source: EnvSource, send: Send, otherwise: str) -> bool:
    """Whether an environment goes on from its state; where not, what a resume does is told."""
    why = source.why_no_state
    if why is not None and job.is_first:
        name = job.settings.env
        text = f"{name} cannot give its state ({why}); a resume {otherwise}"
        if not snapshot.repeats(source.make):
            parts = "two copies of it with one seed and the same actions part ways"
            text = f"no run of {name} can be repeated: {parts} (it may not draw from self.np_random)"
        send("warn", text=text)
    return why is None


def run(job: Job, send: Send) -> None:
    """Do a job from beginning to end. Raises `Problem` for what a person can mend."""
    RunFolder(job.run_path).check_code(job.settings)  # a job may have waited for others
    if find_agent(job.settings.agent).owns_loop:
        _run_trainer(job, send)
        return
    recorder = prepare(job, send)
    send("ready")
    for seed in job.seeds:  # of a run that was finished once, or whose environment broke: what is learnt from now on
        recorder.folder.policy(seed).unlink(missing_ok=True)
    try:
        with _watched(recorder):
            with recorder.phase("training"):
                _train(recorder)
            recorder.finish()
    finally:
        recorder.close()
        close_quietly(recorder.group.env)


def _run_trainer(job: Job, send: Send) -> None:
    """The job of an agent that owns its loop, ready at its first step; a checkpoint may say that it is finished."""
    settings = job.settings
    use_device(settings.device)
    for name in ("normalise_obs", "normalise_reward", "compile"):
        if getattr(settings, name):
            flag = "--" + name.replace("_", "-")
            raise Problem(f"{settings.agent} owns its loop, and {flag} is for agents that do not; see its own flags")
    kept = kept_of(job)
    if kept is not None and "result" in kept:
        tell_finished(job, kept["result"], send)
        return
    source = find_env(settings.env, settings.env_kwargs, settings.wrappers)
    spaces = source.make()
    close_quietly(spaces)
    check_observations(settings, spaces.observation_space)
    setup = setup_of(settings, spaces, job.seeds)
    trainer: Trainer = build_agent(settings, setup)
    journal = TrainerJournal(job, trainer, spaces.action_space, source, send)
    if journal.keeps_state:
        with generators_kept():  # which the trainer may have seeded
            otherwise = f"will begin a seed of {settings.agent} at its start"
            journal.keeps_state = _gives_state(job, source, send, otherwise)
    if kept is not None and not journal.keeps_state:
        why = source.why_no_state
        raise journal.cannot("it has no get_state any more" if why is None else f"{settings.env} has no state ({why})")
    training = journal.training = RecordedTraining(setup, source, journal, send, kept)
    del kept  # a replay buffer would stay beside the one that is made of it
    journal.schedule(0)
    try:
        with _watched(journal):
            with journal.phase("training"):
                _train_itself(trainer, training, journal)
            journal.finish()
    finally:
        journal.close()
        training.close()


def _train_itself(trainer: Trainer, training: RecordedTraining, journal: TrainerJournal) -> None:
    """A trainer's own loop, and a word where it ended early."""
    settings = journal.settings
    try:
        trainer.train(training)
    except RunStopped as failure:
        if not journal.at_points or isinstance(failure, Interrupted):
            raise
        raise type(failure)(f"{failure}; {journal.last_checkpoint()}") from failure
    except Problem:
        raise
    except Exception:
        if training.env_step:
            raise
        with problems_of(settings):
            raise
    if training.env_step < settings.total_timesteps:
        steps = f"{training.env_step:,} of {settings.total_timesteps:,} env steps"
        training.note(f"{settings.agent} ended by itself after {steps} (seed {training.setup.seeds[0]})")


@contextlib.contextmanager
def _watched(journal: Journal) -> Iterator[None]:
    """While a job goes on: its progress is told, and signals stop it in good order."""
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(journal, over), daemon=True)
    beat.start()
    try:
        with _stopped_by_signals(journal):
            yield
    finally:
        over.set()
        beat.join()


def _train(recorder: Recorder) -> None:
    """The loop; where it stops, the line says what is kept."""
    group, env, total = recorder.group, recorder.group.env, recorder.settings.total_timesteps
    try:
        recorder.catch_up()
        loop.train(group.agent, env, total, recorder, group.counter, env.env_step)
    except (EndlessEvaluation, EvaluationFailed) as stopped:
        if not recorder.has_checkpoint:  # all that was trained is kept, and the evaluation is made up for
            recorder.checkpoint(env.env_step, owes_evaluation=True)
        again = ", and a resume evaluates again" if isinstance(stopped, EvaluationFailed) else ""
        raise type(stopped)(f"{stopped}; {recorder.last_checkpoint()}{again}") from stopped
    except Interrupted:
        raise
    except (RuntimeError, MemoryError) as error:
        first = env.env_step - recorder.settings.num_envs <= (recorder.job.resume_step or 0)
        if first and is_out_of_memory(error):  # a memory allocates when it sees its first step
            raise Problem(f"{recorder.settings.agent} does not fit into memory: {one_line(error)}") from error
        raise
    except WriteFailed as failure:
        raise WriteFailed(f"{failure}; {recorder.last_checkpoint()}") from failure
    except RunStopped as failure:
        # The environment broke. The agent has learnt from its last whole step, and has drawn the action of the one
        # that failed; on a device it may have learnt from batches of that step, which the memory knows. The episodes
        # that were running are lost with the environment.
        recorder.checkpoint(env.env_step, env_lost=True)
        recorder.save_policy()
        raise RunStopped(f"{failure}; {recorder.last_checkpoint()}") from failure


@contextlib.contextmanager
def _stopped_by_signals(journal: Journal) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask for a checkpoint after the present step and an end; asked twice, an end at once."""
    at_once, asked_at = False, 0.0

    def stop(signum: int, frame: object) -> None:
        nonlocal at_once, asked_at
        if at_once:  # what it runs took the exception for its own
            _exit(128 + signum)
        if not journal.stop_signal:
            journal.stop_signal, journal.due, asked_at = signum, 0, time.monotonic()
        elif time.monotonic() - asked_at > SAME_ASKING:
            at_once = True
            raise AskedAgain

    with contextlib.ExitStack() as handlers:
        for number in (signal.SIGINT, signal.SIGTERM):
            # A child leaves Ctrl-C to its parent, which passes it on as SIGTERM: the terminal sends it to both.
            if signal.getsignal(number) is not signal.SIG_IGN:
                handlers.enter_context(handled(number, stop))
        yield


#: Signals within so many seconds are one: a scheduler that ends a job tells the whole group of processes, and the
#: parent passes on what it was told.
SAME_ASKING = 0.5


class AskedAgain(KeyboardInterrupt):
    """A second signal: the run ends where it is."""


def _exit(status: int) -> NoReturn:
    """End this process at once, with what it printed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or in use where a signal came
            stream.flush()
    with contextlib.suppress(Exception):  # semaphores, of processes of environments and of torch's compiler
        multiprocessing.util._run_finalizers()  # type: ignore[attr-defined]
    os._exit(status)


def _beat(journal: Journal, over: threading.Event) -> None:
    while not over.wait(0.25):
        journal.progress()


def process_main(job: Job, pipe: Any) -> None:
    """The main function of a child process: a job whose events go into a pipe.

    The other end of the pipe is the parent's life: when it closes, the parent is gone and so is this process, since
    nobody is to write to a run folder that somebody else may be resuming.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the run can stop in good order
    # A daemon, as which the parent began it, could have no processes that step environments.
    multiprocessing.current_process().daemon = False
    lock = threading.Lock()

    def send(kind: str, **values: Any) -> None:
        with lock:
            try:
                pipe.send((kind, values))
            except (BrokenPipeError, OSError):
                os._exit(1)

    def watch() -> None:
        try:
            pipe.recv()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    with guarded_output():
        send("ended", stop=guarded(job, send))
    with lock:
        _exit(0)


def guarded(job: Job, send: Send) -> Stop | None:
    """Run a job; what stopped it, or None."""
    began = False

    def tell(kind: str, **values: Any) -> None:
        nonlocal began
        began = began or kind == "ready"
        send(kind, **values)

    try:
        run(job, tell)
    except Interrupted as stopped:
        again = isinstance(stopped, EndlessEvaluation)
        return Stop(str(stopped), stopped.exit_status, stopped.from_outside, again)
    except Problem as problem:
        status = problem.exit_status if began else Problem.exit_status
        if began and not problem.from_outside and _is_of_an_exception(problem):
            _keep_traceback(job, began, traceback.format_exc())
        return Stop(str(problem), status, problem.from_outside, is_fault=isinstance(problem, AgentFault))
    except AskedAgain:
        return Stop(STOPPED_AT_ONCE, Interrupted.exit_status, from_outside=True)
    except KeyboardInterrupt:
        text = "interrupted" if began else "interrupted before training began"
        return Stop(text, Interrupted.exit_status, from_outside=True)
    except (Exception, SystemExit) as error:  # an agent may call sys.exit: that is no end of a run
        frames = traceback.extract_tb(error.__traceback__)
        own = _frames_in_own_code(job.settings, frames)
        places = [f"{Path(one.filename).name}:{one.lineno}" for one in (*own[-1:], frames[-1])]
        file = _keep_traceback(job, began, traceback.format_exc())
        kept = "" if file is None else f"; the traceback is in {file}"
        text = f"{one_line(error)} ({' → '.join(dict.fromkeys(places))}{kept})"
        return Stop(text, 1 if began else Problem.exit_status, of_own_code=bool(own))
    return None


def _frames_in_own_code(settings: Settings, frames: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """Those in code of a person's own that a run names."""
    with contextlib.suppress(Problem):  # the code is gone
        names = own_code.sources(settings.named_code)
        files = {getattr(sys.modules.get(name), "__file__", name) for name in names}
        return [frame for frame in frames if frame.filename in files]
    return []


def _is_of_an_exception(problem: BaseException) -> bool:
    """Whether what a problem tells of began with an exception of somebody's code, as of an environment's."""
    cause = problem
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return not isinstance(cause, Problem | EnvironmentFailed)


def _keep_traceback(job: Job, began: bool, text: str) -> Path | None:
    """Where a traceback was written, if it could be: in the run folder, which is gone where training never began."""
    name = f"rlrepro-error-seed-{job.seeds[0]}"
    try:
        if began:
            file = job.run_path / f"{name}.txt"
            checkpoint.write_whole(file, text.encode())
            return file
        number, path = tempfile.mkstemp(".txt", f"{name}-")  # a name of its own: others use that folder too
        with open(number, "w", encoding="utf-8") as opened:
            opened.write(text)
        return Path(path)
    except (RunStopped, OSError):
        return None
