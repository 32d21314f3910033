"""Run folders read as histories."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from rlrepro.errors import Interrupted, Problem
from rlrepro.papers.histories import read_run
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.scoring import score
from rlrepro.papers.units.results import Results, UnitResults, read_results, write_results
from rlrepro.record import RunFolder
from rlrepro.seed_log import read_rows
from tests.conftest import Runs


def test_what_was_recorded_is_read(runs: Runs) -> None:
    path = runs.finish("a", "--seeds", "3,1", "--total-timesteps", "1000", "--num-envs", "3", "--eval-every", "300",
                       "--eval-episodes", "4", "--final-eval-episodes", "7")  # fmt: skip
    settings, histories = read_run(path)
    assert [h.seed for h in histories] == list(settings.seeds) == [3, 1]
    for history in histories:
        folder = path / "seeds" / str(history.seed)
        rows = [(int(r["env_step"]), float(r["episode_return"])) for r in read_rows(folder / "episodes.csv")]
        assert history.episodes.tolist() == [list(map(float, row)) for row in rows]
        assert history.evaluations[:, 0].tolist() == [300, 600, 900, 1002]  # 334 steps of 3 sub-environments
        assert (history.steps, history.stopped, len(history.final)) == (1002, "", 7)
        first = [float(r["episode_return"]) for r in read_rows(folder / "evaluations.csv") if r["env_step"] == "300"]
        assert (len(first), history.evaluations[0, 1]) == (4, np.mean(first))
        assert history.evaluations[-1, 1] == history.final.mean()
    results = json.loads((path / "run.json").read_text())["results"]
    last = score(Protocol("evaluation", last=1), histories).per_seed
    assert last == {int(seed): one["eval_return"] for seed, one in results.items()}
    training = score(Protocol("training"), [h for h in histories if len(h.episodes) < 100]).per_seed
    for seed, value in training.items():
        assert value == pytest.approx(results[str(seed)]["training_return"])


def test_a_policy_of_nan_is_that_of_a_diverged_seed_and_is_told_with_the_verdict(runs: Runs, tmp_path: Path) -> None:
    run = runs.finish("a", "--agent", "ppo", "--num-steps", "20", "--seeds", "3")
    assert [h.diverged for h in read_run(run)[1]] == [False] * 3
    file = run / "seeds/1/policy.safetensors"
    policy = safetensors.numpy.load_file(file)
    safetensors.numpy.save_file({name: np.full_like(value, np.nan) for name, value in policy.items()}, file)
    settings, histories = read_run(run)
    assert [h.diverged for h in histories] == [False, True, False]
    unit = UnitResults(dataclasses.asdict(settings), (), tuple(histories))
    write_results(tmp_path / "results", Results(1.0, {"ppo-CartPole-v1": unit}))
    kept = read_results(tmp_path / "results").units["ppo-CartPole-v1"]
    assert [h.diverged for h in kept.histories] == [False, True, False]


LONG = """
import dataclasses

import numpy as np

class Long:
    @dataclasses.dataclass(frozen=True)
    class Config:
        pass

    def __init__(self, setup, config):
        self.setup = setup

    def train(self, training):
        env = training.make_env()
        while training.env_step < 700:
            obs, _ = env.reset()
            over = False
            while not over:
                obs, _, terminated, truncated, _ = env.step(int(obs[2] > 0) if training.env_step > 300 else 0)
                over = terminated or truncated
            training.tell({})

    def predict(self, obs, streams, deterministic):
        return obs[..., 0].astype(int) * 0

    def get_policy(self):
        return {"none": np.zeros((1, 1))}

    def set_policy(self, policy):
        pass
