"""The seed axis: row s depends on seed s alone, bit for bit; streams, stacks, Adam and clipping against one seed."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from rlrepro.agent import Setup, Transition
from rlrepro.agents.a2c import A2C
from rlrepro.agents.dqn import DQN
from rlrepro.agents.ppo import PPO
from rlrepro.agents.ppo_split import PPOSplit
from rlrepro.agents.trpo import TRPO
from rlrepro.checkpoint import join, split
from rlrepro.distributions import DiagonalGaussian
from rlrepro.networks import MLP, Constant, NatureCNN, Network, Stacked, orthogonal
from rlrepro.optimisers import SGD, Adam, RMSProp, clip_by_norm
from rlrepro.seeds import Stack
from rlrepro.streams import Streams, env_seed, seed_sequence

SEEDS = (5, 0, 123, 7)

# --- streams

DRAWS: dict[str, Callable[[Streams], np.ndarray]] = {
    "uniform": lambda streams: streams.uniform(3),
    "normal": lambda streams: streams.normal(2, 3),
    "gumbel": lambda streams: streams.gumbel(5),
    "integers": lambda streams: streams.integers(10, 4),
    "permutations": lambda streams: streams.permutations(2, 6),
    "a number": lambda streams: streams.uniform(),
    "more than a block": lambda streams: streams.uniform(5000),
}


def mixed(streams: Streams, steps: int) -> list[np.ndarray]:
    """Draws of every kind in turn, as an agent makes them."""
    return [draw(streams).copy() for _ in range(steps) for draw in DRAWS.values()]


@pytest.mark.parametrize("seeds", [(5,), (7, 5), (123, 0, 5)], ids=str)
def test_a_seed_draws_the_same_whatever_runs_beside_it(seeds: tuple[int, ...]) -> None:
    every, few = mixed(Streams(SEEDS, "policy"), 3), mixed(Streams(seeds, "policy"), 3)
    for one, other in zip(every, few, strict=True):
        assert one.shape[0] == len(SEEDS)
        assert np.array_equal(one[[SEEDS.index(seed) for seed in seeds]], other)


@pytest.mark.parametrize("draw", DRAWS)
def test_seeds_purposes_and_calls_draw_different_numbers(draw: str) -> None:
    one = Streams((5, 0), "policy")
    first, second = DRAWS[draw](one).copy(), DRAWS[draw](one).copy()
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])
    for purpose in (("replay",), ("policy", 0), ("policy", "policy"), ()):
        assert not np.array_equal(DRAWS[draw](Streams((5, 0), *purpose)), first), purpose


def test_seed_sequences_differ_by_every_part_of_the_purpose() -> None:
    purposes = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("a", 0), ("a", 1), (0, "a")]
    states = {tuple(seed_sequence(seed, *purpose).generate_state(4)) for seed in range(50) for purpose in purposes}
    assert len(states) == 50 * len(purposes)
    assert env_seed(3, "training", 1) == env_seed(3, "training", 1) != env_seed(3, "training", 2)
    assert 0 <= env_seed(3) < 2**32


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_a_saved_stream_goes_on_in_the_middle_of_a_block(steps: int) -> None:
    streams = Streams(SEEDS, "policy")
    mixed(streams, steps)
    parts = [split(streams.get_state(), row) for row in range(len(SEEDS))]  # as a checkpoint keeps it
    expected = mixed(streams, 3)
    kept = [2, 0]
    again = Streams([SEEDS[row] for row in kept], "policy")
    mixed(again, 1)  # whatever it did before is gone
    again.set_state(join([parts[row] for row in kept]))
    for one, other in zip(mixed(again, 3), expected, strict=True):
        assert np.array_equal(one, other[kept])


@pytest.mark.parametrize("kind", ["uniform", "normal", "gumbel"])
def test_draws_of_several_shapes_in_turn_have_the_shapes_asked_for(kind: str) -> None:
    streams = Streams(SEEDS, "policy")
    for _ in range(2):
        for shape in ((3,), (), (2, 3), (5000,)):
            assert getattr(streams, kind)(*shape).shape == (len(SEEDS), *shape)
    assert streams.integers(3, 2, 2).shape == (len(SEEDS), 2, 2)


def kolmogorov(sample: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray]) -> float:
    """√n times the largest distance of the sample's distribution from `cdf`; passes 1.95 once in a thousand."""
    at, n = cdf(np.sort(sample.ravel().astype(np.float64))), sample.size
    return math.sqrt(n) * float(max((np.arange(1, n + 1) / n - at).max(), (at - np.arange(n) / n).max()))


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """Standardised: about normal for many cells (Wilson and Hilferty, 1931)."""
    df = len(counts) - 1
    value = ((counts - expected) ** 2 / expected).sum()
    return float(((value / df) ** (1 / 3) - (1 - 2 / (9 * df))) / math.sqrt(2 / (9 * df)))


