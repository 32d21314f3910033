"""Gymnasium's classic-control tasks, many at a time, to the bit what its single environments give.

A `BatchedEnv` steps M sub-environments with a few NumPy calls. Unlike in Gymnasium's vector environments,
each of them owns its random stream, so it gives what `gymnasium.make(id)` would have given alone: the same
float32 observations, float64 rewards, ends of episodes and inner states, bit for bit.

That decides how the arithmetic is written. It keeps the order of operations of Gymnasium 1.4's
`gymnasium.envs.classic_control`; only factors that are powers of two move, which is exact. `x ** 2` of a
scalar is libm's pow there, which is not always the number nearest to x·x.

At these sizes the number of NumPy calls is nearly the whole cost of a step. Hence the work arrays that are
allocated once, the constants that are 0-d arrays (a Python number is converted again in every call), and the
outputs passed by position where NumPy allows it.
"""

import math
import operator
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import seeding

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def _const(value: float) -> Floats:
    return np.array(value, np.float64)


def _const32(value: float) -> npt.NDArray[np.float32]:
    return np.array(value, np.float32)


def _plain_number(name: str, value: Any) -> float:
    """`value` if it is a Python number: NumPy's own scalars would change the type of what they meet."""
    if type(value) not in (int, float):
        raise NotImplementedError(f"{name} must be an int or a float, not {value!r}")
    return value


def _bit_equal(fast: Callable[..., Any], scalar: Callable[[Any], float]) -> Callable[[Floats, Floats], Any]:
    """`fast(x, out)` if it gives `scalar`'s bits on this machine, else a slower function that does.

    Over arrays NumPy may use vector instructions, which round differently from libm and from its own scalars.
    """
    sample = np.random.default_rng(0).uniform(-30, 30, 4096)
    if np.array_equal(fast(sample, np.empty_like(sample)), [scalar(x) for x in sample]):
        return fast

    def one_by_one(x: Floats, out: Floats) -> None:
        out[...] = np.reshape([scalar(value) for value in x.flat], x.shape)

    return one_by_one


_ONE, _TWO, _PI, _HALF_PI, _TWO_PI = map(_const, (1.0, 2.0, math.pi, math.pi / 2, 2 * math.pi))
_cos = _bit_equal(np.cos, np.cos)
_sin = _bit_equal(np.sin, np.sin)
_libm_cos = _bit_equal(np.cos, math.cos)
# np.square rounds x·x and np.power may use vector instructions; np.float_power calls libm's pow.
_pow2 = _bit_equal(lambda x, out: np.float_power(x, _TWO, out), lambda x: x**2)