"""


def test_of_a_trainer_that_took_far_more_steps_those_that_were_asked_for_count(runs: Runs, tmp_path: Path) -> None:
    """Else what it learnt in the rest would speak for the paper's budget."""
    (tmp_path / "long.py").write_text(LONG)
    begun = runs.begin("long", "--agent", f"{tmp_path / 'long.py'}:Long", "--seeds", "2", "--eval-every", "100",
                       "--eval-episodes", "2", "--total-timesteps", "300")  # fmt: skip
    run = runs.folder / "long"
    settings, histories = read_run(run)
    assert f"up to {max(h.taken for h in histories)} env steps a seed" in " ".join(begun.out.split())
    for history in histories:
        assert history.steps == 300
        assert 700 <= history.taken < 800
        assert history.episodes[-1, 0] <= 300 < history.episodes[-1, 0] + 40
        assert history.evaluations[-1, 0] <= 300
    assert score(Protocol("training", last=5), histories).values.max() < 15  # and what it learnt then has 30 and more
    late = [float(row["episode_return"]) for row in read_rows(run / "seeds" / "0" / "episodes.csv")]
    assert np.mean(late[-5:]) > 25
    missing = score(Protocol("evaluation", "one agent"), histories).missing[0]
    assert missing == f"it has no final evaluation, as it took {histories[0].taken} env steps of 300"
    unit = UnitResults(dataclasses.asdict(settings), (), tuple(histories))
    write_results(tmp_path / "results", Results(1.0, {"long-CartPole-v1": unit}))
    kept = read_results(tmp_path / "results").units["long-CartPole-v1"]
    assert [h.taken for h in kept.histories] == [h.taken for h in histories]
    said = runs.command("compare", run, "--last", "5").out
    assert f"seed 0 took {histories[0].taken} env steps, and what came after 300 is left out" in " ".join(said.split())


def run_by_hand(folder: Path, like: Path, status: dict[str, object], **files: str) -> Path:
    """A run folder of one seed with these files."""
    seed = folder / "seeds" / "0"
    seed.mkdir(parents=True)
    (folder / "settings.json").write_text((like / "settings.json").read_text())
    (folder / "run.json").write_text(json.dumps(status))
    files = {
        "episodes": "env_step,env,episode_return,episode_length,terminated,truncated\n",
        "evaluations": "env_step,episode,episode_return,episode_length\n",
        "metrics": "env_step,wall_time,metric,value\n",
    } | files
    for name, text in files.items():
        (seed / f"{name}.csv").write_text(text)
    return folder


@pytest.fixture
def like(runs: Runs) -> Path:
    return runs.finish("like", "--seeds", "0,", "--total-timesteps", "120")


def test_a_seed_that_stopped_says_where_and_why(like: Path, tmp_path: Path) -> None:
    episodes = "env_step,env,episode_return,episode_length,terminated,truncated\n40,0,-1.5,9,1,0\n44,1,nan,9,1,0\n50,"
    metrics = "env_step,wall_time,metric,value\n64,1.0,charts/SPS,5\n"
    path = run_by_hand(
        tmp_path / "x",
        like,
        {"status": "failed", "reason": "it broke", "broke": [0]},
        episodes=episodes,
        metrics=metrics,
    )
    history = read_run(path)[1][0]
    assert (history.steps, history.stopped, history.broke) == (64, "it broke", True)
    assert history.episodes.shape == (2, 2)  # the half-written row is no episode
    assert history.episodes[0].tolist() == [40, -1.5]
    assert np.isnan(history.episodes[1, 1])
    assert score(Protocol("training", last=2), [history]).missing == {0: "it stopped at env step 64 (it broke)"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [({"status": "running"}, "going on, or was killed"), ({}, "does not say"), ({"status": "failed"}, "failed")],
)
def test_a_run_without_a_reason_still_has_one(
    like: Path, tmp_path: Path, status: dict[str, object], reason: str
) -> None:
    history = read_run(run_by_hand(tmp_path / "x", like, status))[1][0]
    assert history.steps == 0
    assert reason in history.stopped
    assert len(history.episodes) == len(history.evaluations) == len(history.final) == 0


