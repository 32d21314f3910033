"""How closely our numbers agree with other code's, and a record of it for `rlrepro proofs`.

A test marked `agrees("dqn", "Stable-Baselines3")` says whose numbers its calls of `close` and `agree` compare; a name
in braces is that of a parameter of the test. With `pytest --agreement=FILE` the worst error of each pair is written
(`make proofs`).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

TOLERANCE = 1e-5
_worst: dict[str, dict[str, float]] = {}
_pair: tuple[str, str] | None = None


def close(name: str, found: Any, expected: Any, scale: float | None = None) -> None:
    """Hold a tensor to a relative error of 1e-5: |a − b| ≤ 1e-5 · max |b|, or · `scale`."""
    error = agree(found, expected, scale)
    assert error <= TOLERANCE, f"{name}: relative error {error:.1e}"


def agree(found: Any, expected: Any, scale: float | None = None) -> float:
    """The relative error of a tensor, |a − b| / max |b| or / `scale`; recorded where the test is marked."""
    import torch  # not with the file: conftest imports it for tests that measure what is imported

    found, expected = (torch.as_tensor(value).detach().double() for value in (found, expected))
    assert found.shape == expected.shape, f"{list(found.shape)} against {list(expected.shape)}"
    largest = scale or expected.abs().max().item()
    error = float((found - expected).abs().max()) / largest if largest else float((found - expected).abs().max())
    if math.isnan(error):
        error = math.inf  # no greater than any other
    if _pair is not None:
        agent, other = _pair
        pairs = _worst.setdefault(agent, {})
        pairs[other] = max(pairs.get(other, 0.0), error)
    return error


def begin(pair: tuple[str, str] | None) -> None:
    """A test begins that compares `pair`, an agent and whose code, or nothing."""
    global _pair
    _pair = pair


def write(file: Path) -> None:
    """The worst errors, to two digits."""
    record = {
        agent: {other: float(f"{error:.1e}") for other, error in sorted(pairs.items())}
        for agent, pairs in sorted(_worst.items())
    }
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
