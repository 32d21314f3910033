"""PPO's whole loop beside Stable-Baselines3's: the same first weights, actions, environments and order of minibatches.

From the start of a run, and as late in one as 900,000 steps: by what Adam and the statistics have counted then. What
each observes must be the same bits, what each is rewarded and what it has learnt the same but for rounding: so
normalisation, the ends of episodes and the updates are those of the library, together and not each alone.
"""

from __future__ import annotations

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

ROLLOUT, UPDATES, GAMMA = 256, 5, 0.98
FLAGS = (
    "--agent", "ppo", "--seeds", "0,", "--num-envs", "1", "--num-steps", str(ROLLOUT), "--num-minibatches", "4",
    "--num-epochs", "4", "--gamma", str(GAMMA), "--gae-lambda", "0.92", "--learning-rate", "1e-4", "--no-anneal",
    "--clip-range", "0.9", "--no-clip-value-loss", "--entropy-coef", "4e-4", "--value-coef", "1.2", "--hidden", "32",
    "--activation", "relu", "--no-ortho-init", "--log-std-init", "-1", "--normalise-obs", "--normalise-reward",
)  # fmt: skip
LAYERS = {
    "actor": ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"),
    "critic": ("mlp_extractor.value_net.0", "mlp_extractor.value_net.2", "value_net"),
}


class Silent:
    """Nobody is told."""

    due = 1 << 60

    def updated(self, metrics: Any) -> None: ...

    def ended(self, env_step: int, episodes: Any) -> None: ...

    def tick(self, env_step: int) -> None: ...


