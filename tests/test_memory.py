"""Memories: what is stored, when there is something to learn from, and that a seed's batches are its own."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlrepro.agent import Memory, Transition
from rlrepro.checkpoint import join, load, save, split
from rlrepro.errors import Problem
from rlrepro.memory import Episodes, Rollout
from rlrepro.n_step import NStep
from rlrepro.prioritised import PrioritisedReplay
from rlrepro.replay import Replay
from rlrepro.streams import Streams

SEEDS = (5, 0, 123)
PROPERTY = settings(deadline=None, derandomize=True)


def step(seeds: Sequence[int], t: int, num_envs: int, ends: float = 0.2) -> Transition:
    """Step `t` of every seed, from its seed alone. The reward names the transition: seed.env·step."""
    fields = []
    for seed in seeds:
        rng = np.random.default_rng([seed, t])
        obs = rng.standard_normal((num_envs, 3), np.float32)
        ended = rng.random((2, num_envs)) < ends
        log_prob = rng.standard_normal(num_envs, np.float32)
        reward = name(seed, np.arange(num_envs), t)
        fields.append((obs, rng.integers(0, 4, num_envs), reward, obs + 1, ended[0], ended[1], log_prob))
    *stored, log_prob = (np.stack(field) for field in zip(*fields, strict=True))
    return Transition(*stored, extras={"log_prob": log_prob})


def name(seed: int, env: Any, t: int) -> Any:
    """A float64 that float32 holds exactly."""
    return 10_000.0 * seed + 1000.0 * env + t


def through_a_checkpoint(memory: Memory, rows: Sequence[int], folder: Any) -> dict[str, Any]:
    """The state of some seeds, each through a file of its own, as a resume gets it."""
    parts = []
    for row in rows:
        save(folder / f"{row}.safetensors", split(memory.get_state(), row), {})
        parts.append(load(folder / f"{row}.safetensors")[0])
    return join(parts)


def assert_same(one: Transition, other: Transition, rows: Sequence[int] | None = None) -> None:
    """Equal bit for bit, dtypes and extras too; `rows` picks the seeds of `other`."""
    assert one.extras.keys() == other.extras.keys()
    pairs = [*zip(one[:-1], other[:-1], strict=True), *((one.extras[key], other.extras[key]) for key in one.extras)]
    for left, right in pairs:
        right = right if rows is None else right[list(rows)]
        assert left.dtype == right.dtype
        assert torch.equal(left, right)


# --- rollouts


def test_a_rollout_is_ready_when_full_and_holds_every_step_in_order() -> None:
    memory = Rollout(4)
    for t in range(12):
        memory.add(step(SEEDS, t, 2))
        batches = list(memory.ready(2 * t))
        assert len(batches) == (t % 4 == 3)
        for batch in batches:
            steps = [step(SEEDS, past, 2) for past in range(t - 3, t + 1)]
            expected = [np.stack(field, 1) for field in zip(*(one[:-1] for one in steps), strict=True)]
            expected[2] = expected[2].astype(np.float32)
            log_prob = np.stack([one.extras["log_prob"] for one in steps], 1)
            assert_same(batch, Transition(*map(torch.from_numpy, expected), {"log_prob": torch.from_numpy(log_prob)}))
            assert batch.reward.shape == (3, 4, 2)
            assert list(memory.ready(2 * t)) == []


def test_a_cut_rollout_is_truncated_at_its_last_step_unless_it_terminated_there() -> None:
    memory, untouched = Rollout(3), Rollout(3)
    memory.cut()  # nothing is running
    for t in range(3):
        one = step(SEEDS, t, 2, ends=0.0)
        if t == 1:
            one.terminated[0, 1] = True
        memory.add(one)
        untouched.add(one)
        if t == 1:
            memory.cut()
    (cut,), (whole,) = memory.ready(0), untouched.ready(0)
    expected = torch.zeros(3, 3, 2, dtype=torch.bool)
    expected[:, 1] = True
    expected[0, 1, 1] = False
    assert torch.equal(cut.truncated, expected)
    assert_same(cut._replace(truncated=whole.truncated), whole)


@pytest.mark.parametrize("filled", [0, 2, 4])
def test_a_rollout_goes_on_from_a_checkpoint(filled: int, tmp_path: Any) -> None:
    memory, rows = Rollout(4), [2, 0]
    for t in range(filled):
        memory.add(step(SEEDS, t, 2))
        list(memory.ready(t))
    again = Rollout(4)
    again.add(step((9,), 99, 5))  # whatever it held before is gone
    again.set_state(through_a_checkpoint(memory, rows, tmp_path))
    seeds = [SEEDS[row] for row in rows]
    for t in range(filled, filled + 6):
        memory.add(step(SEEDS, t, 2))
        again.add(step(seeds, t, 2))
        for one, other in zip(again.ready(t), memory.ready(t), strict=True):
            assert_same(one, other, rows)


# --- replay


def replay(seeds: Sequence[int], capacity: int = 10, batch_size: int = 32, starts: int = 0, every: int = 1) -> Replay:
    return Replay(Streams(seeds, "replay"), capacity, batch_size, starts, every)


def fill(memory: Replay, seeds: Sequence[int], start: int, end: int, num_envs: int) -> None:
    for t in range(start, end):
        memory.add(step(seeds, t, num_envs))


@PROPERTY
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 30))
def test_replay_holds_the_last_transitions_of_each_seed_and_no_others(capacity: int, num_envs: int, steps: int) -> None:
    capacity = max(capacity, num_envs)
    memory = replay(SEEDS, capacity, batch_size=20 * capacity)
    fill(memory, SEEDS, 0, steps, num_envs)
    batch = memory.sample()
    for row, seed in enumerate(SEEDS):
        written = [name(seed, env, t) for t in range(steps) for env in range(num_envs)]
        found = set(batch.reward[row].tolist())
        assert found <= set(written[-capacity:]), "an unwritten, overwritten or other seed's transition"
        assert len(found) >= 0.9 * min(capacity, len(written))
    for row, seed in enumerate(SEEDS):
        for column in range(0, batch.reward.shape[1], 7):  # the fields of a transition stay together
            reward = batch.reward[row, column].item() - 10_000 * seed
            env, t = int(reward // 1000), int(reward % 1000)
            source = step((seed,), t, num_envs)
            assert torch.equal(batch.obs[row, column], torch.from_numpy(source.obs[0, env]))
            assert torch.equal(batch.next_obs[row, column], torch.from_numpy(source.next_obs[0, env]))
            assert batch.extras["log_prob"][row, column] == source.extras["log_prob"][0, env].item()
            for field in ("action", "terminated", "truncated"):
                assert getattr(batch, field)[row, column] == getattr(source, field)[0, env]


def test_replay_samples_uniformly_and_seeds_differ() -> None:
    memory = replay((1, 2), capacity=50, batch_size=100)
    fill(memory, (1, 2), 0, 40, 2)  # 80 transitions into 50 places
    drawn = torch.cat([memory.sample().reward for _ in range(200)], 1)
    for row in drawn:
        values, counts = row.unique(return_counts=True)
        assert len(values) == 50
        expected = len(row) / 50
        square = float(((counts - expected) ** 2 / expected).sum())
        assert 23 < square < 85.4, "χ² with 49 degrees of freedom: outside once in a thousand"
    index = [(row % 10_000).tolist() for row in drawn]
    assert index[0] != index[1], "each seed samples by its own stream"


@pytest.mark.parametrize("seeds", [(0,), (123, 5)], ids=str)
def test_a_seed_s_samples_are_the_same_alone_and_among_others(seeds: tuple[int, ...]) -> None:
    every, few = replay(SEEDS), replay(seeds)
    fill(every, SEEDS, 0, 20, 3)
    fill(few, seeds, 0, 20, 3)
    for _ in range(3):
        assert_same(few.sample(), every.sample(), [SEEDS.index(seed) for seed in seeds])


@PROPERTY
@given(
    st.integers(1, 8), st.integers(1, 12), st.integers(0, 5), st.integers(0, 30), st.integers(1, 3), st.integers(1, 60)
)
def test_replay_makes_the_same_number_of_updates_due_for_every_number_of_environments(
    num_envs: int, every: int, extra: int, starts: int, num_batches: int, steps: int
) -> None:
    memory = Replay(Streams((1,), "replay"), num_envs + extra, 2, starts, every, num_batches)
    updates = 0
    for t in range(steps):
        memory.add(step((1,), t, num_envs))
        updates += sum(1 for _ in memory.ready(t * num_envs))
    total = steps * num_envs
    assert updates == max(0, total // every - starts // every) * num_batches, "once for each multiple after the start"


def test_replay_does_not_learn_before_it_starts() -> None:
    memory = replay((1,), starts=6, every=2)
    learnt = []
    for t in range(5):
        memory.add(step((1,), t, 2))
        learnt.append(len(list(memory.ready(2 * t))))
    assert learnt == [0, 0, 0, 1, 1]


def test_cutting_changes_nothing_in_replay() -> None:
    memory = replay(SEEDS)
    fill(memory, SEEDS, 0, 20, 3)
    other = copy.deepcopy(memory)
    memory.cut()
    assert_same(memory.sample(), other.sample())


def test_a_memory_that_is_restored_knows_which_episodes_have_ended() -> None:
    memory, again = replay(SEEDS), replay(SEEDS)
    for t in range(20):
        memory.add(step(SEEDS, t, 3))
    assert memory.ended is not None
    assert 0 < memory.ended.sum() < memory.ended.size
    again.set_state(memory.get_state())
    assert again.ended is not None
    assert np.array_equal(again.ended, memory.ended)


def test_noise_begins_anew_after_a_cut_until_the_next_step() -> None:
    memory = replay(SEEDS)
    assert memory.ended is None
    for t in range(20):
        memory.add(transition := step(SEEDS, t, 3))
        ended = memory.ended
        assert ended is not None
        assert np.array_equal(ended, transition.terminated | transition.truncated)
    memory.cut()
    assert memory.ended.all()  # type: ignore[union-attr]
    memory.add(step(SEEDS, 20, 3, ends=0.0))
    assert not memory.ended.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("steps", [0, 2, 3, 4, 9])
def test_replay_goes_on_from_a_checkpoint(steps: int, tmp_path: Any) -> None:
    """Empty, part filled, just full (9 of 10 places and over), and wrapped around."""
    memory, rows = replay(SEEDS), [2, 0]
    fill(memory, SEEDS, 0, steps, 3)
    if steps:
        memory.sample()  # in the middle of a block of random numbers
    seeds = [SEEDS[row] for row in rows]
    again = replay(seeds)
    again.set_state(through_a_checkpoint(memory, rows, tmp_path))
    for t in range(steps, steps + 5):
        memory.add(step(SEEDS, t, 3))
        again.add(step(seeds, t, 3))
        ours, theirs = list(again.ready(3 * t)), list(memory.ready(3 * t))
        assert len(ours) == len(theirs) == 3
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other, rows)


# --- episodes


def played(seeds: Sequence[int], steps: int, num_envs: int, ends: float) -> list[list[np.ndarray]]:
    """The rewards of each seed's whole episodes, in the order in which they ended."""
    whole: list[list[np.ndarray]] = [[] for _ in seeds]
    running: dict[tuple[int, int], list[float]] = {}
    for t in range(steps):
        one = step(seeds, t, num_envs, ends)
        for row in range(len(seeds)):
            for env in range(num_envs):
                rewards = running.setdefault((row, env), [])
                rewards.append(one.reward[row, env])
                if one.terminated[row, env] or one.truncated[row, env]:
                    whole[row].append(np.array(running.pop((row, env))))
    return whole


