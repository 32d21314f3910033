"""What agents with a network of action values share beside their losses: how they act, and their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rlrepro.agent import Metrics, Setup, Transition, inherits
from rlrepro.distributions import num_discrete
from rlrepro.errors import AgentFault
from rlrepro.graphs import on_host
from rlrepro.networks import TakesObservations, features_on_host, is_image
from rlrepro.off_policy import TargetClock
from rlrepro.optimisers import Adam, descend, loss_and_metrics
from rlrepro.prioritised import PrioritisedReplay
from rlrepro.replay import Replay
from rlrepro.schedules import linear
from rlrepro.seeds import Network, Stack
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams


class ActionValues(TakesObservations, Stateful):
    """Values of Discrete actions, `online.q`, and ε-greedy behaviour; an agent adds its memory and its update.

    The config has `epsilon_start`, `epsilon_end` and `exploration_fraction`, unless the agent acts in another way. A
    subclass sets `optimiser`; one whose network gives more than Q(s, ·) has its own `q_values`.
    """

    STATE: tuple[str, ...] = ("online", "optimiser", "exploration")
    online: Stack
    optimiser: Adam

    def __init__(self, setup: Setup, config: Any) -> None:
        self.config, self.setup = config, setup
        self.num_actions = num_discrete(setup.action_space)
        self.image = is_image(setup.observation_space)
        self.exploration = Streams(setup.seeds, "policy")
        ours = inherits(self, ActionValues, "q_values", "inputs")
        self._by_numpy = ours and not self.image and setup.device == "cpu"

    def epsilon(self, step: int) -> float:
        """ε falls linearly over `exploration_fraction` of the run."""
        config = self.config
        span = config.exploration_fraction * self.setup.total_timesteps
        return linear(config.epsilon_start, config.epsilon_end, span, step)

    def rates(self, step: int) -> dict[str, torch.Tensor]:
        """What a schedule has set at an env step, as metrics: ε, where the agent explores by it."""
        if not hasattr(self.config, "exploration_fraction"):
            return {}
        return {"charts/exploration_rate": self._of_each_seed(self.epsilon(step))}

    def _of_each_seed(self, value: float) -> torch.Tensor:
        """`[S]`: a metric that is the same for all."""
        return torch.full((self.setup.num_seeds,), value)

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """ε-greedy."""
        return self._epsilon_greedy(obs, self.exploration, self.epsilon(step)), {}

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """Greedy, or ε-greedy with the last ε."""
        return self._epsilon_greedy(obs, streams, 0.0 if deterministic else self.config.epsilon_end)

    def _epsilon_greedy(self, obs: np.ndarray, streams: Streams, epsilon: float) -> np.ndarray:
        if epsilon == 0.0:
            return self._greedy_on_host(obs)
        draw = streams.uniform(obs.shape[1]) / epsilon  # below 1 with probability ε, and then uniform
        explore = draw < 1.0
        exploring = np.count_nonzero(explore)
        if not exploring:
            return self._greedy_on_host(obs)
        random = (draw * self.num_actions).astype(np.int64)
        return random if exploring == explore.size else np.where(explore, random, self._greedy_on_host(obs))

    def q_values(self, obs: torch.Tensor) -> torch.Tensor:
        """Q(s, ·), `[S, B, num_actions]`, by which it acts."""
        return self.online.q(self.inputs(obs))

    def _q_on_host(self, obs: np.ndarray, *noise: Streams | None) -> np.ndarray:
        if self._by_numpy:  # the same numbers
            return self.online.q.on_host(features_on_host(self.setup.observation_space, obs))
        if not noise:
            return on_host(self.q_values, obs, self.setup.device)
        with torch.no_grad():
            return self.q_values(torch.from_numpy(obs).to(self.setup.device), *noise).cpu().numpy()

    def _greedy_on_host(self, obs: np.ndarray, *noise: Streams | None) -> np.ndarray:
        """argmax_a Q(s, a), `[S, N]`; `noise` where `q_values` takes it."""
        return self._q_on_host(obs, *noise).argmax(-1)

    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """max_a Q(s, a), `[S, B]`, for `rlrepro probe`."""
        return self._q_on_host(obs).max(-1)

    def get_policy(self) -> dict[str, torch.Tensor]:
        return self.online.named()

    def set_policy(self, policy: Mapping[str, torch.Tensor]) -> None:
        self.online.load_named(policy)


class TargetedActionValues(ActionValues):
    """Action values with a target network and a replay memory; until learning starts, actions are uniformly random.

    The config has what a `TargetClock` and a `Replay` need too, `learning_rate` and `max_grad_norm`. A subclass calls
    `_build` with its network, and sets `memory`; where that draws by priority, it sets `prioritised_replay` too, and
    its `loss` tells each transition's `error` beside the metrics.
    """

    STATE: tuple[str, ...] = ("target", "clock")
    prioritised_replay: PrioritisedReplay | None = None  #: the memory that draws by priority, or that an `NStep` fills

    def _build(self, network: Network, adam_eps: float = 1e-8) -> None:
        """The online network, its target, when that follows, and Adam for the one."""
        self.online = Stack(self.setup.seeds, self.setup.device, q=network)
        self.target = self.online.target_copy()
        self.clock = TargetClock(self.config)
        self.optimiser = Adam(self.online, self.config.learning_rate, adam_eps)

    def _replay(self) -> Replay:
        """A replay memory that draws uniformly; `gradient_steps` is 1 where the config has none."""
        return Replay(*self._of_memory())

    def _prioritised_replay(self, alpha: float, beta: float) -> PrioritisedReplay:
        """One that draws by priority; β ends at 1 with the run."""
        until = self.setup.total_timesteps
        return PrioritisedReplay(*self._of_memory(), alpha=alpha, beta=beta, beta_steps=until)

    def _of_memory(self) -> tuple[Any, ...]:
        config, setup = self.config, self.setup
        times = config.learning_starts, config.train_every, getattr(config, "gradient_steps", 1)
        return Streams(setup.seeds, "replay"), config.buffer_size, config.batch_size, *times, setup.device

    def update(self, batch: Transition, step: int) -> Metrics:
        """One gradient step on a batch `[S, B, ...]`, its new priorities, and the target network where it is due.

        It is due after the last gradient step of the learning phase in which the env step passes a multiple of
        `target_every` (`TargetClock`): CleanRL's order, where that is a multiple of `train_every` and a phase has one
        gradient step. Stable-Baselines3 copies while it collects, before the gradient steps: the same where
        `target_every` is at most `train_every` (and `tau` is 1); where it is more, one phase earlier than here.
        """
        metrics = self.gradient_step(batch)
        error = metrics.pop("error", None)  # `[S, B]`, no metric
        if self.prioritised_replay is not None:
            if error is None:
                raise AgentFault(f"{type(self).__name__} draws by priority, and its loss gives no metric `error`")
            self.prioritised_replay.update_priorities(batch.extras["index"], error)
        self.clock.follow(self.target, self.online, step)
        return metrics | self.rates(step)

    def rates(self, step: int) -> dict[str, torch.Tensor]:
        """ε, and β where the memory draws by priority."""
        rates = super().rates(step)
        if self.prioritised_replay is not None:
            rates["charts/beta"] = self._of_each_seed(self.prioritised_replay.beta_now)
        return rates

    def gradient_step(self, batch: Transition) -> dict[str, torch.Tensor]:
        """One step down the gradient of `loss`, which a subclass has; its metrics."""
        loss, metrics = loss_and_metrics(self.loss(batch))
        descend(loss, self.optimiser, max_norm=self.config.max_grad_norm)
        return metrics

    def loss(self, batch: Transition) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss `[S]` of a batch `[S, B, ...]`, and metrics; with the `error` `[S, B]` where the memory wants it."""
        raise NotImplementedError

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """ε-greedy; uniformly random before learning starts."""
        epsilon = self.epsilon(step) if step >= self.config.learning_starts else 1.0
        return self._epsilon_greedy(obs, self.exploration, epsilon), {}


