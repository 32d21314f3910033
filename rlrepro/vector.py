"""S × N environments behind one `step`, whatever form they come in.

Past this file there is one semantics: same-step autoreset with the true final observation, a random stream for
every sub-environment, actions checked once, no reset step ever reaching a memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.vector import AutoresetMode

from rlrepro import snapshot
from rlrepro.agent import Transition
from rlrepro.errors import AgentFault, RunStopped, close_quietly, one_line, place_of
from rlrepro.learnt import KEY, told
from rlrepro.streams import env_seed

LARGEST = float(np.finfo(np.float32).max)  #: of rewards and observations: memories and networks hold float32


class EnvBatch(Protocol):
    """M sub-environments stepped by one call, without autoreset, each with its own random stream.

    What `reset` and `step` give is not written to again: transitions keep it. A batch may have `close()`.
    """

    observation_space: gymnasium.Space[Any]  #: of one sub-environment
    action_space: gymnasium.Space[Any]
    #: `(reward, terminated)` `[M]` of the last step where what is to be learnt differs from what happened, else None
    to_learn: tuple[np.ndarray, np.ndarray] | None

    def reset(self, index: np.ndarray, seeds: Sequence[int | None]) -> np.ndarray:
        """Reset the sub-environments in `index` `[K]`; None continues a stream. First observations `[K, ...]`."""

    def step(
        self, action: np.ndarray, active: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """obs `[M, ...]`, reward float64, terminated, truncated `[M]`; of inactive rows nothing is to be used."""

    def get_state(self, i: int) -> Any:
        """The state of sub-environment i as plain data and arrays."""

    def set_state(self, i: int, state: Any) -> np.ndarray:
        """Restore it; its present observation."""


_WHOLE = int, np.integer


class Observations:
    """Those of a space. One of too few axes NumPy would spread over a row, and of −1 a table's last row be learnt."""

    def __init__(self, space: gymnasium.Space[Any]) -> None:
        self._space, self._shape = space, space.shape
        self._ends: tuple[Any, Any] | None = None  #: the first and the last, of a space that counts
        if isinstance(space, Discrete):
            self._ends = int(space.start), int(space.start + space.n - 1)
        elif isinstance(space, MultiDiscrete):
            self._ends = space.start, space.start + space.nvec - 1
        elif isinstance(space, MultiBinary):
            self._ends = 0, 1

    def wrong(self, obs: Any) -> str | None:
        """What is to be said of an observation of another shape, or a counted one that is not in the space."""
        if self._shape is None:  # of several parts
            return None
        is_number = isinstance(obs, _WHOLE)
        if not is_number and not isinstance(obs, np.ndarray):
            try:
                obs = np.asarray(obs)
            except ValueError as error:
                return f"gave an observation that is no array ({one_line(error)})"
        shape = () if is_number else obs.shape
        if shape != self._shape:
            return f"gave an observation of shape {list(shape)}, not {list(self._shape)}"
        if self._ends is None:
            return None
        first, last = self._ends
        if is_number:
            inside = first <= obs <= last
        else:  # a float would be cut to another one
            inside = obs.dtype.kind in "biu" and bool(((first <= obs) & (obs <= last)).all())
        return None if inside else f"gave the observation {obs}, which is not in {self._space}"


def first_of(given: Any) -> tuple[Any, Any]:
    """The first observation and the info of what a `reset` gave; `TypeError` where that is no pair."""
    if not isinstance(given, tuple) or len(given) != 2:
        raise TypeError(f"(observation, info) is expected, not a {type(given).__name__}")
    return given


