"""Four MinAtar games, many at a time, to the bit what `rlrepro.envs.minatar` gives one by one.

A `BatchedGame` steps M sub-environments with some tens of NumPy calls. Each has the random stream of the single game
(NumPy's RandomState) and draws from it in the same order: a number a step for sticky actions, then what the game needs.
Seaquest has no such form: its lists of shots and enemies grow and shrink, and are removed from while they are walked.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NOTHING, LEFT, UP, RIGHT, DOWN, FIRE = range(6)
SIDEWAYS = np.array([0, -1, 0, 1, 0, 0])  # what each action adds to the column
UPRIGHT = np.array([0, 0, -1, 0, 1, 0])  # and to the row


class BatchedGame:
    """`num` games stepped together, each with its own random stream and clock. There is no autoreset.

    A subclass names its arrays in `_new`, `[num, ...]` each, and gives `_begin`, `_advance` and `_planes`.
    """

    num_planes: int
    minimal_actions: tuple[int, ...]
    minimal_action_set = True
    game: str
    to_learn = None  #: what is learnt is what happened

    @classmethod
    def registered_as(cls) -> tuple[str, dict[str, Any]]:
        """The entry point and arguments that an id of this form is registered with, unless it is somebody else's."""
        return "rlrepro.envs.minatar:MinAtar", {"game": cls.game, "minimal_action_set": cls.minimal_action_set}

    def __init__(
        self,
        num: int,
        max_episode_steps: int | None,
        sticky_action_prob: float = 0.1,
        difficulty_ramping: bool = True,
    ) -> None:
        is_chance = type(sticky_action_prob) in (int, float) and 0 <= sticky_action_prob <= 1
        if not (is_chance and type(difficulty_ramping) is bool):
            raise NotImplementedError("the single form says what is wrong")
        self.num, self._limit = num, max_episode_steps
        self._sticky, self._ramping = sticky_action_prob, difficulty_ramping
        self._actions = np.array(self.minimal_actions if self.minimal_action_set else range(6))
        self.action_space = spaces.Discrete(len(self._actions))
        plane_dtype: Any = np.bool_
        self.observation_space = spaces.Box(0, 1, (10, 10, self.num_planes), plane_dtype)
        self._rows = np.arange(num)
        self._random = [np.random.RandomState(0) for _ in range(num)]
        self._state = {"last_action": np.zeros(num, np.int64), "elapsed": np.zeros(num, np.int64), **self._new(num)}
        for name, array in self._state.items():
            setattr(self, name, array)

    last_action: Ints
    elapsed: Ints

    def reset(self, index: Array, seeds: Sequence[int | None]) -> Bools:
        """Begin new episodes in the games `index` `[K]`; a seed begins a stream, None goes on with it."""
        for i, seed in zip(index.tolist(), seeds, strict=True):
            if seed is not None:
                self._random[i] = np.random.RandomState(seed % 2**32)
                self.last_action[i] = NOTHING
            self._begin(i, self._random[i])
        self.elapsed[index] = 0
        return self._planes()[index]

    def step(self, action: Array, active: Bools | None = None) -> tuple[Bools, npt.NDArray[np.float64], Bools, Bools]:
        """Take `action` `[num]`; observations `[num, 10, 10, C]`, rewards, terminated, truncated `[num]`, all new.

        What `active` `[num]` leaves out stands still, and its results mean nothing.
        """
        held, kept = None, {}
        if active is not None and np.count_nonzero(active) < self.num:
            held = np.flatnonzero(~active)
            kept = {name: array[held] for name, array in self._state.items()}
        active = None if held is None else active
        if active is None:
            draws = np.array([random.random_sample() for random in self._random])
        else:
            draws = np.array([r.random_sample() if go else 1.0 for r, go in zip(self._random, active, strict=True)])
        taken = np.where(draws < self._sticky, self.last_action, self._actions[action])
        self.last_action[:] = taken
        self.elapsed += 1
        reward, terminated = self._advance(taken, active)
        if held is not None:
            for name, values in kept.items():
                self._state[name][held] = values
        truncated = np.zeros(self.num, bool) if self._limit is None else self.elapsed >= self._limit
        return self._planes(), reward.astype(np.float64), terminated, truncated

    def get_state(self, i: int) -> dict[str, Any]:
        """All that game `i` holds."""
        _, key, position, *_ = self._random[i].get_state()
        return {
            "key": key,
            "position": int(position),
            "game": {name: array[i].copy() for name, array in self._state.items()},
        }

    def set_state(self, i: int, state: dict[str, Any]) -> Bools:
        """Restore what `get_state` gave; its present observation."""
        stream: Any = ("MT19937", np.asarray(state["key"]), state["position"])
        self._random[i].set_state(stream)
        for name, value in state["game"].items():
            self._state[name][i] = value
        return self._planes()[i]

    def _new(self, num: int) -> dict[str, Array]:
        """The game's arrays."""
        raise NotImplementedError

    def _begin(self, i: int, random: np.random.RandomState) -> None:
        """A new episode of game `i`."""
        raise NotImplementedError

    def _advance(self, action: Ints, active: Bools | None) -> tuple[Array, Bools]:
        """Move all by `action` `[num]`; new arrays: rewards, terminated. Only those `active` may draw numbers."""
        raise NotImplementedError

    def _planes(self) -> Bools:
        """The observations `[num, 10, 10, C]`, a new array."""
        raise NotImplementedError

    def _blank(self) -> Bools:
        return np.zeros((self.num, 10, 10, self.num_planes), bool)


