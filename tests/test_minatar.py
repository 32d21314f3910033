"""MinAtar: our single form against the package's own, and the batched forms against the single, to the bit."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from rlrepro import snapshot
from rlrepro.checkpoint import as_loaded
from rlrepro.contract import check_contract
from rlrepro.envs import minatar
from rlrepro.errors import Problem
from rlrepro.plugins.environments import find_env
from rlrepro.vector import SyncEnvBatch
from tests.conftest import Runs

IDS = [f"MinAtar/{game.title().replace('_', '')}-v{version}" for game in minatar.GAMES for version in (0, 1)]
BATCHED = [name for name in IDS if "Seaquest" not in name]


@pytest.mark.parametrize("game", minatar.GAMES)
def test_a_game_is_the_packages_own(game: str) -> None:
    from minatar import Environment

    ours, theirs = minatar.MinAtar(game, minimal_action_set=False), Environment(game)
    ours.reset(seed=3)
    theirs.seed(3)
    theirs.reset()
    total = 0.0
    rng = np.random.default_rng(0)
    for draw in rng.integers(9 if game == "freeway" else 6, size=1500):
        action = draw if draw < 6 else 2
        obs, reward, terminated, truncated, _ = ours.step(action)
        their_reward, their_end = theirs.act(int(action))
        np.testing.assert_array_equal(obs, theirs.state())
        assert (reward, terminated, truncated) == (their_reward, their_end, False)
        total += reward
        if terminated:
            ours.reset()
            theirs.reset()
    assert total > 0


@pytest.mark.parametrize("name", IDS)
def test_every_id_is_found_keeps_the_contract_and_can_be_restored(name: str) -> None:
    source = find_env(name)
    env = source.make()
    check_contract(env, name)
    minimal = {"Asterix": 5, "Breakout": 3, "Freeway": 3, "Seaquest": 6, "SpaceInvaders": 4}
    assert env.action_space.n == (6 if name.endswith("v0") else minimal[name.removeprefix("MinAtar/")[:-3]])
    assert source.time_limit() == 10_000
    assert env.observation_space.dtype == np.bool_
    assert snapshot.can_restore(source.make, 60) is None
    env.close()


def test_a_seed_begins_everything_anew() -> None:
    """The package keeps the action to repeat over a seed: then an episode would depend on the one before it."""
    env = minatar.MinAtar("breakout", sticky_action_prob=1.0)
    for first in (0, 1):  # nothing, left
        env.reset(seed=0)
        env._game.last_action = first
        obs, _ = env.reset(seed=5)
        obs, *_ = env.step(2)
        assert obs[9, 4, 0]  # the paddle stood still: the first action of a stream repeats "nothing"


def test_difficulty_ramps_and_actions_stick_unless_they_are_told_not_to() -> None:
    calm = find_env("MinAtar/Asterix-v1", {"difficulty_ramping": False, "sticky_action_prob": 0.0})
    for kwargs, ramps in (({}, True), (calm.kwargs, False)):
        batch = find_env("MinAtar/Asterix-v1", kwargs).batch(1)
        batch.reset(np.arange(1), [0])
        batch.x[:] = 0
        for _ in range(120):
            batch.step(np.zeros(1, np.int64))
        assert (batch.spawn_every[0] < 10) == ramps
    for wrong in ({"difficulty_ramping": "no"}, {"sticky_action_prob": 2}, {"sticky_action_prob": "0.1"}):
        source = find_env("MinAtar/Asterix-v1", wrong)
        with pytest.raises(Problem, match="must be"):
            source.make()
        with pytest.raises(Problem, match="must be"):
            source.batch(1)
    assert not find_env("MinAtar/Asterix-v1", {"sticky_action_prob": np.float32(0.1)}).is_batched
    env = calm.make()
    env.reset(seed=0)
    columns = [np.argwhere(env.step(1)[0][..., 0])[0, 1] for _ in range(5)]
    assert columns == [4, 3, 2, 1, 0]


def play(name: str, kwargs: dict[str, Any], steps: int, num: int = 7) -> None:
    """The same actions in both forms, with resets, changes of seed, a time limit, and some that stand still."""
    source = find_env(name, kwargs)
    fast, slow = source.batch(num), SyncEnvBatch(source.make, num)
    assert type(fast) is not SyncEnvBatch
    assert (fast.observation_space, fast.action_space) == (slow.observation_space, slow.action_space)
    everybody, rng = np.arange(num), np.random.default_rng(1)
    seeds = rng.integers(2**32, size=num).tolist()
    np.testing.assert_array_equal(fast.reset(everybody, seeds), slow.reset(everybody, seeds))
    paid = ended = cut = 0
    habit = rng.integers(slow.action_space.n, size=num)
    for step in range(steps):
        habit = np.where(rng.random(num) < 0.3, rng.integers(slow.action_space.n, size=num), habit)
        active = None if step % 10 else rng.random(num) < 0.7
        got, wanted = fast.step(habit, active), slow.step(habit, active)
        shown = np.ones(num, bool) if active is None else active
        for one, other in zip(got, wanted, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one[shown], other[shown])
        over = np.flatnonzero((wanted[2] | wanted[3]) & shown)
        paid, ended, cut = paid + wanted[1][shown].sum(), ended + wanted[2][shown].sum(), cut + wanted[3][shown].sum()
        if len(over):
            again: list[int | None] = [None if rng.random() < 0.7 else int(rng.integers(2**32)) for _ in over]
            np.testing.assert_array_equal(fast.reset(over, again), slow.reset(over, again))
    assert paid > 0 or "Freeway" in name
    assert ended + cut > 0


@pytest.mark.parametrize("name", BATCHED)
def test_a_batched_game_is_the_single_one_to_the_bit(name: str) -> None:
    play(name, {"max_episode_steps": 150}, 400)


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHED)
def test_a_batched_game_is_the_single_one_for_long(name: str) -> None:
    play(name, {}, 30_000)


def test_the_whole_of_freeway_and_waves_of_space_invaders_are_the_same() -> None:
    play("MinAtar/Freeway-v1", {"sticky_action_prob": 0.0}, 2600, num=2)
    source = find_env("MinAtar/SpaceInvaders-v1", {"sticky_action_prob": 0.0})
    fast, slow = source.batch(1), SyncEnvBatch(source.make, 1)
    fast.reset(np.arange(1), [0])
    slow.reset(np.arange(1), [0])
    theirs = slow.envs[0].unwrapped._game.env
    for wave in range(1, 9):  # one alien left each time, over the cannon: two steps and it is shot
        theirs.alien_map[:], theirs.shot_timer, theirs.alien_move_timer = 0, 0, 12
        theirs.alien_map[6, theirs.pos] = 1
        theirs.e_bullet_map[:], fast.alien_shots[:] = 0, False
        theirs.alien_shot_timer, fast.alien_shot_in[:] = 10, 10
        fast.aliens[:], fast.shot_in[:], fast.move_in[:] = False, 0, 12
        fast.aliens[0, 6, theirs.pos] = True
        for _ in range(4):
            got, wanted = fast.step(np.array([3])), slow.step(np.array([3]))
            for one, other in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(one, other)
        assert fast.ramps[0] == theirs.ramp_index == min(wave, 6)
        assert fast.move_every[0] == theirs.enemy_move_interval


def both(name: str) -> tuple[Any, SyncEnvBatch, Any]:
    """A game in both forms, and what the single one holds."""
    source = find_env(name, {"sticky_action_prob": 0.0})
    fast, slow = source.batch(1), SyncEnvBatch(source.make, 1)
    for form in (fast, slow):
        form.reset(np.arange(1), [0])
    return fast, slow, slow.envs[0].unwrapped._game.env  # type: ignore[attr-defined]


def test_a_wall_that_was_cleared_grows_again_in_both() -> None:
    fast, slow, theirs = both("MinAtar/Breakout-v1")
    fast.bricks[:], theirs.brick_map[:] = False, 0
    for _ in range(30):
        got, wanted = fast.step(np.zeros(1, np.int64)), slow.step(np.zeros(1, np.int64))
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
        if wanted[0][..., 3].any():
            break
    assert np.count_nonzero(wanted[0][..., 3]) == 30


@pytest.mark.parametrize(
    ("places", "ends"),
    [([(9, 0)], True), ([(4, 0), (5, 3)], False)],
    ids=["one that turns on the last row", "few, which are fast"],
)
def test_aliens_at_the_edge_are_the_same(places: list[tuple[int, int]], ends: bool) -> None:
    fast, slow, theirs = both("MinAtar/SpaceInvaders-v1")
    theirs.alien_map[:], fast.aliens[:] = 0, False
    for row, column in places:
        theirs.alien_map[row, column], fast.aliens[0, row, column] = 1, True
    theirs.alien_dir, theirs.alien_move_timer, fast.heading[:], fast.move_in[:] = -1, 0, -1, 0
    for _ in range(1 if ends else 6):
        got, wanted = fast.step(np.zeros(1, np.int64)), slow.step(np.zeros(1, np.int64))
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
        assert bool(wanted[2][0]) is ends


def test_a_ramp_takes_as_long_in_both() -> None:
    fast, slow, theirs = both("MinAtar/Asterix-v1")
    fast.ramp_in[:], theirs.ramp_timer = -1, -1
    for _ in range(2):
        fast.step(np.zeros(1, np.int64))
        slow.step(np.zeros(1, np.int64))
        assert fast.ramp_in[0] == theirs.ramp_timer > 90
    assert fast.spawn_every[0] == theirs.spawn_speed


@pytest.mark.parametrize("name", BATCHED[1::2])
def test_a_batched_game_goes_on_from_its_state(name: str) -> None:
    source = find_env(name)
    first, second = source.batch(3), source.batch(2)
    first.reset(np.arange(3), [1, 2, 3])
    second.reset(np.arange(2), [8, 9])
    rng = np.random.default_rng(0)
    for _ in range(40):
        first.step(rng.integers(first.action_space.n, size=3))
    obs = second.set_state(1, as_loaded(first.get_state(2)))
    np.testing.assert_array_equal(obs, first._planes()[2])
    for _ in range(300):
        actions = rng.integers(first.action_space.n, size=3)
        one, other = first.step(actions), second.step(actions[[0, 2]])
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine[2], theirs[1])
        if one[2][2]:
            assert one[2].dtype == bool
            np.testing.assert_array_equal(first.reset(np.array([2]), [None])[0], second.reset(np.array([1]), [None])[0])


def test_a_run_by_name_alone(runs: Runs) -> None:
    folder = runs.finish("minatar", "--env", "MinAtar/Breakout-v1", "--agent", "random")
    assert (folder / "settings.json").is_file()
    assert runs.begin("wrong", "--env", "MinAtar/Brakeout-v1").problem.startswith(
        "unknown environment 'MinAtar/Brakeout-v1'; did you mean 'MinAtar/Breakout-v1'?"
    )


def test_pictures_have_a_colour_for_each_plane() -> None:
    env = gymnasium.make(IDS[2], render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (160, 160, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 3  # nothing, the paddle, bricks (and the ball behind them)