@pytest.mark.parametrize(
    "about",
    [
        {"status": "running"},
        {"status": "interrupted", "reason": "stopped at env step 60", "broke": []},
        {"status": "failed", "reason": "episodes.csv could not be written: No space left", "broke": []},
        {"status": "failed", "reason": "another seed broke", "broke": [3]},
        {"status": "failed", "reason": "older than what says so"},
    ],
)
def test_a_seed_that_was_cut_short_did_not_break(like: Path, tmp_path: Path, about: dict[str, object]) -> None:
    history = read_run(run_by_hand(tmp_path / "x", like, about))[1][0]
    assert history.stopped
    assert not history.broke


def test_a_seed_can_be_finished_in_a_run_that_is_not(like: Path, tmp_path: Path) -> None:
    rows = "env_step,episode,episode_return,episode_length\n60,0,1,1\n120-final,0,2,1\n120-final,1,4,1\n"
    history = read_run(run_by_hand(tmp_path / "x", like, {"status": "failed"}, evaluations=rows))[1][0]
    assert (history.stopped, history.steps) == ("", 120)
    assert history.evaluations.tolist() == [[60, 1], [120, 3]]
    assert history.final.tolist() == [2, 4]


EVALUATED = "env_step,episode,episode_return,episode_length\n"


def test_the_last_of_several_final_evaluations_counts_and_leaves_the_ordinary_one_at_its_step(
    like: Path, tmp_path: Path
) -> None:
    rows = "60-final,0,2,1\n120,0,1,1\n120-final,0,5,1\n120-final,1,7,1\n"
    history = read_run(run_by_hand(tmp_path / "x", like, {"status": "finished"}, evaluations=EVALUATED + rows))[1][0]
    assert history.evaluations.tolist() == [[60, 2], [120, 1]]
    assert (history.final.tolist(), history.steps) == ([5, 7], 120)


def test_an_evaluation_tells_how_far_a_seed_came(like: Path, tmp_path: Path) -> None:
    rows = EVALUATED + "90,0,1,1\n"
    metrics = "env_step,wall_time,metric,value\n64,1.0,charts/SPS,5\n"
    path = run_by_hand(tmp_path / "x", like, {"status": "failed"}, evaluations=rows, metrics=metrics)
    assert read_run(path)[1][0].steps == 90


def test_a_run_that_ends_a_little_late_is_whole_and_one_that_ends_far_later_is_cut_at_what_was_asked(
    like: Path, tmp_path: Path
) -> None:
    """At 120 env steps: what happened at that very step is among them."""
    episodes = "env_step,env,episode_return,episode_length,terminated,truncated\n120,0,3,20,1,0\n124,0,4,4,1,0\n"
    found = {}
    for end in (124, 200):
        rows = EVALUATED + f"120,0,1,1\n{end}-final,0,5,1\n"
        path = run_by_hand(tmp_path / str(end), like, {"status": "finished"}, episodes=episodes, evaluations=rows)
        one = read_run(path)[1][0]
        found[end] = (one.steps, one.taken, one.final.tolist(), one.evaluations.tolist(), one.episodes.tolist())
    assert found[124] == (124, 0, [5], [[120, 1], [124, 5]], [[120, 3], [124, 4]])
    assert found[200] == (120, 200, [], [[120, 1]], [[120, 3]])


def test_lost_records_are_not_a_finished_seed(like: Path) -> None:
    (like / "seeds" / "0" / "episodes.csv").unlink()
    assert read_run(like)[1][0].stopped == "its episodes.csv is not there"


def cut_a_row(text: str) -> str:
    first, *rows = text.splitlines(keepends=True)
    return first + "".join(rows[:-1])