class SyncEnvBatch:
    """An `EnvBatch` of Gymnasium environments stepped one by one."""

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]], num: int) -> None:
        self.envs: list[gymnasium.Env[Any, Any]] = []
        try:
            while len(self.envs) < num:
                self.envs.append(make())
        except BaseException:
            self.close()
            raise
        self.observation_space = self.envs[0].observation_space
        self.action_space = self.envs[0].action_space
        self._discrete = isinstance(self.action_space, Discrete)
        shape = self.observation_space.shape or ()
        self._obs = np.zeros((num, *shape), self.observation_space.dtype)
        self._wrong = Observations(self.observation_space).wrong
        #: reward and terminated `[num]` of the last step to learn from, where `info["learn"]` says so; else None
        self.to_learn: tuple[np.ndarray, np.ndarray] | None = None

    def reset(self, index: np.ndarray, seeds: Sequence[int | None]) -> np.ndarray:
        self._obs = self._obs.copy()  # what step gave is in somebody's hands: the true final observations
        for i, seed in zip(index, seeds, strict=True):
            try:
                obs, _ = first_of(self.envs[i].reset(seed=seed))
                if (wrong := self._wrong(obs)) is not None:
                    raise EnvironmentFailed(int(i), f"{wrong}, in reset")
                self._obs[i] = obs
            except EnvironmentFailed:
                raise
            except (Exception, SystemExit) as error:
                raise EnvironmentFailed(int(i), f"raised {one_line(error)} in reset{place_of(error)}") from error
        return self._obs[index]

    def step(
        self, action: np.ndarray, active: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        num = len(self.envs)
        reward, terminated, truncated = np.zeros(num), np.zeros(num, bool), np.zeros(num, bool)
        obs = self._obs = self._obs.copy()
        actions = action.tolist() if self._discrete else action
        to_learn = {}
        for i, env in enumerate(self.envs):
            if active is None or active[i]:
                try:
                    given, one, terminated[i], truncated[i], info = env.step(actions[i])
                    if one is None:  # which NumPy makes NaN of
                        raise EnvironmentFailed(i, "gave the reward None")
                    reward[i] = one
                    if (wrong := self._wrong(given)) is not None:
                        raise EnvironmentFailed(i, wrong)
                    obs[i] = given
                    if KEY in info:
                        to_learn[i] = told(info)
                except EnvironmentFailed:
                    raise
                except (Exception, SystemExit) as error:
                    raise EnvironmentFailed(i, f"raised {one_line(error)} in step{place_of(error)}") from error
        self.to_learn = None
        if to_learn:
            self.to_learn = reward.copy(), terminated.copy()
            for i, (one, end) in to_learn.items():
                self.to_learn[0][i], self.to_learn[1][i] = one, end
        return obs, reward, terminated, truncated

    def get_state(self, i: int) -> Any:
        return {"env": snapshot.take(self.envs[i]), "obs": self._obs[i].copy()}

    def set_state(self, i: int, state: Any) -> np.ndarray:
        self.envs[i].reset(seed=0)  # some environments build what they hold in their first reset
        try:
            snapshot.put_back(self.envs[i], state["env"])
        except snapshot.Unrestorable:
            raise
        except (Exception, SystemExit) as error:
            raise EnvironmentFailed(i, f"raised {one_line(error)} when it was given its state") from error
        self._obs[i] = state["obs"]
        return self._obs[i]

    def close(self) -> None:
        for env in self.envs:
            close_quietly(env)


class TupleAsArray(gymnasium.ObservationWrapper[np.ndarray, Any, Any]):
    """Observations of a Tuple of Discretes, as Blackjack-v1's, as one int64 array of a MultiDiscrete."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        spaces: Any = env.observation_space
        self.observation_space = gymnasium.spaces.MultiDiscrete(
            [space.n for space in spaces], start=[space.start for space in spaces]
        )

    @staticmethod
    def serves(space: Any) -> bool:
        return all(isinstance(one, Discrete) for one in space)

    def observation(self, observation: Any) -> np.ndarray:
        return np.array(observation, np.int64)


class VectorAsSingle(gymnasium.Env[Any, Any]):
    """An environment that exists only in a vector form, as a single one, whatever its autoreset mode.

    It holds a vector environment of size one: there a reset is due for all or for none, so that a mode which
    resets on the next step needs no step of its own in anybody's data.
    """

    def __init__(self, make: Callable[[], gymnasium.vector.VectorEnv[Any, Any, Any]], spec: EnvSpec) -> None:
        self._vector = make()
        self.spec = self._vector.spec or spec
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self.render_mode = self._vector.render_mode
        self._mode = self._vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._started: Any = None  # what a same-step autoreset has already begun

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        started, self._started = self._started, None
        if started is not None and seed is None and not options:
            return started, {}
        if self._mode == AutoresetMode.DISABLED and seed is None:
            options = {"reset_mask": np.ones(1, bool), **(options or {})}
        obs, info = self._vector.reset(seed=seed, options=options)
        return self._first(obs), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        batched = np.asarray(action, self.action_space.dtype)[None]
        obs, reward, terminated, truncated, info = self._vector.step(batched)
        obs = self._first(obs)
        if self._mode == AutoresetMode.SAME_STEP and (terminated[0] or truncated[0]):
            final = info.get("final_obs", info.get("final_observation"))
            if final is None:
                raise ValueError("its same-step autoreset gives no info['final_obs']")
            self._started, obs = obs, _only(final, self.observation_space)
        return obs, float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def _first(self, obs: Any) -> Any:
        return _only(obs, self.observation_space)

    def render(self) -> Any:
        frames = self._vector.render()
        return frames[0] if frames else None

    def close(self) -> None:
        self._vector.close()


class EnvironmentFailed(Exception):
    """A sub-environment broke; `VectorEnv` says which seed's it was."""

    def __init__(self, index: int, what: str) -> None:
        super().__init__(what)
        self.index, self.what = index, what


class VectorEnv:
    """S seeds × N sub-environments, stepped together.

    `obs` `[S, N, ...]` are the observations to act on. Sub-environment n of seed s has the stream derived from s
    and n, so its episodes are the same whatever runs beside it.
    """

    def __init__(self, batch: EnvBatch, seeds: Sequence[int], num_envs: int, name: str = "environment") -> None:
        self.batch, self.seeds, self.num_envs, self.name = batch, tuple(seeds), num_envs, name
        self.observation_space, self.action_space = batch.observation_space, batch.action_space
        self._num = len(seeds) * num_envs
        self._all = np.arange(self._num)
        self._shape = (len(self.seeds), num_envs, *(self.action_space.shape or ()))
        self._dtype: Any = None
        self.check_every = 64 * num_envs  #: env steps between looks at actions: one at each costs a tenth of CartPole's
        self.obs = np.zeros(0)
        self.env_step = 0  #: env steps of each seed
        self.reward = np.zeros((len(seeds), num_envs))  #: the environment's own rewards of the last step
        self.terminated = self.truncated = np.zeros((len(seeds), num_envs), bool)  #: its own ends of the last step
        self.ended: np.ndarray | None = None  #: `[S, N]` which episodes ended in the last step, None for none

    def reset(self) -> np.ndarray:
        """Begin all episodes from the seeds' streams."""
        return self._reset()

    def _reset(self, *purpose: str | int) -> np.ndarray:
        seeds = [env_seed(s, "env", n, *purpose) for s in self.seeds for n in range(self.num_envs)]
        try:
            obs = self.batch.reset(self._all, seeds)
            check_numbers(obs, np.zeros(self._num))
            self.obs = self._fold(obs)
        except EnvironmentFailed as failure:
            raise self._stopped(failure.index, failure.what) from failure
        return self.obs

    def step(self, action: np.ndarray, extras: Mapping[str, Any]) -> tuple[Transition, np.ndarray]:
        """One step of all; the transition, and the observations to act on next.

        Actions outside a Box are clipped to it for the environment; the transition keeps what the agent chose. Its
        reward and termination are those to learn from, where the environment tells them apart (`info["learn"]`).
        `Problem` where actions are not `[S, N, ...]` as the space has them; their numbers are looked at now and then.
        """
        is_due = self.env_step % self.check_every == 0
        if is_due or action.shape != self._shape or action.dtype is not self._dtype:
            check_actions(action, self._shape, self.action_space, "act")
            check_extras(extras, self._shape[:2])
            self._dtype = action.dtype
        flat = to_env(action.reshape(self._num, *action.shape[2:]), self.action_space)
        try:
            next_obs, reward, terminated, truncated = self.batch.step(flat)
            check_numbers(next_obs, reward)
            ended = terminated | truncated
            following = next_obs
            self.ended = None
            if np.count_nonzero(ended):
                index = ended.nonzero()[0]
                following = next_obs.copy()
                following[index] = self.batch.reset(index, [None] * len(index))
                check_numbers(following, reward)
                self.ended = self._fold(ended)
        except EnvironmentFailed as failure:
            what = f"{failure.what}{_after(action.reshape(self._num, -1)[failure.index])}"
            raise self._stopped(failure.index, what) from failure
        fold = self._fold
        self.reward, self.terminated, self.truncated = fold(reward), fold(terminated), fold(truncated)
        learnt = self.reward, self.terminated, self.truncated
        to_learn = self.batch.to_learn
        if to_learn is not None:
            self._check_learnt(to_learn[0])
            over = ended & ~to_learn[1]  # an end that is not to be learnt cuts the episode all the same
            learnt = fold(to_learn[0]), fold(to_learn[1]), fold(truncated | over)
        reward, terminated, truncated = learnt
        next_obs = fold(next_obs)
        transition = Transition(self.obs, action, reward, next_obs, terminated, truncated, extras)
        self.obs = next_obs if self.ended is None else fold(following)
        self.env_step += self.num_envs
        return transition, self.obs

    def get_state(self) -> dict[str, Any]:
        """Per seed, the states of its N sub-environments."""
        N = self.num_envs
        return {"envs": [[self.batch.get_state(s * N + n) for n in range(N)] for s in range(len(self.seeds))]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore `get_state`, observations too."""
        self.batch.reset(self._all, [0] * self._num)
        rows = [
            self.batch.set_state(s * self.num_envs + n, one)
            for s, envs in enumerate(state["envs"])
            for n, one in enumerate(envs)
        ]
        self.obs = self._fold(np.stack(rows))

    def begin_anew(self, env_step: int) -> None:
        """Where states cannot be restored: new episodes, from streams derived from the step of the resume."""
        self._reset("resumed", env_step)

    def close(self) -> None:
        close = getattr(self.batch, "close", None)
        if close is not None:
            close()

    def _fold(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, self.num_envs, *values.shape[1:])

    def _check_learnt(self, reward: np.ndarray) -> None:
        if float(np.vdot(reward, reward)) <= LARGEST:
            return
        if (bad := ~(np.abs(reward, dtype=np.float64) <= LARGEST)).any():
            index = int(bad.argmax())
            raise self._stopped(index, f"gave the reward {as_refused(reward[index])} to learn from")

    def _stopped(self, index: int, what: str) -> RunStopped:
        seed, env = self.seeds[index // self.num_envs], index % self.num_envs
        return RunStopped(f"{self.name} {what} (seed {seed}, sub-environment {env})")


def check_actions(action: Any, shape: tuple[int, ...], space: gymnasium.Space[Any], method: str) -> None:
    """`AgentFault` where what an agent's `method` gave is no array of `shape` with actions of `space`.

    Those of Discrete count from 0.
    """
    what = f"the agent's {method} gives"
    if not isinstance(action, np.ndarray):
        raise AgentFault(f"{what} a {type(action).__name__}, not a NumPy array {list(shape)}")
    if action.shape != shape:
        axes = "[S, N, ...]" if method == "act" else "[S, E, ...]"
        raise AgentFault(f"{what} actions of shape {list(action.shape)}, not {list(shape)}: {axes} for {space}")
    if isinstance(space, Box):
        if action.dtype.kind not in "fiu":
            raise AgentFault(f"{what} actions of {action.dtype}, not numbers, for {space}")
        return
    if action.dtype.kind not in "iu":
        raise AgentFault(f"{what} actions of {action.dtype}, not whole numbers, for {space}")
    start: Any = space.start if isinstance(space, MultiDiscrete) else 0
    count: Any = space.n if isinstance(space, Discrete) else getattr(space, "nvec", 2)  # MultiBinary has neither
    outside = (action < start) | (action >= start + count)
    if outside.any():
        raise AgentFault(f"{what} the action {action[outside][0]}, which is not in {space}")


def check_extras(extras: Any, axes: tuple[int, ...]) -> None:
    """`AgentFault` where what an agent's `act` gave beside its actions are no arrays `[S, N, ...]` by name."""
    if not isinstance(extras, Mapping):
        raise AgentFault(
            f"the agent's act gives {type(extras).__name__} beside its actions, not extras by name ({{}}: none)"
        )
    for name, value in extras.items():
        if name in Transition._fields:
            raise AgentFault(
                f"the agent's act gives an extra named {name!r}, which is a field of every transition: rename it"
            )
        shape = getattr(value, "shape", None)
        if shape is None or tuple(shape[:2]) != axes:
            given = type(value).__name__ if shape is None else f"shape {list(shape)}"
            raise AgentFault(
                f"the agent's act gives the extra {name!r} as {given}, not an array {[*axes]} and more axes"
            )


def to_env(action: np.ndarray, space: gymnasium.Space[Any]) -> np.ndarray:
    """Actions as agents give them, `[..., *space.shape]`, as the environment takes them.

    Those of a Box are clipped to it; those of Discrete, which agents count from 0, are counted from its start.
    """
    if isinstance(space, Box):
        clipped = np.minimum(np.maximum(action, space.low), space.high)
        if clipped.dtype != space.dtype and space.dtype.kind in "iu":
            clipped = np.rint(clipped)
        return clipped.astype(space.dtype, copy=False)
    if isinstance(space, Discrete):
        return action.astype(np.int64) + int(space.start) if space.start else action
    return action.copy()  # an environment may write into it, and a memory keeps the agent's


def _after(action: np.ndarray) -> str:
    """What an action has to do with the failure that followed it."""
    return "" if np.isfinite(action).all() else ", after an action with NaN or infinity"


def check_numbers(obs: np.ndarray, reward: np.ndarray, active: np.ndarray | None = None) -> None:
    """Raise `EnvironmentFailed` for the first sub-environment with a reward or an observation beyond `LARGEST`.

    NaN and infinity count as beyond it.
    """
    floats = obs.dtype.kind == "f"
    # The cheapest look at all of them: no number is larger than the sum of squares, where that is above 1.
    if float(np.vdot(reward, reward)) <= LARGEST and (not floats or float(np.vdot(obs, obs)) <= LARGEST):
        return
    counts = np.ones(len(reward), bool) if active is None else active
    bad = ~(np.abs(reward, dtype=np.float64) <= LARGEST) & counts
    if bad.any():
        index = int(bad.argmax())
        raise EnvironmentFailed(index, f"gave the reward {as_refused(reward[index])}")
    if not floats:
        return
    sizes = np.abs(obs).reshape(len(obs), -1).max(1, initial=0.0).astype(np.float64)  # of what has NaN, NaN
    bad = ~(sizes <= LARGEST) & counts
    if bad.any():
        index = int(bad.argmax())
        what = as_refused(sizes[index]) if np.isfinite(sizes[index]) else "NaN or infinity"
        raise EnvironmentFailed(index, f"gave an observation with {what}")


def as_refused(number: Any) -> str:
    """A number that is NaN, infinite or beyond `LARGEST`, as a fault tells it."""
    return f"{number:g}, beyond {LARGEST:g}" if np.isfinite(number) else f"{number}"


def _only(obs: Any, space: gymnasium.Space[Any]) -> Any:
    """The observation of `space` in a batch of one: an array of one, or of a Dict or a Tuple each part's.

    Gymnasium gives final observations of those two as an array of objects.
    """
    if isinstance(space, Dict | Tuple) and isinstance(obs, np.ndarray):
        return obs[0]
    if isinstance(space, Dict):
        return {name: _only(obs[name], one) for name, one in space.items()}
    if isinstance(space, Tuple):
        return tuple(_only(part, one) for part, one in zip(obs, space, strict=True))
    return np.asarray(obs[0])
