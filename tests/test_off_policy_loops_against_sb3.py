"""DQN, QR-DQN, DDPG, TD3 and SAC with their loops beside Stable-Baselines3's: the same first weights, environment and
chances.

Chances are what is drawn: actions at random, the noise of other actions and of targets, the places of a batch in the
memory. Given those, the library collects and learns by itself. It must see the same bits, think the same of each
observation and have learnt the same, but for rounding, after every update: so the start of learning, the memory, the
ends of episodes, the targets and the updates are those of the library, together and not each alone.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import test_continuous_control as continuous
import test_qrdqn_against_sb3 as quantiles
import torch
from sb3_contrib import QRDQN
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import DummyVecEnv
from test_against_sb3 import as_stack, dqn_layers
from test_loop_against_sb3 import Silent

from rlrepro import loop
from rlrepro.group import Group
from rlrepro.plugins.environments import find_env
from rlrepro.request import Request, parse_train
from rlrepro.streams import env_seed

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH, HIDDEN, GAMMA, RATE, NOISE = 32, (40, 24), 0.9, 5e-4, 0.3
VALUES = {"dqn": DQN, "qrdqn": QRDQN}
OF_VALUES = [
    "--learning-rate",
    str(RATE),
    "--target-every",
    "28",
    "--exploration-fraction",
    "0.8",
    "--epsilon-end",
    "0.1",
]
OF_ACTIONS = [
    "--actor-learning-rate",
    str(RATE),
    "--critic-learning-rate",
    str(RATE),
    "--random-start",
    "--tau",
    "0.05",
]
FLAGS = {
    "dqn": [*OF_VALUES, "--loss", "huber", "--max-grad-norm", "10"],
    "qrdqn": [*OF_VALUES, "--num-quantiles", str(quantiles.QUANTILES), "--adam-eps", str(0.01 / BATCH)],
    "ddpg": [*OF_ACTIONS, "--weight-decay", "0", "--action-layer", "first", "--noise", "gaussian", "--noise-std",
             str(NOISE), "--output-init", "0"],
    "td3": [*OF_ACTIONS, "--exploration-noise", str(NOISE)],
    "sac": [*OF_ACTIONS, "--alpha-learning-rate", str(RATE)],
}  # fmt: skip


class Ours:
    """Our agent with its environment, and what it met, drew, thought and learnt in a training."""

    def __init__(self, name: str, env: str, start: int, steps: int, train_every: int) -> None:
        words = [
            "--env", env, "--agent", name, "--seeds", "0,", "--num-envs", "1", "--total-timesteps", str(steps),
            "--learning-starts", str(start), "--train-every", str(train_every), "--gamma", str(GAMMA), "--batch-size",
            str(BATCH), "--buffer-size", str(steps // 2), "--hidden", ",".join(map(str, HIDDEN)), *FLAGS[name],
        ]  # fmt: skip
        asked = parse_train(words)
        assert isinstance(asked, Request), asked
        self.steps = steps
        self.group = Group(asked.settings, find_env(env).batch(1), (0,))
        self.agent: Any = self.group.agent
        self.seen: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.thoughts: list[np.ndarray] = []  #: of each observation: its values, or the policy's outputs
        self.drawn: dict[str, list[np.ndarray]] = {"act": [], "explore": [], "learn": [], "places": []}
        self.learnt: list[dict[str, torch.Tensor]] = []  #: the parameters after each update

    def train(self) -> None:
        agent, drawn = self.agent, self.drawn
        act, update = agent.act, agent.update

        def recorded(kind: str, draw: Any) -> Any:
            def drawing(*shape: int) -> np.ndarray:
                values = draw(*shape)
                drawn[kind].append(values[0].copy())
                return values

            return drawing

        def acting(obs: np.ndarray, step: int) -> Any:
            think = getattr(agent, "outputs", None) or agent.q_values
            with torch.no_grad():
                self.thoughts.append(think(torch.from_numpy(obs))[0, 0].numpy())
            action, extras = act(obs, step)
            self.seen.append(obs[0, 0].copy())
            self.actions.append(action[0, 0].copy())
            return action, extras

        def updating(batch: Any, step: int) -> Any:
            metrics = update(batch, step)
            stacks = ("online", "target", "actor", "critic", "target_actor", "target_critic")
            self.learnt.append({one: getattr(agent, one).matrix.clone() for one in stacks if hasattr(agent, one)})
            return metrics

        agent.act, agent.update = acting, updating
        agent.exploration.normal = recorded("act", agent.exploration.normal)
        if hasattr(agent, "epsilon"):
            agent.exploration.uniform = recorded("explore", agent.exploration.uniform)
        agent.memory._streams.integers = recorded("places", agent.memory._streams.integers)
        if noise := getattr(agent, "target_noise", None) or getattr(agent, "action_noise", None):
            noise.normal = recorded("learn", noise.normal)
        self.group.env.reset()
        loop.train(agent, self.group.env, self.steps, Silent(), self.group.counter)


class Theirs:
    """The library's model with its environment, given the chances that ours met."""

    def __init__(self, name: str, env: str, start: int, steps: int, train_every: int) -> None:
        self.name, more = name, dict[str, Any]()
        architecture: dict[str, Any] = {"net_arch": list(HIDDEN)}
        if name in VALUES:
            more = {"target_update_interval": 28, "exploration_fraction": 0.8, "exploration_final_eps": 0.1}
        else:
            more = {"tau": 0.05}
        if name == "qrdqn":
            architecture["n_quantiles"] = quantiles.QUANTILES
        self.model: Any = (VALUES | continuous.MODELS)[name](
            "MlpPolicy", DummyVecEnv([lambda: gymnasium.make(env)]), policy_kwargs=architecture, learning_rate=RATE,
            gamma=GAMMA, buffer_size=steps // 2, batch_size=BATCH, learning_starts=start, train_freq=train_every,
            gradient_steps=1, device="cpu", seed=3, **more,
        )  # fmt: skip
        if name == "sac":
            self.model.actor.action_dist.epsilon = 0.0  # their guard of a log; ours needs none
            self.model.actor.log_std.bias.data.sub_(1.0)  # their log(1 − tanh² u) is rough where |u| is large
        if name in VALUES:
            self.model._n_calls = -1  # it copies before an env step's gradient step, ours after it
        self.apart: list[float] = []  #: of each observation, how far its thoughts are from ours

    def layers(self) -> dict[str, dict[str, Any]]:
        """Its layers by the names of ours, by stack."""
        if self.name == "dqn":
            return {"online": dqn_layers(self.model.q_net), "target": dqn_layers(self.model.q_net_target)}
        if self.name == "qrdqn":
            networks = {"online": self.model.quantile_net, "target": self.model.quantile_net_target}
            return {stack: quantiles.layers(network) for stack, network in networks.items()}
        return continuous.layers(self.name, self.model, continuous.value)

    def parameters(self) -> dict[str, dict[str, torch.Tensor]]:
        """By stack and by the names of ours, `[in, out]`."""
        found: dict[str, dict[str, torch.Tensor]] = {}
        for stack, which in self.layers().items():
            found[stack] = {}
            for name, linear in which.items():
                network, layer = continuous.split(name)
                found[stack][f"{network}.weight_{layer}"] = linear.weight.detach().T.clone()
                found[stack][f"{network}.bias_{layer}"] = linear.bias.detach()[None].clone()
        return found

    def think(self) -> torch.Tensor:
        obs, _ = self.model.policy.obs_to_tensor(self.model._last_obs)
        if self.name == "dqn":
            return self.model.q_net(obs)[0]
        if self.name == "qrdqn":
            return self.model.quantile_net(obs)[0].mean(0)
        if self.name == "sac":
            actor = self.model.actor
            hidden = actor.latent_pi(actor.extract_features(obs, actor.features_extractor))
            return torch.cat([actor.mu(hidden), actor.log_std(hidden)], -1)[0]  # not yet in its bounds, as ours
        return self.model.actor(obs)[0]

    def train(self, ours: Ours, monkeypatch: pytest.MonkeyPatch) -> None:
        """In `ours`' environment with its chances, held to it at every step."""
        model, drawn = self.model, {kind: iter(values) for kind, values in ours.drawn.items()}
        model.env.seed(env_seed(0, "env", 0))
        met = iter(zip(ours.actions, ours.seen, ours.thoughts, strict=True))
        sample_action, memory = model._sample_action, model.replay_buffer
        both: list[np.ndarray] = []

        def acting(*arguments: Any) -> Any:
            action, seen, thought = next(met)
            np.testing.assert_array_equal(model._last_obs[0].astype(np.float32), seen.astype(np.float32))
            with torch.no_grad():
                own_thought = self.think()
            self.apart.append(float((own_thought - torch.from_numpy(thought)).abs().max()))
            if self.name in VALUES:  # one draw says whether it explores, and by what
                epsilon = model.exploration_rate if model.num_timesteps >= model.learning_starts else 1.0
                draw = float(next(drawn["explore"])[0]) / epsilon
                assert action == (int(draw * len(thought)) if draw < 1 else int(own_thought.argmax()))
                return action[None], action[None]
            model.action_space.sample = lambda: action
            own, _ = sample_action(*arguments)
            np.testing.assert_allclose(own[0], action, atol=1e-4)
            return action[None], model.policy.scale_action(action[None])

        def sampling(batch_size: int, **options: Any) -> Any:
            places = next(drawn["places"])
            assert len(places) == batch_size
            assert 0.8 * memory.size() <= places.max() < memory.size()
            return memory._get_samples(places)

        def of_targets(it: torch.Tensor, mean: float, std: float) -> torch.Tensor:
            return it.zero_() if self.name == "ddpg" else it.copy_(mean + std * torch.from_numpy(next(drawn["learn"])))

        def of_policy(it: Any) -> torch.Tensor:
            if len(it.loc) == 1:
                return it.loc + it.scale * torch.from_numpy(next(drawn["act"]))
            if not both:  # ours draws a' first, the library a
                both.extend(next(drawn["learn"]) for _ in range(2))
            return it.loc + it.scale * torch.from_numpy(both.pop())

        class Noise:
            """That of ours, but none on actions at random, to which the library adds it too."""

            def __call__(self) -> np.ndarray:
                return NOISE * next(drawn["act"]) if model.num_timesteps >= model.learning_starts else np.zeros(1)

            def reset(self) -> None: ...

        if self.name in ("ddpg", "td3"):
            model.action_noise = Noise()
        monkeypatch.setattr(model, "_sample_action", acting)
        monkeypatch.setattr(memory, "sample", sampling)
        monkeypatch.setattr(torch.Tensor, "normal_", of_targets)
        monkeypatch.setattr(torch.distributions.Normal, "rsample", of_policy)
        train, learnt, self.first = model.train, iter(ours.learnt), self.parameters()

        def training(**options: Any) -> None:
            if model._n_updates:
                self.hold_to(ours, next(learnt))
            train(**options)

        monkeypatch.setattr(model, "train", training)
        model.learn(ours.steps)
        self.hold_to(ours, next(learnt))
        assert next(met, None) is None
        assert next(learnt, None) is None
        for kind, left in drawn.items():
            assert next(left, None) is None, kind

    def hold_to(self, ours: Ours, matrices: dict[str, torch.Tensor]) -> None:
        """What was learnt, to a thousandth, since rounding grows; floats near the first weights are 3e-8 apart.

        By the norm of each tensor: of a weight that has hardly a gradient Adam's first steps hang on rounding alone.
        """
        for stack, theirs in self.parameters().items():
            mine = as_stack(getattr(ours.agent, stack), matrices[stack]).named()
            for name, value in theirs.items():
                rows, columns = value.shape
                learnt = value - self.first[stack][name]
                error = mine[name][0, :rows, :columns] - value
                assert error.norm() <= 1e-3 * learnt.norm() + 1e-7 * learnt.numel() ** 0.5, f"{stack}: {name}"


