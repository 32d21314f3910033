"""Value targets and policy gradients: numbers worked by hand, independent float64 loops, plain autograd."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlrepro.agent import UnsupportedSpace
from rlrepro.distributions import Categorical, DiagonalGaussian, UnitBox, far_from_normal
from rlrepro.targets import clipped_surrogate, clipped_value_error, gae, lambda_return, td_target

PROPERTY = settings(deadline=None, derandomize=True)
CATEGORICAL = Categorical(gymnasium.spaces.Discrete(5))


def column(*numbers: float) -> torch.Tensor:
    """A rollout `[1, T, 1]`."""
    return torch.tensor(numbers, dtype=torch.float32).view(1, -1, 1)


def flags(length: int, *at: int) -> torch.Tensor:
    return column(*(float(t in at) for t in range(length))).bool()


REWARD, VALUE, NEXT_VALUE = column(1, 2, 3), column(1, 1, 1), column(2, 4, 6)
NEVER, MIDDLE = flags(3), flags(3, 1)


# With γ = λ = ½ a step weighs a quarter of the one before. δ = r + V'/2 − V = (1, 3, 5), and where the middle step
# terminates δ₁ = 2 − 1 = 1.
@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        (NEVER, NEVER, (1 + 4.25 / 4, 3 + 5 / 4, 5)),
        (NEVER, MIDDLE, (1 + 3 / 4, 3, 5)),
        (MIDDLE, NEVER, (1 + 1 / 4, 1, 5)),
        (MIDDLE, MIDDLE, (1 + 1 / 4, 1, 5)),
    ],
    ids=["no end", "truncated", "terminated", "both at once"],
)
def test_gae_by_hand(terminated: torch.Tensor, truncated: torch.Tensor, expected: tuple[float, ...]) -> None:
    torch.testing.assert_close(gae(REWARD, VALUE, NEXT_VALUE, terminated, truncated, 0.5, 0.5), column(*expected))


# λ = ½: G₂ = 3 + 6/2 = 6; G₁ = 2 + ½ (4/2 + 6/2) = 4.5; G₀ = 1 + ½ (2/2 + 4.5/2) = 2.625.
# Truncated in the middle: G₁ = 2 + 4/2 = 4, G₀ = 1 + ½ (1 + 2) = 2.5. Terminated there: G₁ = 2, G₀ = 1 + ½ (1 + 1) = 2.
@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [(NEVER, NEVER, (2.625, 4.5, 6)), (NEVER, MIDDLE, (2.5, 4, 6)), (MIDDLE, NEVER, (2, 2, 6))],
    ids=["no end", "truncated", "terminated"],
)
def test_lambda_return_by_hand(terminated: torch.Tensor, truncated: torch.Tensor, expected: tuple[float, ...]) -> None:
    torch.testing.assert_close(lambda_return(REWARD, NEXT_VALUE, terminated, truncated, 0.5, 0.5), column(*expected))


def test_td_target_by_hand() -> None:
    torch.testing.assert_close(td_target(REWARD, NEXT_VALUE, MIDDLE, 0.5), column(1 + 2 / 2, 2, 3 + 6 / 2))


def every_target(
    reward: torch.Tensor,
    value: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: float = 0.9,
    lam: float = 0.8,
) -> dict[str, torch.Tensor]:
    return {
        "gae": gae(reward, value, next_value, terminated, truncated, gamma, lam),
        "lambda_return": lambda_return(reward, next_value, terminated, truncated, gamma, lam),
    }


def test_swapped_ends_give_wrong_targets() -> None:
    right = every_target(REWARD, VALUE, NEXT_VALUE, NEVER, MIDDLE)
    swapped = every_target(REWARD, VALUE, NEXT_VALUE, MIDDLE, NEVER)
    for name in right:
        # the bootstrap γ V' = 0.9 · 4 of the truncated step is missing
        torch.testing.assert_close((right[name] - swapped[name])[0, 1, 0], torch.tensor(3.6), msg=name)
    assert td_target(REWARD, NEXT_VALUE, MIDDLE, 0.9)[0, 1, 0] == 2.0


def test_the_value_after_a_reset_gives_wrong_targets_at_a_truncation() -> None:
    after_reset = NEXT_VALUE.clone()
    after_reset[0, 1, 0] = VALUE[0, 2, 0]  # what a loop takes that asks the autoreset environment for `next_obs`
    right = every_target(REWARD, VALUE, NEXT_VALUE, NEVER, MIDDLE)
    wrong = every_target(REWARD, VALUE, after_reset, NEVER, MIDDLE)
    for name in right:
        torch.testing.assert_close((right[name] - wrong[name])[0, 1, 0], torch.tensor(0.9 * (4 - 1)), msg=name)
    terminated = every_target(REWARD, VALUE, after_reset, MIDDLE, NEVER)
    for name, target in every_target(REWARD, VALUE, NEXT_VALUE, MIDDLE, NEVER).items():
        assert torch.equal(target, terminated[name]), f"{name}: a terminated step has no successor value"


Rollout = dict[str, Any]


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    """Any shape and any ends; within an episode the successor's value is the next step's."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    often = draw(st.sampled_from([0.0, 0.1, 0.5]))
    terminated, truncated = rng.random(shape) < often, rng.random(shape) < often
    value, next_value = rng.normal(0, 3, shape), rng.normal(0, 3, shape)
    inside = ~(terminated | truncated)[:, :-1]
    next_value[:, :-1][inside] = value[:, 1:][inside]
    numbers = {"reward": rng.normal(0, 1, shape), "value": value, "next_value": next_value}
    rollout: Rollout = {name: torch.from_numpy(array.astype(np.float32)) for name, array in numbers.items()}
    rollout |= {"terminated": torch.from_numpy(terminated), "truncated": torch.from_numpy(truncated)}
    rollout |= {"gamma": draw(st.floats(0, 1)), "lam": draw(st.floats(0, 1))}
    return rollout


