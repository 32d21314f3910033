"""Speed against Stable-Baselines3: `python -m benchmarks.speed` (`make benchmark`).

Both sides train ten seeds on two cores with the same hyperparameters: Stable-Baselines3 two processes at a time,
each one seed after the other; rlrepro two processes of five stacked seeds. Then one seed alone on each side. What
is timed is training, from the first step of the first process to the last step of the last; imports, construction
and evaluation are left out on both sides, a short training before the clock starts warms both up, and both log
their episodes as they do by default (rlrepro to its run folder). The sides take turns, round by round; the ratio
quoted is the median over rounds.

Every library is held to one thread a process. That is Stable-Baselines3's best setting here, not its default: on
two cores its default of two threads is slower even alone (`--sb3-threads 2` shows it).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES


@dataclasses.dataclass(frozen=True)
class Work:
    """What one process trains."""

    side: str  #: "rlrepro" or "sb3"
    case: str  #: of `CASES`
    seeds: tuple[int, ...]
    steps: int
    threads: int = 1


@dataclasses.dataclass(frozen=True)
class Timing:
    begun: float
    ended: float
    peak_mib: float


def measure(works: Sequence[Work]) -> tuple[float, float]:
    """Env steps per second over all processes, and their peak memory in MiB, one process for each work."""
    context = get_context("spawn")
    barrier = context.Barrier(len(works))
    pipes, processes = [], []
    for work in works:
        ours, theirs = context.Pipe()
        os.environ["OMP_NUM_THREADS"] = str(work.threads)
        process = context.Process(target=_process, args=(work, barrier, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    timings: list[Timing] = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    wall = max(t.ended for t in timings) - min(t.begun for t in timings)
    return sum(w.steps * len(w.seeds) for w in works) / wall, sum(t.peak_mib for t in timings)


def _process(work: Work, barrier: Any, pipe: Any) -> None:
    import torch

    torch.set_num_threads(work.threads)
    with tempfile.TemporaryDirectory(prefix="rlrepro-benchmark-") as place:
        train = _sb3(work) if work.side == "sb3" else _rlrepro(work, place)
        barrier.wait()
        begun = time.time()
        train()
        ended = time.time()
    pipe.send(Timing(begun, ended, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def _sb3(work: Work) -> Callable[[], None]:
    import sb3_contrib
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env

    from rlrepro.agents.sb3 import minatar_features
    from rlrepro.plugins.environments import register_namespace

    case = CASES[work.case]
    algorithm = getattr(stable_baselines3, case.algorithm, None) or getattr(sb3_contrib, case.algorithm)
    activation = torch.nn.Tanh if case.activation == "tanh" else torch.nn.ReLU

    if "/" in case.env:
        register_namespace(case.env.partition("/")[0])

    def model(seed: int) -> Any:
        env = make_vec_env(case.env, n_envs=case.num_envs, seed=seed)
        policy = {"net_arch": list(case.hidden), "activation_fn": activation}
        if case.images:
            policy["features_extractor_class"] = minatar_features()
        return algorithm("MlpPolicy", env, seed=seed, device="cpu", policy_kwargs=policy, **case.keywords)

    model(0).learn(case.warm)

    def train() -> None:
        for seed in work.seeds:
            model(seed).learn(work.steps)

    return train


def _rlrepro(work: Work, place: str) -> Callable[[], None]:
    from rlrepro import loop, worker
    from rlrepro.record import RunFolder
    from rlrepro.request import Request, parse_train
    from rlrepro.settings import Job

    case = CASES[work.case]
    flags = ["--num-envs", str(case.num_envs)]
    for name, value in case.flags.items():
        flag = name.replace("_", "-")
        flags += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}={value}"]

    def prepared(steps: int) -> Callable[[], None]:
        request = parse_train(
            ["--env", case.env, "--agent", case.agent, "--seeds", ",".join(map(str, work.seeds)) + ",",
             "--total-timesteps", str(steps), "--checkpoint-every", "0", "--eval-every", "0", "--processes", "1",
             "--run-dir", tempfile.mkdtemp(dir=place), *flags]
        )  # fmt: skip
        assert isinstance(request, Request)
        folder = RunFolder.create(request.run_dir, "run", request.settings, ["benchmark"])
        job = Job(request.settings, folder.path, request.settings.seeds)
        recorder = worker.prepare(job, lambda kind, **values: None)
        group = recorder.group
        return lambda: loop.train(group.agent, group.env, steps, recorder, group.counter)

    prepared(case.warm)()
    return prepared(work.steps)


def compare(case: str, seeds: int, processes: int, steps: dict[str, int], rounds: int, threads: int) -> dict[str, Any]:
    """Both sides in turn; steps per second of each round, and the ratio."""
    rates: dict[str, list[float]] = {"sb3": [], "rlrepro": []}
    peaks: dict[str, float] = {}
    for _ in range(rounds):
        for side in rates:
            split = [tuple(range(seeds))[i::processes] for i in range(processes)]
            works = [Work(side, case, part, steps[side], threads if side == "sb3" else 1) for part in split]
            rate, peaks[side] = measure(works)
            rates[side].append(rate)
    ratios = [ours / theirs for ours, theirs in zip(rates["rlrepro"], rates["sb3"], strict=True)]
    return {
        "case": case, "seeds": seeds, "processes": processes, "ratio": statistics.median(ratios),
        "ratios": ratios, **{f"{side}_steps_per_s": statistics.median(values) for side, values in rates.items()},
        **{f"{side}_peak_mib": peak for side, peak in peaks.items()},
    }  # fmt: skip


def scaling(case: str, steps: int) -> list[dict[str, Any]]:
    """How the cost of a seed falls as more are stacked in one process."""
    rows = []
    for seeds in (1, 2, 5, 10, 20, 50):
        rate, peak = measure(
            [Work("rlrepro", case, tuple(range(seeds)), max(CASES[case].warm, steps // max(1, seeds // 5)))]
        )
        rows.append({"case": case, "seeds": seeds, "steps_per_s": rate, "us_per_step_of_a_seed": 1e6 / rate,
                     "peak_mib": peak})  # fmt: skip
    return rows


def shares(case: str, seeds: int, steps: int) -> dict[str, float]:
    """The part of the time that acting, environments, the memory and learning take."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    os.environ["OMP_NUM_THREADS"] = "1"
    process = context.Process(target=_shares, args=(Work("rlrepro", case, tuple(range(seeds)), steps), theirs))
    process.start()
    result: dict[str, float] = ours.recv()
    process.join()
    return result


