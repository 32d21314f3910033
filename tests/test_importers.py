"""Runs of any origin read as groups of histories."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlrepro.errors import Problem
from rlrepro.papers.compare.comparison import samples_to_threshold
from rlrepro.papers.compare.score import score_group
from rlrepro.papers.histories import read_run
from rlrepro.papers.importers import Group, event_files, load
from rlrepro.papers.importers.names import seed_of
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.units.results import Results, UnitResults, write_results
from rlrepro.papers.units.unit import shared
from rlrepro.record import RunFolder
from tests.conftest import Runs


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of Stable-Baselines3's PPO on two sub-environments, with evaluations and event files."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.env_util import make_vec_env

    folder = tmp_path_factory.mktemp("peer")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for seed in (3, 4):
        own = folder / "logs" / "ppo" / f"seed-{seed}"
        env = make_vec_env("CartPole-v1", n_envs=2, seed=seed, monitor_dir=str(own))
        callback = EvalCallback(make_vec_env("CartPole-v1", seed=9), eval_freq=64, n_eval_episodes=2,
                                log_path=str(own), verbose=0)  # fmt: skip
        model = PPO("MlpPolicy", env, n_steps=64, n_epochs=1, seed=seed, device="cpu",
                    tensorboard_log=str(folder / "tb"))  # fmt: skip
        model.learn(256, callback=callback, tb_log_name=f"ppo-{seed}")
    torch.set_num_threads(threads)
    return folder


def one(groups: Sequence[Group]) -> Group:
    assert len(groups) == 1, [group.name for group in groups]
    return groups[0]


def problem(*paths: Path, **options: object) -> str:
    with pytest.raises(Problem) as raised:
        load(paths, **options)  # type: ignore[arg-type]
    text = str(raised.value)
    assert "\n" not in text
    return text


def reads_or_names(file: Path) -> bool:
    """Whether a file is read, or refused by a line that names it."""
    try:
        load([file])
    except Problem as found:
        return str(file) in str(found)
    return True


# --- Stable-Baselines3


def test_monitor_files_are_what_stable_baselines3_reads(peer: Path) -> None:
    from stable_baselines3.common.results_plotter import load_results, ts2xy

    group = one(load([peer / "logs"]))
    assert (group.name, group.env, [h.seed for h in group.histories]) == ("ppo", "CartPole-v1", [3, 4])
    for history in group.histories:
        x, y = ts2xy(load_results(str(peer / "logs" / "ppo" / f"seed-{history.seed}")), "timesteps")
        assert history.episodes[:, 0].tolist() == x.tolist()
        assert history.episodes[:, 1].tolist() == y.tolist()
        assert len(history.episodes) > 4


def test_evaluations_are_means_of_their_episodes(peer: Path) -> None:
    group = one(load([peer / "logs" / "ppo" / "seed-4"]))
    with np.load(peer / "logs" / "ppo" / "seed-4" / "evaluations.npz") as arrays:
        steps, results = arrays["timesteps"], arrays["results"]
    assert group.histories[0].evaluations.tolist() == np.column_stack([steps, results.mean(1)]).tolist()
    assert group.evaluation == "2 episodes"
    alone = one(load([peer / "logs" / "ppo" / "seed-4" / "evaluations.npz"]))
    assert alone.histories[0].evaluations.tolist() == group.histories[0].evaluations.tolist()
    assert len(alone.histories[0].episodes) == 0


def test_its_event_files_say_the_same(peer: Path) -> None:
    group = one(load([peer / "tb"]))  # ppo-3_1 and ppo-4_1: it numbers the runs of one name
    assert (group.name, group.running, [h.seed for h in group.histories]) == ("ppo", 100, [3, 4])
    files = one(load([peer / "logs"]))
    for events, history in zip(group.histories, files.histories, strict=True):
        np.testing.assert_allclose(events.evaluations, history.evaluations, rtol=1e-6)  # event files are in float32
        assert events.episodes[-1, 0] == 256
        assert events.episodes[-1, 1] == pytest.approx(history.episodes[:, 1].mean(), rel=1e-6)  # fewer than 100


def test_seeds_given_one_by_one_are_a_group_and_labels_make_others(peer: Path) -> None:
    paths = [peer / "logs" / "ppo" / name for name in ("seed-3", "seed-4")]
    assert [h.seed for h in one(load(paths)).histories] == [3, 4]
    assert [g.name for g in load(paths, labels=["a", "b"])] == ["a", "b"]
    assert [h.seed for h in one(load(paths, labels=["a", "a"])).histories] == [3, 4]
    assert "2 labels for 1 runs" in problem(paths[0], labels=["a", "b"])
    assert "is named twice" in problem(paths[0], paths[0])


def test_labels_go_to_the_runs_that_they_stand_beside(tmp_path: Path) -> None:
    for name, rewards in (("A", (1, 2)), ("B", (3,))):
        (tmp_path / name).mkdir()
        for index, reward in enumerate(rewards):
            (tmp_path / name / f"{index}.monitor.csv").write_text(MONITOR + f"{reward},10,1.0\n")
    first, second, third = paths = [
        tmp_path / "A/0.monitor.csv",
        tmp_path / "A/1.monitor.csv",
        tmp_path / "B/0.monitor.csv",
    ]
    groups = load(paths, labels=["a", "a", "b"])
    assert [(g.name, g.histories[0].episodes[:, 1].tolist()) for g in groups] == [("a", [1.0, 2.0]), ("b", [3.0])]
    assert "its monitor files are one seed, and have several labels" in problem(*paths, labels=["a", "b", "b"])
    assert f"{second} is named twice" in problem(first, second, second)
    assert [g.name for g in load([second, third], labels=["x", "y"])] == ["x", "y"]


def test_episodes_and_evaluations_of_one_folder_are_two_things(peer: Path) -> None:
    folder = peer / "logs" / "ppo" / "seed-3"
    groups = load([folder / "1.monitor.csv", folder / "evaluations.npz"], labels=["training", "evaluation"])
    assert [(len(g.histories[0].episodes) > 0, len(g.histories[0].evaluations) > 0) for g in groups] == [
        (True, False),
        (False, True),
    ]


def test_a_run_and_the_folder_that_holds_it_are_not_two(tmp_path: Path) -> None:
    (tmp_path / "d" / "x").mkdir(parents=True)
    (tmp_path / "d" / "x" / "monitor.csv").write_text(MONITOR + "1.0,10,1.0\n")
    for part in ("d/x", "d/x/monitor.csv"):
        said = problem(tmp_path / "d", tmp_path / part)
        assert f"is part of {tmp_path / 'd'} and of {tmp_path / part}: the same run must not count as two" in said


def test_kinds_can_be_forced(peer: Path) -> None:
    folder = peer / "logs" / "ppo" / "seed-3"
    assert len(one(load([folder], "monitor")).histories[0].evaluations) == 0
    assert len(one(load([folder], "npz")).histories[0].episodes) == 0
    assert "not a TensorBoard folder" in problem(folder, kind="tensorboard")
    one_env = one(load([folder / "0.monitor.csv"])).histories[0]
    both = one(load([folder / "0.monitor.csv", folder / "1.monitor.csv"])).histories[0]
    assert 0 < len(one_env.episodes) < len(both.episodes)
    assert both.episodes.tolist() == one(load([folder])).histories[0].episodes.tolist()


def test_the_logs_of_stable_baselines3_say_what_its_event_files_do(tmp_path: Path) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.logger import configure

    for seed in (3, 4):
        folder = tmp_path / "ppo" / f"seed-{seed}"
        model = PPO("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2, seed=seed), n_steps=32, n_epochs=1, seed=seed,
                    device="cpu")  # fmt: skip
        model.set_logger(configure(str(folder), ["csv", "tensorboard"]))
        model.learn(256, callback=EvalCallback(make_vec_env("CartPole-v1", seed=9), eval_freq=50, verbose=0))
    events = one(load([tmp_path / "ppo"], "tensorboard"))
    group = one(load([tmp_path / "ppo"], "csv"))
    assert (group.name, group.running, [h.seed for h in group.histories]) == ("ppo", 100, [3, 4])
    for log, history in zip(group.histories, events.histories, strict=True):
        np.testing.assert_allclose(log.episodes, history.episodes, rtol=1e-6)  # event files are in float32
        np.testing.assert_allclose(log.evaluations, history.evaluations, rtol=1e-6)
        assert log.evaluations[:, 0].tolist() == [100, 200]
    files = [tmp_path / "ppo" / f"seed-{seed}" / "progress.csv" for seed in (3, 4)]
    assert [h.episodes.tolist() for h in one(load(files)).histories] == [h.episodes.tolist() for h in group.histories]
    assert [h.seed for h in one(load(files)).histories] == [3, 4]
    only = one(load(files, columns={"kind": "evaluation"}))
    assert [(len(h.episodes), len(h.evaluations), only.running) for h in only.histories] == [(0, 2, None)] * 2


def test_a_monitor_file_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    import gymnasium
    from stable_baselines3.common.monitor import Monitor

    file = tmp_path / "seed-2" / "monitor.csv"
    env = Monitor(gymnasium.make("CartPole-v1"), str(file))
    lengths = []
    for seed in range(3):
        env.reset(seed=seed)
        lengths.append(next(n for n in itertools.count(1) if env.step(1)[2]))
    env.close()
    renamed = tmp_path / "other" / "ppo_seed2.csv"
    renamed.parent.mkdir()
    renamed.write_bytes(file.read_bytes())
    for path in (file, file.parent, renamed, renamed.parent):
        group = one(load([path]))
        assert (group.kind, group.env, group.histories[0].seed) == ("monitor", "CartPole-v1", 2)
        assert group.histories[0].episodes.tolist() == np.column_stack([np.cumsum(lengths), lengths]).tolist()


def test_a_running_mean_is_no_episode_in_a_table_either(tmp_path: Path) -> None:
    text = "seed,step,rollout/ep_rew_mean\n" + "".join(f"{s},{n},{s + n}\n" for s in (0, 1) for n in (64, 128))
    for columns in ({}, {"return": "rollout/ep_rew_mean"}, {"training": "rollout/ep_rew_mean"}, {"kind": "training"}):
        group = one(load([table(tmp_path, text)], columns=columns))
        assert (group.running, [len(h.episodes) for h in group.histories], group.notes) == (100, [2, 2], ())
    said = problem(tmp_path / "runs.csv", columns={"kind": "evaluation"})
    assert "--column kind=evaluation cannot be: 'rollout/ep_rew_mean' is of episodes; leave it out" in said
    assert "did you mean 'rollout/ep_rew_mean'?" in problem(tmp_path / "runs.csv", columns={"training": "ep_rew_mean"})


def test_a_long_name_is_cut_to_what_tells_it_from_others(tmp_path: Path) -> None:
    names = [
        "sweep-of-2024/cartpole-with-noise/ppo",
        "sweep-of-2024/cartpole-with-noise/dqn",
        "other/of-a-rather-long-name/dqn",
    ]
    for name in names:
        (tmp_path / name / "seed-0").mkdir(parents=True)
        (tmp_path / name / "seed-0" / "monitor.csv").write_text(MONITOR + "1,1,1\n")
    assert {g.name for g in load([tmp_path])} == {"ppo", "cartpole-with-noise/dqn", "other/of-a-rather-long-name/dqn"}
    assert [g.name for g in load([tmp_path / name for name in names], labels=names)] == names


MONITOR = '#{"t_start": 100.0, "env_id": "E-v0"}\nr,l,t\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("r,l,t\n1,1,1\n", ":1: not a monitor file"),
        ('#{"env_id": "E"}\nr,l,t\n1,1,1\n', ":1: not a monitor file"),
        ('#{"t_start": 1.0}\nr,t\n1,1\n', ":2: it has no column 'l'"),
        (MONITOR + "1,1,1\n1,x,2\n", ":4: l 'x' is not a number"),
        (MONITOR + "1,1,1\n1,2\n1,1,1\n", ":4: it has 2 cells"),
        (MONITOR + "1,0,1\n", ":3: an episode of length 0"),
        (MONITOR + "1,nan,1\n", ":3: an episode of length nan"),
        ('#{"t_start": 1.0}\n', ":2: it has no column 'r'"),
        (MONITOR + '1,1,1\n"' + "1,1,1\n" * 30_000, ": field larger than field limit"),
        ('#{"t_start": 1.0}\n"' + "r,l,t\n" * 30_000, ": field larger than field limit"),
    ],
)
def test_faults_of_monitor_files_name_file_and_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "monitor.csv"
    file.write_text(text)
    found = problem(file)
    assert found.startswith(f"{file}{said}" if re.match(r":\d", said) else str(file))
    assert said in found


def test_sub_environments_stand_in_order_of_time_and_a_half_written_line_is_said(tmp_path: Path) -> None:
    (tmp_path / "0.monitor.csv").write_text(MONITOR + "1.5,10,1.0\n2.5,10,3.0\n9.0,10,5")
    (tmp_path / "1.monitor.csv").write_text(MONITOR.replace("100.0", "101.0") + "3.5,7,1.0\n")
    group = one(load([tmp_path]))
    assert group.histories[0].episodes.tolist() == [[10, 1.5], [17, 3.5], [27, 2.5]]
    assert any("half-written" in note for note in group.notes)


def test_a_monitor_file_that_was_gone_on_with_is_one_run(tmp_path: Path) -> None:
    """By `override_existing=False` a second session begins its clock anew, below the rows of the first."""
    (tmp_path / "monitor.csv").write_text(MONITOR + "1.0,10,1.0\n2.0,10,2.0\n3.0,10,0.5\n4.0,10,1.5\n")
    group = one(load([tmp_path]))
    assert group.histories[0].episodes.tolist() == [[10, 1], [20, 2], [30, 3], [40, 4]]
    assert any("its clock begins anew in line 5" in note for note in group.notes)


def test_sessions_of_several_sub_environments_follow_one_another(tmp_path: Path) -> None:
    """The second session of one file comes after the first of the other, however long that lasted.

    When the second began no file says: its clock is not counted from where the first began.
    """
    (tmp_path / "0.monitor.csv").write_text(MONITOR + "1.0,10,2.0\n3.0,10,1.0\n")
    (tmp_path / "1.monitor.csv").write_text(MONITOR.replace("100.0", "101.0") + "2.0,10,900.0\n4.0,10,0.5\n")
    assert one(load([tmp_path])).histories[0].episodes[:, 1].tolist() == [1, 2, 4, 3]


def test_of_a_file_that_was_gone_on_with_unseen_the_order_is_said_to_be_unknown(tmp_path: Path) -> None:
    """Its clock goes on where the other's begins anew: nothing tells its second session from its first."""
    (tmp_path / "0.monitor.csv").write_text(MONITOR + "1.0,10,5.0\n3.0,10,1.0\n")
    (tmp_path / "1.monitor.csv").write_text(MONITOR + "2.0,10,5.0\n4.0,10,6.0\n")
    notes = one(load([tmp_path])).notes
    assert notes[-1].endswith("0.monitor.csv was gone on with, and not every file beside it shows where: the order of "
                              "their episodes is not known.")  # fmt: skip
    (tmp_path / "1.monitor.csv").write_text(MONITOR + "2.0,10,5.0\n4.0,10,0.5\n")
    assert not any("not known" in note for note in one(load([tmp_path])).notes)