def loops(rollout: Rollout) -> dict[str, np.ndarray]:
    """The definitions as sums forward in time, in float64."""
    gamma, lam = rollout["gamma"], rollout["lam"]
    reward, value, next_value = (rollout[name].double().numpy() for name in ("reward", "value", "next_value"))
    terminated, truncated = rollout["terminated"].numpy(), rollout["truncated"].numpy()
    num_seeds, length, num_envs = reward.shape
    out = {name: np.zeros(reward.shape) for name in ("gae", "lambda_return")}
    for s in range(num_seeds):
        for n in range(num_envs):
            for t in range(length):
                end = t  # the last step of this episode, or of the rollout
                while end < length - 1 and not (terminated[s, end, n] or truncated[s, end, n]):
                    end += 1
                steps = range(t, end + 1)
                bootstrap = {k: 0.0 if terminated[s, k, n] else next_value[s, k, n] for k in steps}
                n_step = {}  # G_{t:k+1}
                for k in steps:
                    rewards = sum(gamma ** (i - t) * reward[s, i, n] for i in range(t, k + 1))
                    n_step[k] = rewards + gamma ** (k - t + 1) * bootstrap[k]
                    delta = reward[s, k, n] + gamma * bootstrap[k] - value[s, k, n]
                    out["gae"][s, t, n] += (gamma * lam) ** (k - t) * delta
                    weight = lam ** (k - t) * (1.0 if k == end else 1.0 - lam)
                    out["lambda_return"][s, t, n] += weight * n_step[k]
    return out


@PROPERTY
@given(rollouts())
def test_targets_equal_their_definitions(rollout: Rollout) -> None:
    found = every_target(**rollout)
    for name, expected in loops(rollout).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=2e-5, err_msg=name)


@PROPERTY
@given(rollouts())
def test_targets_agree_with_one_another(rollout: Rollout) -> None:
    reward, next_value, terminated = rollout["reward"], rollout["next_value"], rollout["terminated"]
    one_step = td_target(reward, next_value, terminated, rollout["gamma"])
    shortest = every_target(**rollout | {"lam": 0.0})
    between = every_target(**rollout)

    def same(one: torch.Tensor, other: torch.Tensor) -> None:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5)

    same(shortest["gae"], one_step - rollout["value"])
    same(shortest["lambda_return"], one_step)
    same(between["gae"] + rollout["value"], between["lambda_return"])


@PROPERTY
@given(rollouts(), st.data())
def test_nothing_flows_back_over_an_end(rollout: Rollout, data: st.DataObject) -> None:
    length = rollout["reward"].shape[1]
    end = data.draw(st.integers(0, length - 1))
    rollout[data.draw(st.sampled_from(["terminated", "truncated"]))][:, end] = True
    before = every_target(**rollout)
    for name in ("reward", "value", "next_value"):
        rollout[name][:, end + 1 :] += 1000.0
    for name in ("terminated", "truncated"):
        rollout[name][:, end + 1 :] ^= True
    for name, after in every_target(**rollout).items():
        assert torch.equal(before[name][:, : end + 1], after[:, : end + 1]), name