def as_theirs(weights: dict[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """The parameters of our only seed by the library's names; what pads our heads is left out."""
    state = model.policy.state_dict()
    found = {"log_std": weights["log_std.value"][0, 0]}
    for network, names in LAYERS.items():
        for layer, name in enumerate(names):
            rows = len(state[f"{name}.bias"])
            found[f"{name}.weight"] = weights[f"{network}.weight_{layer}"][0].T[:rows]
            found[f"{name}.bias"] = weights[f"{network}.bias_{layer}"][0, 0, :rows]
    assert found.keys() == state.keys()
    return found


def parts(group: Group) -> tuple[Any, Any]:
    """Its agent, and what it is normalised by."""
    return group.agent, group.normalise


def make_late(group: Group) -> None:
    """Learn for five rollouts, then pass for a run of 900,000 steps: its counts, with moments of their own."""
    group.env.reset()
    loop.train(group.agent, group.env, ROLLOUT * UPDATES, Silent(), group.counter)
    agent, statistics = parts(group)
    agent.optimiser.set_state({**agent.optimiser.get_state(), "step": torch.tensor([280_000.0])})
    for moments in (statistics.obs, statistics.returns):
        moments.count = np.full_like(moments.count, 900_000.0)


def hand_over(group: Group, model: Any, envs: Any) -> None:
    """Give the library's model all that ours has learnt: weights, Adam's moments and the statistics."""
    agent, statistics = parts(group)
    state = model.policy.state_dict()
    with torch.no_grad():
        for name, value in as_theirs(agent.get_policy(), model).items():
            state[name].copy_(value)
    kept, adam = agent.stack.matrix.detach().clone(), agent.optimiser.get_state()
    moments = {}
    for kind in ("exp_avg", "exp_avg_sq"):
        agent.stack.matrix.detach().copy_(adam[kind])
        moments[kind] = {name: value.clone() for name, value in as_theirs(agent.get_policy(), model).items()}
    agent.stack.matrix.detach().copy_(kept)
    for name, parameter in model.policy.named_parameters():
        own = {kind: moments[kind][name].contiguous() for kind in moments}
        model.policy.optimizer.state[parameter] = {"step": adam["step"][0].clone(), **own}
    for theirs, ours in ((envs.obs_rms, statistics.obs), (envs.ret_rms, statistics.returns)):
        theirs.mean, theirs.var, theirs.count = ours.mean[0].copy(), ours.var[0].copy(), float(ours.count.item())


@pytest.mark.agrees("ppo", "Stable-Baselines3")
@pytest.mark.parametrize("late", [False, True], ids=["from the start", "late"])
@pytest.mark.parametrize("env", ["Pendulum-v1", "HalfCheetah-v4"])  # of 200 and 1,000 steps, both ended by the clock
def test_ppo_learns_what_sb3_learns_from_the_same_chances(
    env: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    steps = ROLLOUT * UPDATES
    asked = parse_train(["--env", env, *FLAGS, "--total-timesteps", str(steps)])
    assert isinstance(asked, Request)
    group = Group(asked.settings, find_env(env).batch(1), (0,))
    agent: Any = group.agent
    if late:
        make_late(group)
    first = {name: value.clone() for name, value in agent.get_policy().items()}
    seen: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    orders: list[np.ndarray] = []
    rewards: list[torch.Tensor] = []
    learnt: list[dict[str, torch.Tensor]] = []
    act, permutations, update = agent.act, agent.order.permutations, agent.update

    def acting(obs: np.ndarray, step: int) -> Any:
        action, extras = act(obs, step)
        seen.append(obs[0, 0].copy())
        actions.append(action[0, 0].copy())
        return action, extras

    def ordering(*count: int) -> np.ndarray:
        drawn = permutations(*count)
        orders.extend(drawn[0])
        return drawn

    def updating(batch: Any, step: int) -> Any:
        rewards.append(batch.reward[0, :, 0].clone())
        metrics = update(batch, step)
        learnt.append({name: value.clone() for name, value in agent.get_policy().items()})
        return metrics

    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make(env)]), gamma=GAMMA)
    model = stable_baselines3.PPO(
        "MlpPolicy", envs, n_steps=ROLLOUT, batch_size=ROLLOUT // 4, n_epochs=4, gamma=GAMMA, gae_lambda=0.92,
        learning_rate=1e-4, clip_range=0.9, ent_coef=4e-4, vf_coef=0.6, max_grad_norm=0.5, device="cpu",
        policy_kwargs={
            "net_arch": [32, 32], "activation_fn": torch.nn.ReLU, "ortho_init": False, "log_std_init": -1.0
        },
    )  # fmt: skip
    hand_over(group, model, envs)

    agent.act, agent.order.permutations, agent.update = acting, ordering, updating
    group.env.reset()
    loop.train(agent, group.env, steps, Silent(), group.counter)
    assert (len(learnt), len(actions)) == (UPDATES, steps)

    envs.seed(env_seed(0, "env", 0))
    taken, ordered, compared = (
        iter(zip(actions, seen, strict=True)),
        iter(orders),
        iter(zip(learnt, rewards, strict=True)),
    )

    def forward(obs: torch.Tensor, deterministic: bool = False) -> Any:
        action, ours = next(taken)
        np.testing.assert_array_equal(obs[0].numpy(), ours)
        given = torch.as_tensor(action)[None]
        values, log_prob, _ = model.policy.evaluate_actions(obs, given)
        return given, values, log_prob

    train = model.train

    def training() -> None:
        train()
        weights, rewarded = next(compared)
        theirs = torch.from_numpy(model.rollout_buffer.rewards[:, 0].copy())
        # the library adds γ V of what a cut episode would have come to, where ours bootstraps
        assert int(((theirs - rewarded).abs() > 1e-5).sum()) <= 2
        for name, value in as_theirs(weights, model).items():
            moved = (value - as_theirs(first, model)[name]).abs().max()
            assert (model.policy.state_dict()[name] - value).abs().max() <= 1e-4 * moved, name

    monkeypatch.setattr(model.policy, "forward", forward)
    monkeypatch.setattr(np.random, "permutation", lambda count: next(ordered))
    monkeypatch.setattr(model, "train", training)
    model.learn(steps)
    assert next(compared, None) is None
    assert next(taken, None) is None