def test_monitor_files_with_names_of_their_own_are_a_seed_each(tmp_path: Path) -> None:
    """As of `Monitor(env, "logs/ppo_seed1")`; those of one seed's sub-environments have a number alone."""
    for seed in (1, 2):
        (tmp_path / f"ppo_seed{seed}.monitor.csv").write_text(MONITOR + f"{seed},10,1.0\n")
    assert [h.episodes.tolist() for h in one(load([tmp_path])).histories] == [[[10, 1]], [[10, 2]]]
    assert one(load([tmp_path])).name.endswith("ppo")
    files = [tmp_path / f"ppo_seed{seed}.monitor.csv" for seed in (1, 2)]
    assert [group.name for group in load(files, labels=["a", "b"])] == ["a", "b"]
    np.savez(tmp_path / "evaluations.npz", timesteps=np.arange(1, 3), results=np.ones((2, 1)))
    assert [group.kind for group in load([tmp_path], "monitor")] == ["monitor"]
    files[0].unlink()
    both = one(load([tmp_path])).histories[0]  # with one alone, the evaluations beside it are its own
    assert (both.seed, len(both.episodes), len(both.evaluations)) == (2, 1, 2)
    (tmp_path / "0.monitor.csv").write_text(MONITOR + "5,10,1.0\n")
    assert len(load([tmp_path])) == 2
    (tmp_path / "te").mkdir()
    for name in ("train", "eval"):
        (tmp_path / "te" / f"{name}.monitor.csv").write_text(MONITOR + "1,10,1.0\n")
    assert [group.name.rpartition("/")[2] for group in load([tmp_path / "te"])] == ["eval", "train"]