@PROPERTY
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 60), st.sampled_from([0.03, 0.2, 0.6]))
def test_episodes_come_whole_in_order_and_padded(num_episodes: int, num_envs: int, steps: int, ends: float) -> None:
    memory, taken = Episodes(num_episodes), [0] * len(SEEDS)
    expected = played(SEEDS, steps, num_envs, ends)
    for t in range(steps):
        memory.add(step(SEEDS, t, num_envs, ends))
        for batch in memory.ready(t * num_envs):
            ready = batch.extras["ready"].nonzero().flatten().tolist()
            assert ready
            width = batch.reward.shape[2]
            assert not batch.extras["valid"][~batch.extras["ready"]].any()
            assert not batch.reward[~batch.extras["valid"]].any(), "padding is zero"
            for row in ready:
                episodes = expected[row][taken[row] : taken[row] + num_episodes]
                taken[row] += num_episodes
                assert width == 2 ** math.ceil(math.log2(max(map(len, episodes)))), "a power of two of its own"
                for episode, rewards in enumerate(episodes):
                    valid = batch.extras["valid"][row, episode]
                    assert valid.tolist() == [True] * len(rewards) + [False] * (width - len(rewards))
                    assert batch.reward[row, episode, : len(rewards)].tolist() == rewards.tolist()
                    ended = (batch.terminated | batch.truncated)[row, episode, : len(rewards)].tolist()
                    assert ended == [False] * (len(rewards) - 1) + [True]
    assert all(taken[row] for row in range(len(SEEDS)) if len(expected[row]) >= num_episodes)


