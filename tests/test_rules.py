"""`rlrepro rules`: an agent that keeps the rules passes, and each way of breaking one is found and named."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rlrepro import checkpoint, rules
from rlrepro.agent import Setup, Transition
from rlrepro.agents.dqn import DQN
from rlrepro.agents.ppo import PPO
from rlrepro.errors import Problem
from rlrepro.networks import MLP
from rlrepro.optimisers import Adam, descend
from rlrepro.papers.pages.proofs import described
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.importing import installed
from rlrepro.probe import probe
from rlrepro.request import Request, parse_train
from rlrepro.seeds import Bound, Stack
from tests.conftest import Command

SMALL = ("--num-steps", "64", "--num-envs", "2", "--hidden", "8,8", "--num-epochs", "1", "--num-minibatches", "2")


class Reseeded(PPO):
    """Draws from torch's own generator."""

    def act(self, obs: np.ndarray, step: int) -> Any:
        action, extras = super().act(obs, step)
        return np.where(torch.rand(action.shape).numpy() < 0.5, action, 0), extras


class Overwriting(PPO):
    """Changes what it was given to act on."""

    def act(self, obs: np.ndarray, step: int) -> Any:
        acted = super().act(obs, step)
        obs[...] = 7.0
        return acted


class Diverged(PPO):
    """Its parameters are no numbers any more."""

    def update(self, batch: Any, step: int) -> Any:
        metrics = super().update(batch, step)
        self.stack.matrix.detach().fill_(float("nan"))
        return metrics


class Misnamed(PPO):
    """Its STATE names what it does not have."""

    STATE = ("nothing_here",)


class Mixed(PPO):
    """Lets one seed's data move another's."""

    def update(self, batch: Any, step: int) -> Any:
        return super().update(batch._replace(reward=batch.reward - batch.reward.mean() + len(batch.reward)), step)


class Advancing(PPO):
    """An evaluation draws from the stream of training."""

    def predict(self, obs: np.ndarray, streams: Any, deterministic: bool) -> np.ndarray:
        self.exploration.uniform(1)
        return super().predict(obs, streams, deterministic)