def _due(which: Bools, active: Bools | None) -> Ints:
    return np.flatnonzero(which if active is None else which & active)


class Breakout(BatchedGame):
    """A ball, a paddle and three rows of bricks. The ball goes up left, up right, down right, down left (0 to 3)."""

    game = "breakout"
    num_planes = 4
    minimal_actions = (NOTHING, LEFT, RIGHT)

    STEP_X, STEP_Y = np.array([-1, 1, 1, -1]), np.array([-1, -1, 1, 1])
    OFF_SIDE, OFF_FLAT, BACK = np.array([1, 0, 3, 2]), np.array([3, 2, 1, 0]), np.array([2, 3, 0, 1])

    paddle: Ints
    x: Ints
    y: Ints
    trail_x: Ints
    trail_y: Ints
    heading: Ints
    inside: Bools  # the ball has struck a brick and has not left the bricks since
    bricks: Bools

    def _new(self, num: int) -> dict[str, Array]:
        names = ("paddle", "x", "y", "trail_x", "trail_y", "heading")
        return {
            **{name: np.zeros(num, np.int64) for name in names},
            "inside": np.zeros(num, bool),
            "bricks": np.zeros((num, 10, 10), bool),
        }

    def _begin(self, i: int, random: np.random.RandomState) -> None:
        self.x[i], self.heading[i] = ((0, 2), (9, 3))[random.randint(2)]
        self.y[i], self.paddle[i], self.inside[i] = 3, 4, False
        self.trail_x[i], self.trail_y[i] = self.x[i], 3
        self.bricks[i] = False
        self.bricks[i, 1:4] = True

    def _advance(self, action: Ints, active: Bools | None) -> tuple[Array, Bools]:
        rows, paddle, heading = self._rows, self.paddle, self.heading
        paddle += SIDEWAYS[action]
        np.minimum(np.maximum(paddle, 0, out=paddle), 9, out=paddle)
        old_x, old_y = self.x.copy(), self.y.copy()
        self.trail_x[:], self.trail_y[:] = old_x, old_y
        x, y = old_x + self.STEP_X[heading], old_y + self.STEP_Y[heading]
        aside = (x < 0) | (x > 9)
        heading[aside] = self.OFF_SIDE[heading[aside]]
        np.minimum(np.maximum(x, 0, out=x), 9, out=x)
        at_top = y < 0
        np.minimum(np.maximum(y, 0, out=y), 9, out=y)  # 9: of a game that is over and was not begun again
        in_brick = self.bricks[rows, y, x] & ~at_top
        broken = in_brick & ~self.inside
        at_bottom = (y == 9) & ~in_brick
        flat, back, terminated = at_top | broken, None, np.zeros(self.num, bool)
        if at_bottom.any():
            cleared = at_bottom & ~self.bricks.any((1, 2))
            self.bricks[cleared, 1:4] = True
            straight = at_bottom & (old_x == paddle)
            back = at_bottom & ~straight & (x == paddle)
            terminated = at_bottom & ~straight & ~back
            flat |= straight
            heading[back] = self.BACK[heading[back]]
            y[back | straight] = old_y[back | straight]
        heading[flat] = self.OFF_FLAT[heading[flat]]
        self.bricks[rows[broken], y[broken], x[broken]] = False
        y[broken] = old_y[broken]
        self.inside[:] = in_brick
        self.x[:], self.y[:] = x, y
        return broken, terminated

    def _planes(self) -> Bools:
        obs, rows = self._blank(), self._rows
        obs[rows, 9, self.paddle, 0] = True
        obs[rows, self.y, self.x, 1] = True
        obs[rows, self.trail_y, self.trail_x, 2] = True
        obs[..., 3] = self.bricks
        return obs