def test_draws_have_their_distributions() -> None:
    streams = Streams((1, 2), "test")
    uniform = np.stack([streams.uniform(7) for _ in range(2000)])
    normal = np.stack([streams.normal(7) for _ in range(2000)])
    gumbel = np.stack([streams.gumbel(7) for _ in range(2000)])
    erf = np.vectorize(math.erf)
    assert kolmogorov(uniform, lambda x: x) < 1.95
    assert kolmogorov(normal, lambda x: 0.5 * (1 + erf(x / math.sqrt(2)))) < 1.95
    assert kolmogorov(gumbel, lambda x: np.exp(-np.exp(-x))) < 1.95
    assert 0 <= uniform.min() < uniform.max() < 1
    assert (uniform.dtype, normal.dtype, gumbel.dtype) == (np.float64, np.float32, np.float32)
    for one, other in ((uniform[:, 0], uniform[:, 1]), (uniform[:-1], uniform[1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 3.3 / math.sqrt(one.size)


@pytest.mark.parametrize("high", [1, 2, 7, 1000])
def test_integers_are_uniform_below_their_bound(high: int) -> None:
    streams = Streams((1, 2), "test")
    drawn = np.stack([streams.integers(high, 50) for _ in range(400)])
    counts = np.bincount(drawn.ravel(), minlength=high)
    assert drawn.dtype == np.int64
    assert len(counts) == high
    assert high == 1 or chi_square(counts, np.full(high, drawn.size / high)) < 3.1


def test_gumbel_noise_on_logits_samples_their_softmax() -> None:
    logits = np.array([0.0, 1.0, -1.0, 2.5, 0.5], np.float32)
    streams = Streams((1, 2), "test")
    actions = np.stack([(logits + streams.gumbel(20, 5)).argmax(-1) for _ in range(1000)])
    softmax = np.exp(logits) / np.exp(logits).sum()
    assert chi_square(np.bincount(actions.ravel(), minlength=5), softmax * actions.size) < 3.1


def test_permutations_are_permutations_and_every_one_as_likely() -> None:
    drawn = Streams((1, 2, 3), "test").permutations(4000, 4)
    assert drawn.shape == (3, 4000, 4)
    assert (np.sort(drawn, -1) == np.arange(4)).all()
    _, counts = np.unique(drawn.reshape(-1, 4), axis=0, return_counts=True)
    assert len(counts) == 24
    assert chi_square(counts, np.full(24, 12000 / 24)) < 3.1


# --- stacks


def networks() -> dict[str, Network]:
    return {
        "actor": MLP((4, 50, 2), "tanh", [orthogonal(1.0)] * 2),
        "critic": MLP((4, 50, 1), "relu"),
        "image": NatureCNN((36, 36, 3), 2),
        "any": Stacked(lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5))),
        "log_std": Constant(3, -1.0),
    }


@pytest.mark.parametrize("seeds", [(5,), (7, 5), (123, 0, 5)], ids=str)
def test_a_row_starts_the_same_alone_and_among_others(seeds: tuple[int, ...]) -> None:
    every, few = Stack(SEEDS, **networks()).matrix, Stack(seeds, **networks()).matrix
    assert torch.equal(every[[SEEDS.index(seed) for seed in seeds]], few)
    assert len({tuple(row.tolist()) for row in every.detach()}) == len(SEEDS)


def test_a_network_starts_the_same_whatever_networks_are_beside_it() -> None:
    every, alone = Stack(SEEDS, **networks()).named(), Stack(SEEDS, critic=networks()["critic"]).named()
    assert alone.keys() == {name for name in every if name.startswith("critic.")}
    assert all(torch.equal(every[name], value) for name, value in alone.items())
    twins = Stack(SEEDS, one=MLP((4, 4)), other=MLP((4, 4))).named()
    assert not torch.equal(twins["one.weight_0"], twins["other.weight_0"])


def test_no_two_parameters_share_a_number() -> None:
    stack = Stack(SEEDS, **networks())
    with torch.no_grad():
        stack.matrix.zero_()
        for view in stack.named().values():
            assert not view.any()
            view.fill_(1.0)
    assert stack.matrix.sum() == sum(view.numel() for view in stack.named().values())


def filled(seeds: Sequence[int], width: int = 7, scale: float = 1.0) -> Stack:
    """A stack whose gradient depends on each seed alone."""
    stack = Stack(seeds, net=MLP((3, width, 2)))
    refill(stack, seeds, 0, scale)
    return stack


def refill(stack: Stack, seeds: Sequence[int], step: int, scale: float = 1.0) -> None:
    for row, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(1000 * seed + step)
        stack.gradient[row] = scale * torch.randn(stack.gradient.shape[1], generator=generator)


def test_an_unknown_network_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="critic"):
        filled(SEEDS).critic  # noqa: B018