def test_what_is_left_out_beside_what_is_read_is_said(tmp_path: Path) -> None:
    table(tmp_path, "step,episode_return\n1,2\n", "ppo_seed0.csv")
    (tmp_path / "old" / "seed-9").mkdir(parents=True)
    table(tmp_path / "old" / "seed-9", "step,episode_return\n1,2\n")
    group = one(load([tmp_path]))
    assert [h.seed for h in group.histories] == [9]
    assert f"{tmp_path}: what lies in its folders is read, ppo_seed0.csv beside it is not: name it to read it." in (
        group.notes
    )
    np.savez(tmp_path / "old" / "seed-9" / "evaluations.npz", timesteps=np.arange(1, 3), results=np.ones((2, 1)))
    table(tmp_path / "old" / "seed-9", "step,episode_return\n1,2\n", "progress.csv")
    assert "evaluations.npz is read, progress.csv beside it is not" in one(load([tmp_path / "old"])).notes[0]


@pytest.mark.parametrize(
    ("name", "stem", "seed"),
    [("ppo_S4_seed1", "ppo_S4", 1), ("trial-7_seed3", "trial-7", 3), ("seed1_s2", "_s2", 1), ("td3_s3", "td3", 3)],
)
def test_the_word_seed_goes_before_others(name: str, stem: str, seed: int) -> None:
    assert seed_of(name, named=True) == (stem, seed)


