"""What an accelerator would meet: every tensor of an update on one device, and no waiting for its values.

PyTorch's meta device holds shapes without values, and whoever asks for a value fails. So an update that runs there
waits for no device; what `act` must bring to the host is counted. A tensor that was left on the host would mix with one
on the device in many an operation there, as it would not on a GPU: `OneDevice` watches for that. Nothing is proved of
speed, or of what a GPU computes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rlrepro.agent import Setup, Transition, UnsupportedSpace
from rlrepro.memory import Rollout
from rlrepro.networks import MLP
from rlrepro.optimisers import Adam, RAdam
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.importing import installed
from rlrepro.probe import preset
from rlrepro.seeds import Stack

SEEDS, STEPS, NUM_BATCHES = (3, 11), 20_000, 3
OBSERVATIONS = {"vector": Box(-1, 1, (3,), np.float32), "image": Box(0, 1, (10, 10, 4), bool)}
ACTIONS = {"discrete": Discrete(3), "continuous": Box(-1, 1, (2,), np.float32)}
WAITS = {
    "rainbow": "the priorities are drawn from on the host",
    "reinforce": "seeds that have no episode to learn from are left out one by one",
    "trpo": "the line search ends where the divergence says",
}


@functools.cache
def cases() -> list[Any]:
    """Every agent on each kind of spaces that it takes: building them takes seconds."""
    return list(_cases())


def _cases() -> Iterator[Any]:
    for name in sorted(installed("agents")):
        agent_class = find_agent(name).load()
        if getattr(agent_class, "host_only", False):
            continue
        for kind, action in ACTIONS.items():
            for form, observation in OBSERVATIONS.items():
                try:
                    built(agent_class, observation, action)
                except UnsupportedSpace:
                    continue
                yield pytest.param(agent_class, observation, action, id=f"{name}-{kind}-{form}")


def built(agent_class: Any, observation: Any, action: Any, device: str = "cpu") -> Any:
    """An agent with the hyperparameters of its probes, and few gradient steps."""
    config, values = preset(agent_class, action, {**getattr(agent_class, "PROBE", {}), "num_epochs": 2})
    return agent_class(Setup(observation, action, SEEDS, values.get("num_envs", 4), STEPS, device), config)


def transitions(agent: Any) -> Iterator[tuple[Transition, int]]:
    """What the loop gives a memory, of an environment that draws its observations."""
    space, num_envs = agent.setup.observation_space, agent.setup.num_envs
    generator = np.random.default_rng(0)

    def draw() -> np.ndarray:
        obs = generator.normal(size=(len(SEEDS), num_envs, *space.shape))
        return (obs > 0.5) if space.dtype == bool else obs.astype(np.float32)

    obs = draw()
    for step in range(0, STEPS, num_envs):
        action, extras = agent.act(obs, step)
        reward, next_obs = generator.normal(size=obs.shape[:2]), draw()
        ends = generator.random((2, *obs.shape[:2])) < 0.05
        yield Transition(obs, action, reward, next_obs, *ends, extras), step
        obs = next_obs


def learns_once(agent: Any) -> bool:
    """Whether an update is one gradient step, not hundreds."""
    return not isinstance(agent.memory, Rollout) or not hasattr(agent, "order")


@pytest.fixture(autouse=True)
def plain_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam in single operations: the fused kernel is not written for shapes alone."""
    monkeypatch.setattr(Adam, "FUSED", False)


@pytest.mark.parametrize("name", sorted(installed("agents")))
def test_an_agent_says_so_where_no_device_is_of_use_to_it(name: str) -> None:
    asked = []

    class Watched(Setup):
        def __getattribute__(self, what: str) -> Any:
            asked.append(what)
            return super().__getattribute__(what)

    agent_class = find_agent(name).load()
    for observation, action in itertools.product((Discrete(2), OBSERVATIONS["vector"]), ACTIONS.values()):
        config, _ = preset(agent_class, action, {})
        with contextlib.suppress(UnsupportedSpace):
            agent_class(Watched(observation, action, SEEDS, 4, STEPS), config)
    assert "action_space" in asked
    assert getattr(agent_class, "host_only", False) == ("device" not in asked)