def test_a_target_network_copies_or_moves_by_tau() -> None:
    online, target = filled((1, 2)), filled((3, 4)).target_copy()
    start = target.matrix.clone()
    target.polyak_update(online, 0.25)
    torch.testing.assert_close(target.matrix, 0.75 * start + 0.25 * online.matrix.detach())
    target.polyak_update(online, 1.0)
    assert torch.equal(target.matrix, online.matrix)
    with torch.no_grad():
        online.matrix.add_(1.0)
    assert not torch.equal(target.matrix, online.matrix), "a target is a copy, no view"


def test_a_target_network_is_made_without_first_weights_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    online = filled(SEEDS)
    refill(online, SEEDS, 0)
    monkeypatch.setattr(MLP, "initialise", lambda *_: pytest.fail("drawn, only to be overwritten"))
    target = online.target_copy()
    assert torch.equal(target.matrix, online.matrix)
    assert not target.matrix.requires_grad
    assert not target.gradient.any()
    x = torch.ones(len(SEEDS), 4, 3)
    assert torch.equal(target.net(x), online.net(x))


# --- Adam


def torch_adam(stack: Stack, row: int, **options: Any) -> tuple[nn.Parameter, torch.optim.Adam]:
    parameter = nn.Parameter(stack.matrix.detach()[row].clone())
    return parameter, torch.optim.Adam([parameter], **options)


@pytest.mark.parametrize("seeds", [(5,), SEEDS], ids=["one seed", "four seeds"])
@pytest.mark.parametrize(("eps", "independent"), [(1e-8, False), (1e-5, True)])
def test_adam_is_torch_s_adam_on_each_seed(seeds: tuple[int, ...], eps: float, independent: bool) -> None:
    stack = filled(seeds, width=50)
    ours = Adam(stack, 3e-3, eps=eps, betas=(0.8, 0.99), independent=independent)
    fused = [torch_adam(stack, row, lr=3e-3, eps=eps, betas=(0.8, 0.99), fused=True) for row in range(len(seeds))]
    plain = [torch_adam(stack, row, lr=3e-3, eps=eps, betas=(0.8, 0.99)) for row in range(len(seeds))]
    for step in range(20):
        refill(stack, seeds, step)
        ours.step(learning_rate=3e-3 / (1 + step))
        for row in range(len(seeds)):
            for parameter, adam in (fused[row], plain[row]):
                parameter.grad = stack.gradient[row].clone()
                adam.param_groups[0]["lr"] = 3e-3 / (1 + step)
                adam.step()
        for row in range(len(seeds)):
            assert torch.equal(stack.matrix[row], fused[row][0])
            torch.testing.assert_close(stack.matrix[row], plain[row][0], rtol=1e-5, atol=1e-7)


def test_adam_keeps_its_learning_rate_where_none_is_given() -> None:
    stack = filled((1,))
    start = stack.matrix.detach().clone()
    Adam(stack, 0.125, eps=0.0).step()  # Adam's first step is lr in the direction of the gradient's sign
    torch.testing.assert_close(start - stack.matrix.detach(), 0.125 * stack.gradient.sign())


