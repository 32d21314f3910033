"""Stable-Baselines3's algorithms (Raffin et al., 2021), and those of sb3-contrib, as peers: `--agent sb3:ppo`.

The library trains with its own `learn()`, its own networks and its own seeding (`seed` = the run's seed); only the
environments are ours, so that episodes are counted, and the policies evaluated, as those of our agents are. Flags have
the library's names and defaults. Its `learn()` stops where it stops: on-policy algorithms end a whole rollout, so they
may take more env steps than were asked for.

Its metrics keep their values under our tags: `train/x` is `losses/x`, but for those in `TAGS` and the entropy, which it
tells as a loss. So they are not ours in all: PPO's policy and value losses, its clip fraction and its entropy are means
over an update's minibatches, its KL divergence over those of the last epoch, where our PPO's are the last minibatch's,
and its value loss is not halved.

Nothing here imports the library before it is used, so that `--help` is quick.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from rlrepro.agent import Setup, Training, UnsupportedSpace, hyper
from rlrepro.errors import Problem

TAGS = {
    "train/policy_gradient_loss": "losses/policy_loss",
    "train/clip_fraction": "losses/clipfrac",
    "train/clip_range": "charts/clip_range",
    "train/ent_coef": "charts/alpha",
    "train/learning_rate": "charts/learning_rate",
    "train/n_updates": "charts/n_updates",
    "rollout/exploration_rate": "charts/exploration_rate",
}

_ACTIVATIONS = {
    "tanh": "Tanh",
    "relu": "ReLU",
    "elu": "ELU",
    "leaky_relu": "LeakyReLU",
    "gelu": "GELU",
    "silu": "SiLU",
}
_POSITIVE, _SHARE = {"low": 0}, {"low": 0, "high": 1}
_COUNT, _SCHEDULE = {"low": 1}, {"choices": ("constant", "linear")}

# name: (help, what is valid). A default None, in the tables below, is written 0.
_FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "policy": (
        "auto: CnnPolicy for images, else MlpPolicy; MinAtarPolicy: our network for MinAtar's games",
        {"choices": ("auto", "MlpPolicy", "CnnPolicy", "MinAtarPolicy")},
    ),
    "learning_rate": ("the optimiser's step size", _POSITIVE),
    "learning_rate_schedule": ("linear: falls to 0 over the run", _SCHEDULE),
    "n_steps": ("steps of a rollout in each sub-environment", _COUNT),
    "batch_size": ("transitions of a batch", _COUNT),
    "n_epochs": ("passes over a rollout", _COUNT),
    "gamma": ("discount factor", _SHARE),
    "gae_lambda": ("λ of generalised advantage estimation", _SHARE),
    "clip_range": ("how far the ratio of probabilities may move", _POSITIVE),
    "clip_range_schedule": ("linear: falls to 0 over the run", _SCHEDULE),
    "clip_range_vf": ("how far the value may move; 0: any distance", _POSITIVE),
    "normalize_advantage": ("standardise the advantages", {}),
    "ent_coef": ("weight of the entropy", {}),
    "vf_coef": ("weight of the value loss", _POSITIVE),
    "max_grad_norm": ("largest norm of the gradient; 0: any", _POSITIVE),
    "target_kl": ("PPO: end the passes beyond 1.5 times this KL divergence, 0: never; TRPO: that of a step", _POSITIVE),
    "rms_prop_eps": ("ε of RMSprop", {**_POSITIVE, "needs": ("use_rms_prop",)}),
    "use_rms_prop": ("RMSprop in place of Adam", {}),
    "cg_max_steps": ("steps of conjugate gradient", _COUNT),
    "cg_damping": ("damping of the Hessian-vector product", _POSITIVE),
    "line_search_shrinking_factor": ("factor between steps of the line search", _SHARE),
    "line_search_max_iter": ("most steps of the line search", _COUNT),
    "n_critic_updates": ("passes of the critic over a rollout", _COUNT),
    "sub_sampling_factor": ("take every n-th transition for the policy", _COUNT),
    "use_sde": ("generalised state-dependent exploration", {}),
    "sde_sample_freq": ("steps between draws of its noise; -1: once a rollout", {"low": -1, "needs": ("use_sde",)}),
    "use_sde_at_warmup": ("use it before learning starts too", {"needs": ("use_sde",)}),
    "buffer_size": ("transitions of the replay buffer", _COUNT),
    "learning_starts": ("env steps before learning", _POSITIVE),
    "tau": ("weight of the online parameters in the target", _SHARE),
    "train_freq": ("how often to learn, in train-freq-units", _COUNT),
    "train_freq_unit": ("step: of all sub-environments; episode", {"choices": ("step", "episode")}),
    "gradient_steps": ("gradient steps each time; -1: as many as env steps were taken", {"low": -1}),
    "target_update_interval": ("env steps (SAC, TQC: gradient steps) between updates of the target", _COUNT),
    "exploration_fraction": ("part of the run in which ε falls", _SHARE),
    "exploration_initial_eps": ("initial ε", _SHARE),
    "exploration_final_eps": ("final ε", _SHARE),
    "action_noise": ("exploration: normal, or Ornstein–Uhlenbeck", {"choices": ("none", "normal", "ou")}),
    "action_noise_std": (
        "its standard deviation, for actions scaled to [-1, 1]",
        {**_POSITIVE, "needs": ("action_noise", "normal", "ou")},
    ),
    "policy_delay": ("updates of the critic for one of the policy", _COUNT),
    "target_policy_noise": ("standard deviation of the noise on the target's action", _POSITIVE),
    "target_noise_clip": ("largest such noise", _POSITIVE),
    "target_entropy": ("entropy that the temperature aims at: a number, or auto", {}),
    "top_quantiles_to_drop_per_net": ("atoms left out of each critic's target", {"low": 0}),
    "net_arch": ("units of the hidden layers (the default after a CNN: none)", _COUNT),
    "net_arch_critic": ("units of the critic's, where they are others", _COUNT),
    "activation_fn": ("activation", {"choices": tuple(_ACTIVATIONS)}),
    "ortho_init": ("orthogonal initialisation", {}),
    "log_std_init": ("initial log standard deviation of a Gaussian policy", {"only": "Box actions"}),
    "n_critics": ("critics", _COUNT),
    "n_quantiles": ("quantiles of a critic", _COUNT),
    "normalize": ("VecNormalize; as evaluated, with the statistics of training", {}),
    "normalize_obs": (
        "with --normalize: standardise observations by running statistics",
        {"needs": ("normalize",)},
    ),
    "normalize_reward": (
        "with --normalize: scale rewards by a running deviation of returns",
        {"needs": ("normalize",)},
    ),
}
_PIXELS = 36  #: what the convolutions of CnnPolicy leave one pixel of
_OF_THE_POLICY = ("ortho_init", "log_std_init", "n_critics", "n_quantiles")
_OURS = {
    "policy": ("auto", "ours: what the observations ask for"),
    "learning_rate_schedule": ("constant", "code: {library}; linear as in rl-zoo3"),
    "clip_range_schedule": ("constant", "code: {library}; linear as in rl-zoo3"),
    "train_freq_unit": ("step", "code: {library}"),
    "action_noise": ("none", "code: {library}"),
    "action_noise_std": (0.1, "ours: what rl-zoo3 takes most often"),
    "net_arch_critic": ((), "code: {library}"),
    "normalize": (False, "code: {library}; as normalize in rl-zoo3"),
    "normalize_obs": (True, "code: stable-baselines3 VecNormalize"),
    "normalize_reward": (True, "code: stable-baselines3 VecNormalize"),
}

_NORMALIZE = ("normalize", "normalize_obs", "normalize_reward")
_ON_POLICY = {
    "gamma": 0.99, "use_sde": False, "sde_sample_freq": -1, "net_arch": (64, 64), "net_arch_critic": ...,
    "activation_fn": "tanh", "ortho_init": True, "log_std_init": 0.0,
}  # fmt: skip
_Q_LEARNING = {
    "buffer_size": 1_000_000, "learning_starts": 100, "batch_size": 32, "tau": 1.0, "gamma": 0.99, "train_freq": 4,
    "train_freq_unit": ..., "gradient_steps": 1, "n_steps": 1, "target_update_interval": 10_000,
    "exploration_initial_eps": 1.0, "net_arch": (64, 64), "activation_fn": "relu",
}  # fmt: skip
_ACTOR_CRITIC = {
    "buffer_size": 1_000_000, "learning_starts": 100, "batch_size": 256, "gamma": 0.99, "train_freq": 1,
    "train_freq_unit": ..., "gradient_steps": 1, "n_steps": 1, "action_noise": ..., "action_noise_std": ...,
    "net_arch_critic": ..., "activation_fn": "relu",
}  # fmt: skip
_ENTROPY = {
    "ent_coef": "auto", "target_entropy": "auto", "use_sde": False, "sde_sample_freq": -1, "use_sde_at_warmup": False,
    "net_arch": (256, 256), "log_std_init": -3.0, "n_critics": 2,
}  # fmt: skip
_ANY, _DISCRETE, _BOX = ("Box", "Discrete", "MultiDiscrete", "MultiBinary"), ("Discrete",), ("Box",)

# class: (package, kinds of action space, the library's defaults; ... stands for one of ours)
_TABLE: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "A2C": ("stable_baselines3", _ANY, {
        "learning_rate": 7e-4, "learning_rate_schedule": ..., "n_steps": 5, "gae_lambda": 1.0,
        "normalize_advantage": False, "ent_coef": 0.0, "vf_coef": 0.5, "max_grad_norm": 0.5, "rms_prop_eps": 1e-5,
        "use_rms_prop": True, **_ON_POLICY,
    }),
    "PPO": ("stable_baselines3", _ANY, {
        "learning_rate": 3e-4, "learning_rate_schedule": ..., "n_steps": 2048, "batch_size": 64, "n_epochs": 10,
        "gae_lambda": 0.95, "clip_range": 0.2, "clip_range_schedule": ..., "clip_range_vf": None,
        "normalize_advantage": True, "ent_coef": 0.0, "vf_coef": 0.5, "max_grad_norm": 0.5, "target_kl": None,
        **_ON_POLICY,
    }),
    "DQN": ("stable_baselines3", _DISCRETE, {
        "learning_rate": 1e-4, "learning_rate_schedule": ..., **_Q_LEARNING, "exploration_fraction": 0.1,
        "exploration_final_eps": 0.05, "max_grad_norm": 10.0,
    }),
    "DDPG": ("stable_baselines3", _BOX, {
        "learning_rate": 1e-3, "learning_rate_schedule": ..., "tau": 0.005, **_ACTOR_CRITIC, "net_arch": (400, 300),
    }),
    "TD3": ("stable_baselines3", _BOX, {
        "learning_rate": 1e-3, "learning_rate_schedule": ..., "tau": 0.005, **_ACTOR_CRITIC, "policy_delay": 2,
        "target_policy_noise": 0.2, "target_noise_clip": 0.5, "net_arch": (400, 300), "n_critics": 2,
    }),
    "SAC": ("stable_baselines3", _BOX, {
        "learning_rate": 3e-4, "learning_rate_schedule": ..., "tau": 0.005, "target_update_interval": 1,
        **_ACTOR_CRITIC, **_ENTROPY,
    }),
    "TRPO": ("sb3_contrib", _ANY, {
        "learning_rate": 1e-3, "learning_rate_schedule": ..., "n_steps": 2048, "batch_size": 128, "gae_lambda": 0.95,
        "normalize_advantage": True, "target_kl": 0.01, "cg_max_steps": 15, "cg_damping": 0.1,
        "line_search_shrinking_factor": 0.8, "line_search_max_iter": 10, "n_critic_updates": 10,
        "sub_sampling_factor": 1, **_ON_POLICY,
    }),
    "QRDQN": ("sb3_contrib", _DISCRETE, {
        "learning_rate": 5e-5, "learning_rate_schedule": ..., **_Q_LEARNING, "exploration_fraction": 0.005,
        "exploration_final_eps": 0.01, "max_grad_norm": None, "n_quantiles": 200,
    }),
    "TQC": ("sb3_contrib", _BOX, {
        "learning_rate": 3e-4, "learning_rate_schedule": ..., "tau": 0.005, "target_update_interval": 1,
        "top_quantiles_to_drop_per_net": 2, **_ACTOR_CRITIC, **_ENTROPY, "n_quantiles": 25,
    }),
    "CrossQ": ("sb3_contrib", _BOX, {
        "learning_rate": 1e-3, "learning_rate_schedule": ..., "policy_delay": 3, **_ACTOR_CRITIC, **_ENTROPY,
        "net_arch_critic": (1024, 1024),
    }),
}  # fmt: skip


def _config(name: str, defaults: Mapping[str, Any]) -> type[Any]:
    """A `Config` of the algorithm's hyperparameters: the library's defaults, and their source."""
    library = f"{_TABLE[name][0].replace('_', '-')} {name}"
    fields = []
    for field, value in {"policy": ..., **defaults, **dict.fromkeys(_NORMALIZE, ...)}.items():
        default, source = _OURS[field] if value is ... else (value, "code: {library}")
        text, valid = _FIELDS[field]
        if field == "n_steps" and "buffer_size" in defaults:
            text = "steps of a return"
        made = hyper(0.0 if default is None else default, text, source.format(library=library), **valid)
        fields.append((field, type(made.default), made))
    return dataclasses.make_dataclass("Config", fields, frozen=True)


class StableBaselines3:
    """One algorithm of the library, for one seed; the subclasses in `ALGORITHMS` say which."""

    Config: type[Any]
    PRESETS: Mapping[str, Mapping[str, Any]] = {}
    name = ""

    def __init__(self, setup: Setup, config: Any) -> None:
        package, spaces, self._defaults = _TABLE[self.name]
        kind = type(setup.action_space).__name__
        if kind not in spaces:
            raise UnsupportedSpace(f"{' or '.join(spaces)} actions, not {kind}")
        for space, what in ((setup.action_space, "actions"), (setup.observation_space, "observations")):
            if np.any(getattr(space, "start", 0)):
                raise UnsupportedSpace(f"{what} that begin at 0, not {space}")
        try:
            self._class = getattr(importlib.import_module(package), self.name)
        except ImportError as error:
            command = f"pip install {package.replace('_', '-')}"
            raise Problem(f"sb3:{self.name.lower()} could not be imported ({error}): {command}") from None
        self.setup, self.config = setup, config
        self.model: Any = None
        self.normalizer: Any = None  #: the library's VecNormalize, where one is asked for

    # The contract

    def train(self, training: Training) -> None:
        """The library's own `learn()`."""
        for warning in self._build([functools.partial(training.make_env, n) for n in range(self.setup.num_envs)]):
            training.note(f"{self.name}: {warning}")
        self.model.set_logger(_logger(training))
        try:
            self.model.learn(self.setup.total_timesteps, _at_rollouts(training), log_interval=None)
        except AssertionError as error:
            if training.env_step:
                raise
            raise ValueError(str(error)) from error

    def predict(self, obs: np.ndarray, generator: np.random.Generator, deterministic: bool) -> np.ndarray:
        """Actions `[E, ...]`; where not deterministic, ε-greedy with the last ε, or drawn from the policy.

        DDPG's and TD3's are deterministic all the same: the library's policies know nothing of the exploration noise.
        """
        import torch

        if self.normalizer is not None:
            obs = self.normalizer.normalize_obs(obs)
        greedy = deterministic or hasattr(self.model, "exploration_rate")
        if not greedy:
            torch.manual_seed(int(generator.integers(2**62)))
        action = self.model.policy.predict(obs, deterministic=greedy)[0]
        if greedy and not deterministic:
            explore = generator.random(len(obs)) < self.config.exploration_final_eps
            action = np.where(explore, generator.integers(self.setup.action_space.n, size=len(obs)), action)  # type: ignore[attr-defined]
        if isinstance(self.setup.action_space, gymnasium.spaces.MultiBinary):
            action = action.astype(np.int8)  # the library has them as floats
        return np.asarray(action)

    def get_policy(self) -> dict[str, Any]:
        """The policy's state dict, and the statistics of VecNormalize."""
        tensors = {f"policy.{name}": value for name, value in self.model.policy.state_dict().items()}
        for name, statistics in self._statistics().items():
            for part in ("mean", "var", "count"):
                tensors[f"{name}.{part}"] = np.asarray(getattr(statistics, part), np.float64)
        return tensors

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        """Take `get_policy` over, in a model built for evaluation alone."""
        self._build([lambda: _Spaces(self.setup)] * self.setup.num_envs, buffer_size=1)
        state = self.model.policy.state_dict()
        for name, value in state.items():
            value.copy_(policy[f"policy.{name}"].reshape(value.shape))
        for name, statistics in self._statistics().items():
            for part in ("mean", "var", "count"):
                value = policy[f"{name}.{part}"].numpy()
                setattr(statistics, part, float(value.item()) if part == "count" else value)

    def get_state(self) -> dict[str, Any]:
        """All that a resume needs, at the start of a rollout."""
        from rlrepro import library_state

        return library_state.take(self.model, self.normalizer)

    def set_state(self, state: Mapping[str, Any]) -> None:
        from rlrepro import library_state

        library_state.put_back(self.model, self.normalizer, state)

    # The library's model

    def _statistics(self) -> dict[str, Any]:
        if self.normalizer is None:
            return {}
        found = {"normalize_obs": self.config.normalize_obs, "normalize_reward": self.config.normalize_reward}
        running = {"normalize_obs": "obs_rms", "normalize_reward": "ret_rms"}
        return {name: getattr(self.normalizer, running[name]) for name, wanted in found.items() if wanted}

    def _build(self, make: list[Callable[[], Any]], **changed: Any) -> list[str]:
        """Make `model` and `normalizer` on these environments; the warnings that the library had."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            try:
                self._make_model(make, **changed)
            except AssertionError as error:
                raise ValueError(str(error)) from error
        return [" ".join(str(one.message).split()) for one in told if issubclass(one.category, UserWarning)]

    def _make_model(self, make: list[Callable[[], Any]], **changed: Any) -> None:
        from stable_baselines3.common.preprocessing import is_image_space
        from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

        from rlrepro.networks import is_image, is_small

        config, single = self.config, DummyVecEnv(make)
        envs: VecEnv = single
        if config.normalize:
            self.normalizer = envs = VecNormalize(
                single, norm_obs=config.normalize_obs, norm_reward=config.normalize_reward, gamma=config.gamma
            )
        policy, space = config.policy, self.setup.observation_space
        if policy == "auto":
            policy = "CnnPolicy" if is_image_space(space) else "MlpPolicy"
        if policy == "CnnPolicy" and is_image_space(space) and sorted(space.shape or ())[1] < _PIXELS:
            raise ValueError(f"CnnPolicy takes images of at least {_PIXELS} × {_PIXELS} pixels, not {space}")
        if policy == "MinAtarPolicy" and not (is_image(space) and is_small(space.shape or ())):
            raise ValueError(f"MinAtarPolicy takes small images, as MinAtar's 10 × 10, not {space}")
        alias = "MlpPolicy" if policy == "MinAtarPolicy" else policy
        if alias not in self._class.policy_aliases:
            raise ValueError(f"{self.name} has no {policy}")
        self.model = self._class(
            alias,
            envs,
            seed=self.setup.seeds[0],
            device=self.setup.device,
            policy_kwargs=self._policy_arguments(policy),
            **{**self._arguments(), **changed} if "buffer_size" in self._defaults else self._arguments(),
        )
        single._reset_seeds()  # the library's are consecutive numbers; each sub-environment has a stream of its own

    def _arguments(self) -> dict[str, Any]:
        """What the algorithm's constructor is given, every default included."""
        config, known = self.config, inspect.signature(self._class).parameters
        values = {name: getattr(config, name) for name in self._defaults if name not in _OURS}
        for name, default in self._defaults.items():
            if default is None and values[name] == 0:
                values[name] = None
        if values.get("max_grad_norm") == 0:
            values["max_grad_norm"] = float("inf")  # the library would shorten every gradient to 0
        for name in ("learning_rate", "clip_range"):
            if getattr(config, f"{name}_schedule", "constant") == "linear":
                values[name] = functools.partial(_linear, values[name])
        for name in ("ent_coef", "target_entropy"):
            if isinstance(values.get(name), str):
                values[name] = _number_or_auto(name, values[name])
        if "train_freq" in values:
            values["train_freq"] = (config.train_freq, config.train_freq_unit)
        if "action_noise" in self._defaults:
            values["action_noise"] = self._noise()
        for name in [*_OF_THE_POLICY, "net_arch", "activation_fn"]:
            values.pop(name, None)
        for name in [name for name in values if name not in known]:  # of a newer version of the library
            if values.pop(name) != self._defaults[name]:
                raise ValueError(f"this version of the library knows no {name}")
        return values

    def _policy_arguments(self, policy: str) -> dict[str, Any]:
        import torch

        config, defaults = self.config, self._defaults
        values = {name: getattr(config, name) for name in _OF_THE_POLICY if name in defaults}
        values["activation_fn"] = getattr(torch.nn, _ACTIVATIONS[config.activation_fn])
        actor, critic = list(config.net_arch), list(getattr(config, "net_arch_critic", ()))
        second = "vf" if "ortho_init" in defaults else "qf"
        is_default = config.net_arch == defaults["net_arch"]
        if policy == "MinAtarPolicy":
            values["features_extractor_class"] = minatar_features()
        elif policy == "CnnPolicy" and is_default and not critic:
            return values  # the library's own choice
        if is_default and (policy == "MinAtarPolicy" or (policy == "CnnPolicy" and second == "vf")):
            actor = []  # as the library's is after convolutions
        values["net_arch"] = {"pi": actor, second: critic} if critic else actor
        return values

    def _noise(self) -> Any:
        from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise

        kinds = {"normal": NormalActionNoise, "ou": OrnsteinUhlenbeckActionNoise}
        if self.config.action_noise == "none":
            return None
        shape = self.setup.action_space.shape or ()
        return kinds[self.config.action_noise](np.zeros(shape), np.full(shape, self.config.action_noise_std))