class CategoricalActionValues(TargetedActionValues):
    """Each action's return has probabilities p_i on atoms z_i, equally spaced in [v_min, v_max]; Q = Σ_i z_i p_i.

    Bellemare et al. (2017). The config has `v_min`, `v_max` and `num_atoms`. A subclass with noisy layers overrides
    `_draw`, and gives `log_probs` the streams of its samples; without streams the mean weights are used.
    """

    def __init__(self, setup: Setup, config: Any) -> None:
        super().__init__(setup, config)
        if config.v_min >= config.v_max:
            raise ValueError(f"--v-min {config.v_min:g} is not below --v-max {config.v_max:g}")
        self.atoms = torch.linspace(config.v_min, config.v_max, config.num_atoms, device=setup.device)

    def log_probs(
        self, stack: Stack, obs: torch.Tensor, noise: Streams | None = None, samples: int = 1
    ) -> torch.Tensor:
        """log p_i(s, a), `[S, B, num_actions, num_atoms]`, by one sample of the noise for all, or by B of them."""
        stack.q.noise = self._draw(noise, samples) if noise else {}
        return torch.log_softmax(stack.q(self.inputs(obs)).unflatten(-1, (self.num_actions, -1)), -1)

    def _draw(self, noise: Streams, samples: int) -> dict[str, torch.Tensor]:
        """So many samples of the layers' noise: none, where none is noisy."""
        return {}

    def expected(self, probs: torch.Tensor) -> torch.Tensor:
        """Σ_i z_i p_i over the last axis."""
        return (probs * self.atoms).sum(-1)

    def q_values(self, obs: torch.Tensor, noise: Streams | None = None) -> torch.Tensor:
        """Q(s, ·), `[S, B, num_actions]`, each observation's by a sample of the noise to itself."""
        return self.expected(self.log_probs(self.online, obs, noise, obs.shape[1]).exp())


__all__ = ["ActionValues", "CategoricalActionValues", "TargetedActionValues"]
