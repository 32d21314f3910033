"""On a CUDA device, where there is one: the same runs as on the CPU to rounding, and updates that wait for nothing.

`make cuda` runs this alone; docs/measured.md has its last result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_device import STEPS, WAITS, built, cases, learns_once, transitions
from test_device_memory import compare_memories

from rlrepro import graphs, train

torch.backends.cudnn.allow_tf32 = False  # as in a run
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

NUM_UPDATES = graphs.WARM_UP + 3


@pytest.mark.parametrize(("agent_class", "observation", "action"), cases())
def test_updates_are_those_of_the_cpu(agent_class: Any, observation: Any, action: Any) -> None:
    """Some of them replayed: parameters to 1e-3 of the largest.

    On images to 1 % of their norm: many gradients are nearly nothing there, and Adam makes whole steps of them.
    """
    here, there = (built(agent_class, observation, action, device) for device in ("cpu", "cuda"))
    is_image = len(observation.shape) == 3
    told: list[str] = []
    graphs.capture(there, "cuda", told.append)
    learnt = 0
    for transition, step in transitions(here):
        for agent in (here, there):
            if agent is there:
                agent.act(transition.obs, step)
            agent.memory.add(transition)
        for expected, batch in zip(here.memory.ready(step), there.memory.ready(step), strict=True):
            metrics, found = here.update(expected, step), there.update(batch, step)
            for tag, value in metrics.items():
                if is_image and tag == "losses/explained_variance":  # a ratio of what may be nearly nothing
                    continue
                torch.testing.assert_close(found[tag].cpu(), value, rtol=1e-2, atol=1e-3, equal_nan=True, msg=tag)
            learnt += 1
        if learnt >= (NUM_UPDATES if learns_once(there) else 2):
            break
    assert not told
    for name, value in here.get_policy().items():
        found = there.get_policy()[name].cpu()
        if is_image:
            distance = torch.linalg.vector_norm(found - value)
            assert distance <= 1e-2 * torch.linalg.vector_norm(value) + 1e-6, name
        else:
            largest = max(1.0, float(value.abs().max()))
            torch.testing.assert_close(found, value, rtol=0.0, atol=1e-3 * largest, msg=name)


WAIT_FOR_NOTHING = [case for case in cases() if case.id.partition("-")[0] not in WAITS]


@pytest.mark.parametrize(("agent_class", "observation", "action"), WAIT_FOR_NOTHING)
def test_updates_wait_for_nothing(agent_class: Any, observation: Any, action: Any) -> None:
    here, there = (built(agent_class, observation, action, device) for device in ("cpu", "cuda"))
    graphs.capture(there, "cuda", pytest.fail)
    learnt = 0
    for transition, step in transitions(here):
        there.memory.add(transition)
        there.act(transition.obs, STEPS - 1)  # which waits for what was before
        for batch in there.memory.ready(step):
            if learnt > (2 * graphs.WARM_UP + 2 if learns_once(there) else 1):  # a capture waits for what is under way
                torch.cuda.set_sync_debug_mode("error")
            try:
                there.update(batch, step)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            learnt += 1
        if learnt >= (NUM_UPDATES + 8 if learns_once(there) else 3):
            return
    pytest.fail(f"learnt {learnt} times alone")


def test_memory_on_the_device_gives_what_that_on_the_host_gives() -> None:
    assert compare_memories("cuda") > 300


BRIEF = ["--env", "Pendulum-v1", "--seeds", "2", "--processes", "1", "--total-timesteps", "1200", "--eval-every", "0",
         "--final-eval-episodes", "2", "--learning-starts", "200", "--checkpoint-every", "600"]  # fmt: skip


@pytest.mark.parametrize("agent", ["sac", "td3"])
def test_a_run_that_goes_on_from_a_checkpoint_is_the_run_without_a_stop(agent: str, tmp_path: Path) -> None:
    """To the bit: the kernels and their order are the same, captured or not."""
    goes_on_as_it_was(["--agent", agent, "--device", "cuda", *BRIEF], tmp_path)


def goes_on_as_it_was(arguments: list[str], folder: Path) -> None:
    for name in ("whole", "parts"):
        assert train.main([*arguments, "--run-dir", str(folder), "--name", name]) == 0
    parts = folder / "parts"
    for last in parts.rglob("*1200*.safetensors"):
        last.unlink()
    about = json.loads((parts / "run.json").read_text())
    (parts / "run.json").write_text(json.dumps({**about, "status": "interrupted"}))
    (parts / "seeds" / "0" / "policy.safetensors").unlink()
    assert train.main(["--resume", str(parts)]) == 0
    for file in ("episodes.csv", "policy.safetensors"):
        for seed in ("0", "1"):
            first, second = (folder / name / "seeds" / seed / file for name in ("whole", "parts"))
            assert first.read_bytes() == second.read_bytes(), file
