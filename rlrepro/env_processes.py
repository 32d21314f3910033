"""Environments stepped by other processes, some by each: for a device that learns faster than one core can step them.

The same environments with the same streams as `rlrepro.vector.SyncEnvBatch`, so that nothing depends on their number.
Numbers go through memory that all of them share, and words through pipes.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from threadpoolctl import threadpool_limits

from rlrepro.ctrl_c import without_ctrl_c
from rlrepro.errors import Problem, close_quietly, one_line
from rlrepro.plugins.environments import find_env
from rlrepro.replayed import Replayed
from rlrepro.snapshot import Unrestorable
from rlrepro.vector import EnvironmentFailed, SyncEnvBatch

_STEP, _CLOSED = "step", ("close", ())
_GAVE, _FAILED, _NO_STATE = "gave", "failed", "no state"
_DONE, _TOLD, _BROKE = range(3)  # how a step went
_LARGEST = 8  # bytes of a number
# To wake a process that sleeps takes longer than a step: for some milliseconds each looks again and again.
_LOOKS, _ANSWERED = 20_000, 100  # looks for a step, and those between two for another order
_NAP = 0.001  # seconds between looks after that


class Asked(NamedTuple):
    """An environment as `find_env` takes it: what another process makes it from."""

    name: str
    kwargs: Mapping[str, Any]
    wrappers: tuple[str, ...]
    is_replayed: bool = False  #: see `rlrepro.replayed`; what was tried once need not be in each process

    def make(self) -> gymnasium.Env[Any, Any]:
        made = find_env(self.name, self.kwargs, self.wrappers).make()
        return Replayed(made) if self.is_replayed else made


class _Shared:
    """What a step brings, of all M sub-environments: arrays over memory that processes share."""

    def __init__(self, memory: Mapping[str, Any], num: int, observation: np.ndarray, action_shape: Any) -> None:
        self._memory, self._action_shape = memory, action_shape
        self.outcome = memory["outcome"]  # of each process
        self.obs = np.frombuffer(memory["obs"], observation.dtype).reshape(num, *observation.shape)
        self.reward, self.told_reward = (np.frombuffer(memory[name]) for name in ("reward", "told_reward"))
        flags = np.frombuffer(memory["flags"], bool).reshape(4, num)
        self.terminated, self.truncated, self.active, self.told_end = flags

    def put_action(self, action: np.ndarray) -> None:
        self._memory["dtype"].value = action.dtype.str.encode()
        self.action()[...] = action

    def action(self) -> np.ndarray:
        """The actions `[M, ...]`, as numbers of the kind that was put."""
        num, dtype = len(self.obs), np.dtype(self._memory["dtype"].value.decode())
        size = num * math.prod(self._action_shape)
        return np.frombuffer(self._memory["action"], dtype, size).reshape(num, *self._action_shape)


class AsyncEnvBatch:
    """An `EnvBatch` of `num` environments in `num_processes` other processes."""

    def __init__(self, asked: Asked, num: int, num_processes: int) -> None:
        one = asked.make()
        self.observation_space, self.action_space = one.observation_space, one.action_space
        close_quietly(one)
        space: Any = self.observation_space
        example, action_shape = np.zeros(space.shape or (), space.dtype), self.action_space.shape or ()
        if not example.nbytes:
            raise Problem(f"{asked.name} has observations without numbers")
        context = get_context("spawn")
        memory = {
            "obs": context.RawArray("b", num * example.nbytes),
            "action": context.RawArray("b", max(1, num * math.prod(action_shape) * _LARGEST)),
            "reward": context.RawArray("d", num),
            "told_reward": context.RawArray("d", num),
            "flags": context.RawArray("b", 4 * num),
            "dtype": context.RawArray("c", 16),
            "outcome": context.RawArray("b", num),
        }
        layout = memory, num, example, action_shape
        self._shared = _Shared(*layout)
        self._shares = np.array_split(np.arange(num), min(num_processes, num))
        self._place = {int(i): (k, j) for k, share in enumerate(self._shares) for j, i in enumerate(share)}
        self._pipes: list[Any] = []
        self._processes: list[Any] = []
        self._bells: list[tuple[Any, Any]] = []
        self.to_learn: tuple[np.ndarray, np.ndarray] | None = None
        atexit.register(self.close)  # before multiprocessing's own way, which waits for them
        with without_ctrl_c():
            self._begin(context, asked, layout)

    def _begin(self, context: Any, asked: Asked, layout: tuple[Any, ...]) -> None:
        for worker, share in enumerate(self._shares):
            ours, theirs = context.Pipe()
            bells = context.Semaphore(0), context.Semaphore(0)  # for a step, and after it
            self._bells.append(bells)
            rows = slice(int(share[0]), int(share[-1]) + 1)
            process = context.Process(target=_main, args=(asked, layout, worker, rows, theirs, bells), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def reset(self, index: np.ndarray, seeds: Sequence[int | None]) -> np.ndarray:
        wanted: list[tuple[list[int], list[int | None]]] = [([], []) for _ in self._pipes]
        for i, seed in zip(index, seeds, strict=True):
            worker, place = self._place[int(i)]
            wanted[worker][0].append(place)
            wanted[worker][1].append(seed)
        asked = [worker for worker, (places, _) in enumerate(wanted) if places]
        for worker in asked:
            places, theirs = wanted[worker]
            self._send(worker, "reset", np.array(places), theirs)
        out = np.empty((len(index), *self._shared.obs.shape[1:]), self._shared.obs.dtype)
        owner = np.array([self._place[int(i)][0] for i in index])
        for worker, obs in zip(asked, self._answers(asked), strict=True):
            out[owner == worker] = obs
        return out

    def step(
        self, action: np.ndarray, active: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        shared = self._shared
        shared.put_action(action)
        shared.active[...] = True if active is None else active
        for begin, _ in self._bells:
            begin.release()
        every = range(len(self._pipes))
        gone = [worker for worker in every if not self._stepped(worker)]
        broke = [worker for worker in every if worker not in gone and shared.outcome[worker] == _BROKE]
        if gone or broke:
            self._answers([*gone, *broke])
        self.to_learn = None
        if any(shared.outcome[worker] == _TOLD for worker in every):
            self.to_learn = shared.told_reward.copy(), shared.told_end.copy()
        return shared.obs.copy(), shared.reward.copy(), shared.terminated.copy(), shared.truncated.copy()

    def _stepped(self, worker: int) -> bool:
        """Wait for a step of one process; False where that is gone."""
        over = self._bells[worker][1]
        for _ in range(_LOOKS):
            if over.acquire(False):
                return True
        while not over.acquire(True, _NAP):
            if not self._processes[worker].is_alive():
                return bool(over.acquire(False))
        return True

    def get_state(self, i: int) -> Any:
        worker, place = self._place[i]
        self._send(worker, "get_state", place)
        return self._answers([worker])[0]

    def set_state(self, i: int, state: Any) -> np.ndarray:
        worker, place = self._place[i]
        self._send(worker, "set_state", place, state)
        obs: np.ndarray = self._answers([worker])[0]
        return obs

    def close(self) -> None:
        atexit.unregister(self.close)
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()

    def _send(self, worker: int, method: str, *args: Any) -> None:
        with contextlib.suppress(OSError):  # its answer tells
            self._pipes[worker].send((method, args))

    def _answers(self, workers: Sequence[int] | range) -> list[Any]:
        """What each of them gives back through its pipe, all of them waited for; the first failure is raised."""
        given: list[Any] = []
        failures: list[EnvironmentFailed] = []
        no_state: list[Unrestorable] = []
        for worker in workers:
            first = int(self._shares[worker][0])
            try:
                kind, value = self._pipes[worker].recv()
            except (EOFError, OSError):
                failures.append(EnvironmentFailed(first, "ended with the process that stepped it"))
                continue
            if kind == _FAILED:
                place, what, trace = value
                failures.append(EnvironmentFailed(first + place, what))
                failures[-1].__cause__ = _Elsewhere(trace) if trace else None
            if kind == _NO_STATE:
                no_state.append(value)
            given.append(value)
        if failures:
            raise min(failures, key=lambda failure: failure.index)
        if no_state:
            raise no_state[0]
        return given


class _Elsewhere(Exception):
    """The traceback of an exception in another process."""


def _main(asked: Asked, layout: tuple[Any, ...], worker: int, rows: slice, pipe: Any, bells: tuple[Any, Any]) -> None:
    """The main function of one of the processes: it does what it is told until its pipe closes."""
    multiprocessing.current_process().daemon = False  # as which an environment could have no processes of its own
    for number in (signal.SIGINT, signal.SIGTERM):  # the process that trains closes the pipe when it is done
        signal.signal(number, signal.SIG_IGN)
    threadpool_limits(1)  # as in the process that trains
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    shared, (begin, over) = _Shared(*layout), bells
    envs: SyncEnvBatch | None = None
    while True:
        order = _order(pipe, begin)
        if order == _CLOSED:
            if envs is not None:
                envs.close()
            os._exit(0)
        method, args = order
        try:
            if envs is None:
                envs = SyncEnvBatch(asked.make, rows.stop - rows.start)
            answer = _GAVE, _step(envs, shared, rows) if method == _STEP else getattr(envs, method)(*args)
        except EnvironmentFailed as failure:
            answer = _FAILED, (failure.index, failure.what, traceback.format_exc() if failure.__cause__ else "")
        except Unrestorable as error:
            answer = _NO_STATE, error
        except (Exception, SystemExit) as error:
            answer = _FAILED, (0, f"raised {one_line(error)}", traceback.format_exc())
        kind, value = answer
        if method == _STEP:
            shared.outcome[worker] = _BROKE if kind == _FAILED else value
        if method != _STEP or kind == _FAILED:
            with contextlib.suppress(OSError):  # it is gone, as the next order tells
                pipe.send(answer)
        if method == _STEP:
            over.release()


def _order(pipe: Any, begin: Any) -> tuple[str, tuple[Any, ...]]:
    """What is to be done next: a method of `SyncEnvBatch` and its arguments."""
    looks = 0
    while True:
        if begin.acquire(False) if looks < _LOOKS else begin.acquire(True, _NAP):
            return _STEP, ()
        looks += 1
        try:
            if (looks >= _LOOKS or looks % _ANSWERED == 0) and pipe.poll():
                order: tuple[str, tuple[Any, ...]] = pipe.recv()
                return order
        except (EOFError, OSError):
            return _CLOSED


def _step(envs: SyncEnvBatch, shared: _Shared, rows: slice) -> int:
    """One step of these rows, and whether anything but the environment's own rewards is to be learnt from."""
    obs, reward, terminated, truncated = envs.step(shared.action()[rows].copy(), shared.active[rows])
    shared.obs[rows], shared.reward[rows] = obs, reward
    shared.terminated[rows], shared.truncated[rows] = terminated, truncated
    shared.told_reward[rows], shared.told_end[rows] = envs.to_learn or (reward, terminated)
    return _DONE if envs.to_learn is None else _TOLD
