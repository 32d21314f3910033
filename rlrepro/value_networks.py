"""Networks of action values: dueling streams, noisy layers, layer normalisation, one output or many for each action.

Outputs are `[S, B, num_actions · num_atoms]`, an action's atoms side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch.nn import functional

from rlrepro.networks import (
    HEAD_MULTIPLE,
    HIDDEN_MULTIPLE,
    MLP,
    Convolutions,
    Initialiser,
    MinAtarCNN,
    NatureCNN,
    conv2d,
    fan_in_uniform,
    image_network,
    input_columns,
    is_image,
    is_small,
    num_features,
)
from rlrepro.seeds import Bound, Network, padded
from rlrepro.streams import Streams


def value_network(
    space: gymnasium.Space[Any], hidden: Sequence[int], num_actions: int, num_atoms: int = 1, *, dueling: bool = False
) -> Network:
    """The network for `space`: dense layers of `hidden` units, or for images a CNN with a dense layer of its own."""
    if dueling:
        return ValueNetwork(space, hidden, num_actions, num_atoms, dueling=True)
    if is_image(space):
        return image_network(space, num_actions * num_atoms)
    return MLP((num_features(space), *hidden, num_actions * num_atoms), "relu")


class ValueNetwork:
    """ReLU layers, then one stream to the action values, or two that meet in them.

    - `dueling` (Wang et al., 2016, eq. 9): Q(s, a) = V(s) + A(s, a) − mean_a' A(s, a'), for each atom on its own
      (Hessel et al., 2018). The streams part before the last hidden layer, so each has one.
    - `sigma` (Fortunato et al., 2018, eq. 9–11): dense layers are y = (μ_w + σ_w ⊙ ε_w) x + μ_b + σ_b ⊙ ε_b with
      factorised noise, ε_w = f(ε_in) f(ε_out)ᵀ, ε_b = f(ε_out), f(x) = sgn(x) √|x|; σ starts at sigma/√fan_in.
      `draw` gives the noise, which is set as `stack.q.noise` before a call; without it the means alone act.
    - `layer_norm` (Ba et al., 2016): every layer but the last is normalised over all its units before its ReLU.
    """

    def __init__(
        self,
        space: gymnasium.Space[Any],
        hidden: Sequence[int],
        num_actions: int,
        num_atoms: int = 1,
        *,
        dueling: bool = False,
        sigma: float = 0.0,
        layer_norm: bool = False,
        initialiser: Initialiser = fan_in_uniform,
    ) -> None:
        self.num_actions, self.num_atoms = num_actions, num_atoms
        self.dueling, self.sigma, self.layer_norm, self.initialiser = dueling, sigma, layer_norm, initialiser
        self.convolutions: Convolutions | None = None
        if is_image(space):
            shape = space.shape or ()
            image = MinAtarCNN if is_small(shape) else NatureCNN
            self.convolutions = image(shape, num_actions).convolutions
            hidden, fan_in = (image.DENSE,), self.convolutions.out
        else:
            fan_in = num_features(space)
        self._shapes: dict[str, tuple[int, ...]] = dict(self.convolutions.shapes) if self.convolutions else {}
        self._used: dict[str, tuple[int, int]] = {}  # fan-in and fan-out of each dense layer, padding left out
        for index, size in enumerate(self.convolutions.sizes if self.convolutions else ()):
            self._add_norm(f"conv_{index}", math.prod(size))
        self.torso = [f"torso_{index}" for index in range(len(hidden) - 1)]
        width = fan_in, input_columns(fan_in)  # what a layer takes: numbers, and columns with the padding
        self._padding = width[1] - width[0]
        for layer, units in zip(self.torso, hidden, strict=False):
            width = self._add_dense(layer, width, units)
        atoms = (
            {"value": num_atoms, "advantage": num_actions * num_atoms} if dueling else {"q": num_actions * num_atoms}
        )
        self.streams: dict[str, list[str]] = {}
        for stream, out in atoms.items():
            self.streams[stream], into = [], width
            for units in hidden[-1:]:
                self.streams[stream].append(f"{stream}_hidden")
                into = self._add_dense(f"{stream}_hidden", width, units)
            self._add_dense(stream, into, out, head=True)

    def _add_dense(self, layer: str, width: tuple[int, int], fan_out: int, head: bool = False) -> tuple[int, int]:
        """The shapes of a layer, padded as `rlrepro.networks` says why; the width that the next one takes."""
        columns = padded(fan_out, HEAD_MULTIPLE if head else HIDDEN_MULTIPLE)
        self._used[layer] = width[0], fan_out
        for part in ("", "sigma_") if self.sigma else ("",):
            self._shapes[f"{part}weight_{layer}"] = (width[1], columns)
            self._shapes[f"{part}bias_{layer}"] = (1, columns)
        if not head:
            self._add_norm(layer, fan_out)
        return fan_out, columns

    def _add_norm(self, layer: str, units: int) -> None:
        if self.layer_norm:
            self._shapes |= {f"scale_{layer}": (1, units), f"shift_{layer}": (1, units)}

    def layout(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def initialise(self, parameters: Mapping[str, np.ndarray], generator: np.random.Generator) -> None:
        for index in range(len(self.convolutions.layers) if self.convolutions else 0):
            self.initialiser(parameters[f"conv_{index}"], parameters[f"conv_bias_{index}"], generator)
        for layer, (fan_in, fan_out) in self._used.items():
            used = np.s_[:fan_in, :fan_out]
            weight, bias = np.zeros((fan_in, fan_out)), np.zeros(fan_out)
            self.initialiser(weight, bias, generator)
            parameters[f"weight_{layer}"][used] = weight
            parameters[f"bias_{layer}"][0, :fan_out] = bias
            if self.sigma:
                parameters[f"sigma_weight_{layer}"][used] = self.sigma / math.sqrt(fan_in)
                parameters[f"sigma_bias_{layer}"][0, :fan_out] = self.sigma / math.sqrt(fan_in)
        for name, parameter in parameters.items():
            if name.startswith("scale_"):
                parameter[...] = 1.0

    def draw(self, streams: Streams, device: str = "cpu", samples: int = 1) -> dict[str, torch.Tensor]:
        """f(ε_in) and f(ε_out) of each dense layer, `[S, samples, width]`; nothing where `sigma` is 0.

        Of one sample all of a batch `[S, B, ...]` is perturbed alike; of B, each by its own.
        """
        if not self.sigma:
            return {}
        shapes = [self._shapes[f"weight_{layer}"] for layer in self._used]
        normal = streams.normal(samples, sum(map(sum, shapes)))
        factors = torch.from_numpy(np.copysign(np.sqrt(np.abs(normal)), normal)).to(device)
        parts = iter(factors.split([width for shape in shapes for width in shape], 2))
        return {f"{side}_{layer}": next(parts) for layer in self._used for side in ("in", "out")}

    def forward(self, bound: Bound, x: torch.Tensor) -> torch.Tensor:
        p, noise = bound.differentiable(), bound.noise
        if self.convolutions:
            x = self._convolve(self.convolutions, p, x)
        if self._padding:
            x = functional.pad(x, (0, self._padding))
        for layer in self.torso:
            x = self._hidden(p, noise, layer, x)
        out: dict[str, torch.Tensor] = {}
        for stream, layers in self.streams.items():
            y = x
            for layer in layers:
                y = self._hidden(p, noise, layer, y)
            out[stream] = self._dense(p, noise, stream, y)[..., : self._used[stream][1]]
        if not self.dueling:
            return out["q"]
        advantage = out["advantage"].unflatten(-1, (self.num_actions, self.num_atoms))
        value = out["value"].unsqueeze(-2)
        return (value + (advantage - advantage.mean(-2, keepdim=True))).flatten(-2)

    def _convolve(self, convolutions: Convolutions, p: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        x = convolutions.scaled(x)
        for index, (_, _, stride) in enumerate(convolutions.layers):
            x = conv2d(x, p[f"conv_{index}"], p[f"conv_bias_{index}"], stride)
            x = torch.relu(self._norm(p, f"conv_{index}", x.flatten(2))).view_as(x)
        return x.flatten(2)

    def _hidden(
        self, p: Mapping[str, torch.Tensor], noise: Mapping[str, torch.Tensor], layer: str, x: torch.Tensor
    ) -> torch.Tensor:
        x, units = self._dense(p, noise, layer, x), self._used[layer][1]
        if not self.layer_norm:
            return torch.relu(x)
        return functional.pad(torch.relu(self._norm(p, layer, x[..., :units])), (0, x.shape[-1] - units))

    def _norm(self, p: Mapping[str, torch.Tensor], layer: str, x: torch.Tensor) -> torch.Tensor:
        if not self.layer_norm:
            return x
        return functional.layer_norm(x, x.shape[-1:]) * p[f"scale_{layer}"] + p[f"shift_{layer}"]

    def _dense(
        self, p: Mapping[str, torch.Tensor], noise: Mapping[str, torch.Tensor], layer: str, x: torch.Tensor
    ) -> torch.Tensor:
        y = torch.baddbmm(p[f"bias_{layer}"], x, p[f"weight_{layer}"])
        if not noise:
            return y
        # ε_w = f(ε_in) f(ε_out)ᵀ without ever making it: its factors scale what goes in and what comes out.
        noisy = torch.baddbmm(p[f"sigma_bias_{layer}"], x * noise[f"in_{layer}"], p[f"sigma_weight_{layer}"])
        return y + noisy * noise[f"out_{layer}"]


def of_action(values: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Those of the actions `[S, B]`: `[S, B, atoms]` of `[S, B, num_actions, atoms]`, `[S, B]` without atoms."""
    if values.dim() == action.dim() + 1:
        return values.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    index = action[..., None, None].expand(*action.shape, 1, values.shape[-1])
    return values.gather(-2, index).squeeze(-2)


__all__ = ["ValueNetwork", "of_action", "value_network"]
