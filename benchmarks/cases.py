"""What is timed: the same algorithm, task and hyperparameters on both sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Case:
    """One algorithm on one task.

    `steps` are env steps of each seed, on Stable-Baselines3's side and on ours. Where the cost of a step does not
    change over a run (PPO, A2C), ours gets more, lest its timing be over in a blink; where it does (nothing is learnt
    at first), both get the same.
    """

    agent: str  #: ours
    env: str
    algorithm: str  #: Stable-Baselines3's class
    num_envs: int
    flags: Mapping[str, Any]  #: ours
    keywords: Mapping[str, Any]  #: Stable-Baselines3's
    hidden: tuple[int, ...]
    steps: tuple[int, int]
    goals: tuple[float | None, float | None]  #: ratios wanted for ten seeds and for one
    activation: str = "tanh"


_PPO = {"learning_rate": 2.5e-4, "gamma": 0.99, "gae_lambda": 0.95, "clip_range": 0.2, "max_grad_norm": 0.5}
_DQN = {"learning_rate": 2.5e-4, "gamma": 0.99, "buffer_size": 10_000, "batch_size": 128, "learning_starts": 1000}
_A2C = {"learning_rate": 7e-4, "gamma": 0.99, "gae_lambda": 1.0, "max_grad_norm": 0.5}
_REPLAY = {"gamma": 0.99, "buffer_size": 100_000, "batch_size": 256, "learning_starts": 1000, "tau": 0.005}

CASES = {
    "ppo": Case(
        agent="ppo", env="CartPole-v1", algorithm="PPO", num_envs=4, hidden=(64, 64),
        flags={"num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "anneal": False, "hidden": 64,
               "entropy_coef": 0.01, "value_coef": 0.5, **_PPO},
        keywords={"n_steps": 128, "batch_size": 128, "n_epochs": 4, "ent_coef": 0.01, "vf_coef": 0.5, **_PPO},
        steps=(10_240, 51_200), goals=(10, 3),
    ),
    "dqn": Case(
        agent="dqn", env="CartPole-v1", algorithm="DQN", num_envs=1, hidden=(120, 84), activation="relu",
        flags={"train_every": 10, "target_every": 500, "hidden": "120,84", "exploration_fraction": 0.5,
               "epsilon_end": 0.05, **_DQN},
        keywords={"train_freq": 10, "gradient_steps": 1, "target_update_interval": 500, "exploration_fraction": 0.5,
                  "exploration_final_eps": 0.05, **_DQN},
        steps=(12_000, 12_000), goals=(8, 2),
    ),
}  # fmt: skip
"""By the name that `--only` takes."""