def test_a_last_line_without_its_end_is_said_to_be_so(tmp_path: Path) -> None:
    rows = "seed,step,mean_return\n0,1000,101.5\n1,1000,10"
    group = one(load([table(tmp_path, rows)]))
    assert group.notes == (
        f"{tmp_path / 'runs.csv'}: its last line has no end: it is read as it stands, and may be half a number.",
    )
    assert one(load([table(tmp_path, rows + "\n")])).notes == ()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_cells_may_be_separated_by_semicolons_or_tabs(tmp_path: Path, separator: str) -> None:
    rows = "seed,step,mean_return\n0,1000,101.5\n0,2000,7\n1,1000,10"
    with_commas, other = one(load([table(tmp_path, rows)])), one(load([table(tmp_path, rows.replace(",", separator))]))
    assert other.notes == with_commas.notes  # its last line has no end
    for mine, theirs in zip(other.histories, with_commas.histories, strict=True):
        np.testing.assert_array_equal(mine.evaluations, theirs.evaluations)
    half = one(load([table(tmp_path, rows.removesuffix(",10").replace(",", separator))]))
    assert any("half-written" in note for note in half.notes)
    with pytest.raises(Problem, match=r"runs\.csv:2: return '101,5' is not a number"):
        load([table(tmp_path, rows.replace(",", ";").replace("101.5", "101,5"))])


def test_a_record_that_ends_a_little_early_is_said_to_be_taken_for_whole(tmp_path: Path) -> None:
    def rows(seed: int, end: int) -> str:
        return "".join(f"{seed},{step},{1.0}\n" for step in range(10, end + 1, 10))

    text = "seed,step,episode_return\n" + rows(0, 1000) + rows(1, 960) + rows(2, 920) + rows(3, 800)
    group = one(load([table(tmp_path, text)]))
    assert [bool(h.stopped) for h in group.histories] == [False, False, False, True]
    assert group.notes == (
        "runs.csv: records are taken for whole that end of seed 2 at env step 920, the longest at 1,000.".replace(
            "runs.csv", group.name
        ),
    )


def test_a_record_may_lack_its_longest_episode_and_a_tenth_of_the_longest_record(tmp_path: Path) -> None:
    """Seed 1 lacks 80 of 1,000 env steps, and one of its episodes had 100; seed 2 ends at nine tenths."""
    ends = {0: [*range(10, 1001, 10)], 1: [*range(10, 821, 10), 920], 2: [*range(10, 901, 10)]}
    rows = "".join(f"{seed},{step},1\n" for seed, steps in ends.items() for step in steps)
    group = one(load([table(tmp_path, "seed,step,episode_return\n" + rows)]))
    assert [h.stopped for h in group.histories] == ["", "", ""]
    assert [note.partition(" end ")[2] for note in group.notes] == ["of seed 2 at env step 900, the longest at 1,000."]


def test_an_environment_without_a_name_is_not_called_none(tmp_path: Path) -> None:
    (tmp_path / "monitor.csv").write_text(MONITOR.replace("E-v0", "None") + "1.0,10,1.0\n")
    assert one(load([tmp_path])).env == ""


def test_monitor_files_of_two_environments_are_no_seed(tmp_path: Path) -> None:
    (tmp_path / "0.monitor.csv").write_text(MONITOR + "1,1,1\n")
    (tmp_path / "1.monitor.csv").write_text(MONITOR.replace("E-v0", "F-v0") + "1,1,1\n")
    assert "several environments (E-v0, F-v0)" in problem(tmp_path)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    np.savez(tmp_path / "evaluations.npz", timesteps=np.arange(1), results=np.array([[Bomb()]], object))
    assert "evaluations.npz: not an evaluations.npz that can be read" in problem(tmp_path / "evaluations.npz")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"timesteps": np.arange(2)}, "no array 'results', but timesteps"),
        ({"timesteps": np.arange(2), "results": np.zeros((3, 2))}, "timesteps [2] and results [3, 2]"),
        ({"timesteps": np.arange(2), "results": np.zeros((2, 0))}, "results [2, 0]"),
        ({"timesteps": np.array([5, 5]), "results": np.zeros((2, 1))}, "evaluation 2 is at env step 5"),
        ({"timesteps": np.array(["a", "b"]), "results": np.zeros((2, 1))}, "expected numbers"),
        ({"timesteps": np.array([1, np.inf]), "results": np.zeros((2, 1))}, "evaluation 2 is at env step inf"),
        ({"timesteps": np.array([np.nan, 2]), "results": np.zeros((2, 1))}, "evaluation 1 is at env step nan"),
    ],
)
def test_faults_of_npz_files(arrays: Mapping[str, np.ndarray], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "evaluations.npz", **arrays)
    assert said in problem(tmp_path / "evaluations.npz")


def test_npz_files_of_other_names_are_a_seed_each(tmp_path: Path) -> None:
    files = [tmp_path / f"td3_seed{seed}.npz" for seed in (4, 9)]
    for file in files:
        np.savez(file, timesteps=np.arange(1, 3), results=np.ones((2, 1)))
    group = one(load(files))
    assert group.name == "td3"
    assert [history.seed for history in group.histories] == [4, 9]


def test_an_evaluation_is_the_mean_of_its_episodes_and_unlike_counts_of_them_are_not_stated(tmp_path: Path) -> None:
    files = [tmp_path / "td3_seed1.npz", tmp_path / "td3_seed2.npz"]
    np.savez(files[0], timesteps=[10, 20], results=[[0.0, 0.0, 9.0], [1.0, 2.0, 6.0]])
    np.savez(files[1], timesteps=[10, 20], results=[[4.0], [5.0]])
    group = one(load(files))
    assert [h.evaluations.tolist() for h in group.histories] == [[[10, 3], [20, 3]], [[10, 4], [20, 5]]]
    assert [one(load([file])).evaluation for file in files] == ["3 episodes", "1 episode"]
    assert group.evaluation == ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_npz_is_one_line(place: int, byte: int, cut: bool, tmp_path: Path) -> None:
    file = tmp_path / "evaluations.npz"
    np.savez_compressed(file, timesteps=np.arange(1, 5), results=np.zeros((4, 2)))
    data = bytearray(file.read_bytes())
    place %= len(data)
    file.write_bytes(data[:place] if cut else data[:place] + bytes([byte]) + data[place + 1 :])
    assert reads_or_names(file)