class BatchedEnv:
    """`num` sub-environments stepped together, each with its own random stream and its own clock.

    `max_episode_steps` truncates as Gymnasium's `TimeLimit` does. There is no autoreset: the caller resets
    what has ended. Options that a form does not serve raise NotImplementedError: Gymnasium's own is taken then.

    A subclass gives the spaces of one sub-environment, `_draw`, `_advance` and `_state` `[D, width]`, a row
    for each of Gymnasium's state variables in their order. `width` is `num`, but 2 for a lone one, which gets
    a twin: working in place on a single element, NumPy is three times slower.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    single: str  #: the entry point of Gymnasium's own form, below `gymnasium.envs.classic_control`
    to_learn = None  #: what is learnt is what happened
    _state: Array

    @classmethod
    def registered_as(cls) -> tuple[str, dict[str, Any]]:
        """The entry point and arguments that an id of this form is registered with, unless it is somebody else's."""
        return f"gymnasium.envs.classic_control.{cls.single}", {}

    def __init__(self, num: int, max_episode_steps: int | None) -> None:
        if np.lib.NumpyVersion(np.__version__) < "2.0.0":
            raise NotImplementedError("the batched forms follow the promotion rules of NumPy 2")
        self.num, self._width = num, max(num, 2)
        self.np_random: list[np.random.Generator | None] = [None] * num
        self._clock = 0  # steps taken by the batch
        self._start = np.zeros(num, np.int64)  # [num] the clock when each episode began
        self._limit = max_episode_steps
        self._deadline = max_episode_steps or 0  # no episode is truncated before the clock shows this

    def reset(self, index: Array, seeds: Sequence[int | None]) -> Array:
        """Begin new episodes in the sub-environments `index` `[K]`; returns their observations `[K, ...]`.

        A seed begins a new random stream; None continues the sub-environment's own.
        """
        draws = np.empty((len(index), len(self._state)))
        for k, (i, seed) in enumerate(zip(index.tolist(), seeds, strict=True)):
            rng = self.np_random[i]
            if rng is None or seed is not None:
                rng = self.np_random[i] = seeding.np_random(seed)[0]
            draws[k] = self._draw(rng)
        self._start[index] = self._clock
        self._store(index, draws.T)
        return self._observe(index)

    def step(self, action: Array, active: Bools | None = None) -> tuple[Array, Floats, Bools, Bools]:
        """Take `action` `[num, ...]`, int64 for Discrete and float32 for Box, which is not checked.

        Returns new arrays: observations `[num, ...]` float32, rewards `[num]` float64, terminated `[num]` and
        truncated `[num]` bool. What `active` `[num]` leaves out stands still, and its results mean nothing.
        """
        if self.num < self._width:
            action = np.concatenate((action, action))
        if active is None or np.count_nonzero(active) == self.num:
            obs, reward, terminated = self._advance(action)
            self._clock += 1
        else:
            held = np.flatnonzero(~active)
            kept = self._load(held)
            obs, reward, terminated = self._advance(action)
            self._clock += 1
            self._start[held] += 1
            self._store(held, kept)
        if self.num < self._width:
            obs, reward, terminated = obs[:1], reward[:1], terminated[:1]
        if self._limit is None or self._clock < self._deadline:
            return obs, reward, terminated, np.zeros(self.num, bool)
        self._deadline = int(self._start.min()) + self._limit
        return obs, reward, terminated, self._start <= self._clock - self._limit

    def get_state(self, i: int) -> dict[str, Any]:
        """All that sub-environment `i` holds, as data that survives JSON."""
        rng = self.np_random[i]
        return {
            "np_random": None if rng is None else rng.bit_generator.state,
            "elapsed": self._clock - int(self._start[i]),
            "state": self._load(np.array([i]))[:, 0].tolist(),
        }

    def set_state(self, i: int, state: dict[str, Any]) -> Array:
        """Restore what `get_state` gave, into any sub-environment; returns its present observation."""
        self.np_random[i] = None
        if state["np_random"] is not None:
            rng = self.np_random[i] = seeding.np_random(0)[0]
            rng.bit_generator.state = state["np_random"]
        self._start[i] = self._clock - state["elapsed"]
        self._deadline = min(self._deadline, int(self._start[i]) + (self._limit or 0))
        self._store(np.array([i]), np.array(state["state"], np.float64)[:, None])
        return self._observe(np.array([i]))[0]

    def __reduce__(self) -> NoReturn:
        # The work arrays are views into each other, and a copy would part them.
        raise TypeError(f"{type(self).__name__} cannot be copied or pickled: use get_state and set_state")

    def _rows(self, rows: int, dtype: type[Any] = np.float64) -> Array:
        """Zeros `[rows, width]`."""
        return np.zeros((rows, self._width), dtype)

    def _column(self, *values: float, dtype: type[Any] = np.float64) -> Array:
        """`[len(values), width]`, a row of each value."""
        return np.repeat(np.array(values, dtype)[:, None], self._width, axis=1)

    def _draw(self, rng: np.random.Generator) -> npt.ArrayLike:
        """A first state `[D]`, by the same draws as in Gymnasium's reset."""
        raise NotImplementedError

    def _advance(self, action: Array) -> tuple[Array, Floats, Bools]:
        """Move the state by `action` `[width, ...]`; new arrays: observations, rewards, terminated."""
        raise NotImplementedError

    def _observe(self, index: Array) -> Array:
        """The observations `[K, ...]` of the present states."""
        return self._state[:, index].T.astype(np.float32, order="C")

    def _load(self, index: Array) -> Floats:
        """The present states `[D, K]`."""
        return self._state[:, index].astype(np.float64)

    def _store(self, index: Array, values: Floats) -> None:
        """Put the states `values` `[D, K]` in place."""
        self._state[:, slice(None) if self.num < self._width else index] = values


