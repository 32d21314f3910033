"""MiniGrid's observations as one array."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlrepro import snapshot
from rlrepro.plugins.environments import find_env
from tests.conftest import Runs

pytest.importorskip("minigrid")
ID = "minigrid:MiniGrid-Empty-5x5-v0"


def test_the_image_is_minigrids_own() -> None:
    from minigrid.wrappers import ImgObsWrapper

    ours, theirs = find_env(ID, wrappers=("GridImage",)).make(), ImgObsWrapper(find_env(ID).make())
    assert ours.observation_space == theirs.observation_space
    np.testing.assert_array_equal(ours.reset(seed=1)[0], theirs.reset(seed=1)[0])
    for action in (0, 2, 1, 2, 2):
        one, other = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:4] == other[1:4]


def test_the_vector_tells_cells_and_direction_apart() -> None:
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

    plain, flat = find_env(ID).make(), find_env(ID, wrappers=("GridFlat",)).make()
    inner: dict[str, Any] = plain.reset(seed=1)[0]
    obs = flat.reset(seed=1)[0]
    sizes = len(OBJECT_TO_IDX), len(COLOR_TO_IDX), len(STATE_TO_IDX)
    assert sizes == (11, 6, 3)
    start = 0
    for channel, size in enumerate(sizes):
        part = obs[start : start + 49 * size].reshape(7, 7, size)
        np.testing.assert_array_equal(part.argmax(-1), inner["image"][..., channel])
        np.testing.assert_array_equal(part.sum(-1), 1)
        start += 49 * size
    assert obs[start:].tolist() == [float(way == inner["direction"]) for way in range(4)]
    flat.step(1)
    turned, _, _, _, _ = flat.step(1)  # twice to the right
    assert turned[start:].argmax() == (inner["direction"] + 2) % 4


class Undirected(gym.Env[Any, Any]):
    observation_space = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (7, 7, 3), np.uint8)})
    action_space = gym.spaces.Discrete(2)


@pytest.mark.parametrize("name", ["CartPole-v1", f"{__name__}:Undirected"])
def test_other_environments_are_refused(name: str) -> None:
    with pytest.raises(Exception, match="observations of a MiniGrid environment"):
        find_env(name, wrappers=("GridFlat",)).make()


def test_ppo_trains_on_flat_grids_and_names_the_wrapper_without_one(runs: Runs) -> None:
    runs.finish("flat", "--env", ID, "--wrapper", "GridFlat", "--agent", "ppo", "--seeds", "2", "--num-steps", "16",
                "--env-kwargs", "max_steps=20")  # fmt: skip
    assert "--wrapper" in runs.begin("bare", "--env", ID, "--agent", "ppo").problem


def test_what_of_the_state_cannot_be_saved_is_said() -> None:
    assert snapshot.can_restore(find_env(ID, wrappers=("GridFlat",)).make) == "EmptyEnv.grid is a Grid"


def test_its_own_limit_is_the_end_of_the_time() -> None:
    env = find_env(ID, {"max_steps": 6}, ("GridFlat", "RepeatAction(num_repeats=2)", "TimeFraction")).make()
    env.reset(seed=0)
    given = [env.step(0) for _ in range(3)]  # it turns on the spot
    assert [(round(float(obs[-1]), 4), truncated) for obs, _, _, truncated, _ in given] == [
        (0.3333, False), (0.6667, False), (1.0, True),
    ]  # fmt: skip