@pytest.mark.parametrize("flag", [1, 32], ids=["encrypted", "patched"])
def test_an_npz_of_an_unreadable_kind_is_one_line(flag: int, tmp_path: Path) -> None:
    file = tmp_path / "evaluations.npz"
    np.savez_compressed(file, timesteps=np.arange(1, 5), results=np.zeros((4, 2)))
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= flag  # the flags of the first entry of the central directory
    file.write_bytes(data)
    assert "not an evaluations.npz that can be read" in problem(file)


# --- TensorBoard


def events(folder: Path, points: Mapping[str, Sequence[tuple[int, float]]], new_style: bool = False) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for tag, values in points.items():
            for step, value in values:
                writer.add_scalar(tag, value, step, new_style=new_style)


def test_folders_of_cleanrl_say_environment_agent_and_seed(tmp_path: Path) -> None:
    points = [(20 * n, float(n % 7)) for n in range(1, 400)]
    for seed in (1, 2):
        events(tmp_path / f"CartPole-v1__ppo__{seed}__170000000{seed}",
               {"charts/episodic_return": points, "charts/SPS": [(1, 5.0)]}, new_style=seed == 2)  # fmt: skip
    events(tmp_path / "ALE" / "Pong-v5__dqn__1__1700000000", {"charts/episodic_return": points})
    events(tmp_path / "other", {"eval/mean_reward": [(1000, 5.0), (2000, 6.0)]})
    groups = {group.env: group for group in load([tmp_path])}
    assert {env: (g.name, [h.seed for h in g.histories]) for env, g in groups.items()} == {
        "CartPole-v1": ("ppo", [1, 2]),
        "ALE/Pong-v5": ("dqn", [1]),
        "": ("other", [0]),
    }
    for history in groups["CartPole-v1"].histories:
        assert history.episodes.tolist() == [list(map(float, point)) for point in points]  # all 399, none sampled away
    assert groups[""].histories[0].evaluations.tolist() == [[1000, 5], [2000, 6]]
    assert "no seed in its name: it is called seed 0" in groups[""].notes[0]
    assert [g.env for g in load([tmp_path], env="CartPole-v1")] == ["CartPole-v1"]
    assert "no run is on 'CartPole-v0'; did you mean 'CartPole-v1'?" in problem(tmp_path, env="CartPole-v0")


def test_a_seed_twice_is_refused(tmp_path: Path) -> None:
    for time in (1, 2):
        events(tmp_path / f"E-v0__ppo__1__{time}", {"charts/episodic_return": [(5, 1.0)]})
    assert "seed 1 of ppo is there twice" in problem(tmp_path)


def test_two_runs_in_one_folder_are_no_seed(tmp_path: Path) -> None:
    for begun in (0.0, 100.0):  # one file each
        events(tmp_path, {"eval/mean_reward": [(1000 * n, begun + n) for n in range(1, 4)]})
        os.rename(next(tmp_path.glob("events*")), tmp_path / f"{begun:03.0f}.tfevents.1")
    assert "eval/mean_reward goes back from env step 3,000 to 1,000: two runs in one folder?" in problem(tmp_path)


def test_a_running_mean_of_fewer_episodes_is_not_one_of_a_hundred(tmp_path: Path) -> None:
    """Stable-Baselines3 logs the mean of what there is; how long those episodes were tells how many there can be."""
    means = [(1000, 10.0), (2000, 20.0), (3000, 30.0)]
    for seed, length in ((0, 25.0), (1, 40.0)):
        tags = {"rollout/ep_rew_mean": means, "rollout/ep_len_mean": [(step, length) for step, _ in means]}
        events(tmp_path / "events" / f"seed-{seed}", tags)
    rows = [f"{seed},{step},{value},{length}" for seed, length in ((0, 25), (1, 40)) for step, value in means]
    logs = table(tmp_path, "seed,step,rollout/ep_rew_mean,rollout/ep_len_mean\n" + "\n".join(rows) + "\n")
    for path in (tmp_path / "events", logs):
        group = one(load([path]))
        assert [len(h.episodes) for h in group.histories] == [3, 3]  # the curve has them all
        found = score_group(group, Protocol("training", last=100))
        assert (found.per_seed, list(found.missing)) == ({0: 30.0}, [1])
        assert found.missing[1] == "it has fewer than the 100 episodes that count"
        early = score_group(group, Protocol("training", last=100, to_step=2000))
        assert list(early.missing) == [0, 1]
        assert samples_to_threshold(group, Protocol("training", last=100), 5.0) == {0: 3000, 1: None}


def test_the_first_running_mean_of_a_hundred_is_the_one_at_the_step_that_they_fill(tmp_path: Path) -> None:
    """At step 2,000 a hundred episodes of 20 env steps have ended, and no more."""
    rows = "".join(f"0,{step},{step / 1000},20\n" for step in (1000, 2000, 3000))
    group = one(load([table(tmp_path, "seed,step,rollout/ep_rew_mean,rollout/ep_len_mean\n" + rows)]))
    assert score_group(group, Protocol("training", last=100, to_step=2000)).per_seed == {0: 2.0}
    assert list(score_group(group, Protocol("training", last=100, to_step=1000)).missing) == [0]


def test_tags_can_be_named(tmp_path: Path) -> None:
    events(tmp_path / "seed-5", {"my/return": [(5, 1.0), (9, 2.0)]})
    said = problem(tmp_path)
    assert "no returns under a tag that is known" in said
    assert "my/return" in said
    assert "did you mean 'my/return'?" in problem(tmp_path, columns={"training": "my/retrn"})
    group = one(load([tmp_path], columns={"training": "my/return"}))
    assert (group.histories[0].seed, group.histories[0].episodes.tolist()) == (5, [[5, 1], [9, 2]])


