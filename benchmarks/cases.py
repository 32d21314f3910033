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
    images: bool = False  #: MinAtar's network on both sides
    warm: int = 2048  #: env steps before the clock starts, and the fewest that are timed: a rollout at least


_PPO = {"learning_rate": 2.5e-4, "gamma": 0.99, "gae_lambda": 0.95, "clip_range": 0.2, "max_grad_norm": 0.5}
_DQN = {"learning_rate": 2.5e-4, "gamma": 0.99, "buffer_size": 10_000, "batch_size": 128, "learning_starts": 1000}
_A2C = {"learning_rate": 7e-4, "gamma": 0.99, "gae_lambda": 1.0, "max_grad_norm": 0.5}
_REPLAY = {"gamma": 0.99, "buffer_size": 100_000, "batch_size": 256, "learning_starts": 100, "tau": 0.005}
_EACH_STEP = {"train_freq": 1, "gradient_steps": 1, "learning_rate": 3e-4}
_RATES = {"actor_learning_rate": 3e-4, "critic_learning_rate": 3e-4}

CASES = {
    "ppo": Case(
        agent="ppo", env="CartPole-v1", algorithm="PPO", num_envs=4, hidden=(64, 64),
        flags={"num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "anneal": False, "hidden": "64,64",
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
    "a2c": Case(
        agent="a2c", env="CartPole-v1", algorithm="A2C", num_envs=8, hidden=(64, 64),
        flags={"num_steps": 5, "hidden": "64,64", "entropy_coef": 0.0, "value_coef": 0.5, **_A2C},
        keywords={"n_steps": 5, "ent_coef": 0.0, "vf_coef": 0.5, **_A2C},
        steps=(10_240, 51_200), goals=(8, None),
    ),
    "ppo-halfcheetah": Case(
        agent="ppo", env="HalfCheetah-v5", algorithm="PPO", num_envs=1, hidden=(64, 64),
        flags={"num_steps": 2048, "num_epochs": 10, "num_minibatches": 32, "anneal": False, "hidden": "64,64",
               "entropy_coef": 0.0, "value_coef": 0.5, **_PPO},
        keywords={"n_steps": 2048, "batch_size": 64, "n_epochs": 10, "ent_coef": 0.0, "vf_coef": 0.5, **_PPO},
        steps=(4_096, 8_192), goals=(5, None),
    ),
    "sac-halfcheetah": Case(
        agent="sac", env="HalfCheetah-v5", algorithm="SAC", num_envs=1, hidden=(256, 256), activation="relu",
        flags={"hidden": "256,256", **_RATES, **_REPLAY}, keywords={**_EACH_STEP, **_REPLAY},
        steps=(1_500, 1_500), goals=(2, None), warm=300,
    ),
    "td3-halfcheetah": Case(
        agent="td3", env="HalfCheetah-v5", algorithm="TD3", num_envs=1, hidden=(256, 256), activation="relu",
        flags={"hidden": "256,256", "policy_delay": 2, "exploration_noise": 0, **_RATES, **_REPLAY},
        keywords={"policy_delay": 2, **_EACH_STEP, **_REPLAY},
        steps=(1_500, 1_500), goals=(2, None), warm=300,
    ),
    "dqn-minatar": Case(
        agent="dqn", env="MinAtar/Breakout-v1", algorithm="DQN", num_envs=1, hidden=(), activation="relu", images=True,
        flags={"train_every": 1, "target_every": 1000, "exploration_fraction": 0.1, "epsilon_end": 0.1,
               **_DQN, "batch_size": 32, "buffer_size": 100_000},
        keywords={"train_freq": 1, "gradient_steps": 1, "target_update_interval": 1000, "exploration_fraction": 0.1,
                  "exploration_final_eps": 0.1, **_DQN, "batch_size": 32, "buffer_size": 100_000},
        steps=(4_000, 4_000), goals=(None, None),
    ),
}  # fmt: skip
"""By the name that `--only` takes."""
