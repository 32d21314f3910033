"""The replay memory of a device, here on the host: the batches of the one on the host, some of them early."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from rlrepro.agent import Transition
from rlrepro.checkpoint import as_loaded
from rlrepro.prioritised import PrioritisedReplay
from rlrepro.replay import Replay
from rlrepro.streams import Streams

SEEDS, NUM_ENVS = (1, 2), 4
DEVICE = "cpu:0"  # which is not "cpu": what is on it is brought there


def memory(device: str, capacity: int = 50) -> Replay:
    return Replay(Streams(SEEDS, "replay"), capacity, 8, 20, 1, 1, device)


def steps(count: int, num_envs: int = NUM_ENVS) -> Iterator[tuple[int, Transition]]:
    generator = np.random.default_rng(0)
    shape = len(SEEDS), num_envs
    for index in range(count):
        obs, next_obs = generator.normal(size=(2, *shape, 3)).astype(np.float32)
        ends = generator.random((2, *shape)) < 0.1
        image = generator.integers(0, 255, (*shape, 5, 5, 2)).astype(np.uint8)
        reward = obs[..., 0].astype(float)
        yield (
            index * num_envs,
            Transition(obs, generator.integers(0, 5, shape), reward, next_obs, *ends, {"image": image}),
        )


def parts(batch: Transition) -> list[torch.Tensor]:
    return [part.clone() for part in (*batch[:-1], batch.extras["image"])]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(a.dtype == b.dtype and torch.equal(a.cpu(), b.cpu()) for a, b in zip(one, other, strict=True))


def compare_memories(device: str, capacity: int = 50) -> int:
    """How many batches two memories gave alike."""
    here, there = memory("cpu", capacity), memory(device, capacity)
    compared = num_early = 0
    for step, transition in steps(100):
        early = [parts(batch) for batch in there.prefetch(step, NUM_ENVS)]
        assert not list(here.prefetch(step, NUM_ENVS))
        for one in (here, there):
            one.add(transition)
        expected = [parts(batch) for batch in here.ready(step)]
        found = early + [parts(batch) for batch in there.ready(step)]
        assert all(map(same, found, expected))
        assert len(found) == len(expected)
        compared, num_early = compared + len(found), num_early + len(early)
    assert num_early < compared
    assert num_early > 0 or capacity <= NUM_ENVS
    return compared


@pytest.mark.parametrize("capacity", [3, 4, 50, 1000])
def test_a_memory_on_a_device_gives_what_that_on_the_host_gives(capacity: int) -> None:
    assert compare_memories(DEVICE, capacity) > 300


@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_it_goes_on_from_a_state_on_either(device: str) -> None:
    here = memory(DEVICE)
    every = list(steps(40))
    for step, transition in every[:25]:
        here.add(transition)
        list(here.ready(step))
    again = memory(device)
    for step, transition in every[:3]:
        again.add(transition)
        list(again.prefetch(step + NUM_ENVS, NUM_ENVS))
    again.set_state(as_loaded(here.get_state()))
    for step, transition in every[25:]:
        for one in (here, again):
            one.add(transition)
        assert all(map(same, map(parts, again.ready(step)), map(parts, here.ready(step))))


def test_a_step_that_did_not_come_about_is_learnt_from_once() -> None:
    """The environment breaks: the batches that were early are not given again, those that wait are not lost."""
    whole, broken = memory(DEVICE), memory(DEVICE)
    every = list(steps(30))
    for step, transition in every[:-1]:
        for one in (whole, broken):
            one.add(transition)
            list(one.ready(step))
    step, transition = every[-1]
    first = [parts(batch) for batch in broken.prefetch(step, NUM_ENVS)]
    resumed = memory(DEVICE)
    resumed.set_state(as_loaded(broken.get_state()))
    assert not list(resumed.prefetch(step, NUM_ENVS))
    for one in (whole, resumed):
        one.add(transition)
    assert all(map(same, first + [parts(batch) for batch in resumed.ready(step)], map(parts, whole.ready(step))))
    assert "early" not in resumed.get_state()


class Own(Replay):
    def sample(self) -> Transition:
        self.asked = getattr(self, "asked", 0) + 1
        return super().sample()


def test_who_samples_in_a_way_of_its_own_is_asked_for_every_batch() -> None:
    own = Own(Streams(SEEDS, "replay"), 50, 8, 20, 1, 1, DEVICE)
    prioritised = PrioritisedReplay(
        Streams(SEEDS, "replay"), 50, 8, 20, 1, 1, DEVICE, alpha=0.6, beta=0.4, beta_steps=100
    )
    given = 0
    for step, transition in steps(30):
        for one in (own, prioritised):
            assert not list(one.prefetch(step, NUM_ENVS))
            one.add(transition)
        given += len(list(own.ready(step)))
    assert own.asked == given > 80
