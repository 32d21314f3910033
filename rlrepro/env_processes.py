"""Environments stepped by other processes, some by each: for a device that learns faster than one core can step them.

The same environments with the same streams as `rlrepro.vector.Singles`, so that nothing depends on their number.
Numbers go through memory that all of them share, and words through pipes.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from rlrepro.errors import Problem, close_quietly, one_line
from rlrepro.plugins import find_env
from rlrepro.vector import EnvironmentFailed, Singles

_STEP, _DONE, _TOLD, _FAILED, _GAVE = b"s", b"d", b"t", b"f", b"g"
_LARGEST = 8  # bytes of a number


class Asked(NamedTuple):
    """An environment as `find_env` takes it: what another process makes it from."""

    name: str
    kwargs: Mapping[str, Any]
    wrappers: tuple[str, ...]


class _Shared:
    """What a step brings, of all M sub-environments: arrays over memory that processes share."""

    def __init__(self, memory: Mapping[str, Any], num: int, observation: np.ndarray, action_shape: Any) -> None:
        self._memory, self._action_shape = memory, action_shape
        self.obs = np.frombuffer(memory["obs"], observation.dtype).reshape(num, *observation.shape)
        self.reward, self.told_reward = (np.frombuffer(memory[name]) for name in ("reward", "told_reward"))
        flags = np.frombuffer(memory["flags"], bool).reshape(4, num)
        self.terminated, self.truncated, self.active, self.told_end = flags

    def action(self, dtype: Any) -> np.ndarray:
        """The actions `[M, ...]`, as numbers of this kind."""
        num = len(self.obs)
        size = num * math.prod(self._action_shape)
        return np.frombuffer(self._memory["action"], dtype, size).reshape(num, *self._action_shape)


class InProcesses:
    """A `Batch` of `num` environments in `num_processes` other processes."""

    def __init__(self, asked: Asked, num: int, num_processes: int) -> None:
        one = find_env(*asked).make()
        self.observation_space, self.action_space = one.observation_space, one.action_space
        close_quietly(one)
        space: Any = self.observation_space
        example, action_shape = np.zeros(space.shape or (), space.dtype), self.action_space.shape or ()
        context = get_context("spawn")
        memory = {
            "obs": context.RawArray("b", max(1, num * example.nbytes)),
            "action": context.RawArray("b", max(1, num * math.prod(action_shape) * _LARGEST)),
            "reward": context.RawArray("d", num),
            "told_reward": context.RawArray("d", num),
            "flags": context.RawArray("b", 4 * num),
        }
        if not example.nbytes:
            raise Problem(f"{asked.name} has observations without numbers")
        layout = memory, num, example, action_shape
        self._shared = _Shared(*layout)
        self._shares = np.array_split(np.arange(num), min(num_processes, num))
        self._place = {int(i): (k, j) for k, share in enumerate(self._shares) for j, i in enumerate(share)}
        self._pipes, self._processes = [], []
        self.learnt: tuple[np.ndarray, np.ndarray] | None = None
        for share in self._shares:
            ours, theirs = context.Pipe()
            rows = slice(int(share[0]), int(share[-1]) + 1)
            process = context.Process(target=_main, args=(asked, layout, rows, theirs), daemon=True)
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
        shared.action(action.dtype)[...] = action
        shared.active[...] = True if active is None else active
        order = _STEP + action.dtype.str.encode()
        every = range(len(self._pipes))
        for worker in every:
            with contextlib.suppress(OSError):  # its answer tells
                self._pipes[worker].send_bytes(order)
        told = self._answers(every)
        self.learnt = None
        if any(told):
            self.learnt = shared.told_reward.copy(), shared.told_end.copy()
        return shared.obs.copy(), shared.reward.copy(), shared.terminated.copy(), shared.truncated.copy()

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
        """What each of them gives back, all of them waited for; the first failure is raised."""
        given: list[Any] = []
        failures: list[EnvironmentFailed] = []
        for worker in workers:
            first = int(self._shares[worker][0])
            try:
                kind = self._pipes[worker].recv_bytes()
                value: Any = kind == _TOLD if kind in (_DONE, _TOLD) else self._pipes[worker].recv()
            except (EOFError, OSError):
                failures.append(EnvironmentFailed(first, "ended with the process that stepped it"))
                continue
            if kind == _FAILED:
                place, what = value
                failures.append(EnvironmentFailed(first + place, what))
            given.append(value)
        if failures:
            raise min(failures, key=lambda failure: failure.index)
        return given


def _main(asked: Asked, layout: tuple[Any, ...], rows: slice, pipe: Any) -> None:
    """The main function of one of the processes: it does what comes through the pipe until that closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that trains closes the pipe
    shared = _Shared(*layout)
    envs: Singles | None = None
    while True:
        try:
            order = pipe.recv_bytes()
        except (EOFError, OSError):
            if envs is not None:
                envs.close()
            os._exit(0)
        try:
            if envs is None:
                envs = Singles(find_env(*asked).make, rows.stop - rows.start)
            if order[:1] == _STEP:
                pipe.send_bytes(_TOLD if _step(envs, shared, rows, np.dtype(order[1:].decode())) else _DONE)
                continue
            method, args = pickle.loads(order)
            value = getattr(envs, method)(*args)
        except EnvironmentFailed as failure:
            pipe.send_bytes(_FAILED)
            pipe.send((failure.index, failure.what))
        except (Exception, SystemExit) as error:
            pipe.send_bytes(_FAILED)
            pipe.send((0, f"raised {one_line(error)}"))
        else:
            pipe.send_bytes(_GAVE)
            pipe.send(value)


def _step(envs: Singles, shared: _Shared, rows: slice, dtype: Any) -> bool:
    """One step of these rows; whether anything but the environment's own rewards is to be learnt from."""
    obs, reward, terminated, truncated = envs.step(shared.action(dtype)[rows], shared.active[rows])
    shared.obs[rows], shared.reward[rows] = obs, reward
    shared.terminated[rows], shared.truncated[rows] = terminated, truncated
    shared.told_reward[rows], shared.told_end[rows] = envs.learnt or (reward, terminated)
    return envs.learnt is not None