class Forgetful(PPO):
    """Its checkpoint has no optimiser."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        fresh = checkpoint.as_loaded(self.optimiser.get_state())
        super().set_state({**state, "optimiser": fresh})


class Halved(PPO):
    """The policy that it keeps is not the one that acts."""

    def get_policy(self) -> Mapping[str, Any]:
        return {name: value * -1 for name, value in super().get_policy().items()}


class Shared(PPO):
    """Has state without the seed axis."""

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "average": torch.zeros(7)}


class Pointless(PPO):
    """Has a number without any axis among its tensors."""

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "average": torch.tensor(1.0)}


class Unbuilt(PPO):
    """Cannot be built."""

    def __init__(self, setup: Any, config: Any) -> None:
        raise KeyError("no weights")


class Scalar(PPO):
    """Gives a metric of all seeds together."""

    def update(self, batch: Any, step: int) -> Any:
        return {tag: value.mean() for tag, value in super().update(batch, step).items()}


class Unmoved(PPO):
    """Takes no step of its optimiser."""

    def update(self, batch: Any, step: int) -> Any:
        before = self.stack.matrix.detach().clone()
        metrics = super().update(batch, step)
        self.stack.matrix.detach().copy_(before)
        return metrics


class Idle(PPO):
    """Has a network that no optimiser steps."""

    def __init__(self, setup: Any, config: Any) -> None:
        super().__init__(setup, config)
        self.spare = Stack(setup.seeds, setup.device, net=MLP((2, 3)))
        self.target = self.spare.target_copy()  # which is not to be learnt


class Older(PPO):
    """Keeps the policy of before its last update."""

    def update(self, batch: Any, step: int) -> Any:
        self.kept = {name: torch.as_tensor(value).clone() for name, value in self.stack.named().items()}
        return super().update(batch, step)

    def get_policy(self) -> Mapping[str, Any]:
        return getattr(self, "kept", None) or super().get_policy()


class Unnamed(PPO):
    """Its updates grow by a count that no STATE names."""

    def __init__(self, setup: Any, config: Any) -> None:
        super().__init__(setup, config)
        self.count = 0

    def update(self, batch: Any, step: int) -> Any:
        self.count += 1
        return super().update(batch._replace(reward=batch.reward * self.count), step)


class TooHigh(PPO):
    """Now and then its action is one too high, which the batched CartPole would take for the highest."""

    def act(self, obs: np.ndarray, step: int) -> Any:
        action, extras = super().act(obs, step)
        return np.where(step % 64 == 30, action + 1, action), extras


class Unsaveable(PPO):
    """Has a network in a list."""

    STATE = ("spare",)

    def __init__(self, setup: Any, config: Any) -> None:
        super().__init__(setup, config)
        self.spare = {"networks": [self.stack, self.stack, self.stack]}


class Raising(PPO):
    """Breaks in an evaluation."""

    def predict(self, obs: np.ndarray, streams: Any, deterministic: bool) -> np.ndarray:
        raise KeyError("lost")


def broken(agent: type[Any], *flags: str) -> dict[str, str]:
    """Which rules it breaks, and how."""
    name = f"{__name__}:{agent.__name__}"
    asked = parse_train(["--agent", name, "--seeds", "3", "--total-timesteps", "600", *SMALL, *flags])
    assert isinstance(asked, Request)
    return {one.name: one.told for one in rules.check(asked.settings) if one.kept is False}


@pytest.mark.parametrize(
    ("agent", "rule", "words"),
    [
        (Reseeded, "the same seeds learn the same", "in a second run with the same seeds, seed 0's agent."),
        (Mixed, "a seed learns the same alone", "of seed 2 alone, agent."),
        (Advancing, "an evaluation changes nothing", "after an evaluation, seed 0's agent.exploration"),
        (Forgetful, "a resume goes on exactly", "after a stop at env step 300, seed 0's agent."),
        (Halved, "the policy that is kept acts the same", "does not act as the greedy policy did"),
        (Shared, "state has the seeds first", "state.agent.average has the shape [7], and its first axis is not"),
        (Pointless, "state has the seeds first", "state.agent.average has the shape [], and its first axis is not"),
        (Scalar, "it learns", "update gives the metric"),
        (Raising, "an evaluation changes nothing", "it raised KeyError: 'lost', test_rules.py:"),
        (Unmoved, "what it learns changes the policy", "no parameter is another: is the optimiser's step taken?"),
        (Older, "the policy that is kept acts the same", "does not act as the"),
        (Unnamed, "a resume goes on exactly", "(no STATE names count, of which a resumed agent has another)"),
        (TooHigh, "it learns", "which is not in Discrete(2)"),
        (
            Unsaveable,
            "state has the seeds first",
            "agent.spare.networks: a checkpoint holds arrays and plain data, not",
        ),
    ],
)
def test_what_breaks_a_rule_is_found_and_named(agent: type[Any], rule: str, words: str) -> None:
    found = broken(agent)
    assert words in found[rule]
    if agent in (Mixed, Halved, Advancing, Forgetful):
        assert list(found) == [rule]


def test_a_sound_agent_keeps_all() -> None:
    assert broken(PPO) == {}
    assert broken(PPO, "--env", "Pendulum-v1", "--normalise-obs", "--normalise-reward") == {}


TABULAR = ["double_q_learning", "dyna_q", "expected_sarsa", "q_learning", "sarsa"]
ON_IMAGES = ["a2c", "c51", "dqn", "ppo", "pqn", "qrdqn", "rainbow", "sac_discrete"]
PLACES = {
    "CartPole-v1": [*ON_IMAGES, "ppo_split", "reinforce", "trpo"],
    "Pendulum-v1": ["a2c", "ddpg", "ppo", "ppo_split", "reinforce", "sac", "td3", "trpo"],
    "ProbeImage-v0": ON_IMAGES,
    "CliffWalking-v1": TABULAR,
    "MountainCar-v0": ["sarsa_lambda"],
    "AccessControl-v0": ["differential_sarsa"],
}


ENDS_SOON = ("CartPole-v1", "ProbeImage-v0")


def fields(agent: str) -> set[str]:
    """The names of its hyperparameters."""
    return {field.name for field in dataclasses.fields(find_agent(agent).load().Config)}


def test_no_agent_is_left_out() -> None:
    with_places = {agent for agents in PLACES.values() for agent in agents}
    assert with_places | {"random"} == installed("agents").keys()  # which has nothing to learn
    assert set(ON_IMAGES) == {agent for agent in with_places if described(agent)[3] == "yes"}


SLOW = [("ProbeImage-v0", agent) for agent in ("c51", "pqn", "qrdqn", "rainbow", "sac_discrete")]
EACH = [
    pytest.param(agent, env, marks=[pytest.mark.slow] if (env, agent) in SLOW else [])
    for env, agents in PLACES.items()
    for agent in agents
]


@pytest.mark.parametrize(("agent", "env"), EACH)
def test_every_agent_keeps_every_rule_on_each_kind_of_task(agent: str, env: str, command: Command) -> None:
    steps = "1000" if agent == "reinforce" else "136"
    limit = () if env in ENDS_SOON else ("--env-kwargs", "max_episode_steps=37")
    # A resume is at half of the steps: an agent that keeps transitions is to have learnt by then.
    soon = ("--learning-starts", "40") if "learning_starts" in fields(agent) else ()
    if env == "ProbeImage-v0" and "train_every" in fields(agent):
        soon = (*soon, "--train-every", "8")
    outcome = command("rules", "--agent", agent, "--env", env, "--total-timesteps", steps, *limit, *soon)
    assert (outcome.status, outcome.err) == (0, ""), outcome.out
    assert outcome.out.count(" kept") == 9, outcome.out  # once in a rule's name


@pytest.mark.parametrize(("agent", "env"), [("dqn", "CartPole-v1"), ("sarsa", "FrozenLake-v1"), ("td3", "Pendulum-v1")])
def test_the_command_lets_agents_learn_soon(agent: str, env: str, command: Command) -> None:
    outcome = command("rules", "--agent", agent, "--env", env, "--total-timesteps", "300")
    assert outcome.status == 0, outcome.out
    assert "BROKEN" not in outcome.out
    assert outcome.out.count("kept") == 9  # once in a rule's name


def test_what_learns_nothing_by_its_own_word_keeps_the_other_rules(command: Command) -> None:
    outcome = command("rules", "--agent", "random")
    assert outcome.status == 0, outcome.out
    assert "its PROBE is None: it learns nothing" in " ".join(outcome.out.split())
    assert outcome.out.count(" kept") == 7, outcome.out  # once in a rule's name


def test_one_step_of_all_sub_environments_cannot_be_halved(command: Command) -> None:
    outcome = command("rules", "--agent", "random", "--num-envs", "300", "--total-timesteps", "300")
    assert outcome.status == 0, outcome.out
    assert "300 env steps are one step of 300 sub-environments" in " ".join(outcome.out.split())


def test_two_steps_of_all_sub_environments_can_be_halved(command: Command) -> None:
    outcome = command("rules", "--agent", "random", "--num-envs", "300", "--total-timesteps", "500")
    assert outcome.status == 0, outcome.out
    assert "stopped at env step 300" in " ".join(outcome.out.split())


def test_many_sub_environments_are_given_the_steps_that_they_need(command: Command) -> None:
    outcome = command("rules", "--agent", "random", "--seeds", "1", "--num-envs", "1500")
    assert outcome.status == 0, outcome.out
    assert "stopped at env step 1,500" in " ".join(outcome.out.split())


def ruled(agent: type[PPO]) -> dict[str, Any]:
    asked = parse_train(["--agent", f"{__name__}:{agent.__name__}", "--seeds", "2", "--total-timesteps", "400", *SMALL])
    assert isinstance(asked, Request)
    return {one.name: one for one in rules.check(asked.settings)}


@pytest.mark.parametrize(
    ("agent", "rule", "words"),
    [
        (Overwriting, "it learns", "act changes the observations that it is given"),
        (Diverged, "it learns", "has NaN or infinity after 400 env steps: it diverged"),
        (Misnamed, "state has the seeds first", "Misnamed has no attribute 'nothing_here', which its STATE names"),
        (Reseeded, "the same seeds learn the same", "something drew from torch's global generator, not from Streams"),
    ],
)
def test_the_cause_is_named_where_it_can_be_known(agent: type[PPO], rule: str, words: str) -> None:
    found = ruled(agent)[rule]
    assert found.kept is False
    assert words in found.told


def test_a_network_that_stays_as_it_was_is_named() -> None:
    assert ruled(PPO)["what it learns changes the policy"].told == ""
    found = ruled(Idle)["what it learns changes the policy"]
    assert found.kept
    assert found.told == "but no parameter of spare changed: is it meant to be learnt?"


def test_a_loss_of_all_seeds_together_is_refused() -> None:
    stack = Stack((0, 1), "cpu", net=MLP((2, 3)))
    loss = stack.net(torch.ones(2, 4, 2)).square().mean((1, 2))
    descend(loss, Adam(stack, 1e-3))
    with pytest.raises(Problem, match=r"a loss is of shape \[\], not \[S\] = \[2\]"):
        descend(loss.mean(), Adam(stack, 1e-3))


@pytest.mark.parametrize("name", ["load_named", "matrix", "frozen"])
def test_a_network_that_a_stack_could_not_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"cannot be named '{name}'"):
        Stack((0,), "cpu", **{name: MLP((2, 3))})


def test_a_network_with_a_forward_of_its_own_acts_by_it() -> None:
    class Doubled(MLP):
        def forward(self, bound: Bound, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(bound, x)

    stack = Stack((0,), "cpu", net=Doubled((2, 3)))
    x = np.ones((1, 4, 2), np.float32)
    np.testing.assert_array_equal(stack.net.on_host(x), stack.net(torch.from_numpy(x)).detach().numpy())


def test_a_policy_with_outputs_of_its_own_acts_by_them() -> None:
    class Pinned(PPO):
        def outputs(self, obs: torch.Tensor) -> torch.Tensor:
            return super().outputs(obs) * 0 + torch.tensor([0.0, 50.0])

    space = gymnasium.spaces.Box(-1, 1, (3,))
    agent = Pinned(Setup(space, gymnasium.spaces.Discrete(2), (0,), 4, 100), Pinned.Config())
    assert (agent.predict(np.zeros((1, 4, 3), np.float32), agent.exploration, True) == 1).all()


class Averaged(DQN):
    def __init__(self, setup: Setup, config: Any) -> None:
        super().__init__(setup, config)
        self.said = f"{config} {dataclasses.asdict(config)}"

    def next_value(self, batch: Transition) -> torch.Tensor:
        return self.target.q(self.inputs(batch.next_obs)).mean(-1)


def test_hyperparameters_that_nothing_reads_are_told(command: Command) -> None:
    outcome = command("rules", "--agent", f"{__name__}:Averaged", "--total-timesteps", "300", "--seeds", "2")
    assert outcome.status == 0, outcome.out
    assert "hyperparameters that nothing read with these settings: double, alpha, beta" in " ".join(outcome.out.split())
    assert "__getattribute__" not in vars(DQN.Config)


def test_where_no_reward_was_met_nothing_need_have_changed(command: Command) -> None:
    outcome = command("rules", "--agent", "q_learning", "--env", "FrozenLake-v1", "--total-timesteps", "20")
    assert outcome.status == 0, outcome.out
    said = " ".join(outcome.out.split())
    assert "does not apply no reward was met yet" in said


class Slip(PPO):
    PROBE = {"num_epohcs": 3}


class SlipOfOne(PPO):
    PROBES = {"ProbeEntropy-v0": {"entropy": 0.5}}


def test_a_slip_in_what_is_set_for_probes_is_named(command: Command) -> None:
    slip = "its PROBE sets 'num_epohcs', which is no setting; did you mean 'num_epochs'?"
    assert slip in command("rules", "--agent", f"{__name__}:Slip").problem
    assert probe(Slip, "ProbeValue-v0", (0,)).told == slip
    said = probe(SlipOfOne, "ProbeValue-v0", (0,)).told
    assert said.startswith("its PROBES, of ProbeEntropy-v0, sets 'entropy', which is no setting")


class ListPredict(PPO):
    """Its predict gives a list."""

    def predict(self, obs: np.ndarray, streams: Any, deterministic: bool) -> Any:
        return super().predict(obs, streams, deterministic).tolist()


class Odd(PPO):
    """Has attributes that cannot be compared, beside the count that is not saved."""

    def __init__(self, setup: Any, config: Any) -> None:
        super().__init__(setup, config)
        self.loop: list[Any] = []
        self.loop.append(self.loop)
        self.other = self
        self.count = 0

    def update(self, batch: Any, step: int) -> Any:
        self.count += 1
        return super().update(batch._replace(reward=batch.reward * self.count), step)


def test_what_is_acted_is_looked_at_as_it_is() -> None:
    assert "predict gives a list" in broken(ListPredict)["an evaluation changes nothing"]


def test_a_hint_breaks_no_rule() -> None:
    assert "no STATE names count, of which" in broken(Odd)["a resume goes on exactly"]


@pytest.mark.parametrize("flags", [("--normalise-obs",), ("--num-envs", "8")])  # whose statistics move; no episode ends
def test_a_policy_that_never_changes_is_found_by_its_own_parameters(flags: tuple[str, ...]) -> None:
    found = broken(Unmoved, "--env", "Pendulum-v1", *flags)
    assert list(found) == ["what it learns changes the policy"]


def test_what_never_learns_is_told(command: Command) -> None:
    outcome = command("rules", "--agent", "dqn", "--learning-starts", "5000")
    assert outcome.status == 1
    assert "no update in 2,000 env steps" in outcome.out


def test_one_seed_a_process_and_an_own_loop(command: Command) -> None:
    settings = parse_train(["--agent", "ppo", "--seeds", "2", "--total-timesteps", "300", *SMALL])
    assert isinstance(settings, Request)
    found = {one.name: one for one in rules.check(dataclasses.replace(settings.settings, stackable=False))}
    assert found["a seed learns the same alone"].kept is None
    assert found["a seed learns the same alone"].told == "it trains one seed a process"
    assert "owns its loop" in command("rules", "--agent", "sb3:ppo").problem


def test_what_is_not_the_agent_s_fault_is_told_before(command: Command, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "import numpy as np\nimport gymnasium\nfrom gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Odd(CartPoleEnv):\n    def reset(self, *, seed=None, options=None):\n"
        "        obs, info = super().reset()\n        return obs, info\n"
    )
    assert "breaks the Gymnasium contract" in command("rules", "--env", f"{tmp_path / 'odd.py'}:Odd").problem
    assert "leave it out" in command("rules", "--agent", "ppo", "--compile").problem
    problem = command("rules", "--agent", f"{__name__}:Unbuilt").problem
    assert "raised KeyError: 'no weights', test_rules.py:" in problem