class Freeway(BatchedGame):
    """A road of eight cars, one a row; 2,500 steps."""

    game = "freeway"
    num_planes = 7
    minimal_actions = (NOTHING, UP, DOWN)

    PATIENCE, STEPS = 3, 2500

    row: Ints
    wait: Ints
    left: Ints
    car: Ints  # [num, 8] columns
    car_wait: Ints
    speed: Ints  # steps between two moves, with the sign of the direction

    def _new(self, num: int) -> dict[str, Array]:
        single, cars = ("row", "wait", "left"), ("car", "car_wait", "speed")
        return {
            **{name: np.zeros(num, np.int64) for name in single},
            **{name: np.ones((num, 8), np.int64) for name in cars},
        }

    def _begin(self, i: int, random: np.random.RandomState) -> None:
        self._new_speeds(i, random)
        self.car[i] = 0
        self.row[i], self.wait[i], self.left[i] = 9, self.PATIENCE, self.STEPS

    def _new_speeds(self, i: int, random: np.random.RandomState) -> None:
        speed = random.randint(1, 6, 8)
        self.car_wait[i], self.speed[i] = speed, speed * np.sign(random.rand(8) - 0.5).astype(int)

    def _advance(self, action: Ints, active: Bools | None) -> tuple[Array, Bools]:
        moved = (self.wait == 0) & ((action == UP) | (action == DOWN))
        self.wait[moved] = self.PATIENCE
        self.row[moved] += UPRIGHT[action[moved]]
        np.minimum(self.row, 9, out=self.row)
        arrived = self.row == 0
        if arrived.any():
            for i in _due(arrived, active):
                self._new_speeds(i, self._random[i])
            self.row[arrived] = 9
        here = np.arange(1, 9) == self.row[:, None]  # the lane that the player is in
        hit = here & (self.car == 4)
        go = self.car_wait == 0
        self.car_wait -= 1
        np.copyto(self.car_wait, np.abs(self.speed), where=go)
        self.car[:] = (self.car + np.where(go, np.sign(self.speed), 0)) % 10
        hit |= here & go & (self.car == 4)
        self.row[hit.any(1)] = 9
        self.wait -= self.wait > 0
        self.left -= 1
        return arrived, self.left < 0

    def _planes(self) -> Bools:
        obs, rows, lanes = self._blank(), self._rows, np.arange(1, 9)
        obs[rows, self.row, 4, 0] = True
        obs[rows[:, None], lanes, self.car, 1] = True
        behind = (self.car - np.sign(self.speed)) % 10
        obs[rows[:, None], lanes, behind, np.abs(self.speed) + 1] = True
        return obs