def pair(name: str, env: str, start: int, steps: int, train_every: int = 1) -> tuple[Ours, Theirs]:
    """Both with the same parameters."""
    ours, theirs = Ours(name, env, start, steps, train_every), Theirs(name, env, start, steps, train_every)
    for stack, which in theirs.layers().items():
        continuous.copy(getattr(ours.agent, stack), 0, which)
    return ours, theirs


def slow(*case: Any) -> Any:
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "env", "start", "steps", "train_every"),
    [
        ("dqn", "CartPole-v1", 100, 300, 4),
        slow("dqn", "MountainCar-v0", 160, 340, 4),  # whose episodes the clock ends
        slow("qrdqn", "CartPole-v1", 100, 300, 4),
        slow("ddpg", "Pendulum-v1", 180, 240, 1),
        ("td3", "Pendulum-v1", 180, 240, 1),  # actions in [-2, 2], and the clock
        slow("sac", "Pendulum-v1", 180, 240, 1),
        slow("td3", "Hopper-v4", 100, 160, 1),
        ("sac", "Hopper-v4", 100, 160, 1),  # whose episodes end in falls
        slow("sac", "LunarLanderContinuous-v3", 200, 440, 4),
        slow("ddpg", "HalfCheetah-v4", 970, 1030, 1),
        slow("td3", "HalfCheetah-v4", 970, 1030, 1),
        slow("sac", "HalfCheetah-v4", 970, 1030, 1),
    ],
)
def test_it_learns_what_sb3_learns_from_the_same_chances(
    name: str, env: str, start: int, steps: int, train_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair(name, env, start, steps, train_every)
    ours.train()
    assert len(ours.learnt) == (steps - start) // train_every
    theirs.train(ours, monkeypatch)
    assert max(theirs.apart) <= 1e-4
    if name == "sac":
        log_alpha = ours.agent.temperature.named()["log_alpha.value"].item()
        assert log_alpha == pytest.approx(theirs.model.log_ent_coef.item(), rel=1e-5)


@pytest.mark.parametrize("fault", ["nothing after a truncation", "an actor too soon", "a memory that forgets"])
def test_a_loop_that_does_something_else_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pair("td3", "Pendulum-v1", 180, 300)
    agent, memory = ours.agent, ours.agent.memory
    if fault == "an actor too soon":
        agent.num_updates = 1
    elif fault == "a memory that forgets":
        memory.capacity -= 1
    else:
        add = memory.add
        memory.add = lambda one: add(one._replace(terminated=one.terminated | one.truncated))
    ours.train()
    with pytest.raises(AssertionError, match=r"Not equal to tolerance|critic|actor"):
        theirs.train(ours, monkeypatch)