@PROPERTY
@given(rollouts())
def test_targets_do_not_change_their_inputs(rollout: Rollout) -> None:
    before = {name: value.clone() for name, value in rollout.items() if isinstance(value, torch.Tensor)}
    every_target(**rollout)
    td_target(rollout["reward"], rollout["next_value"], rollout["terminated"], rollout["gamma"])
    assert all(torch.equal(rollout[name], value) for name, value in before.items())


def plain_surrogate(log_ratio: torch.Tensor, advantage: torch.Tensor, clip_range: float) -> torch.Tensor:
    ratio = log_ratio.exp()
    return torch.min(ratio * advantage, ratio.clamp(1 - clip_range, 1 + clip_range) * advantage).mean(1)


def test_clipped_surrogate_by_hand() -> None:
    # ε = ½. A = 2: ratios ½ and 4 give 1 and the clipped 3; A = −2: ½ is inside and gives −1, ¼ is clipped to ½: −1,
    # and 4 stays open: −8. Mean of (1, 3, −1, −1, −8) = −1.2. The gradient is r A / 5 where it is open.
    log_ratio = torch.tensor([[0.5, 4.0, 0.5, 0.25, 4.0]]).log().requires_grad_()
    out = clipped_surrogate(log_ratio, torch.tensor([[2.0, 2.0, -2.0, -2.0, -2.0]]), 0.5)
    out.backward(torch.tensor([5.0]))
    torch.testing.assert_close(out.detach(), torch.tensor([-1.2]))
    torch.testing.assert_close(log_ratio.grad, torch.tensor([[1.0, 0.0, -1.0, 0.0, -8.0]]))


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 40), st.sampled_from([0.0, 0.1, 0.2, 0.9]))
def test_clipped_surrogate_equals_autograd_of_the_formula(seed: int, S: int, B: int, clip_range: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_ratio = 0.3 * torch.randn(S, B, generator=generator)
    log_ratio[:, 0] = 0.0  # as in the first minibatch of an update
    advantage, weight = torch.randn(S, B, generator=generator), torch.randn(S, generator=generator)
    ours, plain = log_ratio.clone().requires_grad_(), log_ratio.clone().requires_grad_()
    out, expected = clipped_surrogate(ours, advantage, clip_range), plain_surrogate(plain, advantage, clip_range)
    out.backward(weight)
    expected.backward(weight)
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("advantage", [-3.0, 0.0, 3.0])
@pytest.mark.parametrize("log_ratio", [-1.0, -0.3, 0.0, 0.3, 1.0])
def test_clipped_surrogate_equals_autograd_at_the_clip_boundary(log_ratio: float, advantage: float) -> None:
    ours, plain = (torch.full((1, 1), log_ratio).requires_grad_() for _ in range(2))
    ratio = ours.detach().exp().item()
    clip_range = abs(ratio - 1)  # in float64, so that 1 ± ε is the float32 ratio itself
    assert ratio in (1 - clip_range, 1 + clip_range)
    clipped_surrogate(ours, torch.full((1, 1), advantage), clip_range).backward()
    plain_surrogate(plain, torch.full((1, 1), advantage), clip_range).backward()
    assert torch.equal(ours.grad, plain.grad)
    assert ours.grad.item() == pytest.approx(ratio * advantage)


def test_clipped_surrogate_passes_gradcheck() -> None:
    log_ratio = torch.linspace(-1, 1, 24, dtype=torch.float64).view(2, 12)  # none within 1e-3 of log(1 ± ε)
    assert (log_ratio - np.log(1.2)).abs().min() > 1e-3
    assert (log_ratio - np.log(0.8)).abs().min() > 1e-3
    advantage = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: clipped_surrogate(x, advantage, 0.2), log_ratio.requires_grad_())


def test_categorical_passes_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    action = torch.randint(5, (2, 6), generator=generator)
    assert torch.autograd.gradcheck(lambda x: CATEGORICAL.log_prob_and_entropy(x, action), logits)


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 20), st.sampled_from([0.01, 1.0, 30.0]))
def test_categorical_equals_torch_distributions(seed: int, S: int, B: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(S, B, 5, generator=generator)
    action = torch.randint(5, (S, B), generator=generator)
    weights = torch.randn(2, S, B, generator=generator)
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = CATEGORICAL.log_prob_and_entropy(ours, action)
    reference = torch.distributions.Categorical(logits=plain)
    expected = (reference.log_prob(action), reference.entropy())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    sum((weight * one).sum() for weight, one in zip(weights, found, strict=True)).backward()
    sum((weight * one).sum() for weight, one in zip(weights, expected, strict=True)).backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-5, atol=1e-5)