class CartPole(BatchedEnv):
    """CartPole-v1 and -v0. State: position [m], its speed [m/s], pole angle [rad], its speed [rad/s]."""

    single = "cartpole:CartPoleEnv"

    FORCES = np.array([-10.0, 10.0])  # N
    GRAVITY, TOTAL_MASS, TAU = map(_const, (9.8, 1.1, 0.02))  # m/s², kg, s
    # POLE is the pole's mass, 0.1 kg, by half its length, 0.5 m. Gymnasium multiplies 4/3 − 0.1 cos²/1.1 by
    # this 0.5; with it inside, cos² and the square of the angle's speed have one factor in common.
    POLE, TWO_THIRDS = _const(0.05), _const(2 / 3)
    FAR, TILTED = 2.4, 12 * 2 * math.pi / 360

    def __init__(self, num: int, max_episode_steps: int | None, sutton_barto_reward: bool = False) -> None:
        super().__init__(num, max_episode_steps)
        high = np.array([2 * self.FAR, np.inf, 2 * self.TILTED, np.inf], np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Discrete(2)
        self._pays_falls = sutton_barto_reward
        self._rewards = self._column(0.0 if sutton_barto_reward else 1.0)[0]

        rows = self._rows(5)  # the state, the angle's cosine
        self._state = state = rows[:4]
        sin, force = self._rows(2)
        pair = self._rows(2)
        rate, beyond = self._rows(4), self._rows(4, bool)
        bounds = self._column(self.FAR, np.inf, self.TILTED, np.inf)
        self._kinematics = state, state.T, state[1::2], state[2], rows[3:], rows[4], sin, force
        self._dynamics = pair, *pair, rate, rate[::2], rate[1], rate[3]
        self._ends = bounds, beyond, beyond[0], beyond[2]

    def _draw(self, rng: np.random.Generator) -> npt.ArrayLike:
        return rng.uniform(low=-0.05, high=0.05, size=(4,))

    def _advance(self, action: Array) -> tuple[Array, Floats, Bools]:
        state, state_T, speeds, angle, angle_speed_and_cos, cos, sin, force = self._kinematics
        pair, temp, inertia, rate, rate_speeds, acc, angle_acc = self._dynamics
        bounds, beyond, is_far, is_tilted = self._ends
        self.FORCES.take(action, None, force, "clip")
        _cos(angle, cos)
        _sin(angle, sin)
        np.square(angle_speed_and_cos, pair)
        pair *= self.POLE
        temp *= sin
        temp += force
        pair /= self.TOTAL_MASS
        np.subtract(self.TWO_THIRDS, inertia, inertia)
        sin *= self.GRAVITY
        np.multiply(cos, temp, angle_acc)
        np.subtract(sin, angle_acc, angle_acc)
        angle_acc /= inertia
        np.multiply(angle_acc, self.POLE, acc)
        acc *= cos
        acc /= self.TOTAL_MASS
        np.subtract(temp, acc, acc)

        np.copyto(rate_speeds, speeds)
        rate *= self.TAU
        state += rate
        np.abs(state, rate)
        np.greater(rate, bounds, beyond)
        terminated = is_far | is_tilted
        reward = self._rewards.copy()
        if self._pays_falls and np.count_nonzero(terminated):
            reward[terminated] = -1.0
        return state_T.astype(np.float32, "C"), reward, terminated


class MountainCar(BatchedEnv):
    """MountainCar-v0. State: position, speed."""

    single = "mountain_car:MountainCarEnv"

    PUSHES = np.array([-0.001, 0.0, 0.001])
    THREE, GRAVITY = _const(3.0), _const(-0.0025)
    LEFT, RIGHT, MIN_SPEED, MAX_SPEED = map(_const, (-1.2, 0.6, -0.07, 0.07))

    def __init__(self, num: int, max_episode_steps: int | None, goal_velocity: float = 0) -> None:
        super().__init__(num, max_episode_steps)
        low, high = np.array([[-1.2, -0.07], [0.6, 0.07]], np.float32)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(3)
        self._rewards = self._column(-1.0)[0]
        self._state = self._rows(2)
        goal = self._column(0.5, _plain_number("goal_velocity", goal_velocity))
        reached = self._rows(2, bool)
        self._work = *self._state, *self._rows(2), self._rows(1, bool)[0], goal, reached, *reached

    def _draw(self, rng: np.random.Generator) -> npt.ArrayLike:
        return rng.uniform(low=-0.6, high=-0.4), 0.0

    def _advance(self, action: Array) -> tuple[Array, Floats, Bools]:
        position, speed, pull, push, at_wall, goal, reached, is_there, is_fast = self._work
        np.multiply(position, self.THREE, pull)
        _libm_cos(pull, pull)
        pull *= self.GRAVITY
        self.PUSHES.take(action, None, push, "clip")
        push += pull
        speed += push
        np.maximum(speed, self.MIN_SPEED, out=speed)
        np.minimum(speed, self.MAX_SPEED, out=speed)
        position += speed
        np.maximum(position, self.LEFT, out=position)
        np.minimum(position, self.RIGHT, out=position)
        np.equal(position, self.LEFT, at_wall)
        if np.count_nonzero(at_wall):
            speed[at_wall & (speed < 0)] = 0.0
        np.greater_equal(self._state, goal, reached)
        return self._state.T.astype(np.float32, "C"), self._rewards.copy(), is_there & is_fast


class MountainCarContinuous(BatchedEnv):
    """MountainCarContinuous-v0. State: position, speed.

    Gymnasium draws a position in double precision, and from the first step on keeps the state in single.
    Here the state is float32 throughout, and `_drawn` `[width]` has the positions of episodes still fresh.
    Python numbers bend to the float32 they meet, but are doubles among themselves: gravity's pull always is
    one to begin with, and so is the force if the action had to be clipped.
    """

    single = "continuous_mountain_car:Continuous_MountainCarEnv"

    POWER, MAX_SPEED = 0.0015, 0.07
    GRAVITY, COST, ZERO = map(_const, (0.0025, 0.1, 0.0))
    THREE, POWER_32, MIN_FORCE, MAX_FORCE = map(_const32, (3.0, POWER, -1.0, 1.0))
    LEFT, RIGHT, SLOWEST, FASTEST = map(_const32, (-1.2, 0.6, -MAX_SPEED, MAX_SPEED))

    def __init__(self, num: int, max_episode_steps: int | None, goal_velocity: float = 0) -> None:
        super().__init__(num, max_episode_steps)
        if _plain_number("goal_velocity", goal_velocity) > self.MAX_SPEED:
            raise NotImplementedError(f"goal_velocity {goal_velocity} is above the highest speed, {self.MAX_SPEED}")
        low, high = np.array([[-1.2, -0.07], [0.6, 0.07]], np.float32)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._state = self._rows(2, np.float32)
        self._drawn = self._rows(1)[0]
        self._newest = 0  # no episode began after the clock showed this
        goal = self._column(0.45, goal_velocity, dtype=np.float32)
        reached = self._rows(2, bool)
        self._forces = *self._rows(4, np.float32), *self._rows(2)
        self._ends = self._rows(1, bool)[0], goal, reached, *reached

    def _draw(self, rng: np.random.Generator) -> npt.ArrayLike:
        return rng.uniform(low=-0.6, high=-0.4), 0.0

    def _load(self, index: Array) -> Floats:
        values = super()._load(index)
        values[0] = np.where(self._start[index] == self._clock, self._drawn[index], values[0])
        return values

    def _store(self, index: Array, values: Floats) -> None:
        super()._store(index, values)
        self._drawn[index] = values[0]
        self._newest = self._clock

    def _advance(self, action: Array) -> tuple[Array, Floats, Bools]:
        position, speed = self._state
        force, triple, push, pull_32, pull, cost = self._forces
        at_wall, goal, reached, is_there, is_fast = self._ends
        action = action.reshape(-1)
        np.maximum(action, self.MIN_FORCE, out=force)
        np.minimum(force, self.MAX_FORCE, out=force)
        clipped = None if force.tobytes() == action.tobytes() else force != action
        fresh = np.flatnonzero(self._start == self._clock) if self._newest == self._clock else None

        np.multiply(position, self.THREE, triple)
        np.copyto(pull, triple)
        if fresh is not None:
            pull[fresh] = 3 * self._drawn[fresh]
        _libm_cos(pull, pull)
        pull *= self.GRAVITY
        np.copyto(pull_32, pull)
        np.multiply(force, self.POWER_32, push)
        push -= pull_32
        exact_push = push
        if clipped is not None:
            exact_push = np.where(clipped, force.astype(np.float64) * self.POWER - pull, push)
            np.copyto(push, exact_push)
        speed += push
        np.maximum(speed, self.SLOWEST, out=speed)
        np.minimum(speed, self.FASTEST, out=speed)
        position += speed
        if fresh is not None:  # from rest, in the middle: no bound is near
            position[fresh] = self._drawn[fresh] + exact_push[fresh]
        np.maximum(position, self.LEFT, out=position)
        np.minimum(position, self.RIGHT, out=position)
        np.equal(position, self.LEFT, at_wall)
        if np.count_nonzero(at_wall):
            speed[at_wall & (speed < 0)] = 0.0

        np.greater_equal(self._state, goal, reached)
        terminated = is_there & is_fast
        np.copyto(cost, action)
        cost *= cost  # exact, as a float64 holds any float32's square
        cost *= self.COST
        reward = self.ZERO - cost
        if np.count_nonzero(terminated):
            reward[terminated] += 100.0
        return self._state.T.copy(), reward, terminated


class Pendulum(BatchedEnv):
    """Pendulum-v1. State: angle [rad], its speed [rad/s]. An action is a torque [N m]."""

    single = "pendulum:PendulumEnv"

    DT, SPEED_COST, MIN_SPEED, MAX_SPEED = map(_const, (0.05, 0.1, -8.0, 8.0))
    MIN_TORQUE, MAX_TORQUE, TWO = map(_const32, (-2.0, 2.0, 2.0))

    def __init__(self, num: int, max_episode_steps: int | None, g: float = 10.0) -> None:
        super().__init__(num, max_episode_steps)
        high = np.array([1.0, 1.0, 8.0], np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)
        self._gravity = _const(3 * _plain_number("g", g) / 2)
        self._pose = self._rows(4)  # cos(angle), sin(angle), speed, angle
        self._state = self._pose[:1:-1]
        # In single precision: 3 u, which a torque adds to the acceleration, and 0.001 u², which it costs.
        factors, torques_32 = self._column(3.0, 0.001, dtype=np.float32), self._rows(2, np.float32)
        torques, squares = self._rows(2), self._rows(2)
        self._torques = factors, torques_32, *torques_32, torques, *torques
        self._squares = squares, *squares, self._rows(1)[0]

    def _draw(self, rng: np.random.Generator) -> npt.ArrayLike:
        high = np.array([math.pi, 1.0])
        return rng.uniform(low=-high, high=high)

    def _store(self, index: Array, values: Floats) -> None:
        super()._store(index, values)
        cos, sin, _, angle = self._pose
        _cos(angle, cos)
        _sin(angle, sin)

    def _observe(self, index: Array) -> Array:
        return self._pose[:3, index].T.astype(np.float32, order="C")

    def _advance(self, action: Array) -> tuple[Array, Floats, Bools]:
        cos, sin, speed, angle = self._pose
        factors, torques_32, torque_32, torque_square, torques, torque, torque_cost = self._torques
        squares, angle_square, speed_square, change = self._squares
        np.maximum(action.reshape(-1), self.MIN_TORQUE, out=torque_32)
        np.minimum(torque_32, self.MAX_TORQUE, out=torque_32)
        # No function of arrays gives the bits of powf, which a float32 scalar's ** 2 is.
        torque_square[...] = np.fromiter(map(operator.pow, torque_32, repeat(self.TWO[()])), np.float32, self._width)
        torques_32 *= factors
        np.copyto(torques, torques_32)

        np.add(angle, _PI, angle_square)
        np.remainder(angle_square, _TWO_PI, angle_square)
        angle_square -= _PI
        np.copyto(speed_square, speed)
        _pow2(squares, squares)
        speed_square *= self.SPEED_COST
        cost = angle_square + speed_square
        cost += torque_cost

        np.multiply(sin, self._gravity, change)
        change += torque
        change *= self.DT
        speed += change
        np.maximum(speed, self.MIN_SPEED, out=speed)
        np.minimum(speed, self.MAX_SPEED, out=speed)
        np.multiply(speed, self.DT, change)
        angle += change
        _cos(angle, cos)
        _sin(angle, sin)
        return (
            self._pose[:3].T.astype(np.float32, "C"),
            np.negative(cost, cost),
            np.zeros(self._width, bool),
        )


class Acrobot(BatchedEnv):
    """Acrobot-v1, with the book's dynamics. State: the two angles [rad], their speeds [rad/s].

    A step is one of fourth-order Runge-Kutta. Each of its four stages has an array with the rows angle,
    angle, speed, speed, acceleration, acceleration: the first four are its state, the last four its slope.
    """

    single = "acrobot:AcrobotEnv"

    TORQUES = np.array([-1.0, 0.0, 1.0])  # N m
    DT, HALF_DT, SIXTH_DT = map(_const, (0.2, 0.2 / 2, 0.2 / 6))  # s
    QUARTER, HALF, FIVE_QUARTERS, MINUS_ONE, MINUS_PI = map(_const, (0.25, 0.5, 1.25, -1.0, -math.pi))
    MAX_SPEEDS = 4 * math.pi, 9 * math.pi
    MOMENTS = 0.5 * 9.8, (0.5 + 1.0) * 9.8  # N m: mass by distance by gravity

    def __init__(self, num: int, max_episode_steps: int | None) -> None:
        super().__init__(num, max_episode_steps)
        high = np.array([1.0, 1.0, 1.0, 1.0, *self.MAX_SPEEDS], np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Discrete(3)
        self._rewards = self._column(-1.0)[0]
        self._torque = self._rows(1)[0]
        stages = [self._rows(6) for _ in range(4)]
        self._stages = [(s[:2], s[0], s[1], s[2], s[3], s[2:5], s[4], s[5]) for s in stages]
        self._states, self._slopes = [s[:4] for s in stages], [s[2:] for s in stages]
        self._state = self._states[0]
        angles, cosines, squares = self._rows(3), self._rows(3), self._rows(3)
        self._angles = angles, angles[0], angles[:2], angles[1:], cosines, *cosines, cosines[:2]
        self._terms = squares, *squares, squares[:2], *self._rows(4)
        self._factors = self._column(*self.MOMENTS), self._column(0.5, -0.5)
        fastest = self._column(*self.MAX_SPEEDS)
        self._bounds = -fastest, fastest, self._rows(2), self._rows(2, bool)
        self._seen = self._rows(6)

    def _draw(self, rng: np.random.Generator) -> npt.ArrayLike:
        return rng.uniform(low=-0.1, high=0.1, size=(4,)).astype(np.float32)

    def _observe(self, index: Array) -> Array:
        state = self._state[:, index]
        seen = np.empty((len(index), 6), np.float32)
        # In Gymnasium a fresh state is in single precision, and so are the cosines and sines of its angles.
        fresh = self._start[index] == self._clock
        for which, dtype in ((fresh, np.float32), (~fresh, np.float64)):
            first, second, *speeds = state[:, which].astype(dtype)
            trig = np.cos(first), np.sin(first), np.cos(second), np.sin(second)
            seen[which] = np.stack([*trig, *speeds], axis=1)
        return seen

    def _accelerate(self, stage: int) -> None:
        """Fill in the accelerations of `stage`: the equations of motion as Sutton & Barto give them."""
        both, angle1, angle2, speed1, speed2, speeds_and_d2, d2, acc2 = self._stages[stage]
        angles, angle_sum, leaning, copies, cosines, phi2, weight, cos2, weights = self._angles
        squares, square1, square2, d2_square, speed_squares, sin2, cross, d1, phi1 = self._terms
        moments, halves = self._factors
        np.copyto(copies, both)
        np.add(angle1, angle2, angle_sum)
        leaning -= _HALF_PI
        _cos(angles, cosines)
        _sin(angle2, sin2)
        weights *= moments
        np.add(cos2, self.FIVE_QUARTERS, d1)
        d1 += self.QUARTER
        d1 += _ONE
        d1 += _ONE
        np.multiply(cos2, self.HALF, d2)
        d2 += self.QUARTER
        d2 += _ONE
        _pow2(speeds_and_d2, squares)
        speed_squares *= halves
        square1 *= sin2
        square2 *= sin2
        np.multiply(speed2, speed1, cross)
        cross *= sin2
        np.subtract(square2, cross, phi1)
        phi1 += weight
        phi1 += phi2
        np.divide(d2, d1, acc2)
        acc2 *= phi1
        acc2 += self._torque
        acc2 -= square1
        acc2 -= phi2
        d2_square /= d1
        np.subtract(self.FIVE_QUARTERS, d2_square, d2_square)
        acc2 /= d2_square
        acc1 = d2
        acc1 *= acc2
        acc1 += phi1
        np.negative(acc1, acc1)
        acc1 /= d1

    def _advance(self, action: Array) -> tuple[Array, Floats, Bools]:
        self.TORQUES.take(action, None, self._torque, "clip")
        state, *later = self._states
        slope1, slope2, slope3, slope4 = self._slopes
        self._accelerate(0)
        for stage, (target, slope, dt) in enumerate(
            zip(later, (slope1, slope2, slope3), (self.HALF_DT, self.HALF_DT, self.DT), strict=True), 1
        ):
            np.multiply(slope, dt, target)
            target += state
            self._accelerate(stage)
        slope2 *= _TWO
        slope2 += slope1
        slope3 *= _TWO
        slope2 += slope3
        slope2 += slope4
        slope2 *= self.SIXTH_DT
        state += slope2

        angles, speeds, seen = state[:2], state[2:], self._seen
        slowest, fastest, size, over = self._bounds
        np.abs(angles, size)
        if np.count_nonzero(np.greater(size, _PI, over)):
            while np.count_nonzero(np.greater(angles, _PI, over)):
                np.subtract(angles, _TWO_PI, angles, where=over)
            while np.count_nonzero(np.less(angles, self.MINUS_PI, over)):
                np.add(angles, _TWO_PI, angles, where=over)
        np.maximum(speeds, slowest, out=speeds)
        np.minimum(speeds, fastest, out=speeds)

        _cos(angles, seen[0:4:2])
        _sin(angles, seen[1:4:2])
        seen[4:] = speeds
        depth = angles[1] + angles[0]
        _cos(depth, depth)
        depth += seen[0]
        terminated = depth < self.MINUS_ONE
        reward = self._rewards.copy()
        if np.count_nonzero(terminated):
            reward[terminated] = 0.0
        return seen.T.astype(np.float32, "C"), reward, terminated