class Asterix(BatchedGame):
    """Enemies and gold cross the rows 1 to 8, at most one in each."""

    game = "asterix"
    num_planes = 4
    minimal_actions = (NOTHING, LEFT, UP, RIGHT, DOWN)

    x: Ints
    y: Ints
    there: Bools  # [num, 8]: whether a row has somebody
    at: Ints  # [num, 8]: the column
    rightwards: Bools
    gold: Bools
    spawn_every: Ints
    spawn_in: Ints
    move_every: Ints
    move_in: Ints
    ramp_in: Ints
    ramps: Ints

    def _new(self, num: int) -> dict[str, Array]:
        single = ("x", "y", "spawn_every", "spawn_in", "move_every", "move_in", "ramp_in", "ramps")
        return {
            **{name: np.ones(num, np.int64) for name in single},
            "at": np.zeros((num, 8), np.int64),
            **{name: np.zeros((num, 8), bool) for name in ("there", "rightwards", "gold")},
        }

    def _begin(self, i: int, random: np.random.RandomState) -> None:
        self.x[i] = self.y[i] = 5
        self.there[i] = False
        self.spawn_every[i] = self.spawn_in[i] = 10
        self.move_every[i] = self.move_in[i] = 5
        self.ramp_in[i], self.ramps[i] = 100, 0

    def _spawn(self, i: int, random: np.random.RandomState) -> None:
        rightwards, gold = random.rand() < 1 / 2, random.rand() < 1 / 3
        free = np.flatnonzero(~self.there[i])
        if len(free):
            row = free[random.randint(len(free))]
            self.there[i, row], self.at[i, row] = True, 0 if rightwards else 9
            self.rightwards[i, row], self.gold[i, row] = rightwards, gold

    def _advance(self, action: Ints, active: Bools | None) -> tuple[Array, Bools]:
        there = self.there
        spawn = self.spawn_in == 0
        for i in _due(spawn, active):
            self._spawn(i, self._random[i])
        np.copyto(self.spawn_in, self.spawn_every, where=spawn)
        self.x[:] = np.minimum(np.maximum(self.x + SIDEWAYS[action], 0), 9)
        self.y[:] = np.minimum(np.maximum(self.y + UPRIGHT[action], 1), 8)
        lane = self.y - 1
        reward, terminated = self._meet(lane)
        move = self.move_in == 0
        if move.any():
            np.copyto(self.move_in, self.move_every, where=move)
            step = np.where(self.rightwards, 1, -1)
            self.at += step * (there & move[:, None])
            there &= (self.at >= 0) & (self.at <= 9)
            again, ended = self._meet(lane, move)
            reward += again
            terminated |= ended
        self.spawn_in -= 1
        self.move_in -= 1
        if self._ramping:
            ramps = (self.spawn_every > 1) | (self.move_every > 1)
            now = ramps & (self.ramp_in < 0)
            self.ramp_in -= ramps & ~now
            self.move_every -= now & (self.move_every > 1) & (self.ramps % 2 == 1)
            self.spawn_every -= now & (self.spawn_every > 1)
            self.ramps += now
            self.ramp_in[now] = 100
        return reward, terminated

    def _meet(self, lane: Ints, where: Bools | None = None) -> tuple[Ints, Bools]:
        """What the player meets in its lane: gold, which it takes, or an enemy."""
        rows = self._rows
        meets = self.there[rows, lane] & (self.at[rows, lane] == self.x)
        if where is not None:
            meets &= where
        taken = meets & self.gold[rows, lane]
        self.there[rows[taken], lane[taken]] = False
        return taken.astype(np.int64), meets & ~taken

    def _planes(self) -> Bools:
        obs, rows = self._blank(), self._rows
        obs[rows, self.y, self.x, 0] = True
        row, lane = self.there.nonzero()
        column, gold = self.at[row, lane], self.gold[row, lane]
        obs[row, lane + 1, column, np.where(gold, 3, 1)] = True
        behind = column - np.where(self.rightwards[row, lane], 1, -1)
        inside = (behind >= 0) & (behind <= 9)
        obs[row[inside], lane[inside] + 1, behind[inside], 2] = True
        return obs