def test_no_whole_episodes_are_left_where_several_end_at_once() -> None:
    memory, learnt = Episodes(1), []
    for t in range(8):
        one = step((1,), t, 4, ends=0.0)
        one.terminated[0] = t % 4 == 3  # four episodes of four steps end together
        memory.add(one)
        learnt.append(len(list(memory.ready(4 * t))))
    assert learnt == [0, 0, 0, 4, 0, 0, 0, 4], "episodes that wait pile up, and grow stale"


def test_episodes_of_a_seed_are_the_same_alone_and_among_others() -> None:
    every, alone = Episodes(2), Episodes(2)
    num_batches = 0
    for t in range(200):
        every.add(step(SEEDS, t, 2, 0.05))
        alone.add(step((0,), t, 2, 0.05))
        ours = list(alone.ready(t))
        theirs = [batch for batch in every.ready(t) if batch.extras["ready"][1]]
        num_batches += len(ours)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other, [1])
    assert num_batches >= 5


def test_episodes_that_were_cut_are_lost_and_whole_ones_are_kept() -> None:
    memory = Episodes(2)
    ends = np.array([[False, False, True, False, True, True]])
    for t in range(6):
        one = step((1,), t, 1, ends=0.0)
        one.terminated[0, 0] = ends[0, t]
        memory.add(one)
        if t == 3:  # the first episode is whole, step 3 is of the second
            memory.cut()
        for batch in memory.ready(t):
            assert t == 4
            assert batch.reward[0].tolist() == [[10_000, 10_001, 10_002, 0], [10_004, 0, 0, 0]]
    assert list(memory.ready(6)) == [], "one episode is not two"


