"""n-step transitions and priorities, against loops that take one seed, one environment, one step at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlrepro.agent import Transition
from rlrepro.checkpoint import join, load, save, split
from rlrepro.memory import Rollout
from rlrepro.n_step import NStep
from rlrepro.prioritised import PrioritisedReplay, SumTree
from rlrepro.replay import Replay
from rlrepro.streams import Streams

SEEDS = (5, 0, 123)
GAMMA = 0.9


def step(seeds: Sequence[int], t: int, num_envs: int = 2, ends: float = 0.2) -> Transition:
    """Step `t` of every seed, from its seed alone."""
    fields = []
    for seed in seeds:
        rng = np.random.default_rng([seed, t])
        obs = rng.standard_normal((num_envs, 3), np.float32)
        ended = rng.random((2, num_envs)) < ends
        fields.append((obs, rng.integers(0, 4, num_envs), rng.standard_normal(num_envs), obs + 1, *ended))
    return Transition(*(np.stack(field) for field in zip(*fields, strict=True)), extras={})


def through_a_checkpoint(memory: Any, rows: Sequence[int], folder: Any) -> dict[str, Any]:
    parts = []
    for row in rows:
        save(folder / f"{row}.safetensors", split(memory.get_state(), row), {})
        parts.append(load(folder / f"{row}.safetensors")[0])
    return join(parts)


# --- n steps


ENDS = st.lists(st.sampled_from(["", "", "terminated", "truncated", "both"]), min_size=6, max_size=14)


@settings(deadline=None, max_examples=60)
@given(ends=st.lists(ENDS, min_size=2, max_size=2), num_steps=st.integers(1, 5), cut=st.integers(-1, 13))
def test_n_step_transitions_equal_a_loop(ends: list[list[str]], num_steps: int, cut: int) -> None:
    """One seed with two sub-environments; `cut` is the step after which the running episodes are lost."""
    length = min(map(len, ends))
    reward = np.random.default_rng(length).standard_normal((length, 2))
    terminated = np.array([[e[t] in ("terminated", "both") for e in ends] for t in range(length)])
    truncated = np.array([[e[t] in ("truncated", "both") for e in ends] for t in range(length)])
    inner = Rollout(length)
    memory = NStep(inner, num_steps, GAMMA)
    for t in range(length):
        obs = np.full((1, 2, 1), t, np.float32)
        ended = terminated[None, t].copy(), truncated[None, t].copy()
        memory.add(Transition(obs, np.full((1, 2), t), reward[None, t], obs + 0.5, *ended, {}))
        obs[...] = -1  # the loop may use its arrays again
        if t == cut:
            memory.cut()
    if cut >= 0 and cut < length:
        truncated[cut] |= ~terminated[cut]
    filled = inner._filled
    assert filled == max(0, length - num_steps + 1)
    for env in range(2):
        for t in range(filled):
            total, k = 0.0, 0
            while True:
                total += GAMMA**k * reward[t + k, env]
                if k == num_steps - 1 or terminated[t + k, env] or truncated[t + k, env]:
                    break
                k += 1
            found = {name: value[0, t, env] for name, value in inner._store.items()}
            assert found["reward"] == pytest.approx(total, rel=1e-6, abs=1e-6)
            assert found["discount"] == pytest.approx(GAMMA ** (k + 1), rel=1e-6)
            assert (found["obs"], found["action"], found["next_obs"]) == (t, t, t + k + 0.5)
            if cut not in range(t, t + k + 1):  # what came before the cut had gone on to the memory
                assert found["terminated"] == terminated[t + k, env]
                assert found["truncated"] == truncated[t + k, env]


def test_a_worked_n_step_transition() -> None:
    """Rewards 1, 2, 4 with γ = ½: 1 + 1 + 1 and γ³; terminated at the second: 1 + 1 and γ²."""
    for ends, reward, discount, successor in (((), 3.0, 0.125, 2.5), ((1,), 2.0, 0.25, 1.5)):
        inner = Rollout(1)
        memory = NStep(inner, 3, 0.5)
        for t in range(3):
            obs, flag = np.full((1, 1, 1), t, np.float32), np.array([[t in ends]])
            memory.add(Transition(obs, flag, np.array([[2.0**t]]), obs + 0.5, flag, np.zeros_like(flag), {}))
        (batch,) = memory.ready(2)
        assert (batch.reward.item(), batch.extras["discount"].item()) == (reward, discount)
        assert (batch.next_obs.item(), batch.terminated.item()) == (successor, bool(ends))


def test_a_cut_window_ends_there() -> None:
    inner = Replay(Streams((1,), "replay"), 2, 1, 0, 1)
    memory = NStep(inner, 2, 1.0)
    memory.cut()
    no = np.zeros((1, 1), bool)
    for t in range(3):
        obs = np.full((1, 1, 1), t, np.float32)
        memory.add(Transition(obs, no, np.array([[10.0**t]]), obs + 0.5, no, no, {}))
        if t == 1:
            memory.cut()
    stored = {name: value.flatten().tolist() for name, value in inner._store.items()}
    assert stored["reward"] == [11.0, 10.0]
    assert stored["truncated"] == [False, True]
    assert stored["next_obs"] == [1.5, 1.5]


def test_a_cut_reaches_the_memory_behind() -> None:
    memory = NStep(Rollout(2), 1, 1.0)
    obs, no = np.zeros((1, 1, 1), np.float32), np.zeros((1, 1), bool)
    step = Transition(obs, no, np.ones((1, 1)), obs, no, no, {})
    memory.add(step)
    memory.cut()
    memory.add(step)
    (batch,) = memory.ready(1)
    assert batch.truncated.tolist() == [[[True], [False]]]


def test_a_cut_right_after_a_termination_makes_no_truncation_of_it() -> None:
    inner = Rollout(1)
    memory = NStep(inner, 2, 1.0)
    obs, no, yes = np.zeros((1, 2, 1), np.float32), np.zeros((1, 2), bool), np.array([[True, False]])
    memory.add(Transition(obs, no, np.ones((1, 2)), obs, yes, no, {}))
    memory.cut()
    memory.add(Transition(obs, no, np.ones((1, 2)), obs, no, no, {}))
    (batch,) = memory.ready(1)
    assert batch.terminated.tolist() == [[[True, False]]]
    assert batch.truncated.tolist() == [[[False, True]]]
    assert batch.reward.tolist() == [[[1.0, 1.0]]]


# --- priorities


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 40), st.data())
def test_a_sum_tree_finds_what_a_running_sum_passes(capacity: int, data: Any) -> None:
    tree, expected = SumTree(2, capacity), np.zeros((2, capacity))
    for _ in range(data.draw(st.integers(1, 4))):
        places = np.array(data.draw(st.lists(st.lists(st.integers(0, capacity - 1), min_size=3, max_size=3),
                                             min_size=2, max_size=2)))  # fmt: skip
        values = np.array(data.draw(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3),
                                             min_size=2, max_size=2)), float)  # fmt: skip
        tree.set(places, values)
        for row in range(2):
            for place, value in zip(places[row], values[row], strict=True):
                expected[row, place] = value
    every = np.tile(np.arange(capacity), (2, 1))
    assert np.array_equal(tree.get(every), expected)
    assert np.array_equal(tree.total, expected.sum(1))
    if not expected.sum(1).all():
        return
    mass = np.array([[u * row.sum() for u in (0.0, 0.1, 0.37, 0.5, 0.93, 0.999)] for row in expected])
    found = tree.find(mass)
    for row in range(2):
        for m, place in zip(mass[row], found[row], strict=True):
            assert place == np.flatnonzero(expected[row].cumsum() > m)[0]
    past = tree.find(np.array([[row.sum(), 2 * row.sum()] for row in expected]))
    assert (np.take_along_axis(expected, past, 1) > 0).all(), "never what has no priority"


def prioritised(seeds: Sequence[int] = SEEDS, capacity: int = 12, batch_size: int = 1, **options: Any) -> Any:
    options = {"alpha": 0.7, "beta": 0.4, "beta_steps": 1000, **options}
    return PrioritisedReplay(Streams(seeds, "replay"), capacity, batch_size, 0, 1, **options)


ERROR = np.array([0.0, 0.1, 0.2, 0.5, 0.5, 1.0, 1.5, 2.0, 3.0, 0.05, 0.3, 4.0])


def with_errors(memory: PrioritisedReplay, num_seeds: int = len(SEEDS)) -> PrioritisedReplay:
    for t in range(6):
        memory.add(step(SEEDS[:num_seeds], t))
    index = torch.arange(12).expand(num_seeds, 12)
    memory.update_priorities(index, torch.from_numpy(ERROR).expand(num_seeds, 12))
    return memory


def test_samples_are_in_proportion_to_the_error_to_the_power_alpha() -> None:
    memory = with_errors(prioritised())
    drawn = torch.cat([memory.sample().extras["index"] for _ in range(6000)], 1).numpy()
    expected = (ERROR + PrioritisedReplay.EPSILON) ** 0.7
    expected = 6000 * expected / expected.sum()
    seen = expected > 5
    for row in range(len(SEEDS)):
        counts = np.bincount(drawn[row], minlength=12)

        def fits(wanted: np.ndarray, counts: np.ndarray = counts) -> float:
            wanted = wanted[seen] * counts[seen].sum() / wanted[seen].sum()
            return float(stats.chisquare(counts[seen], wanted).pvalue)

        assert fits(expected) > 1e-3
        assert fits(np.ones(12)) < 1e-9, "uniform sampling would be seen"
        assert fits((ERROR + 1e-6) ** 0.6) < 1e-2, "so would another α"
    assert not np.array_equal(drawn[0], drawn[1])


def test_a_batch_has_one_sample_from_each_equal_part_of_the_sum() -> None:
    memory = with_errors(prioritised(batch_size=20))
    priority = (ERROR + PrioritisedReplay.EPSILON) ** 0.7
    edges = np.concatenate([[0.0], priority.cumsum()]) / priority.sum() * 20
    for _ in range(50):
        index = memory.sample().extras["index"].numpy()
        for part in range(20):  # the sample's own interval and the part's meet
            assert (edges[index[:, part]] < part + 1).all()
            assert (edges[index[:, part] + 1] > part - 1e-9).all()


def test_the_weights_worked_by_hand() -> None:
    """N = 4, α = 1, priorities 1, 1, 2, 4 of 8: N P = ½, ½, 1, 2; β = ½: weights 2^½, 2^½, 1, 2^−½ over the largest."""
    memory = prioritised(seeds=(1,), capacity=4, batch_size=64, alpha=1.0, beta=0.5, beta_steps=100)
    for t in range(4):
        memory.add(step((1,), t, num_envs=1))
    error = torch.tensor([[1.0, 1.0, 2.0, 4.0]], dtype=torch.float64) - PrioritisedReplay.EPSILON
    memory.update_priorities(torch.arange(4)[None], error)
    for at, beta in ((0, 0.5), (50, 0.75), (100, 1.0), (10**6, 1.0)):
        batch = next(iter(memory.ready(at)))
        expected = np.array([1.0, 1.0, 0.5**beta, 0.25**beta])
        assert set(batch.extras["index"].flatten().tolist()) == {0, 1, 2, 3}
        found = batch.extras["weight"].numpy()
        np.testing.assert_allclose(found, expected[batch.extras["index"].numpy()], rtol=1e-6)
    memory.update_priorities(torch.arange(2)[None], torch.full((1, 2), 1e-12))
    batch = memory.sample()
    assert set(batch.extras["index"].flatten().tolist()) == {2, 3}
    assert batch.extras["weight"].max() == 1.0, "the batch's largest, not the memory's"


def test_an_error_of_nothing_has_the_priority_of_epsilon() -> None:
    """p = |δ| + ε, and then p^α (Schaul et al., 2016, Section 3.3 and eq. 1)."""
    memory = prioritised(alpha=0.5)
    memory.add(step(SEEDS, 0))
    memory.update_priorities(torch.zeros(3, 1, dtype=torch.long), torch.zeros(3, 1))
    np.testing.assert_allclose(memory._tree.get(np.zeros((3, 1), int)), PrioritisedReplay.EPSILON**0.5, rtol=1e-9)


def test_a_new_transition_has_the_largest_priority_so_far_also_where_it_takes_an_old_one_s_place() -> None:
    memory = prioritised(alpha=1.0)
    for t in range(3):
        memory.add(step(SEEDS, t))
    every = np.tile(np.arange(12), (3, 1))
    assert (memory._tree.get(every) == [1.0] * 6 + [0.0] * 6).all()
    error = torch.tensor([[0.2, 7.0], [0.1, 0.3], [3.0, 2.0]], dtype=torch.float64)
    memory.update_priorities(torch.tensor([[0, 1]] * 3), error)
    for t in range(3, 7):  # places 6 … 11, 0, 1
        memory.add(step(SEEDS, t))
    leaves = memory._tree.get(every)
    for row, largest in enumerate([7.0, 1.0, 3.0]):
        assert leaves[row, [6, 11, 0, 1]] == pytest.approx([largest] * 4, abs=1e-5)
        assert leaves[row, 2] == 1.0


def test_with_no_exponents_it_is_a_uniform_memory_with_weights_of_one() -> None:
    memory = with_errors(prioritised(batch_size=12, alpha=0.0, beta=1.0))
    batch = memory.sample()
    assert (batch.extras["weight"] == 1.0).all()
    assert (np.sort(batch.extras["index"].numpy(), 1) == np.arange(12)).all()


@pytest.mark.parametrize("steps", [0, 2, 9])
def test_a_prioritised_n_step_memory_goes_on_from_a_checkpoint(steps: int, tmp_path: Any) -> None:
    def build(seeds: Sequence[int]) -> tuple[NStep, PrioritisedReplay]:
        replay = prioritised(seeds, capacity=10, batch_size=7)
        return NStep(replay, 3, GAMMA), replay

    def go(memory: NStep, replay: PrioritisedReplay, seeds: Sequence[int], t: int) -> list[Transition]:
        memory.add(step(seeds, t))
        batches = []
        for batch in memory.ready(2 * t):
            batches.append(batch)
            replay.update_priorities(batch.extras["index"], batch.reward.abs())
        return batches

    memory, rows = build(SEEDS), [2, 0]
    for t in range(steps):
        go(*memory, SEEDS, t)
    seeds = [SEEDS[row] for row in rows]
    again = build(seeds)
    for t in range(2):
        go(*again, seeds, 50 + t)  # whatever it held before is gone
    again[0].set_state(through_a_checkpoint(memory[0], rows, tmp_path))
    learnt = 0
    for t in range(steps, steps + 8):
        for one, other in zip(go(*again, seeds, t), go(*memory, SEEDS, t), strict=True):
            learnt += 1
            for name in ("obs", "reward", "next_obs", "terminated", "truncated"):
                assert torch.equal(getattr(one, name), getattr(other, name)[rows])
            for name in ("discount", "index", "weight"):
                assert torch.equal(one.extras[name], other.extras[name][rows])
    assert learnt >= 12


def test_uniform_replay_draws_what_it_always_drew() -> None:
    one, other = (Replay(Streams(SEEDS, "replay"), 10, 8, 0, 1) for _ in range(2))
    for t in range(4):
        one.add(step(SEEDS, t))
        other.add(step(SEEDS, t))
    places = Streams(SEEDS, "replay").integers(8, 8)
    batch = one.sample()
    for row in range(len(SEEDS)):
        assert torch.equal(batch.obs[row], other._store["obs"][row, places[row]])