@pytest.mark.parametrize("name", ["episodes", "evaluations", "metrics"])
@pytest.mark.parametrize("harm", [cut_a_row, lambda text: text[:-2] + ("1" if text[-2] != "1" else "0") + "\n"])
def test_a_record_that_is_not_what_it_was_at_the_end_has_no_score(
    runs: Runs, name: str, harm: Callable[[str], str]
) -> None:
    """A lost row or a changed digit, in one seed of two; the other one counts."""
    run = runs.finish("a", "--seeds", "2", "--eval-every", "200", "--total-timesteps", "600")
    file = run / "seeds/1" / f"{name}.csv"
    file.write_text(harm(file.read_text()))
    whole, lost = read_run(run)[1]
    why = f"its {name}.csv is not what it was when it ended (SHA256SUMS)"
    assert (whole.stopped, lost.stopped, lost.steps) == ("", why, 0)
    for protocol in (
        Protocol("training"),
        Protocol("training", to_step=400),
        Protocol("evaluation", last=1),
        Protocol("evaluation", statistic="one agent"),
        Protocol("training", of="steps", threshold=1.0, last=1),
    ):
        scored = score(protocol, [whole, lost])
        assert list(scored.per_seed) == [0]
        assert scored.missing[1].startswith(why)
    assert why in " ".join(runs.command("score", run).out.split())


def test_what_is_written_down_at_the_end_can_be_checked_by_others(runs: Runs) -> None:
    folder = runs.finish("a") / "seeds/0"
    lines = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sorted(lines) == ["episodes.csv", "evaluations.csv", "metrics.csv", "policy.safetensors"]
    assert lines == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in lines}


def test_what_was_written_down_is_renewed_when_a_run_is_made_longer(runs: Runs) -> None:
    run = runs.finish("a", "--total-timesteps", "300")
    first = (run / "seeds/0/SHA256SUMS").read_text()
    assert runs.command("train", "--resume", run, "--total-timesteps", "600").status == 0
    assert (run / "seeds/0/SHA256SUMS").read_text() != first
    assert [h.stopped for h in read_run(run)[1]] == [""] * len(read_run(run)[1])


def fails(problem: Problem) -> Callable[..., None]:
    def fail(*arguments: object, **named: object) -> None:
        raise problem

    return fail


def test_a_longer_run_that_was_stopped_is_not_held_against_its_first_end(runs: Runs) -> None:
    run = runs.finish("a", "--agent", "q_learning", "--env", "FrozenLake-v1", "--seeds", "2", "--processes", "1",
                      "--total-timesteps", "400")  # fmt: skip
    sums = [(run / f"seeds/{seed}/SHA256SUMS").read_bytes() for seed in range(2)]
    longer = ("train", "--resume", str(run), "--total-timesteps", "800")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlrepro.worker.find_env", fails(Problem("it cannot be made")))
        assert runs.command(*longer).status == 2
    assert [(run / f"seeds/{seed}/SHA256SUMS").read_bytes() for seed in range(2)] == sums
    assert [h.stopped for h in read_run(run)[1]] == ["", ""]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlrepro.recorder.Recorder.finish", fails(Interrupted("stopped at env step 800")))
        assert runs.command(*longer).status == 130
    assert [h.stopped for h in read_run(run)[1]] == ["interrupted", "interrupted"]
    assert not list(run.rglob("SHA256SUMS*"))
    assert runs.command("train", "--resume", run).status == 0
    assert [h.stopped for h in read_run(run)[1]] == ["", ""]
    assert all((run / f"seeds/{seed}/SHA256SUMS").is_file() for seed in range(2))


def test_a_library_s_finished_seed_keeps_what_was_written_down_and_one_begun_again_does_not(runs: Runs) -> None:
    run = runs.finish("a", "--agent", "sb3:dqn", "--env", "FrozenLake-v1", "--seed", "0", "--total-timesteps", "800")
    sums = (run / "seeds/0/SHA256SUMS").read_bytes()
    RunFolder(run).note(status="interrupted")
    assert runs.command("train", "--resume", run).status == 0
    assert (run / "seeds/0/SHA256SUMS").read_bytes() == sums
    RunFolder(run).note(status="interrupted")
    shutil.rmtree(run / "seeds/0/checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlrepro.trainer.TrainerJournal.finish", fails(Interrupted("stopped at env step 800")))
        assert runs.command("train", "--resume", run).status == 130
    assert [h.stopped for h in read_run(run)[1]] == ["interrupted"]
    assert not list(run.rglob("SHA256SUMS*"))