class _Spaces(gymnasium.Env[Any, Any]):
    """The spaces of an environment, to build a model that is only evaluated."""

    def __init__(self, setup: Setup) -> None:
        self.observation_space, self.action_space = setup.observation_space, setup.action_space


def minatar_features() -> Any:
    """The layers before the head of MinAtar's network (Young & Tian, 2019), as the library takes them."""
    import torch
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    from rlrepro.networks import Convolutions, MinAtarCNN

    class Features(BaseFeaturesExtractor):
        """Images, with their channels first or last, to `[B, 128]`."""

        def __init__(self, space: gymnasium.Space[Any]) -> None:
            super().__init__(space, MinAtarCNN.DENSE)
            self._ours = Convolutions(space.shape or (), MinAtarCNN.CONVOLUTIONS)
            filters, channels, kernel, _ = self._ours.shapes["conv_0"]
            conv, dense = torch.nn.Conv2d(channels, filters, kernel), torch.nn.Linear(self._ours.out, MinAtarCNN.DENSE)
            self.layers = torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.Flatten(), dense, torch.nn.ReLU())

        def forward(self, obs: torch.Tensor) -> torch.Tensor:
            return self.layers(self._ours.scaled(obs))

    return Features


def _linear(first: float, remaining: float) -> float:
    """From `first` to 0, as `remaining` falls from 1 to 0."""
    return remaining * first


