"""What several tests share: commands run in this process, and packages that are not ours."""

from __future__ import annotations

import functools
import gc
import importlib
import multiprocessing.util
import os
import signal
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from hypothesis import settings

from rlrepro import circumstances, cli, env_processes, processes
from rlrepro.plugins.importing import find_installed
from tests import agreement

# The same examples each time, so that a commit passes or fails on its own account; `make fuzz` tries new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

# A shell starts what it puts in the background with Ctrl-C ignored, and so would be the runs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch sums in one order."""
    import torch  # some tests are of what does without it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


BRIEF = ("--total-timesteps", "120", "--eval-every", "0", "--final-eval-episodes", "2", "--processes", "1")


def now_and_slow(cases: Iterable[str], now: Iterable[str]) -> list[Any]:
    """Cases to be parametrised: `make test` runs those of `now`, and `make slow` the others."""
    kept = set(now)
    assert kept <= set(cases)
    return [case if case in kept else pytest.param(case, marks=pytest.mark.slow) for case in cases]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--agreement", type=Path, help="write how closely agents agree with other code to this file")


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker, given = item.get_closest_marker("agrees"), getattr(item, "callspec", None)
    if marker is None:
        agreement.begin(None)
    else:
        agent, other = marker.args
        agreement.begin((agent.format(**given.params if given else {}), other))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    file = session.config.getoption("--agreement")
    if file is not None and exitstatus == 0:
        agreement.write(file)


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays: no search for garbage need go through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What libraries leave in the folder for temporary files (Stable-Baselines3's loggers) lies in pytest's own."""
    multiprocessing.util.get_temp_dir()  # elsewhere: it is taken away later than pytest's
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("temporary")
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """A third of a short run's time is `fsync`, which only a machine that loses its power has use for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_look_at_the_checkout() -> Iterator[None]:
    """What git says of the code does not change while it is tested; `tests/test_circumstances.py` asks anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(circumstances, "_git", functools.cache(circumstances._git))
        yield


@pytest.fixture(autouse=True, scope="session")
def processes_that_know_torch() -> Iterator[None]:
    """Processes that train or step environments are forked from one that has imported what each would, for seconds.

    What a test starts as a command (`subprocess`) begins its processes as a person's does. A fork of this process is
    not the parent of that one, and forks its own.
    """
    ours, forks, server = os.getpid(), multiprocessing.get_context("fork"), multiprocessing.get_context("forkserver")

    def get_context(method: str) -> Any:
        return {"spawn": server if os.getpid() == ours else forks}[method]

    server.set_forkserver_preload(["rlrepro.worker", "rlrepro.env_processes", "stable_baselines3", "sb3_contrib"])
    with pytest.MonkeyPatch.context() as patch:
        for module in (processes, env_processes):
            patch.setattr(module, "get_context", get_context)
        yield


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def problem(self) -> str:
        """The one line of a command that failed; fails where it printed anything else on stderr."""
        assert self.status != 0, self.out
        assert self.err.startswith("rlrepro: "), self.err
        assert self.err.find("\n") == len(self.err) - 1, f"not one line:\n{self.err}"
        assert "Traceback" not in self.out
        return self.err.removeprefix("rlrepro: ").rstrip("\n")


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`rlrepro ...` in this process. Whatever is raised fails the test: a person would see a traceback."""

    def run(*arguments: str | Path) -> Outcome:
        if "--resume" in arguments:
            gc.collect()  # it would begin in a process without the locks of the one before
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except BaseException as error:
            status, trace = 70, "".join(traceback.format_exception(error))
        else:
            trace = ""
        shown = capsys.readouterr()
        if trace:
            pytest.fail(f"rlrepro {' '.join(map(str, arguments))}\n{trace}")
        return Outcome(status, shown.out, shown.err)

    return run


@dataclass
class Runs:
    """Short runs in one folder."""

    folder: Path
    command: Command

    def begin(self, name: str, *arguments: str | Path) -> Outcome:
        """Train a run of that name, of two seeds; later arguments stand against the brief ones."""
        seeds = () if {"--seed", "--seeds"}.intersection(map(str, arguments)) else ("--seeds", "2")
        return self.command("train", *BRIEF, *seeds, *arguments, "--run-dir", self.folder, "--name", name)

    def finish(self, name: str, *arguments: str | Path) -> Path:
        """Train a run that must end well; its folder."""
        outcome = self.begin(name, *arguments)
        assert (outcome.status, outcome.err) == (0, "")
        return self.folder / name

    def resume(self, name: str) -> Outcome:
        return self.command("train", "--resume", self.folder / name)

    def left(self) -> list[str]:
        """The run folders that are there."""
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
def runs(tmp_path: Path, command: Command) -> Runs:
    return Runs(tmp_path / "runs", command)


def in_a_fork(
    arguments: Sequence[object], folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """`rlrepro ...` in `folder`, in a child of this process: its exit status, and what it printed.

    What it imports more is its own; torch and what training takes are there already, which saves two seconds and more.
    """
    from rlrepro import launch, progress, worker  # noqa: F401
    from rlrepro.papers.book import beside  # noqa: F401

    printed = folder / "printed.txt"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with printed.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                sys.stdout = sys.stderr = file
                os.environ.update(environment or {})
                os.chdir(folder)
                sys.path.insert(0, str(folder))
                try:
                    status = cli.main(list(map(str, arguments)))
                except SystemExit as end:
                    status = int(end.code or 0)
                except BaseException:
                    traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended), printed.read_text()


class Site:
    """A place on sys.path to install packages that are not ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, source: str, entry_points: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """A module, and the `{group: {name: value}}` of its distribution."""
        (self.folder / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        about = self.folder / f"{name}-1.0.dist-info"
        about.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: gymnasium\n"
        (about / "METADATA").write_text(metadata, encoding="utf-8")
        lines = [
            line
            for group, entries in (entry_points or {}).items()
            for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
        ]
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        forget()


def forget() -> None:
    """What the process remembers of the packages that are installed."""
    importlib.invalidate_caches()
    find_installed.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site; what was imported from the test's folder and registered by it is gone afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    registered = dict(gymnasium.registry)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Site(folder)
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]
    for name, spec in list(gymnasium.registry.items()):  # ale_py registers its own once, when it is first imported
        if name not in registered and "ale_py" not in str(spec.entry_point):
            del gymnasium.registry[name]
    gymnasium.registry.update(registered)
    forget()