@pytest.mark.parametrize("steps", [0, 1, 30, 47])
def test_episodes_go_on_from_a_checkpoint(steps: int, tmp_path: Any) -> None:
    memory, rows = Episodes(3), [2, 0]
    for t in range(steps):
        memory.add(step(SEEDS, t, 2, 0.1))
        list(memory.ready(t))
    seeds = [SEEDS[row] for row in rows]
    again = Episodes(3)
    again.add(step((9,), 99, 5))
    again.set_state(through_a_checkpoint(memory, rows, tmp_path))
    num_batches = 0
    for t in range(steps, steps + 60):
        memory.add(step(SEEDS, t, 2, 0.1))
        again.add(step(seeds, t, 2, 0.1))
        theirs = [batch for batch in memory.ready(t) if batch.extras["ready"][rows].any()]
        for one, other in zip(again.ready(t), theirs, strict=True):
            assert_same(one, other, rows)
            num_batches += 1
    assert num_batches >= 2


@pytest.mark.parametrize(
    "memory", [Rollout(4), Replay(Streams((1,), "replay"), 8, 2, 0, 1, 1)], ids=["rollout", "replay"]
)
def test_extras_that_come_and_go_are_refused(memory: Memory) -> None:
    """What is left out would be learnt as a zero, or as what stood in its place before."""
    memory.add(step((1,), 0, 2))
    with pytest.raises(Problem, match=r"gives the extras none, where it gave \['log_prob'\] before"):
        memory.add(step((1,), 1, 2)._replace(extras={}))


@pytest.mark.parametrize(
    ("memory", "name"),
    [
        (Episodes(1), "ready"),
        (Episodes(1), "valid"),
        (PrioritisedReplay(Streams((0, 1), "replay"), 10, 2, 0, 1, alpha=0.5, beta=0.4, beta_steps=9), "index"),
        (PrioritisedReplay(Streams((0, 1), "replay"), 10, 2, 0, 1, alpha=0.5, beta=0.4, beta_steps=9), "weight"),
        (NStep(Rollout(3), 2, 0.9), "discount"),
    ],
    ids=lambda one: one if isinstance(one, str) else type(one).__name__,
)
def test_an_extra_that_a_memory_would_write_over_is_refused(memory: Memory, name: str) -> None:
    one = step((0, 1), 0, 1)
    with pytest.raises(Problem, match=f"an extra named '{name}', which its memory adds"):
        memory.add(one._replace(extras={**one.extras, name: one.reward}))
    memory.add(one)
