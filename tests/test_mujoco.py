"""MuJoCo and Box2D: state, ids that are gone, normalisation, and returns that stay the environment's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlrepro import snapshot
from rlrepro.checkpoint import as_loaded
from rlrepro.errors import Problem
from rlrepro.plugins.environments import find_env
from rlrepro.seed_log import read_rows
from rlrepro.vector import SyncEnvBatch
from tests.conftest import Runs

pytest.importorskip("mujoco")


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5", "Humanoid-v5", "Walker2d-v4", "Reacher-v5", "Hopper-v4"])
def test_a_restored_world_goes_on_to_the_bit(name: str) -> None:
    assert snapshot.can_restore(find_env(name).make) is None


def test_positions_of_before_the_last_step_are_restored_too() -> None:
    """Ant is paid by body positions that the engine computed before its last step: qpos and qvel are not enough."""
    source = find_env("Ant-v5")
    first, second = SyncEnvBatch(source.make, 1), SyncEnvBatch(source.make, 1)
    first.reset(np.arange(1), [0])
    rng = np.random.default_rng(0)
    for _ in range(10):
        first.step(rng.uniform(-1, 1, (1, 8)).astype(np.float32))
    second.set_state(0, as_loaded(first.get_state(0)))
    action = np.full((1, 8), 0.3, np.float32)
    first_reward, second_reward = (batch.step(action)[1][0] for batch in (first, second))
    assert first_reward == second_reward
    one, other = first.envs[0].unwrapped, SyncEnvBatch(source.make, 1)
    other.reset(np.arange(1), [0])
    other.envs[0].unwrapped.set_state(one.data.qpos.copy(), one.data.qvel.copy())
    assert first.step(action)[1][0] != other.step(action)[1][0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Pusher-v4", "does not run with MuJoCo 3 or later"),
        ("HalfCheetah-v1", "is no longer part of Gymnasium; use HalfCheetah-v5"),
        ("Hopper-v2", "is no longer part of Gymnasium; use Hopper-v5"),
        ("Hopper-v3", "is no longer part of Gymnasium; use Hopper-v5"),
        ("BreakoutNoFrameskip-v4", "ALE/Breakout-v5 here, and --wrapper Atari2015"),
    ],
)
def test_what_cannot_run_names_what_does(name: str, words: str) -> None:
    with pytest.raises(Problem, match=words):
        find_env(name).make()


def test_a_normalised_run_has_the_environments_returns_and_goes_on_to_the_same_bytes(runs: Runs) -> None:
    flags = ["--env", "Hopper-v5", "--agent", "ppo", "--normalise-obs", "--normalise-reward", "--num-steps", "32",
             "--num-minibatches", "4", "--num-epochs", "1", "--seeds", "2", "--total-timesteps", "96",
             "--checkpoint-every", "32"]  # fmt: skip

    def left(folder: Path) -> list[bytes]:
        return [
            (folder / "seeds" / str(s) / n).read_bytes() for s in (0, 1) for n in ("episodes.csv", "policy.safetensors")
        ]

    whole = runs.finish("whole", *flags)
    for row in read_rows(whole / "seeds" / "0" / "episodes.csv"):  # about 1 a step, not about 0
        assert float(row["episode_return"]) > 0.4 * int(row["episode_length"])
    again = runs.finish("again", *flags)
    for seed in (0, 1):  # as if it had been killed after its first checkpoint
        checkpoints = sorted((again / "seeds" / str(seed) / "checkpoints").glob("*"))
        for late in checkpoints[1:]:
            late.unlink()
    file = again / "run.json"
    file.write_text(file.read_text().replace('"finished"', '"failed"'))
    assert runs.resume("again").status == 0
    assert left(again) == left(whole)
