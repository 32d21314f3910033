"""What changes in a model of Stable-Baselines3's, as a checkpoint holds it, at the start of a rollout.

Within a rollout the library holds things that it tells nobody. Its parameters and optimisers are those that it saves
itself; of the rest, the numbers, arrays and tensors are taken that stand as attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_EXPLORATION = ("exploration_mat", "exploration_matrices")


def take(model: Any, normalizer: Any) -> dict[str, Any]:
    """Parameters and optimisers, the replay buffer as far as it is filled, statistics, noise, and what else changes.

    `normalizer` is the VecNormalize around the model's environments, or None.
    """
    memory = getattr(model, "replay_buffer", None)
    state: dict[str, Any] = {
        "parameters": _with_text_keys(model.get_parameters()),
        "model": _held_by(model),
        "noise": [_held_by(noise) for noise in _noises(model)],
    }
    if memory is not None:
        arrays = {name for name, value in vars(memory).items() if isinstance(value, np.ndarray)}
        filled = memory.buffer_size if memory.full else memory.pos
        held = _held_by(memory)
        state["memory"] = {name: value[:filled] if name in arrays else value for name, value in held.items()}
    if normalizer is not None:
        state["normalizer"] = _held_by(normalizer)
        state["statistics"] = {name: _held_by(one) for name, one in _running(normalizer).items()}
    if getattr(model, "use_sde", False):
        state["exploration"] = {name: getattr(_explored(model), name) for name in _EXPLORATION}
    return state


def put_back(model: Any, normalizer: Any, state: Mapping[str, Any]) -> None:
    """The inverse of `take`, in a model that was built alike."""
    model.set_parameters(_with_numbers(state["parameters"]))
    _put_into(model, state["model"])
    for noise, held in zip(_noises(model), state["noise"], strict=True):
        _put_into(noise, held)
    if "memory" in state:
        _put_into(model.replay_buffer, state["memory"])
    if normalizer is not None:
        _put_into(normalizer, state["normalizer"])
        for name, one in _running(normalizer).items():
            _put_into(one, state["statistics"][name])
    if "exploration" in state:
        _put_into(_explored(model), state["exploration"])


def _noises(model: Any) -> list[Any]:
    """The exploration noise of each sub-environment, where there is such a thing."""
    noise = getattr(model, "action_noise", None)
    return [] if noise is None else getattr(noise, "noises", [noise])


def _explored(model: Any) -> Any:
    """The distribution that holds the matrices of state-dependent exploration."""
    return getattr(model.policy, "action_dist", None) or model.policy.actor.action_dist


def _running(normalizer: Any) -> dict[str, Any]:
    """The running statistics of VecNormalize."""
    found = {name: getattr(normalizer, name, None) for name in ("obs_rms", "ret_rms")}
    return {name: one for name, one in found.items() if one is not None}


def _held_by(thing: Any) -> dict[str, Any]:
    """The numbers, arrays and tensors among an object's attributes."""
    kinds = (bool, int, float, np.generic, np.ndarray, torch.Tensor)
    held = {name: value for name, value in vars(thing).items() if isinstance(value, kinds)}
    return {name: np.asarray(value) if isinstance(value, np.generic) else value for name, value in held.items()}


def _put_into(thing: Any, held: Mapping[str, Any]) -> None:
    """The inverse of `_held_by`; an array may be the first rows of what the object has room for."""
    for name, value in held.items():
        present = getattr(thing, name)
        if isinstance(present, torch.Tensor):
            present.data.copy_(torch.as_tensor(value))
        elif not isinstance(value, np.ndarray):
            setattr(thing, name, value)
        elif isinstance(present, np.ndarray) and present.dtype == value.dtype and present.ndim:
            present[: len(value)] = value
        else:
            setattr(thing, name, value.copy()[()])


def _with_text_keys(tree: Any) -> Any:
    """State dicts as a checkpoint holds them, which has texts as keys."""
    if isinstance(tree, Mapping):
        return {str(name): _with_text_keys(value) for name, value in tree.items()}
    return [_with_text_keys(one) for one in tree] if isinstance(tree, list) else tree


def _with_numbers(tree: Any) -> Any:
    """The inverse of `_with_text_keys`: an optimiser's parameters have numbers as keys."""
    if isinstance(tree, Mapping):
        return {int(name) if name.isdigit() else name: _with_numbers(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_with_numbers(one) for one in tree]
    return torch.as_tensor(tree) if isinstance(tree, np.ndarray) else tree