def test_adam_leaves_inactive_seeds_and_their_bias_correction_alone() -> None:
    stack = filled(SEEDS)
    ours = Adam(stack, 1e-2, independent=True)
    alone = [torch_adam(stack, row, lr=1e-2, fused=True) for row in range(len(SEEDS))]
    active = np.random.default_rng(0).random((30, len(SEEDS))) < 0.5
    for step, go in enumerate(active):
        refill(stack, SEEDS, step)
        before, state = stack.matrix.detach().clone(), {key: one.clone() for key, one in ours.get_state().items()}
        gradient = stack.gradient.clone()
        ours.step(active=go.tolist())
        assert torch.equal(stack.gradient, gradient)
        for row in range(len(SEEDS)):
            if go[row]:
                alone[row][0].grad = gradient[row].clone()
                alone[row][1].step()
            else:
                assert torch.equal(stack.matrix[row], before[row])
                for key, value in state.items():
                    assert torch.equal(ours.get_state()[key][row], value[row]), key
            assert torch.equal(stack.matrix[row], alone[row][0]), "its own number of steps corrects its bias"
    assert ours.get_state()["step"].flatten().tolist() == active.sum(0).tolist()


def test_adam_with_one_step_count_refuses_to_leave_seeds_out() -> None:
    with pytest.raises(ValueError, match="independent"):
        Adam(filled(SEEDS), 1e-2).step(active=[True, True, True, False])


def assert_goes_on_from_a_checkpoint(stack: Stack, ours: Adam, **options: Any) -> None:
    """Two of the seeds, in turned order, go on as they do among all."""
    rows = [3, 1]
    seeds = [SEEDS[row] for row in rows]
    parts = [split({"matrix": stack.matrix, "adam": ours.get_state()}, row) for row in rows]
    again = filled(seeds)
    other = Adam(again, 1e-2, **options)
    other.step()  # whatever it did before is gone
    state = join(parts)
    again.load(torch.from_numpy(state["matrix"]))
    other.set_state(state["adam"])
    for step in range(3, 6):
        refill(stack, SEEDS, step)
        refill(again, seeds, step)
        ours.step()
        other.step()
        assert torch.equal(again.matrix, stack.matrix[rows])


@pytest.mark.parametrize("stepped", [(0,), (3,), (1, 2), (0, 1, 2, 3), ()], ids=str)
def test_adam_goes_on_from_a_checkpoint_whichever_seeds_have_stepped(stepped: tuple[int, ...]) -> None:
    """Agents that learn from whole episodes first step each seed at another time."""
    stack = filled(SEEDS)
    ours = Adam(stack, 1e-2, independent=True)
    for step in range(3 if stepped else 0):
        refill(stack, SEEDS, step)
        ours.step(active=[row in stepped for row in range(len(SEEDS))])
    assert_goes_on_from_a_checkpoint(stack, ours, independent=True)


@pytest.mark.parametrize("steps", [0, 3])
def test_adam_with_one_step_count_goes_on_from_a_checkpoint(steps: int) -> None:
    stack = filled(SEEDS)
    ours = Adam(stack, 1e-2)
    for step in range(steps):
        refill(stack, SEEDS, step)
        ours.step()
    assert_goes_on_from_a_checkpoint(stack, ours)


# --- RMSProp


@pytest.mark.parametrize("seeds", [(5,), SEEDS], ids=["one seed", "four seeds"])
@pytest.mark.parametrize(("library", "inside"), [(torch.optim.RMSprop, False), (RMSpropTFLike, True)])
def test_rmsprop_is_torch_s_or_tensorflow_s_on_each_seed(seeds: tuple[int, ...], library: Any, inside: bool) -> None:
    stack = filled(seeds, width=50)
    ours = RMSProp(stack, 3e-3, eps=1e-3, alpha=0.9, eps_inside=inside)
    parameters = [nn.Parameter(stack.matrix.detach()[row].clone()) for row in range(len(seeds))]
    theirs = [library([parameter], lr=3e-3, eps=1e-3, alpha=0.9) for parameter in parameters]
    for step in range(20):
        refill(stack, seeds, step)
        stack.gradient.mul_(0.01)  # squares beside which ε counts
        if step == 10:
            state = join([split(ours.get_state(), row) for row in range(len(seeds))])
            ours = RMSProp(stack, 3e-3, eps=1e-3, alpha=0.9, eps_inside=inside)
            ours.set_state(state)
        ours.step(learning_rate=3e-3 / (1 + step))
        for row, (parameter, rmsprop) in enumerate(zip(parameters, theirs, strict=True)):
            parameter.grad = stack.gradient[row].clone()
            rmsprop.param_groups[0]["lr"] = 3e-3 / (1 + step)
            rmsprop.step()
            torch.testing.assert_close(stack.matrix[row], parameter, rtol=1e-6, atol=1e-7)


