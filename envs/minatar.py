"""MinAtar (Young & Tian, 2019, "MinAtar: An Atari-Inspired Testbed"): five games on a 10 × 10 grid of bool planes.

Ids are `MinAtar/NAME-v0`, with all six actions, and `-v1`, with those that do something in the game. As in the paper,
an action is replaced by the one before it with probability 0.1 and difficulty ramps; `--env-kwargs
sticky_action_prob=0` and `difficulty_ramping=false` change that.

What differs from the package's own Gymnasium form: a seed begins everything anew (there, the action to repeat outlives
it), the state can be saved, and an episode is truncated after 10,000 steps. The package has no limit, and a good
Breakout policy plays on for ever; `--env-kwargs max_episode_steps=1000` is what gymnax has.
"""

import colorsys
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Planes = npt.NDArray[np.bool_]

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
MAX_EPISODE_STEPS = 10_000


def register() -> None:
    """Register the ten ids, where nobody has yet."""
    for game in GAMES:
        for version in (0, 1):
            name = f"MinAtar/{game.title().replace('_', '')}-v{version}"
            if name not in gym.registry:
                gym.register(
                    name,
                    "rlrepro.envs.minatar:MinAtar",
                    max_episode_steps=MAX_EPISODE_STEPS,
                    kwargs={"game": game, "minimal_action_set": version == 1},
                )


class MinAtar(gym.Env[Planes, int | np.integer[Any]]):
    """One game. Observations `[10, 10, C]` bool, rewards as the game gives them."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        game: str,
        minimal_action_set: bool = True,
        sticky_action_prob: float = 0.1,
        difficulty_ramping: bool = True,
        render_mode: str | None = None,
    ) -> None:
        if game not in GAMES:
            raise ValueError(f"game must be one of {', '.join(GAMES)}, not {game!r}")
        try:
            is_probability = 0 <= sticky_action_prob <= 1
        except TypeError:  # a text, of the command line
            is_probability = False
        if not is_probability:
            raise ValueError(f"sticky_action_prob must be a number from 0 to 1, not {sticky_action_prob!r}")
        if difficulty_ramping not in (True, False):  # any text would count as true
            raise ValueError(f"difficulty_ramping must be true or false, not {difficulty_ramping!r}")
        self.render_mode = render_mode
        self._game = import_module("minatar").Environment(game, sticky_action_prob, difficulty_ramping)
        num_actions = self._game.num_actions()
        self._actions = self._game.minimal_action_set() if minimal_action_set else list(range(num_actions))
        self.action_space = gym.spaces.Discrete(len(self._actions))
        dtype: Any = np.bool_
        self.observation_space: gym.spaces.Space[Any] = gym.spaces.Box(0, 1, tuple(self._game.state_shape()), dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Planes, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._game.seed(seed % 2**32)
            self._game.last_action = 0
        self._game.reset()
        return self._game.state(), {}

    def step(self, action: int | np.integer[Any]) -> tuple[Planes, float, bool, bool, dict[str, Any]]:
        reward, terminated = self._game.act(self._actions[action])
        return self._game.state(), float(reward), bool(terminated), False, {}

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The planes in colours, the later over the earlier, `[160, 160, 3]`, in mode "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        planes = self._game.state()
        number = planes.shape[2]
        hues = [colorsys.hsv_to_rgb(plane / number, 0.75, 1.0) for plane in range(number)]
        colours = (np.array([(0.0, 0.0, 0.0), *hues]) * 255).astype(np.uint8)
        top = (planes * (np.arange(number) + 1)).max(2)
        return colours[top].repeat(16, 0).repeat(16, 1)

    def get_state(self) -> dict[str, Any]:
        """All that the game holds, as plain data and arrays."""
        _, key, position, *_ = self._game.random.get_state()
        held = {
            name: _plain(value)
            for name, value in vars(self._game.env).items()
            if name not in ("random", "channels", "action_map", "ramping")
        }
        return {"key": key, "position": int(position), "last_action": int(self._game.last_action), "game": held}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        self._game.seed(0)
        self._game.random.set_state(("MT19937", np.asarray(state["key"]), state["position"]))
        self._game.last_action = state["last_action"]
        vars(self._game.env).update({name: _plain(value) for name, value in state["game"].items()})


def _plain(value: Any) -> Any:
    """A value of a game without NumPy's scalars and without what it shares with the game."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
