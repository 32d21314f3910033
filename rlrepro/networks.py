"""Networks with a leading seed axis: `[S, B, in]` to `[S, B, out]`, parameters `[S, in, out]`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rlrepro.agent import Setup, UnsupportedSpace
from rlrepro.images import GRID, is_image, is_small
from rlrepro.seeds import Bound, Network, padded

Initialiser = Callable[[np.ndarray, np.ndarray, np.random.Generator], None]


def orthogonal(gain: float) -> Initialiser:
    """Orthogonal weights (Saxe et al., 2014) and zero biases; a weight is `[in, out]` or `[out, in, k, k]`."""

    def fill(weight: np.ndarray, bias: np.ndarray, generator: np.random.Generator) -> None:
        rows = weight.shape[0]
        normal = generator.standard_normal((rows, weight.size // rows))
        q, r = np.linalg.qr(normal if rows >= normal.shape[1] else normal.T)
        q = q * np.sign(np.diag(r))
        weight[...] = gain * (q if rows >= normal.shape[1] else q.T).reshape(weight.shape)
        bias[...] = 0.0

    return fill


def fan_in_uniform(weight: np.ndarray, bias: np.ndarray, generator: np.random.Generator) -> None:
    """Weights and biases uniform in ±1/√fan_in: what `torch.nn.Linear` and `torch.nn.Conv2d` start from."""
    fan_in = weight.shape[0] if weight.ndim == 2 else math.prod(weight.shape[1:])
    bound = 1.0 / math.sqrt(fan_in)
    weight[...] = generator.uniform(-bound, bound, weight.shape)
    bias[...] = generator.uniform(-bound, bound, bias.shape)


def uniform(bound: float, bias_by_fan_in: bool = False) -> Initialiser:
    """Weights and biases uniform in ±bound; with `bias_by_fan_in` biases in ±1/√fan_in, as in `torch.nn.Linear`."""

    def fill(weight: np.ndarray, bias: np.ndarray, generator: np.random.Generator) -> None:
        largest_bias = 1.0 / math.sqrt(weight.shape[0]) if bias_by_fan_in else bound
        weight[...] = generator.uniform(-bound, bound, weight.shape)
        bias[...] = generator.uniform(-largest_bias, largest_bias, bias.shape)

    return fill


def apart(num_late: int) -> Initialiser:
    """`fan_in_uniform` of two layers that are added: the last `num_late` inputs have a fan-in of their own."""

    def fill(weight: np.ndarray, bias: np.ndarray, generator: np.random.Generator) -> None:
        fan_in_uniform(weight[:-num_late], bias, generator)
        fan_in_uniform(weight[-num_late:], np.zeros_like(bias), generator)

    return fill


def xavier_uniform(gain: float, zero_bias: bool = False) -> Initialiser:
    """Weights uniform in ±gain √(6 / (fan_in + fan_out)) (Glorot & Bengio, 2010, eq. 16), dense layers only.

    The biases are those of `fan_in_uniform`, as of a `torch.nn.Linear` of whose weight alone this is asked, or 0.
    """

    def fill(weight: np.ndarray, bias: np.ndarray, generator: np.random.Generator) -> None:
        fan_in_uniform(weight, bias, generator)
        bound = gain * math.sqrt(6.0 / sum(weight.shape))
        weight[...] = generator.uniform(-bound, bound, weight.shape)
        if zero_bias:
            bias[...] = 0.0

    return fill


def initialisers(kind: str, activation: str, num_hidden: int, head_gain: float = 1.0) -> list[Initialiser]:
    """One a layer: `uniform`, PyTorch's in ±1/√fan_in; `orthogonal` as in Huang et al. (2022), detail 2; `xavier`,
    MushroomRL's; `glorot`, Dopamine's.
    """
    if kind == "uniform":
        return [fan_in_uniform] * (num_hidden + 1)
    if kind == "glorot":
        return [xavier_uniform(1.0, zero_bias=True)] * (num_hidden + 1)
    if kind == "xavier":
        gain = math.sqrt(2) if activation == "relu" else 5 / 3  # torch.nn.init.calculate_gain
        return [*[xavier_uniform(gain)] * num_hidden, xavier_uniform(1.0)]
    assert kind == "orthogonal", kind
    return [*[orthogonal(math.sqrt(2))] * num_hidden, orthogonal(head_gain)]


HEAD_MULTIPLE = 16  # columns: a product with 2 columns takes 2.7 times as long as one with 16 (MKL, AVX-512)
# MKL has other kernels for the columns beyond a multiple of 4. They sum in another order in SGEMM (one seed) than in
# SGEMM_BATCH (several), and for matrices that do not begin at a multiple of 16 bytes: a seed's bits would depend on
# the seeds beside it.
HIDDEN_MULTIPLE = 4


def input_columns(count: int) -> int:
    """Of a layer that takes `count` numbers: a product over one alone is rounded otherwise in SGEMM_BATCH (AVX-512)."""
    return padded(count, HIDDEN_MULTIPLE) if count == 1 else count


class MLP:
    """Dense layers with `tanh` or `relu` between them and a linear head: `sizes` = in, hidden…, out.

    Forward and backward are written out as one autograd function that adds each weight's gradient straight into
    the stack's gradient matrix: on small networks autograd's bookkeeping costs as much as the arithmetic.

    Where the output is differentiated by the input too, as a critic by the action, say `input_gradient`. The last
    `late` inputs join what comes out of the first hidden layer, as the action does in the critic of Lillicrap et al.
    (2016); with `early` they go through that layer too.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "tanh",
        initialisers: Sequence[Initialiser] | None = None,
        input_gradient: bool = False,
        late: int = 0,
        early: bool = False,
    ) -> None:
        self.sizes = tuple(sizes)
        self.activation = activation
        self.out = sizes[-1]
        self.num_layers = len(sizes) - 1
        self.initialisers = list(initialisers) if initialisers else [fan_in_uniform] * self.num_layers
        self.padded_out = padded(self.out, HEAD_MULTIPLE)
        self.late, self.first = late, sizes[0] if early else sizes[0] - late
        if late and self.num_layers < 2:
            raise ValueError("inputs that come late need a hidden layer to join")
        columns = padded(self.first, HIDDEN_MULTIPLE) if input_gradient else input_columns(self.first)
        self._widths = (columns, *(padded(size, HIDDEN_MULTIPLE) for size in sizes[1:-1]), self.padded_out)

    def layout(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (fan_in, fan_out) in enumerate(zip(self._widths[:-1], self._widths[1:], strict=True)):
            joining = padded(self.late, HIDDEN_MULTIPLE) if layer == 1 else 0
            shapes[f"weight_{layer}"] = (fan_in + joining, fan_out)
            shapes[f"bias_{layer}"] = (1, fan_out)
        return shapes

    def initialise(self, parameters: Mapping[str, np.ndarray], generator: np.random.Generator) -> None:
        """A layer's initialiser sees its inputs without padding, those that come late last."""
        for layer, fill in enumerate(self.initialisers):
            used, size = self.sizes[layer + 1], self.sizes[layer] if layer else self.first
            late = self.late if layer == 1 else 0
            weight = np.zeros((size + late, used))
            bias = np.zeros(used)
            fill(weight, bias, generator)
            start = self._widths[layer]
            parameters[f"weight_{layer}"][:size, :used] = weight[:size]
            parameters[f"weight_{layer}"][start : start + late, :used] = weight[size:]
            parameters[f"bias_{layer}"][0, :used] = bias

    def forward(self, bound: Bound, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and (bound.matrix.requires_grad or x.requires_grad):
            return _MLP.apply(x, bound.matrix, bound, self)
        return self._layers(bound, x)[-1][..., : self.out]

    def forward_on_host(self, bound: Bound, x: np.ndarray) -> np.ndarray:
        """`forward` in NumPy, without gradient: a subclass that changes the one changes the other."""
        if self.late or self._widths[0] != self.first:  # a critic's, which does not act, or of one number
            return self._layers(bound, torch.from_numpy(x))[-1].numpy()[..., : self.out]
        parameters = bound.arrays
        for layer in range(self.num_layers):
            x = np.matmul(x, parameters[2 * layer])
            x += parameters[2 * layer + 1]
            if layer < self.num_layers - 1:
                x = np.tanh(x, out=x) if self.activation == "tanh" else np.maximum(x, 0.0, out=x)
        return x[..., : self.out]

    @torch.no_grad()
    def linearised(self, bound: Bound, x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """The Jacobian J `[S, B, out]` by the parameters at inputs `x`, as the product J v with `v` `[S, P]`.

        `v` has the columns of the whole stack, in which those of other networks are passed over. Layer by layer,
        dy = dx W + x dW + db, and through the activation dx = φ'(y) dy. (The product Jᵀ d is the backward pass.)
        """
        values = self._layers(bound, x)
        derivative = _derivative_tanh if self.activation == "tanh" else _derivative_relu

        def product(direction: torch.Tensor) -> torch.Tensor:
            moved: torch.Tensor | None = None  # dx: nothing of the input itself
            views = list(bound.views(direction).values())
            for layer in range(self.num_layers):
                by_weight = torch.baddbmm(views[2 * layer + 1], values[layer], views[2 * layer])
                if moved is not None:
                    by_weight = torch.baddbmm(by_weight, moved, bound.in_order[2 * layer][0])
                moved = by_weight if layer == self.num_layers - 1 else derivative(by_weight, values[layer + 1])
            assert moved is not None
            return moved[..., : self.out]

        return product

    def _layers(self, bound: Bound, x: torch.Tensor) -> list[torch.Tensor]:
        """The input, each hidden activation and the (padded) output."""
        late = None
        if self.late:
            late = functional.pad(x[..., -self.late :], (0, -self.late % HIDDEN_MULTIPLE))
            x = x[..., : self.first]
        if padding := self._widths[0] - self.first:
            x = functional.pad(x, (0, padding))
        values = [x]
        parameters = bound.in_order
        for layer in range(self.num_layers):
            x = torch.baddbmm(parameters[2 * layer + 1][0], x, parameters[2 * layer][0])
            if layer < self.num_layers - 1:
                x = tanh_(x) if self.activation == "tanh" else x.relu_()
            if layer == 0 and late is not None:
                x = torch.cat([x, late], -1)
            values.append(x)
        return values


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, matrix: torch.Tensor, bound: Bound, mlp: MLP) -> torch.Tensor:
        values = mlp._layers(bound, x)
        ctx.mlp, ctx.bound, ctx.learn = mlp, bound, matrix.requires_grad
        ctx.save_for_backward(*values[:-1])
        return values[-1][..., : mlp.out]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None]:
        mlp, bound, values = ctx.mlp, ctx.bound, ctx.saved_tensors
        derivative = _derivative_tanh if mlp.activation == "tanh" else _derivative_relu
        if padding := mlp.padded_out - mlp.out:
            delta = functional.pad(delta, (0, padding))
        for layer in reversed(range(mlp.num_layers)):
            (weight, weight_gradient), (_, bias_gradient) = bound.in_order[2 * layer : 2 * layer + 2]
            if ctx.learn:
                weight_gradient.baddbmm_(values[layer].mT, delta)
                bias_gradient.add_(delta.sum(1, keepdim=True))
            if layer == 0 and not ctx.needs_input_grad[0]:
                return None, None, None, None
            delta = torch.bmm(delta, weight.mT)
            if layer == 1 and mlp.late:
                hidden = mlp._widths[1]
                late = delta[..., hidden : hidden + mlp.late]
                delta = derivative(delta[..., :hidden], values[1][..., :hidden])
            elif layer > 0:
                delta = derivative(delta, values[layer])
        delta = delta[..., : mlp.first]
        if mlp.late and mlp.first < mlp.sizes[0]:
            delta = torch.cat([delta, late], -1)
        elif mlp.late:
            delta = torch.cat([delta[..., : -mlp.late], delta[..., -mlp.late :] + late], -1)
        return delta, None, None, None


class Ensemble:
    """M networks of one shape, each with parameters of its own: `[S, B, ...]` to `[S, M, B, out]`.

    They are rows of one matrix `[S · M, P]`, so that a layer of all is one product; it is the only network of its
    Stack. `stack.name.member(m, x)` is the output of one member alone.
    """

    def __init__(self, network: Network, members: int = 2) -> None:
        self.network, self.num_members = network, members

    def layout(self) -> dict[str, tuple[int, ...]]:
        shapes = self.network.layout().items()
        return {f"{member}.{name}": shape for member in range(self.num_members) for name, shape in shapes}

    def initialise(self, parameters: Mapping[str, np.ndarray], generator: np.random.Generator) -> None:
        for member in range(self.num_members):
            own = {name: parameters[f"{member}.{name}"] for name in self.network.layout()}
            self.network.initialise(own, generator)

    def forward(self, bound: Bound, x: torch.Tensor) -> torch.Tensor:
        members = bound.members(self.network, self.num_members)
        repeated = x.unsqueeze(1).expand(-1, self.num_members, *x.shape[1:]).flatten(0, 1)
        return self.network.forward(members, repeated).unflatten(0, (len(x), self.num_members))


def _derivative_tanh(delta: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.tanh_backward(delta, value)


def _derivative_relu(delta: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.threshold_backward.grad_input(delta, value, 0, grad_input=delta)  # in place


def tanh_(x: torch.Tensor) -> torch.Tensor:
    """tanh in place. On the CPU by NumPy's SIMD kernel: seven times faster than the one torch calls (measured)."""
    if x.device.type == "cpu":
        array = x.numpy()
        np.tanh(array, out=array)
        return x
    return x.tanh_()


class Convolutions:
    """Convolutions without padding, each followed by ReLU: images to `[S, B, out]`.

    Takes `[S, B, C, H, W]` or channels last, as Gymnasium gives images; uint8 is scaled to [0, 1] here.
    """

    def __init__(self, obs_shape: tuple[int, ...], layers: Sequence[tuple[int, int, int]]) -> None:
        """`layers` are (channels, kernel, stride)."""
        first, middle, last = obs_shape
        self.channels_last = has_channels_last(obs_shape)
        channels, height, width = (last, first, middle) if self.channels_last else obs_shape
        self.layers, self.shapes = tuple(layers), dict[str, tuple[int, ...]]()
        self.sizes: list[tuple[int, int, int]] = []  # of each layer's output
        for index, (filters, kernel, stride) in enumerate(layers):
            self.shapes[f"conv_{index}"] = (filters, channels, kernel, kernel)
            self.shapes[f"conv_bias_{index}"] = (filters,)
            channels, height, width = filters, (height - kernel) // stride + 1, (width - kernel) // stride + 1
            self.sizes.append((channels, height, width))
        self.out = channels * height * width if min(height, width) > 0 else 0

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """float, channels first."""
        x = x.float() / 255.0 if x.dtype == torch.uint8 else x.float()
        return x.movedim(-1, -3) if self.channels_last else x

    def forward(self, p: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        x = self.scaled(x)
        for index, (_, _, stride) in enumerate(self.layers):
            x = torch.relu(conv2d(x, p[f"conv_{index}"], p[f"conv_bias_{index}"], stride))
        return x.flatten(2)


class NatureCNN:
    """The network of Mnih et al. (2015), Methods: three convolutions, a dense layer of 512, and a linear head."""

    CONVOLUTIONS: tuple[tuple[int, int, int], ...] = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, kernel, stride
    DENSE = 512
    SMALLEST = "36 × 36 for the Nature CNN"

    def __init__(self, obs_shape: tuple[int, ...], out: int, heads: Sequence[tuple[int, float]] | None = None) -> None:
        """`heads`: orthogonal weights, and (outputs, gain) of each part of the head; None: uniform ones."""
        self.convolutions = Convolutions(obs_shape, self.CONVOLUTIONS)
        self.out, self.heads = out, heads
        if not self.convolutions.out:
            raise UnsupportedSpace(f"images of at least {self.SMALLEST}, not {obs_shape}")
        self._shapes: dict[str, tuple[int, ...]] = self.convolutions.shapes | {
            "weight_0": (self.convolutions.out, self.DENSE),
            "bias_0": (1, self.DENSE),
            "weight_1": (self.DENSE, padded(out, HEAD_MULTIPLE)),
            "bias_1": (1, padded(out, HEAD_MULTIPLE)),
        }

    def layout(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def initialise(self, parameters: Mapping[str, np.ndarray], generator: np.random.Generator) -> None:
        values = iter(parameters.values())
        pairs = list(zip(values, values, strict=True))
        for weight, bias in pairs[:-1]:
            (fan_in_uniform if self.heads is None else orthogonal(math.sqrt(2)))(weight, bias, generator)
        weight, bias = pairs[-1]
        start = 0
        for count, gain in self.heads or [(self.out, 0.0)]:
            part = np.s_[:, start : start + count]
            (fan_in_uniform if self.heads is None else orthogonal(gain))(weight[part], bias[part], generator)
            start += count

    def forward(self, bound: Bound, x: torch.Tensor) -> torch.Tensor:
        p = bound.differentiable()
        x = torch.relu(torch.baddbmm(p["bias_0"], self.convolutions.forward(p, x), p["weight_0"]))
        return torch.baddbmm(p["bias_1"], x, p["weight_1"])[..., : self.out]


class MinAtarCNN(NatureCNN):
    """The network of Young & Tian (2019, MinAtar): 16 convolutions of 3 × 3, a dense layer of 128, a linear head."""

    CONVOLUTIONS = ((16, 3, 1),)
    DENSE = 128
    SMALLEST = "3 × 3 for the MinAtar CNN"


def image_network(space: gymnasium.Space[Any], out: int, heads: Sequence[tuple[int, float]] | None = None) -> NatureCNN:
    """The Nature CNN, or the MinAtar one for images too small for it; `heads` as in `NatureCNN`."""
    shape = space.shape or ()
    return (MinAtarCNN if is_small(shape) else NatureCNN)(shape, out, heads)


def has_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the last axis of an image is its channels, not the first; `UnsupportedSpace` where either may be.

    Rows and columns are a square, or both at least 5 and more than there are channels. On a small grid, a square of the
    first two axes counts before all.
    """
    first, middle, last = shape
    if first == middle <= GRID:
        return True
    if min(first, middle) < 3 or min(middle, last) < 3:  # no room for a convolution: it can only be the other
        return min(first, middle) >= 3
    may_be_last = first == middle or min(first, middle) > max(last, 4)
    may_be_first = middle == last or min(middle, last) > max(first, 4)
    if may_be_last == may_be_first:
        raise UnsupportedSpace(
            f"images whose channels can be told from rows and columns, not {shape}: {first} channels of {middle} × "
            f"{last}, or {last} channels of {first} × {middle} (--wrapper FlattenObservation makes a vector of them)"
        )
    return may_be_last


def conv2d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, stride: int) -> torch.Tensor:
    """A convolution for each seed: `x` `[S, B, C, H, W]`, `weight` `[S, out, C, k, k]`."""
    if x.device.type == "cpu":  # one call a seed: its bits cannot depend on the other seeds
        return torch.stack([functional.conv2d(*one, stride=stride) for one in zip(x, weight, bias, strict=True)])
    groups = len(x)
    merged = x.transpose(0, 1).flatten(1, 2)  # [B, S·C, H, W]
    out = functional.conv2d(merged, weight.flatten(0, 1), bias.flatten(), stride=stride, groups=groups)
    return out.unflatten(1, (groups, -1)).transpose(0, 1)


class Constant:
    """A vector `[S, 1, out]` that is learnt and depends on no input, as a Gaussian policy's log standard deviation."""

    def __init__(self, out: int, start: float = 0.0) -> None:
        self.out, self.start = out, start

    def layout(self) -> dict[str, tuple[int, ...]]:
        return {"value": (1, self.out)}

    def initialise(self, parameters: Mapping[str, np.ndarray], generator: np.random.Generator) -> None:
        parameters["value"][...] = self.start

    def forward(self, bound: Bound, x: torch.Tensor) -> torch.Tensor:
        return bound.differentiable()["value"]

    def forward_on_host(self, bound: Bound, x: np.ndarray) -> np.ndarray:
        """`forward` in NumPy, without gradient."""
        return bound.arrays[0]

    def linearised(self, bound: Bound, x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """The product of the Jacobian with a direction `[S, P]`, as of an `MLP`: `[S, 1, out]`."""
        return lambda direction: bound.views(direction)["value"]


class Stacked:
    """Any plain `nn.Module` for S seeds, by `torch.func`: `Stacked(lambda: MyNet())`.

    Several times slower than `MLP` on small networks; exact in its gradients. Modules with buffers (batch
    normalisation) or randomness in `forward` (dropout) are refused, since they are not functions of their parameters.
    """

    def __init__(self, build: Callable[[], torch.nn.Module]) -> None:
        self.build = build
        self.template = build()
        if next(self.template.buffers(), None) is not None or any(
            isinstance(module, torch.nn.modules.dropout._DropoutNd) for module in self.template.modules()
        ):
            raise ValueError(f"{type(self.template).__name__} has buffers or dropout; Stacked takes plain modules")

    def layout(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(parameter.shape) for name, parameter in self.template.named_parameters()}

    def initialise(self, parameters: Mapping[str, np.ndarray], generator: np.random.Generator) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator.integers(2**63)))
            for name, parameter in self.build().named_parameters():
                parameters[name][...] = parameter.detach().numpy()

    def forward(self, bound: Bound, x: torch.Tensor) -> torch.Tensor:
        def one(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(self.template, parameters, (x,))

        parameters, every = bound.differentiable(), torch.func.vmap(one)
        if x.device.type != "cpu":
            return every(parameters, x)
        # One call a seed, on memory of its own, forward (clone) and backward (the product with 1): alignment and
        # the place in a vector change the bits of a matrix product, of sigmoid, ELU, softplus...
        rows = [slice(row, row + 1) for row in range(len(x))]
        return torch.cat([every({k: v[row] for k, v in parameters.items()}, x[row].clone()) * 1.0 for row in rows])


def refuse_images(space: gymnasium.Space[Any]) -> None:
    """`UnsupportedSpace` where observations are images, for agents whose networks take vectors."""
    if is_image(space):
        raise UnsupportedSpace("observations that are vectors, not images")


def no_image(space: gymnasium.Space[Any]) -> str:
    """What to say of observations that look like images and are taken for none, or ""."""
    if not isinstance(space, gymnasium.spaces.Box) or is_image(space):
        return ""
    if len(space.shape) < 3 and not (len(space.shape) == 2 and space.dtype == np.uint8 and min(space.shape) >= 16):
        return ""
    what = f"observations {list(space.shape)} of {space.dtype}, which networks take for {num_features(space):,} numbers"
    return f"{what}: images are three axes of uint8 or bool, or a small grid's planes of floats from 0 to 1"


def num_features(space: gymnasium.Space[Any]) -> int:
    """The length of `features` of this observation space; `UnsupportedSpace` for spaces that have none."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.Box):
        return math.prod(space.shape)
    raise UnsupportedSpace(f"Box or Discrete observations, not {type(space).__name__}{flattened(space)}")


def flattened(space: gymnasium.Space[Any]) -> str:
    """By what an observation space becomes a Box: Gymnasium's own wrapper, where it can."""
    try:
        can = space.is_np_flattenable
    except NotImplementedError:  # a space of somebody's own
        can = False
    if can:
        return " (--wrapper FlattenObservation makes a Box of it)"
    return " (a --wrapper can make a Box of it: rlrepro list wrappers, or your own)"


def features(space: gymnasium.Space[Any], obs: torch.Tensor) -> torch.Tensor:
    """Observations `[S, B, ...]` as float `[S, B, num_features]`: one-hot for Discrete, flattened for Box."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return functional.one_hot(obs.long() - int(space.start), int(space.n)).float()
    return obs.float().reshape(*obs.shape[:2], -1)


class TakesObservations:
    """An agent whose networks take images as they are, and all else as `features`; it sets `setup` and `image`."""

    setup: Setup
    image: bool  #: whether observations are images

    def inputs(self, obs: torch.Tensor) -> torch.Tensor:
        """What the networks take for observations `[S, B, ...]`."""
        return obs if self.image else features(self.setup.observation_space, obs)


def features_on_host(space: gymnasium.Space[Any], obs: np.ndarray) -> np.ndarray:
    """`features` of NumPy's arrays."""
    if obs.ndim == 3 and obs.dtype == np.float32:
        return obs
    return features(space, torch.from_numpy(obs)).numpy()


__all__ = [
    "MLP",
    "Constant",
    "Convolutions",
    "Ensemble",
    "MinAtarCNN",
    "NatureCNN",
    "Network",
    "Stacked",
    "TakesObservations",
    "apart",
    "conv2d",
    "fan_in_uniform",
    "features",
    "features_on_host",
    "flattened",
    "image_network",
    "initialisers",
    "input_columns",
    "is_image",
    "is_small",
    "no_image",
    "num_features",
    "orthogonal",
    "refuse_images",
    "tanh_",
    "uniform",
    "xavier_uniform",
]