def test_a_damaged_event_file_gives_what_can_be_read_or_one_line(tmp_path: Path) -> None:
    events(tmp_path, {"charts/episodic_return": [(n, 1.0) for n in range(50)]})
    file = next(tmp_path.glob("*tfevents*"))
    data = file.read_bytes()
    file.write_bytes(data[:-20])
    group = one(load([tmp_path]))
    assert 40 < len(group.histories[0].episodes) < 50
    assert any("bytes at its end are no whole records, and are left out" in note for note in group.notes)
    damaged = bytearray(data)
    tag = [found.start() for found in re.finditer(b"episodic_return", data)][20]
    damaged[tag] ^= 0xFF  # in the middle of its data: what follows is whole, and TensorBoard stops there
    file.write_bytes(damaged)
    with pytest.MonkeyPatch.context() as patch:  # a run that is being written may be ahead of what was read
        patch.setattr(event_files, "_records", lambda file: (20, 0))
        assert len(one(load([tmp_path])).histories[0].episodes) == 20
    assert re.search(r"its event files are damaged: \d+ of 51 records can be read", problem(tmp_path))
    file.write_bytes(b"")
    assert "there is none" in problem(tmp_path)
    file.write_bytes(struct.pack("<Q", 3) + b"nonsense")
    assert "there is none" in problem(tmp_path)


# --- our own


def test_run_folders_and_results(runs: Runs, tmp_path: Path) -> None:
    short = ("--agent", "random", "--total-timesteps", "60", "--env", "CartPole-v1")
    first = runs.finish("first", *short, "--seeds", "0,2")
    second = runs.finish("second", *short, "--seeds", "1,")
    other = runs.finish("other", *short, "--seeds", "1,", "--num-envs", "2")
    settings_, histories = read_run(first)
    group = one(load([first]))
    assert (group.name, group.env, group.kind) == ("random", "CartPole-v1", "run")
    assert [h.episodes.tolist() for h in group.histories] == [h.episodes.tolist() for h in histories]
    assert [h.seed for h in one(load([first, second])).histories] == [0, 1, 2]
    assert len(load([runs.folder])) == 2  # other settings, another group
    assert one(load([first / "tensorboard"])).histories[0].episodes.tolist() == histories[0].episodes.tolist()
    assert "give the run folder" in problem(first / "tensorboard" / "seed-0")
    for part in ("seeds", "seeds/0", "seeds/0/episodes.csv", "seeds/0/evaluations.csv"):
        assert f"is part of the run folder {first}: give that" in problem(first / part)
    shutil.copy(first / "seeds/2/episodes.csv", tmp_path / "episodes-seed2.csv")
    alone = one(load([tmp_path / "episodes-seed2.csv"]))  # its column env is of sub-environments
    assert (alone.env, [h.seed for h in alone.histories]) == ("", [2])
    assert alone.histories[0].episodes.tolist() == histories[1].episodes.tolist()
    assert "is named twice" in problem(first, runs.folder / "other" / ".." / "first")
    assert "seed 1 of a is there twice" in problem(second, other, labels=["a", "a"])
    write_results(
        tmp_path / "card" / "results", Results(0.5, {"u": UnitResults(shared(settings_), (), tuple(histories))})
    )
    kept = one(load([tmp_path / "card"]))
    assert [h.episodes.tolist() for h in kept.histories] == [h.episodes.tolist() for h in histories]
    assert "0.5 of the paper's steps" in kept.notes[0]
    assert [shared(own) for own in kept.settings] == [shared(settings_)]
    assert one(load([first, second])).settings == (settings_,)
    assert [own.num_envs for own in one(load([first, other], labels=["a", "a"])).settings] == [settings_.num_envs, 2]
    rows = one(load([tmp_path / "card" / "results" / "u.csv.gz"]))
    assert [h.final.tolist() for h in rows.histories] == [h.final.tolist() for h in histories]


def test_an_unfinished_run_says_up_to_where_it_can_be_scored(runs: Runs) -> None:
    flags = ("--agent", "random", "--env", "CartPole-v1", "--total-timesteps", "90", "--log-every", "10")
    run = runs.finish("a", *flags)
    assert one(load([run])).notes == ()
    reached = [80, 64]
    for seed, last in enumerate(reached):
        folder = run / "seeds" / str(seed)
        for name in ("episodes.csv", "metrics.csv"):
            head, *rows = (folder / name).read_text().splitlines(keepends=True)
            (folder / name).write_text("".join([head, *(row for row in rows if int(row.split(",")[0]) <= last)]))
        (folder / "evaluations.csv").write_text("env_step,episode,episode_return,episode_length\n")
        (folder / "SHA256SUMS").unlink()
    RunFolder(run).note(status="interrupted", reason="stopped at env step 80 (seed 0), at 64 (seed 1)")
    group = one(load([run]))
    assert [h.steps for h in group.histories] == reached
    at = min(reached)
    said = f"{run} is not finished; its seeds have all come to env step {at} (rlrepro compare --to-step)."
    assert group.notes == (said,)
    scored = score_group(group, Protocol("training", last=1))
    assert scored.missing == {seed: f"it stopped at env step {reached[seed]} (interrupted)" for seed in (0, 1)}
    assert set(score_group(group, Protocol("training", last=1, to_step=at)).per_seed) == {0, 1}
    late = score_group(group, Protocol("training", last=1, to_step=max(reached)))
    assert set(late.per_seed) == {0}


# --- CSV


def table(folder: Path, text: str, name: str = "runs.csv") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_long_table_becomes_groups(tmp_path: Path) -> None:
    file = table(tmp_path, "env_id,algo,seed,env_step,mean_return_of_10_episodes\n"
                           "A,x,1,0,1\nA,x,1,10,2\nA,x,0,0,3\nA,x,0,10,4\nB,x,0,0,5\nA,y,0,0,6\n")  # fmt: skip
    groups = {(g.name, g.env): g for g in load([file])}
    assert set(groups) == {("x", "A"), ("x", "B"), ("y", "A")}
    histories = groups["x", "A"].histories
    assert [h.seed for h in histories] == [0, 1]
    assert [h.evaluations.tolist() for h in histories] == [[[0, 3], [10, 4]], [[0, 1], [10, 2]]]
    assert groups["x", "A"].evaluation == "10 episodes"


