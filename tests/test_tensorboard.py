"""What TensorBoard itself, asked over HTTP, shows of a folder that Curves wrote."""

import json
import math
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from rlrepro.tensorboard import Curves, _checksums

NAN = math.nan
SEEDS = (0, 3, 7)
SETTINGS = {"algorithm": "ppo", "hidden": [64, 64], "note": "a|b `c`\nd", "device": ""}
HPARAMS: dict[str, bool | int | float | str] = {
    "algorithm": "ppo",
    "learning_rate": 2.5e-4,
    "anneal": True,
    "clip": math.inf,
}
METRIC = "evaluation/mean_return"
RETURN = "charts/episodic_return"
STEPS = [100 * i for i in range(1, 13)]
POINTS = {
    RETURN: [[NAN if i == 4 and seed == 3 else i * (seed + 1.5) for seed in SEEDS] for i in range(12)],
    "losses/td_loss": [[1 / (i + seed + 1) for seed in SEEDS] for i in range(12)],
    "eval/mean_reward": [[float(i * seed) if i % 4 == 3 else NAN for seed in SEEDS] for i in range(12)],
}
FINAL = [10.5, 20.25, 30.0]


@dataclass
class Server:
    port: int

    def get(self, path: str, body: Any = None, **query: str) -> Any:
        """The JSON answer of a data route; POSTs `body` if there is one."""
        url = f"http://127.0.0.1:{self.port}/data/{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as reply:
            return json.load(reply)

    def answers(self) -> bool:
        """Whether anyone listens on the port."""
        try:
            return bool(self.get("runs"))
        except OSError:
            return False

    def points(self, run: str, tag: str) -> list[tuple[int, float]]:
        """(step, value) pairs of a curve."""
        return [(step, value) for _, step, value in self.get("plugin/scalars/scalars", run=run, tag=tag)]

    def sessions(self) -> list[dict[str, Any]]:
        """Session groups of the HParams page."""
        statuses = [f"STATUS_{status}" for status in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        query = {"experimentName": "", "allowedStatuses": statuses, "colParams": [], "sliceSize": 100}
        return self.get("plugin/hparams/session_groups", query)["sessionGroups"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("run")
    with closing(Curves(folder / "tensorboard", SEEDS, SETTINGS, HPARAMS)) as curves:
        for i, step in enumerate(STEPS):
            curves.add(step, {tag: values[i] for tag, values in POINTS.items()})
        curves.finish(FINAL)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = Server(probe.getsockname()[1])
    command = [sys.executable, "-m", "tensorboard.main", "--load_fast=false", "--host", "127.0.0.1"]
    command += ["--port", str(server.port), "--logdir", str(folder / "tensorboard")]
    # Answers come once everything is read.
    command += ["--reload_interval=0", "--reload_task=blocking"]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 25
        while not server.answers():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def test_one_run_per_seed_and_one_for_the_mean(server: Server) -> None:
    assert sorted(server.get("runs")) == ["mean", "seed-0", "seed-3", "seed-7"]
    tags = {run: set(found) for run, found in server.get("plugin/scalars/tags").items()}
    own = {*POINTS, METRIC}
    bands = {f"spread/{tag}_{x}" for tag in (RETURN, "eval/mean_reward") for x in ("mean", "lower", "upper")}
    assert tags == {"seed-0": own, "seed-3": own, "seed-7": own, "mean": own | bands}


@pytest.mark.parametrize("tag", POINTS)
def test_seed_curves(server: Server, tag: str) -> None:
    for column, seed in enumerate(SEEDS):
        written = [(step, values[column]) for step, values in zip(STEPS, POINTS[tag], strict=True)]
        expected = [(step, float(np.float32(value))) for step, value in written if not math.isnan(value)]
        assert server.points(f"seed-{seed}", tag) == expected
    assert server.points("seed-3", METRIC) == [(STEPS[-1], 20.25)]


@pytest.mark.parametrize("tag", [RETURN, "eval/mean_reward"])
def test_mean_and_band(server: Server, tag: str) -> None:
    rows = [(step, [v for v in row if not math.isnan(v)]) for step, row in zip(STEPS, POINTS[tag], strict=True)]
    rows = [(step, row) for step, row in rows if row]
    steps = [step for step, _ in rows]
    for name, sign in (
        (tag, 0),
        (f"spread/{tag}_mean", 0),
        (f"spread/{tag}_lower", -1),
        (f"spread/{tag}_upper", 1),
    ):
        points = server.points("mean", name)
        assert [step for step, _ in points] == steps
        expected = [statistics.mean(row) + sign * statistics.stdev(row) for _, row in rows]
        assert [value for _, value in points] == pytest.approx(expected, rel=1e-6)


def test_settings_are_shown_as_a_table(server: Server) -> None:
    assert server.get("plugin/text/tags")["mean"] == ["settings"]
    for run in server.get("runs"):
        (shown,) = server.get("plugin/text/text", run=run, tag="settings")
        cells = re.findall("<td>(.*?)</td>", shown["text"])
        values = ["<code>ppo</code>", "<code>[64, 64]</code>", "<code>a|b 'c' d</code>", ""]
        assert cells == [cell for pair in zip(SETTINGS, values, strict=True) for cell in pair]


def test_hparams(server: Server) -> None:
    experiment = server.get("plugin/hparams/experiment", {"experimentName": ""})
    types = {info["name"]: info["type"].removeprefix("DATA_TYPE_") for info in experiment["hparamInfos"]}
    assert types == {
        "algorithm": "STRING",
        "anneal": "BOOL",
        "clip": "STRING",
        "learning_rate": "FLOAT64",
        "seed": "FLOAT64",
    }
    assert [info["name"]["tag"] for info in experiment["metricInfos"]] == [METRIC]

    groups = server.sessions()
    assert sorted(group["name"] for group in groups) == ["seed-0", "seed-3", "seed-7"]
    for group in groups:
        seed = int(group["hparams"]["seed"])
        assert group["name"] == f"seed-{seed}"
        assert group["hparams"] == {**HPARAMS, "clip": "inf", "seed": seed}
        (metric,) = group["metricValues"]
        assert (metric["name"]["tag"], metric["value"]) == (METRIC, FINAL[SEEDS.index(seed)])


def test_layout_opens_on_the_band_of_the_return(server: Server) -> None:
    sections = server.get("plugin/custom_scalars/layout")["category"]
    titles = [section["title"] for section in sections]
    assert titles == [
        "Returns: mean over seeds",
        "Returns: each seed",
        "Evaluation: mean over seeds",
        "Evaluation: each seed",
        "Losses: each seed",
    ]
    band = {x: f"spread/{RETURN}_{name}" for x, name in (("value", "mean"), ("lower", "lower"), ("upper", "upper"))}
    assert sections[0]["chart"][0]["margin"]["series"] == [band]
    lines = [chart["multiline"]["tag"] for section in sections for chart in section["chart"] if "multiline" in chart]

    # As the page does, ask every chart's pattern of every run.
    pattern = "|".join(f"({re.escape(tag)})" for tag in band.values())
    series = server.get("plugin/custom_scalars/scalars", run="mean", tag=pattern)["tag_to_events"]
    assert series.keys() == set(band.values())
    assert all([step for _, step, _ in events] == STEPS for events in series.values())
    assert not server.get("plugin/custom_scalars/scalars", run="seed-3", tag=pattern)["tag_to_events"]
    for run in server.get("runs"):
        found = [server.get("plugin/custom_scalars/scalars", run=run, tag=tag) for (tag,) in lines]
        tags = [list(answer["tag_to_events"]) for answer in found]
        assert tags == [[RETURN], ["eval/mean_reward"], [METRIC], ["losses/td_loss"]]


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) pairs of every scalar of a run."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_one_seed_has_a_band_of_no_width(tmp_path: Path) -> None:
    with closing(Curves(tmp_path, [5], {}, {})) as curves:
        curves.add(8, {RETURN: [2.5], "losses/entropy": [NAN]})
        curves.add(16, {RETURN: np.array([math.inf])})
    points = [(8, 2.5), (16, math.inf)]
    assert read(tmp_path / "seed-5") == {RETURN: points}
    assert read(tmp_path / "mean") == {
        RETURN: points,
        **{f"spread/{RETURN}_{name}": points for name in ("mean", "lower", "upper")},
    }


def test_there_is_no_band_where_one_of_several_seeds_has_a_value(tmp_path: Path) -> None:
    with closing(Curves(tmp_path, [0, 1, 2], {}, {})) as curves:
        curves.add(8, {RETURN: [1.0, NAN, 3.0]})
        curves.add(16, {RETURN: [NAN, NAN, 7.0]})
    mean = read(tmp_path / "mean")
    assert mean[RETURN] == [(8, 2.0), (16, 7.0)]
    assert [step for step, _ in mean[f"spread/{RETURN}_upper"]] == [8]
    assert mean[f"spread/{RETURN}_lower"] == [(8, pytest.approx(2 - math.sqrt(2)))]


def test_nothing_is_written_for_nan(tmp_path: Path) -> None:
    with closing(Curves(tmp_path, [0, 1], {}, {})) as curves:
        curves.add(1, {"losses/td_loss": [NAN, 4.0], RETURN: [NAN, NAN]}, wall_time=1234.5)
        curves.add(2, {})
        curves.add(3, {RETURN: [NAN, NAN]})
    assert read(tmp_path / "seed-0") == {}
    assert read(tmp_path / "seed-1") == read(tmp_path / "mean") == {"losses/td_loss": [(1, 4.0)]}
    (event,) = EventAccumulator(str(tmp_path / "mean")).Reload().Scalars("losses/td_loss")
    assert event.wall_time == 1234.5


def test_the_last_evaluation_stands_at_the_last_step_whichever_point_came_last(tmp_path: Path) -> None:
    """Seeds that train one after the other begin anew at the first step."""
    with closing(Curves(tmp_path, [0, 1], {}, {})) as curves:
        curves.add(8, {RETURN: [1.0, NAN]}, wall_time=[5.0, 3.0], of=("seeds",))
        curves.add(4, {RETURN: [NAN, 2.0]}, wall_time=[5.0, 3.0])
        curves.finish([1.0, 2.0])
    for run in ("seed-0", "seed-1", "mean"):
        assert [step for step, _ in read(tmp_path / run)[METRIC]] == [8]
    (event,) = EventAccumulator(str(tmp_path / "mean")).Reload().Scalars(RETURN)
    assert (event.step, event.wall_time) == (4, 5.0)


def test_files_are_read_while_written(tmp_path: Path) -> None:
    with closing(Curves(tmp_path, [0], {}, {})) as curves:
        reader = EventAccumulator(str(tmp_path / "seed-0"))
        for step in range(3):
            curves.add(step, {RETURN: [step]})
            curves.flush()
            assert [event.step for event in reader.Reload().Scalars(RETURN)] == list(range(step + 1))


def test_every_seed_needs_a_value(tmp_path: Path) -> None:
    with closing(Curves(tmp_path, [0, 1], {}, {})) as curves, pytest.raises(ValueError, match="zip"):
        curves.add(1, {RETURN: [1.0]})


def test_full_disk_reaches_the_caller(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    curves = Curves(tmp_path, [0, 1], {}, {})

    def fill() -> None:
        for step in range(2000):
            curves.add(step, {RETURN: [1.0, 2.0]})

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        for call in (fill, curves.flush, curves.close):
            with pytest.raises(OSError, match="too large"):
                call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    curves.close()
    assert len(read(tmp_path / "mean")[RETURN]) > 50


@pytest.mark.parametrize("longest", [1, 40, 1024, 3000])
def test_checksums(longest: int) -> None:
    rng = np.random.default_rng(longest)
    payloads = [rng.bytes(length) for length in (*rng.integers(1, longest + 1, 20), longest)]
    assert _checksums(payloads) == [masked_crc32c(payload) for payload in payloads]


def test_neither_torch_nor_tensorflow_is_imported() -> None:
    # By path, as the package around the module may import torch.
    path = sys.modules[Curves.__module__].__file__
    code = f"import runpy, sys; runpy.run_path({path!r}); print({{'torch', 'tensorflow'}} & sys.modules.keys())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"