def _shares(work: Work, pipe: Any) -> None:
    import torch

    from rlrepro import loop

    torch.set_num_threads(1)
    spent: dict[str, float] = {}

    def timed(owner: Any, name: str, label: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return real(*args, **kwargs)
            finally:
                spent[label] = spent.get(label, 0.0) + time.perf_counter() - started

        setattr(owner, name, call)

    real_train = loop.train

    def train(agent: Any, env: Any, total: int, record: Any, counter: Any, first: int = 0) -> None:
        timed(agent, "act", "acting")
        timed(env, "step", "environments")
        mujoco: Any = sys.modules.get("mujoco")
        real_step = getattr(mujoco, "mj_step", None)
        if mujoco is not None:
            timed(mujoco, "mj_step", "MuJoCo itself")
        timed(agent.memory, "add", "memory")
        timed(agent, "update", "learning")
        timed(record, "tick", "logging")
        spent.clear()
        started = time.perf_counter()
        real_train(agent, env, total, record, counter, first)
        whole = time.perf_counter() - started
        if mujoco is not None:
            mujoco.mj_step = real_step  # the module outlives this run
        spent["environments"] -= spent.get("MuJoCo itself", 0.0)
        spent["the rest of the loop"] = whole - sum(spent.values())
        for label in spent:
            spent[label] /= whole

    loop.train = train  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(prefix="rlrepro-benchmark-") as place:
        _rlrepro(work, place)()
    pipe.send(dict(spent))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often the sides take turns (3)")
    parser.add_argument("--sb3-threads", type=int, default=1, help="torch threads of a Stable-Baselines3 process (1)")
    parser.add_argument("--only", nargs="+", choices=tuple(CASES), metavar="CASE", help=f"some of {', '.join(CASES)}")
    parser.add_argument("--ratios", action="store_true", help="the ratios alone: not how seeds scale")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps: to see that it works")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args(arguments)
    scale = 0.1 if asked.quick else 1.0
    names = asked.only or list(CASES)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    figures: dict[str, Any] = {"compare": [], "scaling": [], "shares": {}}
    print(f"\n{'':<24}{'sb3 steps/s':>13}{'rlrepro':>11}{'ratio':>8}  {'rounds':<22}{'goal':>5}  peak MiB sb3, rlrepro")
    for name in names:
        for seeds, processes in ((10, 2), (1, 1)):
            lengths = {
                side: max(CASES[name].warm, int(count * scale * (3 if seeds == 1 else 1)))
                for side, count in zip(("sb3", "rlrepro"), CASES[name].steps, strict=True)
            }
            goal = CASES[name].goals[0 if seeds > 1 else 1]
            row = compare(name, seeds, processes, lengths, asked.rounds, asked.sb3_threads)
            figures["compare"].append(row)
            rounds = " ".join(f"{ratio:.1f}" for ratio in row["ratios"])
            wanted = f"{goal}×" if goal else ""
            label = f"{name}, {seeds} seed{'s' * (seeds > 1)}"
            print(f"{label:<24}{row['sb3_steps_per_s']:>13,.0f}"
                  f"{row['rlrepro_steps_per_s']:>11,.0f}{row['ratio']:>7.1f}×  {rounds:<22}{wanted:>5}"
                  f"  {row['sb3_peak_mib']:.0f}, {row['rlrepro_peak_mib']:.0f}", flush=True)  # fmt: skip
    if not asked.ratios:
        _details(names, scale, figures)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


def _details(names: Sequence[str], scale: float, figures: dict[str, Any]) -> None:
    """How seeds scale in one process and where its time goes, printed and added to `figures`."""
    print("\nrlrepro, one process: how the cost of a seed falls")
    print(f"{'':<18}{'seeds':>6}{'steps/s in all':>16}{'µs a step of a seed':>21}{'peak MiB':>10}")
    for name in names:
        for row in scaling(name, int(CASES[name].steps[1] * scale)):
            figures["scaling"].append(row)
            print(f"{name:<18}{row['seeds']:>6}{row['steps_per_s']:>16,.0f}{row['us_per_step_of_a_seed']:>21.1f}"
                  f"{row['peak_mib']:>10.0f}", flush=True)  # fmt: skip
    print("\nrlrepro, one process: where the time goes")
    for name in names:
        for seeds in (1, 5):
            part = shares(name, seeds, max(CASES[name].warm, int(CASES[name].steps[1] * scale)))
            figures["shares"][f"{name}-{seeds}"] = part
            text = ", ".join(f"{label} {value:.0%}" for label, value in sorted(part.items(), key=lambda kv: -kv[1]))
            print(f"{name}, {seeds} seed{'s' * (seeds > 1)}: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
