"""Each way to install rlrepro gives a package that runs, from the checkout's root and from elsewhere.

Only rlrepro is built and installed here: what it needs is lent to each new venv by links to the packages of
the interpreter that runs the tests, rlrepro itself left out. So nothing is downloaded.
"""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"rlrepro": "rlrepro", **{room: f"rlrepro/{room}" for room in ("agents", "envs", "experiments")}}
WAYS = ("editable", pytest.param("plain", marks=pytest.mark.slow), "wheel")  # the second builds the third too
SHIPPED = {".py", ".typed", ".toml", ".gz", ".md", ".json", ".jsonl", ".j2", ".html", ".svg"}

# Prints where each room was imported from, then loads every entry point.
LOAD = """
import importlib
from importlib.metadata import entry_points
for name in ("rlrepro", "rlrepro.agents", "rlrepro.envs", "rlrepro.experiments"):
    print(importlib.import_module(name).__file__)
for group in ("agents", "agent_families", "envs", "env_namespaces", "wrappers", "batched_envs", "measurements"):
    for entry in entry_points(group=f"rlrepro.{group}"):
        print(group, entry.name, getattr(entry.load(), "__name__", entry.attr))  # a family is a mapping
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command to its end and returns what it printed; fails with its output if it fails."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{' '.join(str(c) for c in command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a link to everything that is installed here, rlrepro left out."""
    folder = tmp_path_factory.mktemp("lent")
    for place in sys.path:
        if Path(place).name in ("site-packages", "dist-packages"):
            for item in Path(place).iterdir():
                ours = "rlrepro" in item.name or item.suffix == ".pth"
                if not ours and not (folder / item.name).exists():
                    (folder / item.name).symlink_to(item)
    return folder


@pytest.fixture(scope="module", params=WAYS)
def installed(request: pytest.FixtureRequest, lent: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """(way, the venv's bin folder, the checkout's root), with rlrepro installed in that way."""
    base = tmp_path_factory.mktemp(request.param)
    checkout = base / "checkout"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for room in ("rlrepro", "agents", "envs", "experiments"):
        shutil.copytree(ROOT / room, checkout / room, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)

    run(sys.executable, "-m", "venv", "--without-pip", base / "venv", cwd=base)
    python = base / "venv" / "bin" / "python"
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=base).strip()
    (Path(purelib) / "lent.pth").write_text(f"{lent}\n")

    pip = (python, "-m", "pip", "--disable-pip-version-check")
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    if request.param == "editable":
        run(*pip, "install", *offline, "-e", ".", cwd=checkout)
    elif request.param == "plain":
        run(*pip, "install", *offline, ".", cwd=checkout)
    else:
        run(*pip, "wheel", *offline, "-w", base, ".", cwd=checkout)
        run(*pip, "install", *offline, next(base.glob("*.whl")), cwd=base)
    return request.param, python.parent, checkout


@pytest.fixture(params=["root", "elsewhere"])
def where(request: pytest.FixtureRequest, installed: tuple, tmp_path: Path) -> Path:
    """The folder to run from."""
    return installed[2] if request.param == "root" else tmp_path


def test_finds_rooms_and_entry_points(installed: tuple, where: Path) -> None:
    way, bin_folder, checkout = installed
    lines = run(bin_folder / "python", "-c", LOAD, cwd=where).splitlines()
    core, *rooms = lines[:4]
    # From the root the checkout's rlrepro/ comes first; the other rooms are found where they were installed.
    assert (checkout in Path(core).parents) == (way == "editable" or where == checkout)
    for room, file in zip(("agents", "envs", "experiments"), rooms, strict=True):
        home = checkout if way == "editable" else bin_folder.parent
        assert home in Path(file).parents, file
        assert Path(file).parent.name == room
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    expected = {
        f"{group.removeprefix('rlrepro.')} {name} {value.partition(':')[2]}"
        for group, entries in groups.items()
        for name, value in entries.items()
    }
    assert set(lines[4:]) == expected


@pytest.mark.slow
def test_trains(installed: tuple, where: Path, tmp_path: Path) -> None:
    _, bin_folder, _ = installed
    options = ["--env", "CartPole-v1", "--agent", "random", "--seeds", "1", "--total-timesteps", "200"]
    run(bin_folder / "python", "-m", "rlrepro.train", *options, "--run-dir", tmp_path / "run", cwd=where)
    assert any((tmp_path / "run").iterdir())


@pytest.mark.slow
def test_command_runs(installed: tuple, where: Path) -> None:
    assert "train" in run(installed[1] / "rlrepro", "--help", cwd=where)


def test_wheel_holds_every_file(installed: tuple) -> None:
    way, _, checkout = installed
    if way != "wheel":
        pytest.skip("about the wheel")
    with zipfile.ZipFile(next(checkout.parent.glob("*.whl"))) as wheel:
        names = {n for n in wheel.namelist() if not n.startswith("rlrepro-")}
    expected = {
        f"{inside}/{file.relative_to(ROOT / room).as_posix()}"
        for room, inside in ROOMS.items()
        for file in (ROOT / room).rglob("*")
        if file.suffix in SHIPPED
    }
    assert names == expected
