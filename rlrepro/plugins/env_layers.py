"""What the layers of an environment tell: frames and env steps, time limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gymnasium

#: Where Gymnasium's wrappers hold for how many steps they repeat an action.
_SKIPS = {"MaxAndSkipObservation": "_skip", "RepeatAction": "num_repeats", "AtariPreprocessing": "frame_skip"}


def frames_per_step(env: gymnasium.Env[Any, Any]) -> int:
    """Frames of an emulator, or steps of what is wrapped, in one env step.

    What a wrapper tells (`frames_per_step`) is all of it; those of Gymnasium, and ale-py, tell of their own part. Where
    ale-py draws how many (`frameskip=(2, 5)`: 2 to 4), their mean, rounded.
    """
    *_, (layer, steps) = _layers(env)
    return steps * _frames(layer)


def _layers(env: Any) -> Iterator[tuple[Any, int]]:
    """Each layer from the outermost one, with how many of its steps are one of the whole; none beyond an emulator's."""
    import gymnasium

    steps = 1
    yield env, steps
    while isinstance(env, gymnasium.Wrapper) and "frames_per_step" not in vars(env):
        held = next((_SKIPS[kind.__name__] for kind in type(env).__mro__ if kind.__name__ in _SKIPS), None)
        steps *= getattr(env, held) if held else 1
        env = env.env
        yield env, steps


def _frames(layer: Any) -> int:
    """Of an emulator, in one step."""
    own = getattr(layer, "frames_per_step", getattr(layer, "_frameskip", 1))
    if isinstance(own, tuple):
        own = round((own[0] + own[1] - 1) / 2)
    return own if isinstance(own, int) else 1


def limits(env: Any) -> Iterator[tuple[Any, int]]:
    """What the layers state as their longest episodes, each with how many of its steps are one of the whole."""
    for layer, steps in _layers(env):
        yield getattr(layer, "_max_episode_steps", None), steps  # of a TimeLimit
    spec = getattr(env.unwrapped, "spec", None)
    yield getattr(spec, "max_episode_steps", None), steps
    if any(kind.__name__ == "MiniGridEnv" for kind in type(env.unwrapped).__mro__):
        yield getattr(env.unwrapped, "max_steps", None), steps
    if layer is env.unwrapped:  # of ale-py
        yield getattr(spec, "kwargs", {}).get("max_num_frames_per_episode"), steps * _frames(layer)