def test_rmsprop_s_first_step_by_hand() -> None:
    for inside, step in ((False, 0.5 / (math.sqrt(0.1) * 0.5 + 0.01)), (True, 0.5 / math.sqrt(0.9 + 0.025 + 0.01))):
        stack = filled((1,))
        start = stack.matrix.detach().clone()
        stack.gradient.fill_(0.5)
        RMSProp(stack, 0.125, eps=0.01, alpha=0.9, eps_inside=inside).step()
        torch.testing.assert_close(start - stack.matrix.detach(), torch.full_like(start, 0.125 * step))


# --- SGD


@pytest.mark.parametrize("rate", [None, 0.5, torch.tensor(0.5)], ids=["its own rate", "another", "a tensor's"])
@pytest.mark.parametrize("active", [None, (True, False, True, False)], ids=["all", "some"])
def test_sgd_goes_down_the_gradients_of_the_seeds_that_take_part(rate: Any, active: Any) -> None:
    stack = filled(SEEDS)
    refill(stack, SEEDS, 0)
    start = stack.matrix.detach().clone()
    SGD(stack, 0.25).step(rate, active)
    taken = torch.tensor([float(go) for go in active or [True] * len(SEEDS)])[:, None]
    expected = start - (0.25 if rate is None else 0.5) * taken * stack.gradient
    torch.testing.assert_close(stack.matrix.detach(), expected, rtol=1e-6, atol=1e-7)
    assert not torch.equal(stack.matrix.detach(), start)


# --- clipping


@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 1.0, 7.3, 100.0])
def test_clipping_is_torch_s_on_each_seed(max_norm: float) -> None:
    stack = filled(SEEDS, width=50)
    stack.gradient.mul_(torch.tensor([[1e-6], [0.01], [1.0], [100.0]]))
    before = stack.gradient.clone()
    norms = clip_by_norm(stack.gradient, max_norm)
    for row in range(len(SEEDS)):
        parameter = nn.Parameter(torch.zeros(before.shape[1]))
        parameter.grad = before[row].clone()
        norm = nn.utils.clip_grad_norm_([parameter], max_norm)
        torch.testing.assert_close(norms[row], norm, rtol=1e-6, atol=0)
        torch.testing.assert_close(stack.gradient[row], parameter.grad, rtol=1e-6, atol=0)
        assert stack.gradient[row].norm() <= max_norm * (1 + 1e-6)
        if norm < max_norm * (1 - 1e-5):
            assert torch.equal(stack.gradient[row], before[row]), "a smaller gradient is not touched"


def test_clipping_by_the_norm_of_all_seeds_would_be_wrong() -> None:
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4], [30.0, 40.0]])
    together = gradient.clone()
    clip_by_norm(together.view(1, -1), 1.0)
    norms = clip_by_norm(gradient, 1.0)
    torch.testing.assert_close(norms, torch.tensor([5.0, 0.5, 50.0]))
    torch.testing.assert_close(gradient, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]]), rtol=1e-5, atol=0)
    assert together[1].norm() < 0.01, "the norm of all seeds makes one seed's step depend on another's gradient"


# --- the central invariant: bit for bit


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Case:
    """What a step is made with; `sample` gives a batch of inputs."""

    sample: Callable[[np.random.Generator, int], np.ndarray]
    batch: int
    height: int
    through: bool = False  # the gradient by the input too
    max_norm: float = 0.5


