"""The state of an environment that cannot give it as plain data: how its episode began, and the actions since.

Box2D's world, or a grid of objects, is no numbers to be written down. But an environment that draws from `np_random`
alone, and makes what it holds anew at each reset, comes to the same place by the same actions from the same beginning.
Whether it did is not believed: what can be read of it, and its last observation, must be what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from rlrepro import checkpoint, snapshot
from rlrepro.errors import close_quietly

LONGEST = 20_000  #: actions of an episode that are kept: more would take too long to be taken again


class Replayed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose `set_state` takes again the actions of the episode that was running."""

    holds_all = True  #: see `rlrepro.snapshot`

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._seed: int | None = None  # the last that was asked for
        self._generator: Mapping[str, Any] | None = None  # before the last reset; None where that named a seed
        self._actions: list[np.ndarray] = []
        self._obs: Any = None
        self._lost = "it has not begun"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._lost = "its reset had options" if options else ""
        self._actions = []
        if seed is None:
            self._generator = self.env.unwrapped.np_random.bit_generator.state
        else:
            self._seed, self._generator = seed, None
        self._obs, info = self.env.reset(seed=seed, options=options)
        return self._obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if len(self._actions) == LONGEST:
            self._lost = f"its episode is longer than {LONGEST:,} steps"
        elif not self._lost:
            self._actions.append(np.array(action))
        given = self.env.step(action)
        self._obs = given[0]
        return given

    def get_state(self) -> dict[str, Any]:
        if self._lost:
            raise snapshot.Unrestorable(f"{type(self.env.unwrapped).__name__} gives no state: {self._lost}")
        actions = np.stack(self._actions) if self._actions else np.zeros(0)
        return {"seed": self._seed, "generator": self._generator, "actions": actions, "digest": self._digest()}

    def set_state(self, state: dict[str, Any]) -> None:
        """`Unrestorable` where it does not come to where it was."""
        self.reset(seed=state["seed"])
        if state["generator"] is not None:
            self.env.unwrapped.np_random.bit_generator.state = state["generator"]
            self.reset()
        for action in state["actions"]:
            self.step(action)
        if self._digest() != state["digest"]:
            name = type(self.env.unwrapped).__name__
            raise snapshot.Unrestorable(f"{name} does not come to where it was by the actions that it took")

    def _digest(self) -> str:
        """What can be read of where it is."""
        flat = np.asarray(gymnasium.spaces.flatten(self.env.observation_space, self._obs))
        return checkpoint.digest({"obs": flat, "read": snapshot.readable(self.env)})


def can_replay(make: Callable[[], gymnasium.Env[Any, Any]]) -> bool:
    """Whether a `Replayed` one goes on like the original, in its fourth episode.

    What lives on over a reset, as BipedalWalker's world, may be another after many episodes than after one.
    """
    env = make()
    try:
        env.reset(seed=1)
        env.step(env.action_space.sample())
        before = snapshot.unreadable(env)
        env.reset()
        if any(before.get(name) is value for name, value in snapshot.unreadable(env).items() if value is not None):
            return False
    except Exception:  # it breaks, which is told elsewhere
        return False
    finally:
        close_quietly(env)
    return snapshot.can_restore(lambda: Replayed(make()), num_steps=50, num_episodes=4) is None