def test_categorical_gradient_of_either_output_alone() -> None:
    for which in range(2):
        ours, plain = (torch.tensor([[[0.5, -1.0, 2.0]]], requires_grad=True) for _ in range(2))
        action = torch.tensor([[2]])
        policy, reference = Categorical(gymnasium.spaces.Discrete(3)), torch.distributions.Categorical(logits=plain)
        policy.log_prob_and_entropy(ours, action)[which].sum().backward()
        (reference.log_prob(action), reference.entropy())[which].sum().backward()
        torch.testing.assert_close(ours.grad, plain.grad)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2)])
def test_diagonal_gaussian_equals_torch_distributions(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    policy = DiagonalGaussian(gymnasium.spaces.Box(-1, 1, shape))
    count = policy.num_actions
    outputs = torch.randn(2, 7, 2 * count, generator=generator)
    action = torch.randn(2, 7, *shape, generator=generator)
    ours, plain = outputs.clone().requires_grad_(), outputs.clone().requires_grad_()
    log_prob, entropy = policy.log_prob_and_entropy(ours, action)
    reference = torch.distributions.Normal(plain[..., :count], plain[..., count:].exp())
    expected = reference.log_prob(action.flatten(2)).sum(-1), reference.entropy().sum(-1)
    torch.testing.assert_close((log_prob, entropy), expected, rtol=1e-5, atol=1e-5)
    (2 * log_prob - 3 * entropy).sum().backward()
    (2 * expected[0] - 3 * expected[1]).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_the_clipped_value_error_is_that_of_the_plain_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    value, old_value, target = (torch.randn(3, 200, generator=generator, dtype=torch.float64) for _ in range(3))
    old_value[:, :50] = value[:, :50] + 0.05  # nothing clipped
    value.requires_grad_()
    ours = clipped_value_error(value, old_value, target, 0.2)
    near = old_value + (value - old_value).clamp(-0.2, 0.2)
    plain = torch.maximum((value - target).square(), (near - target).square()).mean(1)
    torch.testing.assert_close(ours, plain)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (gradient,) = torch.autograd.grad((ours * weights).sum(), value)
    (expected,) = torch.autograd.grad((plain * weights).sum(), value)
    torch.testing.assert_close(gradient, expected)
    assert (expected == 0).any()
    assert (expected[:, :50] != 0).all()


@pytest.mark.parametrize(
    ("low", "high", "is_far"),
    [
        (-1, 1, False), (-2, 2, False), (-0.4, 0.4, False), (0, 1, False), (-np.inf, np.inf, False), (-9, 9, False),
        (100, 2000, True), (-0.05, 0.05, True), (1.5, 3, True), (-10, 10, True), (0, 255, True), (2, np.inf, True),
    ],
)  # fmt: skip
def test_a_box_far_from_the_first_normal_is_told(low: float, high: float, is_far: bool) -> None:
    box = gymnasium.spaces.Box(np.float32([-1, low]), np.float32([1, high]))
    told = far_from_normal(box)
    assert bool(told) == is_far
    assert not is_far or f"actions in [{low:g}, {high:g}]" in told
    inside = scipy.stats.norm.cdf(high) - scipy.stats.norm.cdf(low)
    assert is_far == (inside < 0.1 or 18 < high - low < np.inf)
    assert ("RescaleAction" in told) == (is_far and high < np.inf)  # which takes bounds alone


def test_a_wider_first_normal_reaches_further() -> None:
    wide = gymnasium.spaces.Box(-100, 100, (2,))
    assert "near N(0, 1)" in far_from_normal(wide)
    assert far_from_normal(wide, math.log(20)) == ""
    assert "near N(0, 400)" in far_from_normal(gymnasium.spaces.Box(-1, 1, (2,)), math.log(20))
    assert far_from_normal(gymnasium.spaces.Box(np.float32([-1, 5]), np.float32([1, 5]))) == ""  # nothing to choose
    for far in (1e6, -1e6):
        assert "clipped to them" in far_from_normal(wide, far)


def test_a_box_of_no_action_is_not_served() -> None:
    nothing = gymnasium.spaces.Box(-2, 2, (0,))
    for policy in (DiagonalGaussian, UnitBox):
        with pytest.raises(UnsupportedSpace, match="at least one number"):
            policy(nothing)