def test_what_waits_for_nothing_is_captured() -> None:
    captured = {case.id.partition("-")[0] for case in cases() if hasattr(case.values[0], "GRAPHED")}
    assert captured == {case.id.partition("-")[0] for case in cases()} - {*WAITS}


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, as a GPU does: all but copies, and numbers on the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.dim()]
        devices = {tensor.device.type for tensor in taken}
        if len(devices) > 1 and func.overloadpacket not in (torch.ops.aten.copy_, torch.ops.aten._to_copy):
            raise TwoDevices(f"{func} on {sorted(devices)}")
        return func(*args, **(kwargs or {}))


class TwoDevices(Exception):
    pass


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that were brought to the host; what comes there is zero."""
    found = []

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "meta":
            return tensor
        found.append(tuple(tensor.shape))
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    return found


@pytest.mark.parametrize(("agent_class", "observation", "action"), cases())
def test_updates_wait_for_no_device_and_actions_once_a_step(
    agent_class: Any, observation: Any, action: Any, waits: list[tuple[int, ...]], request: pytest.FixtureRequest
) -> None:
    here, there = (built(agent_class, observation, action, device) for device in ("cpu", "meta"))
    excused = request.node.callspec.id.partition("-")[0] in WAITS
    learnt = 0
    for transition, step in transitions(here):
        there.act(transition.obs, step)
        assert len(waits) <= 1, f"act waits for {waits}"
        waits.clear()
        for agent in (here, there):
            agent.memory.add(transition)
        for expected, batch in zip(here.memory.ready(step), there.memory.ready(step), strict=True):
            assert {batch.obs.device.type, batch.reward.device.type} == {"meta"}
            if excused:
                assert does_wait(there, batch, step, waits), "take it out of WAITS"
                return
            metrics = here.update(expected, step)
            with OneDevice():
                shapes = there.update(batch, step)
            assert {tag: value.shape for tag, value in shapes.items()} == {t: v.shape for t, v in metrics.items()}
            learnt += 1
        assert not waits, f"update waits for {waits}"
        if learnt >= NUM_BATCHES:
            there.get_state()
            return
    pytest.fail("nothing was learnt")


def does_wait(agent: Any, batch: Transition, step: int, waits: list[tuple[int, ...]]) -> bool:
    """Whether the update asks for a value; up to there it keeps to the device."""
    try:
        with OneDevice():
            agent.update(batch, step)
    except (NotImplementedError, RuntimeError) as error:
        return str(error).startswith(("Tensor.item() cannot be called on meta", "Cannot copy out of meta tensor"))
    return bool(waits)


@pytest.mark.parametrize("operation", [torch.bmm, torch.add, torch.Tensor.add_])
def test_the_watch_sees_what_the_device_of_shapes_lets_pass(operation: Any) -> None:
    there, here = torch.ones(2, 3, 3, device="meta"), torch.ones(2, 3, 3)
    with pytest.raises(TwoDevices), OneDevice():
        operation(there, here)
    with OneDevice():
        there.copy_(here)
        there.add_(torch.ones(()))


@pytest.mark.parametrize("optimiser", [Adam, RAdam])
def test_moments_lie_on_the_device_and_counts_where_no_step_waits_for_them(optimiser: type[Adam]) -> None:
    stack = Stack(SEEDS, "meta", q=MLP((3, 8, 2), "relu"))
    before, after = optimiser(stack, 1e-3), optimiser(stack, 1e-3)
    before.step()
    state = {key: value if key != "step" else value.clone() for key, value in before.get_state().items()}
    after.set_state(state)
    after.step()
    assert {key: value.device.type for key, value in after.get_state().items()} == {
        "step": "cpu", "exp_avg": "meta", "exp_avg_sq": "meta",
    }  # fmt: skip


def test_seeds_that_never_stepped_have_their_state_beside_the_others() -> None:
    adam = Adam(Stack(SEEDS, "meta", q=MLP((3, 8, 2), "relu")), 1e-3, independent=True)
    adam.step(active=[True, False])
    assert {key: value.device.type for key, value in adam.get_state().items()} == {
        "step": "cpu", "exp_avg": "meta", "exp_avg_sq": "meta",
    }  # fmt: skip
