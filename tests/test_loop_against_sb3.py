"""PPO's whole loop beside Stable-Baselines3's: the same first weights, actions, environments and order of minibatches.

From the start of a run, and as late in one as 900,000 steps: by what Adam and the statistics have counted then. What
each observes must be the same bits, what each is rewarded and what it has learnt the same but for rounding: so
normalisation, the ends of episodes and the updates are those of the library, together and not each alone.

Where much is clipped, rounding decides now and then whether a ratio is, and the two go apart from there. So there the
library is given our parameters after each gradient step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rlrepro import loop
from rlrepro.group import Group
from rlrepro.plugins.environments import find_env
from rlrepro.request import Request, parse_train
from rlrepro.streams import env_seed

pytestmark = pytest.mark.usefixtures("one_thread")

ROLLOUT, UPDATES, EPOCHS, MINIBATCHES, GAMMA = 256, 5, 4, 4, 0.98
STEPS = ROLLOUT * UPDATES
FLAGS = (
    "--agent", "ppo", "--seeds", "0,", "--num-envs", "1", "--num-steps", str(ROLLOUT), "--num-minibatches",
    str(MINIBATCHES), "--num-epochs", str(EPOCHS), "--gamma", str(GAMMA), "--gae-lambda", "0.92", "--no-anneal",
    "--no-clip-value-loss", "--entropy-coef", "4e-4", "--value-coef", "1.2", "--hidden", "32,32", "--activation",
    "relu", "--first-weights", "uniform", "--normalise-obs", "--normalise-reward",
)  # fmt: skip
LAYERS = {
    "actor": ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"),
    "critic": ("mlp_extractor.value_net.0", "mlp_extractor.value_net.2", "value_net"),
}


@dataclasses.dataclass(frozen=True)
class Clipping:
    """What decides how many ratios are clipped: few by `WIDE`, many by `NARROW`."""

    clip_range: float
    learning_rate: float
    log_std_init: float

    @property
    def flags(self) -> list[str]:
        values = dataclasses.asdict(self)
        return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]


WIDE = Clipping(0.9, 1e-4, -1.0)
NARROW = Clipping(0.03, 1e-3, -3.0)


class Silent:
    """Nobody is told."""

    due = 1 << 60

    def updated(self, metrics: Any) -> None: ...

    def ended(self, env_step: int, episodes: Any) -> None: ...

    def tick(self, env_step: int) -> None: ...


class Ours:
    """Our PPO with its environment, and what it met and learnt in a training."""

    def __init__(self, env: str, clipping: Clipping) -> None:
        asked = parse_train(["--env", env, *FLAGS, *clipping.flags, "--total-timesteps", str(STEPS)])
        assert isinstance(asked, Request)
        self.group = Group(asked.settings, find_env(env).batch(1), (0,))
        self.agent: Any = self.group.agent
        self.statistics: Any = self.group.normalise
        self.seen: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.orders: list[np.ndarray] = []
        self.rewards: list[torch.Tensor] = []
        self.learnt: list[dict[str, torch.Tensor]] = []  #: the parameters after each update
        self.stepped: list[tuple[torch.Tensor, dict[str, Any]]] = []  #: those and Adam's state after each gradient step
        self.ratios: list[torch.Tensor] = []  #: π / π_old of the minibatch of each gradient step

    def make_late(self) -> None:
        """Learn for five rollouts, then pass for a run of 900,000 steps: its counts, with moments of their own."""
        self.group.env.reset()
        loop.train(self.agent, self.group.env, STEPS, Silent(), self.group.counter)
        self.agent.optimiser.set_state({**self.agent.optimiser.get_state(), "step": torch.tensor([280_000.0])})
        for moments in (self.statistics.obs, self.statistics.returns):
            moments.count = np.full_like(moments.count, 900_000.0)

    def train(self) -> None:
        agent = self.agent
        act, permutations, update, step = agent.act, agent.order.permutations, agent.update, agent.gradient_step

        def acting(obs: np.ndarray, env_step: int) -> Any:
            action, extras = act(obs, env_step)
            self.seen.append(obs[0, 0].copy())
            self.actions.append(action[0, 0].copy())
            return action, extras

        def ordering(*count: int) -> np.ndarray:
            drawn = permutations(*count)
            self.orders.extend(drawn[0])
            return drawn

        def stepping(*minibatch: Any, **how: Any) -> Any:
            parts = step(*minibatch, **how)
            adam = {name: value.clone() for name, value in agent.optimiser.get_state().items()}
            self.stepped.append((agent.stack.matrix.detach().clone(), adam))
            self.ratios.append(parts["log_ratio"][0].exp())
            return parts

        def updating(batch: Any, env_step: int) -> Any:
            self.rewards.append(batch.reward[0, :, 0].clone())
            metrics = update(batch, env_step)
            self.learnt.append({name: value.clone() for name, value in agent.get_policy().items()})
            return metrics

        agent.act, agent.order.permutations, agent.update, agent.gradient_step = acting, ordering, updating, stepping
        self.group.env.reset()
        loop.train(agent, self.group.env, STEPS, Silent(), self.group.counter)
        assert (len(self.learnt), len(self.actions)) == (UPDATES, STEPS)
        assert len(self.stepped) == UPDATES * EPOCHS * MINIBATCHES


class Theirs:
    """The library's PPO with its environment, given the chances that ours met."""

    def __init__(self, env: str, clipping: Clipping) -> None:
        self.envs: Any = VecNormalize(DummyVecEnv([lambda: gymnasium.make(env)]), gamma=GAMMA)
        self.model: Any = stable_baselines3.PPO(
            "MlpPolicy", self.envs, n_steps=ROLLOUT, batch_size=ROLLOUT // MINIBATCHES, n_epochs=EPOCHS, gamma=GAMMA,
            gae_lambda=0.92, learning_rate=clipping.learning_rate, clip_range=clipping.clip_range, ent_coef=4e-4,
            vf_coef=0.6, max_grad_norm=0.5, device="cpu",
            policy_kwargs={
                "net_arch": [32, 32], "activation_fn": torch.nn.ReLU, "ortho_init": False,
                "log_std_init": clipping.log_std_init,
            },
        )  # fmt: skip

    def parameters(self) -> dict[str, torch.Tensor]:
        """As they are now, whatever comes after."""
        return {name: value.clone() for name, value in self.model.policy.state_dict().items()}

    def by_names(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The parameters of our only seed by the library's names; what pads our heads is left out."""
        state = self.model.policy.state_dict()
        found = {"log_std": weights["log_std.value"][0, 0]}
        for network, names in LAYERS.items():
            for layer, name in enumerate(names):
                rows = len(state[f"{name}.bias"])
                found[f"{name}.weight"] = weights[f"{network}.weight_{layer}"][0].T[:rows]
                found[f"{name}.bias"] = weights[f"{network}.bias_{layer}"][0, 0, :rows]
        assert found.keys() == state.keys()
        return found

    def take_learner(self, agent: Any, matrix: torch.Tensor, adam: dict[str, Any]) -> None:
        """Our weights and Adam's moments, as they were once; for the time being the agent has them again."""
        parts = []
        own = agent.stack.matrix.detach()
        kept = own.clone()
        for values in (matrix, adam["exp_avg"], adam["exp_avg_sq"]):
            own.copy_(values)
            parts.append({name: one.clone() for name, one in self.by_names(agent.get_policy()).items()})
        own.copy_(kept)
        weights, *moments = parts
        with torch.no_grad():
            for name, value in self.model.policy.state_dict().items():
                value.copy_(weights[name])
        for name, parameter in self.model.policy.named_parameters():
            first, second = (moment[name].contiguous() for moment in moments)
            state = {"step": adam["step"][0].clone(), "exp_avg": first, "exp_avg_sq": second}
            self.model.policy.optimizer.state[parameter] = state

    def adam_steps(self) -> dict[str, torch.Tensor]:
        """m̂ / (√v̂ + ε) in float64: the last step by its moments, free of the spacing of floats near a weight."""
        (group,), steps = self.model.policy.optimizer.param_groups, {}
        for name, parameter in self.model.policy.named_parameters():
            state = self.model.policy.optimizer.state[parameter]
            first, second = (
                state[moment].double() / (1 - beta ** float(state["step"]))
                for moment, beta in zip(("exp_avg", "exp_avg_sq"), group["betas"], strict=True)
            )
            steps[name] = first / (second.sqrt() + group["eps"])
        return steps

    def take_statistics(self, statistics: Any) -> None:
        """What our observations and rewards are normalised by."""
        for theirs, ours in ((self.envs.obs_rms, statistics.obs), (self.envs.ret_rms, statistics.returns)):
            theirs.mean, theirs.var, theirs.count = ours.mean[0].copy(), ours.var[0].copy(), float(ours.count.item())

    def train(self, ours: Ours, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
        """In `ours`' environment with its actions and minibatches; a stop after each update, with its number."""
        policy = self.model.policy
        self.envs.seed(env_seed(0, "env", 0))
        taken, orders = iter(zip(ours.actions, ours.seen, strict=True)), iter(ours.orders)

        def forward(obs: torch.Tensor, deterministic: bool = False) -> Any:
            action, seen = next(taken)
            np.testing.assert_array_equal(obs[0].numpy(), seen)
            given = torch.as_tensor(action)[None]
            values, log_prob, _ = policy.evaluate_actions(obs, given)
            return given, values, log_prob

        monkeypatch.setattr(policy, "forward", forward)
        monkeypatch.setattr(np.random, "permutation", lambda count: next(orders))
        for update in range(UPDATES):
            self.model.learn(ROLLOUT, reset_num_timesteps=not update)
            yield update
        assert next(taken, None) is None
        assert next(orders, None) is None


def pair(env: str, clipping: Clipping, late: bool) -> tuple[Ours, Theirs]:
    """Both with the same parameters, moments and statistics, and ours trained from there."""
    ours, theirs = Ours(env, clipping), Theirs(env, clipping)
    if late:
        ours.make_late()
    agent = ours.agent
    theirs.take_learner(agent, agent.stack.matrix.detach().clone(), agent.optimiser.get_state())
    theirs.take_statistics(ours.statistics)
    ours.train()
    return ours, theirs


def apart_in(before: torch.Tensor, theirs: torch.Tensor, ours: torch.Tensor) -> float:
    """How far apart two steps from the same parameters end, beside the step, as far as float32 can tell.

    A bias of one number may move by less than a thousand of the spacings of the floats around it.
    """
    spacing = torch.from_numpy(np.spacing(ours.abs().numpy()))
    return float(((theirs - ours).abs() - spacing).clamp(min=0).norm() / (ours - before).norm())


ENVS = pytest.mark.parametrize("env", ["Pendulum-v1", "HalfCheetah-v4"])  # of 200 and 1,000 steps, ended by the clock
LATE = pytest.mark.parametrize(
    "late", [pytest.param(False, id="from the start", marks=pytest.mark.slow), pytest.param(True, id="late")]
)


@LATE
@ENVS
def test_ppo_learns_what_sb3_learns_from_the_same_chances(
    env: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair(env, WIDE, late)
    first = theirs.parameters()
    for update in theirs.train(ours, monkeypatch):
        rewards = torch.from_numpy(theirs.model.rollout_buffer.rewards[:, 0])
        # the library adds γ V of what a cut episode would have come to, where ours bootstraps
        assert int(((rewards - ours.rewards[update]).abs() > 1e-5).sum()) <= 2
        learnt = theirs.parameters()
        for name, value in theirs.by_names(ours.learnt[update]).items():
            assert (learnt[name] - value).abs().max() <= 1e-4 * (value - first[name]).abs().max(), name


@LATE
@ENVS
def test_each_gradient_step_of_ppo_is_sb3_s_where_much_is_clipped(
    env: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair(env, NARROW, late)
    outside = [(ratio - 1).abs() - NARROW.clip_range for ratio in ours.ratios]
    assert np.mean([float((one > 0).float().mean()) for one in outside]) > 0.4
    optimiser = theirs.model.policy.optimizer
    step, due = optimiser.step, iter(ours.stepped)
    before = theirs.parameters()
    apart: list[float] = []

    def stepping(*arguments: Any) -> None:
        step(*arguments)
        learnt, stepped = theirs.parameters(), theirs.adam_steps()
        theirs.take_learner(ours.agent, *next(due))
        now, expected = theirs.parameters(), theirs.adam_steps()
        by_moments = [float((stepped[name] - expected[name]).norm() / expected[name].norm()) for name in now]
        by_weights = [apart_in(before[name], learnt[name], now[name]) for name in now]
        apart.append(max(*by_moments, *by_weights))
        before.update(now)

    monkeypatch.setattr(optimiser, "step", stepping)
    assert len(list(theirs.train(ours, monkeypatch))) == UPDATES
    clear = [error for error, one in zip(apart, outside, strict=True) if one.abs().min() > 1e-5]
    assert len(clear) > 0.8 * len(apart)  # in the others a ratio is so near the border that rounding may decide
    assert np.median(clear) <= 5e-5
    assert max(clear) <= 1e-3
