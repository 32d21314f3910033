"""MuJoCo and Box2D: state, ids that are gone, normalisation, and returns that stay the environment's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlrepro import snapshot
from rlrepro.checkpoint import as_loaded
from rlrepro.errors import Problem
from rlrepro.papers.book.published import load_traps
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
    clocks = [batch.envs[0].unwrapped.data.time for batch in (first, second)]  # which tasks of others may look at
    assert clocks[0] == clocks[1] > 0
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


@pytest.mark.parametrize(
    ("task", "of_a_fall"), [("HalfCheetah", 0), ("Swimmer", 0), ("Hopper", 1), ("InvertedPendulum", 1)]
)
def test_v5_is_v4_but_for_what_the_step_of_a_fall_pays(task: str, of_a_fall: int) -> None:
    """What -v4 has shown then stands for -v5 too, as docs/agents.md has it of HalfCheetah."""
    old, new = (find_env(f"{task}-v{version}").make() for version in (4, 5))
    rng, falls, episodes = np.random.default_rng(0), 0, 20 if of_a_fall else 2
    for seed in range(episodes):
        assert old.reset(seed=seed)[0].tobytes() == new.reset(seed=seed)[0].tobytes()
        over = False
        while not over:
            action = rng.uniform(old.action_space.low, old.action_space.high).astype(np.float32)
            (obs, reward, *ends, _), (same_obs, less, *same_ends, _) = old.step(action), new.step(action)
            assert (obs.tobytes(), ends) == (same_obs.tobytes(), same_ends)
            assert reward == less or (ends[0] and reward - less == pytest.approx(of_a_fall, abs=1e-12))
            falls, over = falls + ends[0], any(ends)
    assert falls == episodes * of_a_fall
    compare, (change,) = load_traps().between(f"{task}-v4", 4, 5)
    assert (compare, change.tell) == (True, of_a_fall > 0)


def test_a_run_on_halfcheetah_v5_is_that_on_v4(runs: Runs) -> None:
    flags = ["--agent", "td3", "--seeds", "1", "--total-timesteps", "90", "--learning-starts", "40", "--batch-size",
             "16", "--hidden", "32,32", "--eval-every", "0", "--final-eval-episodes", "1"]  # fmt: skip
    one, other = (runs.finish(f"v{version}", "--env", f"HalfCheetah-v{version}", *flags) for version in (4, 5))
    for name in ("policy.safetensors", "evaluations.csv"):
        assert (one / "seeds" / "0" / name).read_bytes() == (other / "seeds" / "0" / name).read_bytes()


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


# --- as for mujoco-py

# What mujoco-py's users had in body_mass, HalfCheetah's as dynamics-randomisation code has it since.
MASSES = {
    "Hopper-v4": [3.53429174, 3.92699082, 2.71433605, 5.0893801],
    "HalfCheetah-v4": [6.36031332, 1.53524804, 1.58093995, 1.0691906, 1.42558747, 1.17885117, 0.84986945],
}

# By MuJoCo 2.2.0, whose margins do not add up, on Hopper's model with a massless capsule and a cylinder of length l + r
# in each capsule's place: positions, velocities and action, and positions and velocities four of its steps later.
# Of these states the first is in the air, two touch with one end of the foot, the last with both.
STEPS = [
    (
        [0.00452293, 1.24684, 0.00297426, -0.00387683, 0.000423263, -0.00623047],
        [-0.0120696, -0.0617703, -0.0808544, -0.0959035, 0.0598635, -0.644444],
        [0.16484, 0.371362, -0.312273],
        [0.004438573113, 1.246067635, 0.003085537737, -0.003644120369, 0.000828881163, -0.01318806061],
        [-0.009164205838, -0.1313224167, 0.1078006588, 0.1539040889, 0.04007922816, -1.09434344],
    ),
    (
        [-0.00698834, 1.24304, -0.0368626, -0.00386888, -0.0573682, -0.117752],
        [-0.582487, -0.120454, -2.6929, -0.987425, -2.9915, -5.85696],
        [0.479739, 0.0608301, -0.98232],
        [-0.01247976491, 1.243517066, -0.05611747023, -0.008284069467, -0.07827202996, -0.1643886726],
        [-0.7800688269, 0.234287902, -2.104236346, -0.1266409004, -2.266157481, -5.842333494],
    ),
    (
        [0.102504, 1.26061, 0.12914, -0.00221635, 0.0202673, 0.623799],
        [1.11244, 0.158252, 2.3135, 0.84699, 0.793255, 2.98456],
        [1.0, 0.0062303, -0.310583],
        [0.1110773457, 1.261742823, 0.1469314268, 0.005974725841, 0.02328195382, 0.6460440839],
        [1.01274186, 0.1287173272, 1.779564539, 0.7396233357, 0.05078618008, 2.582999214],
    ),
    (
        [0.00443365, 1.20575, 0.0100452, 0.00310495, 0.00455351, 0.00224583],
        [0.0646836, -0.559172, 0.086932, -0.0544176, -0.113259, 2.73923],
        [0.096202, -0.495761, 0.329247],
        [0.004955041627, 1.202094467, 0.009261682971, 0.002647325253, 0.0001661356686, 0.0241952357],
        [0.06449757691, -0.3602854237, -0.28282692, -0.05796231848, -0.97915161, 2.755047944],
    ),
]


@pytest.mark.parametrize("name", MASSES)
def test_bodies_weigh_what_they_did_for_mujoco_py(name: str) -> None:
    env = find_env(name, {}, ("AsMujocoPy",)).make()
    assert env.unwrapped.model.body_mass[1:] == pytest.approx(MASSES[name], abs=5e-9)
    assert find_env(name).make().unwrapped.model.body_mass[1:] != pytest.approx(MASSES[name], rel=1e-3)


@pytest.mark.parametrize("wrappers", [(), ("AsMujocoPy",)])
def test_steps_are_those_of_a_mujoco_of_before(wrappers: tuple[str, ...]) -> None:
    task = find_env("Hopper-v4", {}, wrappers).make().unwrapped
    off = []
    for qpos, qvel, action, next_qpos, next_qvel in STEPS:
        task.reset()
        task.set_state(np.array(qpos), np.array(qvel))
        task.do_simulation(np.array(action), task.frame_skip)
        off.append(max(abs(task.data.qpos - next_qpos).max(), abs(task.data.qvel - next_qvel).max()))
    if wrappers:
        assert max(off) < 1e-8
    else:
        assert min(off) > 1e-3


@pytest.mark.parametrize("name", ["Ant-v4", "Humanoid-v5", "InvertedDoublePendulum-v4", "Pusher-v5", "Walker2d-v4"])
def test_every_task_with_capsules_is_lighter(name: str) -> None:
    plain, env = find_env(name).make(), find_env(name, {}, ("AsMujocoPy",)).make()
    plain.reset(seed=0)
    env.reset(seed=0)
    for _ in range(3):
        assert env.observation_space.contains(env.step(env.action_space.sample())[0])
    assert 0.9 < env.unwrapped.model.body_mass.sum() / plain.unwrapped.model.body_mass.sum() < 0.97
    assert snapshot.can_restore(find_env(name, {}, ("AsMujocoPy",)).make) is None


def as_for_mujoco_py(folder: Path, capsules: str) -> Any:
    """The model that AsMujocoPy makes of a floor and one body of geoms; it can slide along x."""
    file = folder / "model.xml"
    file.write_text(f"""
        <mujoco>
          <default><geom margin="0.002"/></default>
          <worldbody>
            <geom type="plane" size="1 1 1"/>
            <body><joint name="slide" type="slide" axis="1 0 0"/>{capsules}</body>
          </worldbody>
          <actuator><motor joint="slide"/></actuator>
        </mujoco>
    """)
    return find_env("InvertedPendulum-v5", {"xml_file": str(file)}, ("AsMujocoPy",)).make().unwrapped.model


@pytest.mark.parametrize(
    ("given", "mass"),
    [("", 1000 * math.pi * 0.1**2 * 1.1), ('density="500"', 500 * math.pi * 0.1**2 * 1.1), ('mass="2"', 2.0)],
)
def test_a_capsule_weighs_what_it_is_given_or_what_a_cylinder_does(tmp_path: Path, given: str, mass: float) -> None:
    """Of radius 0.1 and length 1 + 0.1: about its axis m r² / 2, across m (3 r² + h²) / 12."""
    model = as_for_mujoco_py(tmp_path, f'<geom type="capsule" size="0.1 0.5" {given}/>')
    assert model.body_mass[1] == pytest.approx(mass)
    across = mass * (3 * 0.01 + 1.21) / 12
    assert model.body_inertia[1] == pytest.approx([across, across, mass * 0.01 / 2])


@pytest.mark.parametrize(("release", "margin"), [("3.4.0", 0.002), ("3.5.0", 0.001), ("3.15.0", 0.001)])
def test_margins_are_halved_where_they_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, margin: float
) -> None:
    monkeypatch.setattr("mujoco.__version__", release)
    model = as_for_mujoco_py(tmp_path, '<geom type="capsule" size="0.1 0.5"/>')
    assert model.geom_margin.tolist() == [margin, margin]
    assert model.body_margin.tolist() == [margin, margin]


def test_geoms_that_collide_with_different_margins_are_refused(tmp_path: Path) -> None:
    other = '<geom type="capsule" size="0.1 0.5" margin="0.004" {}/>'
    with pytest.raises(Problem, match=r"AsMujocoPy needs geoms that share one margin, not 0\.002, 0\.004"):
        as_for_mujoco_py(tmp_path, other.format('conaffinity="0"'))  # it touches what has its own affinity
    as_for_mujoco_py(tmp_path, other.format('contype="0" conaffinity="0"'))  # it is a picture


def test_only_tasks_of_mujoco_are_as_for_mujoco_py() -> None:
    with pytest.raises(Problem, match="AsMujocoPy needs a MuJoCo task of Gymnasium's, not CartPoleEnv"):
        find_env("CartPole-v1", {}, ("AsMujocoPy",)).make()