@pytest.mark.parametrize(
    ("text", "kind", "guessed"),
    [
        ("seed,step,episode_return\n0,5,1\n0,9,1\n", "episodes", False),
        ("seed,step,mean_return\n0,5,1\n0,9,1\n", "evaluations", False),
        ("seed,step,reward\n0,5,1\n0,9,1\n1,5,1\n1,9,1\n", "evaluations", True),
        ("seed,step,reward\n0,5,1\n0,9,1\n1,6,1\n1,9,1\n", "episodes", True),
        ("seed,kind,step,reward\n0,eval,5,1\n", "evaluations", False),
    ],
)
def test_what_rows_are_is_read_or_guessed_and_said(text: str, kind: str, guessed: bool, tmp_path: Path) -> None:
    group = one(load([table(tmp_path, text)]))
    assert len(getattr(group.histories[0], kind)) > 0
    assert any("are taken for" in note for note in group.notes) == guessed
    forced = "training" if kind == "evaluations" else "evaluation"
    if "kind" not in text:
        group = one(load([table(tmp_path, text)], columns={"kind": forced}))
        assert len(getattr(group.histories[0], kind)) == 0
        assert not group.notes
        final = one(load([table(tmp_path, text)], columns={"kind": "final"})).histories[0]
        assert (len(final.final), len(final.episodes), len(final.evaluations)) == (2, 0, 0)
        said = problem(tmp_path / "runs.csv", columns={"kind": "evaluations"})
        assert "no column 'evaluations', and no kind of row (episode, training," in said
        assert "; did you mean 'evaluation'?" in said


@pytest.mark.parametrize("ends", [(5, 5), (5, 6)], ids=["alike", "not alike"])
def test_what_is_guessed_of_rows_does_not_depend_on_their_files(ends: Sequence[int], tmp_path: Path) -> None:
    rows = {seed: [f"{end},1", f"{end + 4},2"] for seed, end in enumerate(ends)}
    whole = table(tmp_path, "seed,step,reward\n" + "".join(f"{s},{row}\n" for s in rows for row in rows[s]))
    (tmp_path / "parts").mkdir()
    parts = [table(tmp_path / "parts", "step,reward\n" + "\n".join(rows[s]) + "\n", f"a_seed{s}.csv") for s in rows]
    told = []
    for paths in ([whole], parts, [tmp_path / "parts"]):
        group = one(load(paths))
        told.append([(h.episodes.tolist(), h.evaluations.tolist()) for h in group.histories])
        kind = "evaluations" if ends[0] == ends[1] else "episodes"
        assert all(f"taken for those of {kind}; --column kind=…" in note for note in group.notes)
    assert told[0] == told[1] == told[2]
    labelled = load(parts, labels=["a", "b"])
    assert [(h.episodes.tolist(), h.evaluations.tolist()) for g in labelled for h in g.histories] == told[0]


def test_episodes_that_end_at_one_env_step_are_no_evaluations(tmp_path: Path) -> None:
    group = one(load([table(tmp_path, "seed,step,reward\n0,5,1\n0,5,2\n1,5,3\n1,5,4\n")]))
    assert [len(history.episodes) for history in group.histories] == [2, 2]


def test_one_seed_of_an_environment_is_taken_for_what_the_seeds_of_another_show(tmp_path: Path) -> None:
    text = "env_id,seed,step,reward\nA,0,5,1\nA,0,9,2\nA,1,5,3\nA,1,9,4\nB,0,5,5\nB,0,9,6\n"
    found = {group.env: group for group in load([table(tmp_path, text)])}
    assert {env: [h.evaluations.tolist() for h in group.histories] for env, group in found.items()} == {
        "A": [[[5, 1], [9, 2]], [[5, 3], [9, 4]]],
        "B": [[[5, 5], [9, 6]]],
    }


def test_columns_can_be_named_and_files_can_be_seeds(tmp_path: Path) -> None:
    for seed in (7, 8):
        table(tmp_path, f"when,what\n10,{seed}\n", f"mine_seed{seed}.csv")
    assert "no column that is the step" in problem(tmp_path)
    group = one(load([tmp_path], columns={"step": "when", "return": "what", "kind": "evaluation"}))
    assert [(h.seed, h.evaluations.tolist()) for h in group.histories] == [(7, [[10, 7]]), (8, [[10, 8]])]
    assert "did you mean 'when'?" in problem(tmp_path / "mine_seed7.csv", columns={"step": "wen"})
    assert "no such role; did you mean 'return'?" in problem(tmp_path, columns={"retrun": "what"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("seed,step,return\n", "has no rows"),
        ("seed,step,return\n0,x,1\n", ":2: env step 'x' is not a number"),
        ("seed,step,return\n0,1,1\n0,2,what\n", ":3: return 'what' is not a number"),
        ("seed,step,return\n0,1.5,1\n", ":2: env step '1.5' is not a whole number"),
        ("seed,step,return\n0,-1,1\n", ":2: env step '-1'"),
        ("seed,step,return\n0,inf,1\n", ":2: env step 'inf'"),
        ("seed,step,return\nnan,1,1\n", ":2: seed 'nan'"),
        ("seed,step,return\n0\n0,1,1\n", ":2: it has 1 cells, and no env step"),
        ("seed,step,mean_return\n0,5,1\n0,5,2\n", ":3: this evaluation of seed 0 is at env step 5"),
        ("seed,step,episode_return\n0,5,1\n0,4,2\n", ":3: this episode of seed 0 is at env step 4, the one"),
        ("seed,step\n0,1\n", ":1: it has no column that is the return"),
        ("seed,step,step,return\n0,1,1,1\n", ":1: it has two columns 'step'"),
        ("seed,kind,step,return\n0,other,1,1\n", ":2: kind 'other' is none of"),
        ("\x00\x01,\x02\n", "has no column"),
        ("seed,step,rollout/ep_rew_mean\n0,5,\n", "has no rows with a return"),
        ("seed,step,rollout/ep_rew_mean\n0,5,x\n", ":2: return 'x' is not a number"),
        ("seed,step,eval/mean_reward\n0,5,1\n0,5,1\n", ":3: this evaluation of seed 0 is at env step 5"),
    ],
)
def test_faults_of_tables_name_file_and_line(text: str, said: str, tmp_path: Path) -> None:
    file = table(tmp_path, text)
    found = problem(file)
    assert said in found
    assert str(file) in found