def two_steps(seeds: Sequence[int], build: Callable[[], Network], case: Case) -> dict[str, torch.Tensor]:
    """Everything `[S, ...]` that two training steps compute: forward, backward, clipping, Adam."""
    stack = Stack(seeds, net=build())
    optimiser = Adam(stack, 1e-2)
    trace = {}
    for step in range(2):
        rows = [np.random.default_rng([seed, step]) for seed in seeds]
        x = torch.from_numpy(np.stack([case.sample(rng, case.batch) for rng in rows]))
        if case.through:
            x.requires_grad_()
        out = stack.net(x)
        target = torch.from_numpy(np.stack([rng.standard_normal(out.shape[1:], np.float32) for rng in rows]))
        loss = (out - target).square().mean((1, 2))
        stack.gradient.zero_()
        loss.sum().backward()
        trace |= {f"{step}: output": out.detach(), f"{step}: loss": loss.detach()}
        if case.through:
            trace[f"{step}: input gradient"] = x.grad
        trace[f"{step}: gradient"] = stack.gradient.clone()
        trace[f"{step}: norm"] = clip_by_norm(stack.gradient, case.max_norm)
        trace[f"{step}: clipped gradient"] = stack.gradient.clone()
        optimiser.step()
        trace[f"{step}: parameters"] = stack.matrix.detach().clone()
    return trace


def assert_rows_stand_alone(build: Callable[[], Network], case: Case) -> None:
    """A step of a stack, of each of its rows alone, and of two of them in turned order: the same bits."""
    seeds = list(range(3, 3 + case.height))
    every = two_steps(seeds, build, case)
    for few in [[seed] for seed in seeds] + ([[seeds[-1], seeds[0]]] if len(seeds) > 2 else []):
        for what, value in two_steps(few, build, case).items():
            expected = every[what][[seeds.index(seed) for seed in few]]
            assert torch.equal(value, expected), (
                f"{what} differs in {int((value != expected).sum())} of {value.numel()} numbers "
                f"between stacks of {len(few)} and {len(seeds)} seeds"
            )


def vectors(features: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, batch: rng.standard_normal((batch, features), np.float32)


@pytest.mark.parametrize("height", [2, 3, 10])
@pytest.mark.parametrize("batch", [1, 5, 32, 100, 131])
@pytest.mark.parametrize("hidden", [50, 64])
def test_a_step_of_an_mlp_is_the_same_alone_and_among_others(hidden: int, batch: int, height: int) -> None:
    sizes = (4, hidden, hidden, 2)
    with threads(1):
        for activation in ("tanh", "relu"):
            assert_rows_stand_alone(lambda a=activation: MLP(sizes, a), Case(vectors(4), batch, height))


WIDTHS = st.sampled_from([1, 2, 3, 7, 8, 16, 17, 31, 32, 50, 64, 84, 100, 120, 128, 256])


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.lists(WIDTHS, min_size=0, max_size=3),
    st.sampled_from([1, 2, 3, 4, 6, 11, 17, 64, 111]),
    st.sampled_from([1, 2, 3, 5, 6, 16, 17, 18]),
    st.sampled_from([1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 64, 100, 128, 131, 256]),
    st.sampled_from([2, 3, 5, 10]),
    st.booleans(),
    st.sampled_from([0.01, 10.0]),
    st.sampled_from(["tanh", "relu"]),
)
@example([50], 4, 2, 1, 2, False, 0.5, "tanh")  # SGEMM for one seed, SGEMM_BATCH for more: 50 columns, 1 row
@example([7], 4, 2, 33, 3, False, 0.5, "tanh")
@example([16], 1, 2, 33, 3, True, 0.5, "tanh")  # a product over one number, forward and back
@example([50, 50], 4, 2, 3, 3, False, 0.5, "relu")  # rows of 3 × 50 numbers: not every seed's begins at 16 bytes
def test_a_step_of_any_mlp_is_the_same_alone_and_among_others(
    hidden: list[int],
    features: int,
    out: int,
    batch: int,
    height: int,
    through: bool,
    max_norm: float,
    activation: str,
) -> None:
    sizes = (features, *hidden, out)
    with threads(1):
        case = Case(vectors(features), batch, height, through, max_norm)
        assert_rows_stand_alone(lambda: MLP(sizes, activation), case)


@pytest.mark.parametrize("shape", [(1, 36, 36), (37, 45, 3)], ids=["channels first", "channels last, odd"])
@pytest.mark.parametrize("batch", [1, 5, 32])
@pytest.mark.parametrize("out", [4, 7])
def test_a_step_of_the_nature_cnn_is_the_same_alone_and_among_others(
    out: int, batch: int, shape: tuple[int, ...]
) -> None:
    def image(rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, *shape), np.uint8)

    with threads(1):
        assert_rows_stand_alone(lambda: NatureCNN(shape, out, heads=[(out, 0.01)]), Case(image, batch, 3))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.SiLU, nn.ELU, nn.GELU, nn.Softplus])