def _number_or_auto(name: str, text: str) -> float | str:
    if text == "auto" or (name == "ent_coef" and re.fullmatch(r"auto_(?=.*[1-9])[\d.]+(e-?\d+)?", text)):
        return text  # it is learnt, from 1 or from the number
    try:
        return float(text)
    except ValueError:
        choices = "neither a number, auto nor auto_0.1" if name == "ent_coef" else "neither a number nor auto"
        raise ValueError(f"--{name.replace('_', '-')} {text} is {choices}") from None


def _at_rollouts(training: Training) -> Any:
    """A callback that says where a resume could go on: in a rollout the library holds what it tells nobody."""
    from stable_baselines3.common.callbacks import BaseCallback

    class AtRollouts(BaseCallback):
        def _on_rollout_start(self) -> None:
            training.resume_point()

        def _on_step(self) -> bool:
            return True

    return AtRollouts()


def _logger(training: Training) -> Any:
    """A logger of the library's that tells the training what it hears, at once."""
    from stable_baselines3.common.logger import Logger

    class Told(Logger):
        def record(self, key: str, value: Any, exclude: Any = None) -> None:
            if key == "train/entropy_loss":
                training.tell({"losses/entropy": -value})
            elif key in TAGS or key.startswith("train/"):
                training.tell({TAGS.get(key) or f"losses/{key.removeprefix('train/')}": value})

    return Told(None, [])


#: `--agent sb3:NAME`
ALGORITHMS: dict[str, type[StableBaselines3]] = {
    name.lower(): type(name, (StableBaselines3,), {"name": name, "Config": _config(name, defaults)})
    for name, (_, _, defaults) in _TABLE.items()
}