def test_returns_that_are_no_numbers_are_noted_and_half_lines_left_out(tmp_path: Path) -> None:
    group = one(load([table(tmp_path, "seed,step,episode_return\n0,1,nan\n0,2,5\n1,2,5\n1,")]))
    assert any("not finite in seed 0" in note for note in group.notes)
    assert any("half-written" in note for note in group.notes)
    whole = one(load([table(tmp_path, "seed,step,episode_return\n0,1,3\n0,2,5")]))
    assert whole.histories[0].episodes.tolist() == [[1, 3], [2, 5]]


def test_a_record_that_ends_early_is_a_seed_that_stopped(tmp_path: Path) -> None:
    rows = [f"{seed},{step},1" for seed, end in ((0, 100), (1, 95), (2, 80)) for step in range(0, end, 5)]
    group = one(load([table(tmp_path, "seed,step,episode_return\n" + "\n".join(rows) + "\n")]))
    assert [bool(history.stopped) for history in group.histories] == [False, False, True]


def test_damaged_texts_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_bytes(b"seed,step,return\n0,1,\xff\n")
    assert "not a text file" in problem(file)
    packed = tmp_path / "runs.csv.gz"
    packed.write_bytes(gzip.compress(b"seed,step,return\n0,1,2\n")[:-6])
    assert "not a text file" in problem(packed)
    packed.write_bytes(b"no gzip")
    assert str(packed) in problem(packed)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("0123456789.,\n\r\"'-aseedtp rtunkiv_#{}:\t")), head=st.booleans())
def test_any_text_is_read_or_is_one_line(text: str, head: bool, tmp_path: Path) -> None:
    for name, start in (("runs.csv", "seed,step,return\n0,1,2\n"), ("monitor.csv", MONITOR)):
        assert reads_or_names(table(tmp_path, (start if head else "") + text, name))


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (("ppo/seed-0", "ppo/seed-1", "dqn/seed0"), {"ppo": [0, 1], "dqn": [0]}),
        (("seed-3/CartPole-v1_1", "seed-4/CartPole-v1_1"), {"CartPole-v1_1": [3, 4]}),
        (("ppo/CartPole-v1_1", "ppo/CartPole-v1_2"), {"ppo/CartPole-v1": [1, 2]}),
        (("ppo/CartPole-v1",), {"ppo/CartPole-v1": [0]}),
        (("lr_1e-3", "lr_1e-4", "gamma_0.99"), {"lr_1e-3": [0], "lr_1e-4": [0], "gamma_0.99": [0]}),
        (("td3_s1", "td3_s2"), {"td3": [1, 2]}),
        (("run-20231105", "7"), {"run-20231105": [0], "top": [7]}),
    ],
)
def test_names_say_the_seed(names: Sequence[str], groups: Mapping[str, Sequence[int]], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / "top" / name).mkdir(parents=True)
        (tmp_path / "top" / name / "monitor.csv").write_text(MONITOR + "1,1,1\n")
    found = load([tmp_path / "top"])
    assert {group.name: [h.seed for h in group.histories] for group in found} == groups
    last_number = any(re.search(r"v1_\d$|^\d", name) for name in names if "seed" not in name)
    assert any("numbers at the end" in note for group in found for note in group.notes) == last_number


def test_a_number_in_the_name_of_a_table_with_seeds_is_no_seed(tmp_path: Path) -> None:
    files = [table(tmp_path, "seed,step,episode_return\n5,1,2\n", f"size-{size}.csv") for size in (64, 256)]
    assert [(g.name, g.histories[0].seed) for g in load(files)] == [("size-64", 5), ("size-256", 5)]


def test_links_lead_nowhere_bad(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "linked_seed2.csv").symlink_to(table(tmp_path / "far", "step,episode_return\n1,2\n"))
    (tmp_path / "near" / "loop").symlink_to(tmp_path / "near")
    assert one(load([tmp_path / "near"])).histories[0].seed == 2


# --- what is nothing


def test_what_is_not_there_or_not_known(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert f"there is no {tmp_path / 'rnus'}; did you mean" in problem(tmp_path / "rnus")
    assert "holds no run that can be read" in problem(tmp_path / "runs")
    (tmp_path / "notes.txt").write_text("hello\n")
    assert "not known what it is" in problem(tmp_path / "notes.txt")
    assert "is a folder" in problem(tmp_path / "notes.txt", kind="run")
    (tmp_path / "results.json").write_text(json.dumps({}))
    assert "is part of a folder" in problem(tmp_path / "results.json")


WALK = """
import gymnasium, numpy as np
class Walk(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    t = 0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}
    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), 1.0, self.t % 20 == 0, False, {}
"""


def test_an_environment_of_ones_own_is_told_by_what_its_file_held(runs: Runs, tmp_path: Path) -> None:
    """The same file in two folders is one; another under the same name is another."""
    other = WALK.replace("% 20", "% 10")
    made = []
    for seed, (place, source) in enumerate({"here": WALK, "there": WALK, "elsewhere": other}.items()):
        (tmp_path / place).mkdir()
        (tmp_path / place / "walk.py").write_text(source)
        flags = ("--agent", "random", "--total-timesteps", "60", "--seeds", f"{seed},")
        made.append(runs.finish(place, "--env", f"{tmp_path / place}/walk.py:Walk", *flags))
    (group,) = load(made[:2])
    assert (group.env, [history.seed for history in group.histories]) == ("walk.py:Walk", [0, 1])
    whole = load(made)
    sums = [hashlib.sha256(source.encode()).hexdigest()[:8] for source in (WALK, other)]
    assert [one.env for one in whole] == [f"walk.py:Walk ({digest})" for digest in sums]
    assert [len(one.histories) for one in whole] == [2, 1]
