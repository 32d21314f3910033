"""Which room imports which: read off the sources with ast, so that no import has to run."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAPERS = ROOT / "rlrepro" / "papers"
STDLIB = frozenset(sys.stdlib_module_names)
PLUGINS = ("rlrepro.agents", "rlrepro.envs", "rlrepro.experiments", "agents", "envs", "experiments")

# room: (what its modules may import, None for anything; what they may not, whatever the first says)
RULES: dict[str, tuple[frozenset[str] | None, tuple[str, ...]]] = {
    "rlrepro": (None, PLUGINS),
    "agents": (STDLIB | {"rlrepro", "torch", "numpy", "gymnasium"}, ("rlrepro.papers", *PLUGINS)),
    "envs": (STDLIB | {"numpy", "gymnasium"}, ("rlrepro", *PLUGINS)),
    "experiments": (STDLIB | {"rlrepro", "numpy"}, ("rlrepro.agents", "agents", "envs", "experiments")),
}


# Training knows nothing of papers. Commands do: the list of them, the one that reproduces papers, and `train`, which
# has a finished run compared with what was published.
FACES = {"cli.py", "reproduce.py", "train.py"}

# A peer is a library's algorithms: its file imports that library, and no other file of agents/ does.
PEERS = {
    "agents/sb3.py": frozenset({"stable_baselines3", "sb3_contrib"}),
    "envs/minatar.py": frozenset({"minatar"}),  # an engine, inside its own file
    "envs/mujoco_py.py": frozenset({"mujoco"}),
}


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Yields (line, absolute dotted name) for all that a module of `package` imports, by name or by a call.

    `from a import b` is both a and a.b, as b may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            yield node.lineno, base
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def violations(room: str, source: str, peer: frozenset[str] = frozenset(), within: str = "") -> list[str]:
    """Returns "line N: name" for each import in `source`, a module of `room`, that the rules forbid.

    `within` is the module's folder in its room.
    """
    allowed, forbidden = RULES[room]
    package = ".".join(filter(None, ("rlrepro", "" if room == "rlrepro" else room, *Path(within).parts)))
    found = []
    for line, name in imports(source, package):
        outside = allowed is not None and name.partition(".")[0] not in allowed | peer
        if outside or any(f"{name}.".startswith(f"{bad}.") for bad in forbidden):
            found.append(f"line {line}: {name}")
    return found


@pytest.mark.parametrize("room", RULES)
def test_room_imports_only_what_it_may(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"{room}/ has no modules"
    found = [
        f"{file.relative_to(ROOT)}, {violation}"
        for file in files
        for violation in violations(
            room,
            file.read_text("utf-8"),
            PEERS.get(str(file.relative_to(ROOT)), frozenset()),
            str(file.relative_to(ROOT / room).parent),
        )
    ]
    assert not found, "\n".join(found)


def test_training_does_not_import_papers() -> None:
    core = ROOT / "rlrepro"
    files = {str(file.relative_to(core)): file for file in core.rglob("*.py") if PAPERS not in file.parents}
    met = {
        name: [met for _, met in imports(file.read_text("utf-8"), ".".join(file.relative_to(ROOT).parent.parts))]
        for name, file in sorted(files.items())
        if name not in FACES and not name.startswith(("agents/", "envs/", "experiments/"))
    }
    assert {"__init__.py", "loop.py", "plugins/agents.py"} <= met.keys()
    assert not [(file, name) for file, names in met.items() for name in names if name.startswith("rlrepro.papers")]


def storeys() -> list[str]:
    """The folders of papers/ in the order that its docstring gives them, lowest first; "" is its own modules."""
    text = ast.get_docstring(ast.parse((PAPERS / "__init__.py").read_text("utf-8"))) or ""
    return ["", *re.findall(r"^(\w+)/ ", text, re.MULTILINE)]


def upward(storey: str, source: str, order: list[str]) -> list[str]:
    """Returns "line N: name" for each import of a module in `storey` that leads to a later one of `order`."""
    package = ".".join(filter(None, ("rlrepro.papers", storey)))
    found = []
    for line, name in imports(source, package):
        room = name.removeprefix("rlrepro.papers.").partition(".")[0] if name.startswith("rlrepro.papers.") else ""
        if room in order[order.index(storey) + 1 :]:
            found.append(f"line {line}: {name}")
    return found


def test_papers_import_only_what_stands_above_them_in_the_docstring() -> None:
    order = storeys()
    assert sorted(order[1:]) == sorted(folder.parent.name for folder in PAPERS.glob("*/__init__.py"))
    found = [
        f"{file.relative_to(ROOT)}, {violation}"
        for storey in order
        for file in sorted((PAPERS / storey).glob("*.py"))
        for violation in upward(storey, file.read_text("utf-8"), order)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("storey", "source"),
    [
        ("", "from rlrepro.papers import stats"),
        ("cards", "from rlrepro.papers.verdicts import verdict"),
        ("cards", "def f():\n    from rlrepro.papers.units.unit import units_of"),
        ("cards", "from ..pages import rows"),
    ],
)
def test_an_import_upward_is_found(storey: str, source: str) -> None:
    assert upward(storey, source, storeys())
    assert not upward("sharing", source, storeys())


def test_no_module_of_papers_imports_itself_in_a_circle() -> None:
    files = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in PAPERS.rglob("*.py")
    }
    needs = {}
    for name, file in files.items():
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        met = [(line, one) for line, one in imports(file.read_text("utf-8"), package) if one in files]
        # `from package import module` takes the module alone
        deeper = {(line, one.rpartition(".")[0]) for line, one in met}
        needs[name] = {one for line, one in met if (line, one) not in deeper} - {name}
    while free := [name for name in needs if not needs[name] & needs.keys()]:
        for name in free:
            del needs[name]
    assert not needs


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("rlrepro", "import rlrepro.agents.ppo"),
        ("rlrepro", "from rlrepro import envs"),
        ("rlrepro", "from . import experiments"),
        ("rlrepro", "from .agents.dqn import DQN"),
        ("rlrepro", "import agents"),
        ("rlrepro", "def f():\n    from rlrepro.agents import random"),
        ("rlrepro", "import importlib\nimportlib.import_module('rlrepro.envs.wrappers')"),
        ("agents", "from rlrepro.agents.ppo import PPO"),
        ("agents", "from rlrepro.papers import stats"),
        ("agents", "from .ppo import PPO"),
        ("agents", "from . import ppo"),
        ("agents", "from rlrepro.envs import wrappers"),
        ("agents", "from ..envs import wrappers"),
        ("agents", "import stable_baselines3"),
        ("envs", "import torch"),
        ("envs", "from rlrepro.seeds import stream"),
        ("envs", "from ..seeds import stream"),
    ],
)
def test_forbidden_import_is_found(room: str, source: str) -> None:
    assert violations(room, source)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("rlrepro", "import torch\nimport stable_baselines3\nfrom rlrepro import agent\nfrom . import seeds"),
        ("rlrepro", "from rlrepro import agent\nimport rlrepro.agents_elsewhere"),
        ("agents", "import math\nimport torch.nn as nn\nimport numpy as np\nfrom rlrepro.targets import gae"),
        ("agents", "from ..targets import gae"),
        ("envs", "from collections import deque\nimport gymnasium as gym\nimport numpy as np"),
    ],
)
def test_allowed_import_is_not_found(room: str, source: str) -> None:
    assert violations(room, source) == []


def test_help_and_plugins_do_without_torch() -> None:
    code = (
        "import sys, rlrepro.agent, rlrepro.request, rlrepro.plugins.environments, rlrepro.cli, rlrepro.agents.sb3\n"
        "import rlrepro.train, rlrepro.reproduce, rlrepro.papers.compare.command, rlrepro.papers.sharing.verify\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_training_starts_without_torch_s_compiler(tmp_path: Path) -> None:
    """It takes as long to import as torch, and the first `torch.optim.Optimizer` does import it."""
    code = (
        "import sys\n"
        "from rlrepro import train\n"
        "for agent in ('ppo', 'pqn'):\n"  # Adam and RAdam
        "    status = train.main(['--agent', agent, *sys.argv[1:]])\n"
        "    assert status == 0 and 'torch' in sys.modules\n"
        "sys.exit('torch._dynamo was imported' if 'torch._dynamo' in sys.modules else 0)"
    )
    flags = ["--env", "CartPole-v1", "--num-steps", "32", "--total-timesteps", "400", "--final-eval-episodes", "1"]
    command = [sys.executable, "-c", code, *flags, "--processes", "1", "--run-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
