"""What a finished run learnt, read back: for `rlrepro evaluate`, and for Python (`load`)."""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import safetensors
import safetensors.torch
import torch

from rlrepro.checksums import changed
from rlrepro.errors import Problem, close_quietly, one_line, place_of
from rlrepro.group import build_policy
from rlrepro.plugins.environments import find_env
from rlrepro.record import POLICY, RunFolder
from rlrepro.settings import Settings
from rlrepro.streams import Streams
from rlrepro.vector import to_env

if TYPE_CHECKING:
    from rlrepro.agent import Policy


def load(run: str | os.PathLike[str], seed: int | None = None) -> Trained:
    """What one seed of a finished run learnt, on the CPU; without a number the run's first.

    `Problem` where there is no such run, no such seed, or no policy yet. The agent, the environment and the wrappers
    are imported: load runs whose code you trust.
    """
    folder, settings = RunFolder.open(Path(run))
    if seed is None:
        seed = settings.seeds[0]
    if seed not in settings.seeds:
        raise Problem(f"{folder} has no seed {seed} (seeds: {', '.join(map(str, settings.seeds))})")
    check_policies(folder, (seed,))
    for doubt in folder.doubts(settings, (seed,)):
        warnings.warn(doubt, stacklevel=2)
    return Trained(folder, settings, seed)


class Trained:
    """The policy of one seed, with the run's normalisation of observations as training left it."""

    def __init__(self, folder: RunFolder, settings: Settings, seed: int) -> None:
        self.settings, self.seed = dataclasses.replace(settings, device="cpu"), seed
        env = self.make_env()
        close_quietly(env)
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._policy = load_policy(folder, self.settings, (seed,), env)
        self._streams = Streams((seed,), "trained")

    def make_env(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """The environment that the run was trained on, with its arguments and wrappers."""
        return find_env(self.settings.env, self.settings.env_kwargs, self.settings.wrappers).make(render_mode)

    def act(self, obs: Any, deterministic: bool = True) -> Any:
        """The action for one observation, as the environment takes it; actions `[E, ...]` for several `[E, ...]`.

        `ValueError` where `obs` is of another shape than the environment's, or none of its discrete ones.
        """
        rows = np.asarray(obs, self.observation_space.dtype)
        shape = self.observation_space.shape or ()
        is_one = rows.shape == shape
        if not is_one and rows.shape[1:] != shape:
            raise ValueError(f"observations of shape {rows.shape}, where one has {shape}, and E of them (E, *{shape})")
        if not rows.size:
            raise ValueError("no observation")
        if not isinstance(self.observation_space, gymnasium.spaces.Box):  # of which any number may be given
            self._check_known([rows] if is_one else list(rows))
        actions = self._policy.predict(rows[None, None] if is_one else rows[None], self._streams, deterministic)
        taken = to_env(actions[0], self.action_space)
        if not is_one:
            return taken
        return int(taken[0]) if isinstance(self.action_space, gymnasium.spaces.Discrete) else taken[0]

    def _check_known(self, several: list[np.ndarray]) -> None:
        for obs in several:
            if not self.observation_space.contains(obs[()] if obs.shape == () else obs):
                raise ValueError(f"the observation {obs} is none of {self.observation_space}")


def check_policies(folder: RunFolder, seeds: tuple[int, ...]) -> None:
    """`Problem` where a seed has none yet, or no more."""
    missing = [seed for seed in seeds if not folder.policy(seed).is_file()]
    if missing:
        what = f"{folder} has no policy of seed {missing[0]}"
        if folder.is_finished:
            raise Problem(f"{what}, though it is finished: put {folder.policy(missing[0])} back, or {folder.way_anew}")
        raise Problem(f"{what} yet; finish it with: {folder.way_on}")
    for seed in seeds:
        if name := changed(folder, seed, [POLICY]):
            what = f"{folder.seed(seed) / name} is not what it was when seed {seed} ended (see SHA256SUMS beside it)"
            raise Problem(f"{what}: put it back, or {folder.way_anew}")


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except OSError as error:
        raise Problem(f"the policy {file} could not be read: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise Problem(f"the policy {file} is damaged ({one_line(error)})") from None


def load_policy(folder: RunFolder, settings: Settings, seeds: tuple[int, ...], spaces: Any) -> Policy:
    """What these seeds learnt, ready to `predict`; `spaces` has the environment's own spaces."""
    try:
        policy = build_policy(settings, spaces, seeds)
        files = [_tensors(folder.policy(seed)) for seed in seeds]
        policy.set_policy({name: torch.stack([file[name] for file in files]) for name in files[0]})
    except Problem:
        raise
    except Exception as error:  # whatever an agent makes of parameters that are another's
        what = f"do not fit {settings.agent} ({one_line(error)}{place_of(error)})"
        raise Problem(f"the policies in {folder} {what}") from error
    return policy