class SpaceInvaders(BatchedGame):
    """A cannon against a block of aliens."""

    game = "space_invaders"
    num_planes = 6
    minimal_actions = (NOTHING, LEFT, RIGHT, FIRE)

    RELOAD, SLOWEST, ALIENS_RELOAD = 5, 12, 10
    # Columns by their distance from each column, the left of two first.
    NEAREST = np.abs(np.arange(10)[:, None] - np.arange(10)).argsort(1, kind="stable")

    column: Ints
    heading: Ints
    move_every: Ints
    move_in: Ints
    alien_shot_in: Ints
    shot_in: Ints
    ramps: Ints
    shots: Bools
    alien_shots: Bools
    aliens: Bools

    def _new(self, num: int) -> dict[str, Array]:
        single = ("column", "heading", "move_every", "move_in", "alien_shot_in", "shot_in", "ramps")
        return {
            **{name: np.ones(num, np.int64) for name in single},
            **{name: np.zeros((num, 10, 10), bool) for name in ("shots", "alien_shots", "aliens")},
        }

    def _begin(self, i: int, random: np.random.RandomState) -> None:
        self.column[i], self.heading[i], self.shot_in[i], self.ramps[i] = 5, -1, 0, 0
        self.move_every[i] = self.move_in[i] = self.SLOWEST
        self.alien_shot_in[i] = self.ALIENS_RELOAD
        self.shots[i] = self.alien_shots[i] = self.aliens[i] = False
        self.aliens[i, 0:4, 2:8] = True

    def _advance(self, action: Ints, active: Bools | None) -> tuple[Array, Bools]:
        rows, aliens = self._rows, self.aliens
        fire = (action == FIRE) & (self.shot_in == 0)
        self.shots[rows[fire], 9, self.column[fire]] = True
        self.shot_in[fire] = self.RELOAD
        self.column[:] = np.minimum(np.maximum(self.column + SIDEWAYS[action], 0), 9)
        self.shots[:, :-1] = self.shots[:, 1:].copy()
        self.shots[:, 9] = False
        self.alien_shots[:, 1:] = self.alien_shots[:, :-1].copy()
        self.alien_shots[:, 0] = False
        terminated = self.alien_shots[rows, 9, self.column] | aliens[rows, 9, self.column]
        move = _due(self.move_in == 0, None)
        if len(move):
            terminated[move] |= self._move(move)
        shoot = _due(self.alien_shot_in == 0, None)
        if len(shoot):
            self._shoot(shoot)
        killed = aliens & self.shots
        reward = np.count_nonzero(killed, (1, 2))
        if reward.any():
            aliens &= ~killed
            self.shots &= ~killed
        self.shot_in -= self.shot_in > 0
        self.move_in -= 1
        self.alien_shot_in -= 1
        cleared = ~aliens.any((1, 2))
        if cleared.any():
            if self._ramping:
                faster = cleared & (self.move_every > 6)
                self.move_every -= faster
                self.ramps += faster
            aliens[cleared, 0:4, 2:8] = True
        return reward, terminated

    def _move(self, index: Ints) -> Bools:
        """The aliens of the games `index` go sideways, or down where they stand at the edge; who has then lost."""
        aliens, heading = self.aliens[index], self.heading[index]
        self.move_in[index] = np.minimum(np.count_nonzero(aliens, (1, 2)), self.move_every[index])
        turn = (aliens[:, :, 0].any(1) & (heading < 0)) | (aliens[:, :, 9].any(1) & (heading > 0))
        lost = turn & aliens[:, 9].any(1)
        self.heading[index] = np.where(turn, -heading, heading)
        sideways = np.where((heading < 0)[:, None, None], np.roll(aliens, -1, 2), np.roll(aliens, 1, 2))
        moved = np.where(turn[:, None, None], np.roll(aliens, 1, 1), sideways)
        self.aliens[index] = moved
        return lost | moved[np.arange(len(index)), 9, self.column[index]]

    def _shoot(self, index: Ints) -> None:
        """The lowest alien of the column nearest to the cannon shoots."""
        self.alien_shot_in[index] = self.ALIENS_RELOAD
        aliens = self.aliens[index]
        order = self.NEAREST[self.column[index]]
        several = np.arange(len(index))
        inhabited: Any = aliens.any(axis=1)
        column = order[several, inhabited[several[:, None], order].argmax(1)]
        row = 9 - aliens[several, ::-1, column].argmax(1)
        self.alien_shots[index, row, column] = True

    def _planes(self) -> Bools:
        obs = self._blank()
        obs[self._rows, 9, self.column, 0] = True
        obs[..., 1] = self.aliens
        left = (self.heading < 0)[:, None, None]
        obs[..., 2], obs[..., 3] = self.aliens & left, self.aliens & ~left
        obs[..., 4], obs[..., 5] = self.shots, self.alien_shots
        return obs


class BreakoutV0(Breakout):
    """With all six actions."""

    minimal_action_set = False


class FreewayV0(Freeway):
    """With all six actions."""

    minimal_action_set = False


class AsterixV0(Asterix):
    """With all six actions."""

    minimal_action_set = False


class SpaceInvadersV0(SpaceInvaders):
    """With all six actions."""

    minimal_action_set = False