def test_a_changed_record_is_not_gone_on_with(runs: Runs) -> None:
    """It would be written down anew, with the change in it; a row that is lost before the last shows by no length."""
    run = runs.finish("a", "--agent", "q_learning", "--env", "FrozenLake-v1", "--seeds", "2", "--eval-every", "200",
                      "--total-timesteps", "600", "--processes", "1")  # fmt: skip
    file = run / "seeds/1/evaluations.csv"
    whole = file.read_bytes()
    first, *rows = whole.splitlines(keepends=True)
    file.write_bytes(b"".join([first, *rows[1:]]))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = runs.command("train", "--resume", run, "--total-timesteps", "900").problem
    assert f"{file} is not what it was when seed 1 ended (SHA256SUMS): put it back, or begin it anew: " in said
    assert said.endswith("--total-timesteps 900")
    RunFolder(run).note(status="interrupted")
    assert f"with {run}/seeds/1 moved away a resume begins seed 1" in runs.command("train", "--resume", run).problem
    RunFolder(run).note(status="finished")
    assert {path: path.read_bytes() for path in before} == before
    file.write_bytes(whole)
    assert runs.command("train", "--resume", run, "--total-timesteps", "900").status == 0


def test_a_run_without_what_was_written_down_is_read(like: Path) -> None:
    (like / "seeds/0/SHA256SUMS").unlink()
    assert read_run(like)[1][0].stopped == ""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("episodes", "env_step,env,episode_return,episode_length\n1,0,what,3\n", "episodes.csv: not the episodes"),
        ("episodes", "step,return\n1,0\n", "episodes.csv:1: it has no column 'env_step'"),
        ("evaluations", "env_step,episode,episode_return\n5,0,1\n5\n", "evaluations.csv:3"),
        ("evaluations", "env_step,episode,episode_return\nfive,0,1\n", "evaluations.csv:2"),
    ],
)
def test_faults_name_the_file(like: Path, tmp_path: Path, name: str, text: str, said: str) -> None:
    path = run_by_hand(tmp_path / "x", like, {"status": "finished"}, **{name: text})
    with pytest.raises(Problem) as problem:
        read_run(path)
    assert said in str(problem.value)


def test_what_is_no_run_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Problem, match="there is no run folder"):
        read_run(tmp_path / "nothing")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "swing").mkdir(parents=True)
    with pytest.raises(Problem, match="there is no run folder swing; did you mean 'runs/swing'"):
        read_run(Path("swing"))


def test_ten_seeds_of_six_thousand_episodes_are_read_quickly(like: Path, tmp_path: Path) -> None:
    rows = "".join(f"{9 * n},0,{n % 500}.5,9,1,0\n" for n in range(6000))
    header = "env_step,env,episode_return,episode_length,terminated,truncated\n"
    path = run_by_hand(tmp_path / "x", like, {"status": "finished"}, episodes=header + rows)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(10):
            assert len(read_run(path)[1][0].episodes) == 6000
        best = min(best, time.perf_counter() - began)
    assert best < 1.0


def test_a_length_ends_where_a_resume_began_anew(like: Path, tmp_path: Path) -> None:
    """At env step 20 a run stopped in an episode, 10 steps old, that it could not restore: 40 − 20, not 40 − 10."""
    rows = "10,0,1.0,10,True,False\n40,0,2.0,20,True,False\n45,0,3.0,5,True,False\n"
    header = "env_step,env,episode_return,episode_length,terminated,truncated\n"
    folder = run_by_hand(tmp_path / "run", like, {"status": "finished"}, episodes=header + rows)
    text = (folder / "settings.json").read_text()
    (folder / "settings.json").write_text(re.sub('"num_envs": \\d+', '"num_envs": 1', text))
    _, (history,) = read_run(folder)
    assert history.gaps == (20,)
    unit = UnitResults({}, (), (history,))
    write_results(tmp_path / "results", Results(1.0, {"unit": unit}))
    (again,) = read_results(tmp_path / "results").units["unit"].histories
    for one in (history, again):
        assert one.lengths().episodes.tolist() == [[10, 10], [40, 20], [45, 5]]