@pytest.mark.parametrize("width", [64, 50])
def test_a_step_of_any_module_is_the_same_alone_and_among_others(width: int, activation: type[nn.Module]) -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, 4)
        )

    with threads(1):
        for batch in (1, 5, 32):
            assert_rows_stand_alone(lambda: Stacked(build), Case(vectors(4), batch, 3, through=True))


AGENTS: dict[str, Callable[[Setup], PPO | PPOSplit | DQN]] = {
    "ppo": lambda setup: PPO(setup, PPO.Config(num_steps=8, num_minibatches=2, learning_rate=0.01)),
    "ppo, target KL": lambda setup: PPO(
        setup, PPO.Config(num_steps=8, num_minibatches=2, learning_rate=0.01, target_kl=0.005, num_epochs=8)
    ),
    "ppo split": lambda setup: PPOSplit(
        setup, PPOSplit.Config(num_steps=8, batch_size=13, learning_rate=0.01, hidden=(10,))
    ),
    "a2c": lambda setup: A2C(setup, A2C.Config(num_steps=8, learning_rate=0.01)),
    "a2c, separate": lambda setup: A2C(
        setup, A2C.Config(num_steps=8, optimiser="rmsprop_tf", separate=True, normalise_advantage=True, hidden=(10,))
    ),
    "trpo": lambda setup: TRPO(setup, TRPO.Config(num_steps=8, batch_size=13, target_kl=0.3, line_search_steps=2)),
    "dqn": lambda setup: DQN(setup, DQN.Config(learning_rate=0.01, target_every=8)),
    "double dqn": lambda setup: DQN(setup, DQN.Config(double=True, loss="squared", target_every=1, tau=0.1)),
}


def two_updates(agent: A2C | DQN | PPO | PPOSplit | TRPO, seeds: Sequence[int]) -> dict[str, torch.Tensor]:
    """The actions, metrics and parameters of an agent that learns twice."""
    trace = {}
    for step in range(2):
        fields = []
        for seed in seeds:
            rng, shape = np.random.default_rng([seed, step]), (8, 4)
            obs, next_obs = rng.standard_normal((2, *shape, 3), np.float32)
            action = rng.integers(0, 2, shape)
            if not isinstance(agent, DQN) and isinstance(agent.policy, DiagonalGaussian):
                action = rng.standard_normal((*shape, 2), np.float32)
            reward, ends = rng.standard_normal(shape, np.float32), rng.random((2, *shape)) < 0.1
            fields.append((obs, action, reward, next_obs, *ends))
        batch = [torch.from_numpy(np.stack(field)) for field in zip(*fields, strict=True)]
        if isinstance(agent, DQN):
            batch = [field.flatten(1, 2) for field in batch]
        action, _ = agent.act(batch[0].numpy().reshape(len(seeds), 32, 3)[:, :4], 10**6)
        trace[f"{step}: action"] = torch.from_numpy(action)
        trace |= {f"{step}: {tag}": value for tag, value in agent.update(Transition(*batch, {}), 4 * step).items()}
        for name in ("stack", "critic_stack", "actor", "critic", "online"):
            if hasattr(agent, name):
                trace[f"{step}: {name}"] = getattr(agent, name).matrix.detach().clone()
        if isinstance(agent, DQN):
            trace[f"{step}: target"] = agent.target.matrix.clone()
    return trace


@pytest.mark.parametrize(
    ("name", "actions"),
    [(name, Discrete(2)) for name in AGENTS] + [(name, Box(-1, 1, (2,))) for name in AGENTS if "dqn" not in name],
    ids=str,
)
def test_an_update_and_its_metrics_are_the_same_alone_and_among_others(name: str, actions: Any) -> None:

    def trace(seeds: Sequence[int]) -> dict[str, torch.Tensor]:
        return two_updates(AGENTS[name](Setup(Box(-9, 9, (3,)), actions, tuple(seeds), 4, 10**6)), seeds)

    with threads(1):
        every = trace(SEEDS)
        for row, seed in enumerate(SEEDS):
            for what, value in trace([seed]).items():
                assert torch.equal(value[0], every[what][row]), f"{what} of seed {seed} depends on the seeds beside it"
