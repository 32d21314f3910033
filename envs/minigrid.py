"""MiniGrid's observations for agents that take one array: `--env minigrid:MiniGrid-Empty-5x5-v0 --wrapper GridImage`.

MiniGrid gives a dictionary: `image` `[7, 7, 3]` uint8, what each cell in view is (object, colour, state), `direction`,
which way the agent looks, and `mission`, a sentence. Neither wrapper shows the mission: it is the same in every
episode of most tasks (Empty, FourRooms, DoorKey, LavaCrossing, …), but not in GoToDoor or Fetch.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

OBJECTS, COLOURS, STATES, DIRECTIONS = 11, 6, 3, 4  # as in minigrid.core.constants


def _image_space(env: gym.Env[Any, Any]) -> gym.spaces.Box:
    space = env.observation_space
    image = space.spaces.get("image") if isinstance(space, gym.spaces.Dict) else None
    if not isinstance(image, gym.spaces.Box) or "direction" not in space.spaces:  # type: ignore[attr-defined]
        raise ValueError(f"needs the observations of a MiniGrid environment, not {space}")
    return image


class GridImage(gym.ObservationWrapper[npt.NDArray[np.uint8], Any, Any], gym.utils.RecordConstructorArgs):
    """The image alone, `[7, 7, 3]` uint8: what minigrid.wrappers.ImgObsWrapper gives."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.observation_space: gym.spaces.Space[Any] = _image_space(env)

    def observation(self, observation: dict[str, Any]) -> npt.NDArray[np.uint8]:
        return observation["image"]


class GridFlat(gym.ObservationWrapper[npt.NDArray[np.float32], Any, Any], gym.utils.RecordConstructorArgs):
    """Image and direction as one vector of zeros and ones: each cell's object, colour and state, and the direction."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        height, width, _ = _image_space(env).shape
        length = height * width * (OBJECTS + COLOURS + STATES) + DIRECTIONS
        self.observation_space = gym.spaces.Box(0.0, 1.0, (length,), np.float32)

    def observation(self, observation: dict[str, Any]) -> npt.NDArray[np.float32]:
        image = observation["image"].astype(np.int64)
        parts = [
            (image[..., channel, None] == np.arange(number)).ravel()
            for channel, number in enumerate((OBJECTS, COLOURS, STATES))
        ]
        return np.concatenate([*parts, np.arange(DIRECTIONS) == observation["direction"]]).astype(np.float32)
