"""`rlrepro card`: a skeleton whose only faults are those marked, faults with lines, and differences."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from rlrepro.papers.authoring.command import UNCHECKED, differences, skeleton
from rlrepro.papers.cards.reader import load_card, read_card
from rlrepro.papers.stats import power
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.importing import installed
from tests.conftest import Command


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("agent", sorted(name for name in installed("agents") if ":" not in name))
def test_a_skeletons_faults_are_its_todos(agent: str, env: str, tmp_path: Path) -> None:
    text = skeleton(agent, env)
    file = tmp_path / "card.toml"
    file.write_text(text)
    _, faults = read_card(file)
    marked = [number for number, line in enumerate(text.splitlines(), 1) if "# TODO" in line]
    assert len(marked) == 8
    assert [fault.line for fault in faults] == marked, [str(fault) for fault in faults]


def test_what_a_skeleton_says_of_like_is_so(tmp_path: Path) -> None:
    text = skeleton("ppo", "CartPole-v1")
    said = re.search(r"`(like = .*?)`", text)
    assert said is not None
    (tmp_path / "card.toml").write_text(f'{text}\n[implementation.other]\n{said[1]}\nwithout = ["clip_range"]\n')
    _, faults = read_card(tmp_path / "card.toml")
    assert [str(fault) for fault in faults if "other" in fault.field and "clip_range" not in fault.text] == []
    assert len(faults) == 9


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_skeleton_holds_every_default_under_its_source(env: str) -> None:
    groups = tomllib.loads(skeleton("ppo", env))["implementation"]["ppo"]["hyperparameters"]
    config, presets, _ = find_agent("ppo").description()
    given = {key: value for group in groups.values() for key, value in group.items()}
    assert given.keys() == {field.name for field in dataclasses.fields(config)} | {"total_timesteps", "num_envs"}
    own = {**presets["*"], **(presets["Box"] | presets["Pendulum-v1"] if env == "Pendulum-v1" else {})}
    for field in dataclasses.fields(config):
        value = own.get(field.name, field.default)
        assert given[field.name] == (list(value) if isinstance(value, tuple) else value)
    own = "secondary: the agent's own paper, "  # which need not be the card's
    assert groups[own + "Section 6.1"]["clip_range"] == 0.2
    assert not any(source.startswith("paper: ") for source in groups)
    cleanrl = "code: vwxyzjn/cleanrl@fe8d8a0 cleanrl/ppo.py (the paper: 3)"
    assert groups.get(cleanrl) == ({"num_epochs": 4} if env == "CartPole-v1" else None)
    assert groups[UNCHECKED].keys() >= {"total_timesteps", "num_envs"}
    assert ("num_epochs" in groups.get(own + "Table 3 and Section 6.1", {})) == (env == "Pendulum-v1")


def test_a_skeleton_has_the_arguments_and_wrappers_of_its_environment(tmp_path: Path, command: Command) -> None:
    (tmp_path / "wrap.py").write_text("from gymnasium.wrappers import TimeLimit as Short\n")
    file, short = tmp_path / "card.toml", f"{tmp_path / 'wrap.py'}:Short(max_episode_steps=30)"
    given = ("--env-kwargs", "sutton_barto_reward=True", "--wrapper", "TimeFraction", "--wrapper", short)
    assert command("card", "new", *given, "--into", file).status == 0
    environment = tomllib.loads(file.read_text())["environment"]["CartPole-v1"]
    assert environment["kwargs"] == {"sutton_barto_reward": True}
    both = ("--env-kwargs", "max_episode_steps=9", *given[:2], "--into", tmp_path / "both.toml")
    assert command("card", "new", *both).status == 0
    kwargs = tomllib.loads((tmp_path / "both.toml").read_text())["environment"]["CartPole-v1"]["kwargs"]
    assert kwargs == {"max_episode_steps": 9, "sutton_barto_reward": True}
    assert environment["wrappers"] == ["TimeFraction", "wrap.py:Short(max_episode_steps=30)"]
    assert len(read_card(file)[1]) == 8
    none = command("card", "new", "--env-kwargs", "max_episode_steps=None").problem
    assert "a card cannot say None" in none
    assert "unknown wrapper 'TimeFractoin'; did you mean" in command("card", "new", "--wrapper", "TimeFractoin").problem


def test_a_filled_in_skeleton_has_no_fault(tmp_path: Path, command: Command) -> None:
    file = tmp_path / "new" / "card.toml"
    assert command("card", "new", "--agent", "dqn", "--env", "CartPole-v1", "--into", file).status == 0
    text = file.read_text()
    for old, new in {
        'title = ""': 'title = "T"', 'authors = ""': 'authors = "A"', "year = 0": "year = 2015",
        'url = ""': 'url = "https://example.org"', 'reported = ""': "reported = 480.5", 'margin = ""': "margin = 48",
        'margin_why = ""': 'margin_why = "a tenth"', 'where = ""': 'where = "Table 1"',
    }.items():  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    outcome = command("card", "check", file)
    assert (outcome.status, outcome.err) == (0, "")
    said = f"{file}: no faults: 1 claim, 1 run of each seed\n"
    assert outcome.out == f"{said}  warning: claim dqn: {power.NEVER_EQUAL}\n"
    for seeds, warns in (
        ("seeds = 4", True),
        ("seeds = 5", False),
        ('seeds = 3\nspread = 20\nspread_kind = "sample sd"', False),
    ):
        file.write_text(text.replace("# seeds = 5", seeds))
        assert (power.NEVER_EQUAL in command("card", "check", file).out) == warns
    assert command("card", "check", file).out == said
    assert "is there already" in command("card", "new", "--into", file).problem


def test_new_writes_to_the_terminal_where_no_file_is_named(command: Command) -> None:
    assert command("card", "new").out == skeleton("ppo", "CartPole-v1")
    assert "did you mean 'ppo'?" in command("card", "new", "--agent", "poo").problem
    assert "did you mean 'CartPole-v1'?" in command("card", "new", "--env", "CartPool-v1").problem
    unserved = command("card", "new", "--agent", "dqn", "--env", "Pendulum-v1").problem
    assert "dqn cannot serve Pendulum-v1: it takes Discrete actions" in unserved


def test_check_names_every_fault_of_every_card(tmp_path: Path, command: Command) -> None:
    text = load_card("cleanrl-ppo").text
    file = tmp_path / "card.toml"
    file.write_text(text.replace("gamma = 0.99", "gamma = 99").replace("year = 2022", 'year = "2022"'))
    outcome = command("card", "check", file, "cleanrl-dqn")
    assert (outcome.status, outcome.err) == (1, "")
    lines = outcome.out.splitlines()
    at = {
        key: 1 + next(i for i, line in enumerate(text.splitlines()) if line.startswith(key))
        for key in ("year", "gamma")
    }
    assert lines[0].startswith(f"{file}:{at['year']}: paper.year: '2022' is not a year")
    assert lines[1].startswith(f"{file}:{at['gamma']}: implementation.ppo.")
    assert lines[2].endswith("cleanrl-dqn/card.toml: no faults: 3 claims, 3 runs of each seed")


def test_check_warns_of_numbers_that_are_likely_slips(tmp_path: Path, command: Command) -> None:
    text = load_card("cleanrl-ppo").text
    file = tmp_path / "card.toml"

    def warned(*changes: tuple[str, str]) -> list[str]:
        changed = text
        for old, new in changes:
            assert old in changed
            changed = changed.replace(old, new)
        file.write_text(changed)
        outcome = command("card", "check", file)
        assert outcome.status == 0, outcome.out
        return [line.removeprefix("  warning: ") for line in outcome.out.splitlines() if "warning: " in line]

    control = next(
        line for line in warned() if line.startswith("claim ppo-mountaincar: a random policy's return, -200, ")
    )
    assert warned() == [control]
    exchanged = ("random = -499\nbest = -70", "random = -70\nbest = -499")
    assert "Acrobot-v1: random -70 is above best -499: were they exchanged?" in warned(exchanged)
    less = ("reported = 490.04", "reported = 490.04\nless_is_better = true")
    assert warned(less)[0] == "claim ppo-cartpole: less_is_better, though its number is a return: is it meant?"
    assert warned(("reported = 490.04", "reported = 4900.4")) == [
        "claim ppo-cartpole: reported 4900.4 lies far outside CartPole-v1's random 22 to best 500",
        control,
        "claim ppo-cartpole: reported 4900.4, and cleanrl-ppo-cartpole-v1-0 has 490.04",
    ]
    both = (
        '[[claim]]\nid = "ppo-cartpole"',
        '[[claim]]\nid = "both"\nenvironments = ["CartPole-v1", "Acrobot-v1"]\naggregate = "mean"\nreported = 98.2\n'
        'spread_kind = "none"\nmargin = 0.1\nmargin_why = "a tenth"\nwhere = "Table 1"\n\n'
        '[[claim]]\nid = "ppo-cartpole"',
    )
    assert warned(both) == [
        f"claim both: {power.NEVER_EQUAL}",
        "claim both: reported 98.2 lies far outside the scores 0 (random) to 1 (best)",
        control,
    ]


SLIPS = {  # what is replaced in CleanRL's card of PPO, by what, and the warning
    "an update that no run has": (
        "num_steps = 128", "num_steps = 200_000",
        "ppo: it learns nothing: an update takes 800,000 env steps, and a run has 500,000",
    ),
    "steps that are cut": (
        "last = 100", "last = 100\nto_step = 50_000",
        "ppo: no claim looks at what comes after env step 50,000 of 500,000",
    ),
    "seeds left out": (
        "seeds = 3", "", "claim ppo-cartpole: its spread counts for nothing without its number of seeds"
    ),
    "one agent with a spread over seeds": (
        'returns = "training"\nlast = 100', 'returns = "evaluation"\nstatistic = "one agent"',
        "claim ppo-cartpole: its protocol is of one agent, so that the spread over seeds counts for nothing",
    ),
    "another environment's number": (
        "cleanrl-ppo-cartpole-v1-0", "cleanrl-ppo-acrobot-v1-1",
        "claim ppo-cartpole: it is of CartPole-v1, and cleanrl-ppo-acrobot-v1-1 of Acrobot-v1",
    ),
    "another spread": (
        "spread = 6.12", "spread = 61.2", "claim ppo-cartpole: spread 61.2, and cleanrl-ppo-cartpole-v1-0 has 6.12"
    ),
    "another kind of spread": (
        'spread_kind = "population sd"', 'spread_kind = "sample sd"',
        "claim ppo-cartpole: its spread is a sample sd, and that of cleanrl-ppo-cartpole-v1-0 population sd",
    ),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_check_warns_of_slips_that_would_pass_unseen(slip: str, tmp_path: Path, command: Command) -> None:
    old, new, warning = SLIPS[slip]
    text, file = load_card("cleanrl-ppo").text, tmp_path / "card.toml"
    assert old in text
    file.write_text(text)
    assert warning not in command("card", "check", file).out
    file.write_text(text.replace(old, new))
    assert f"  warning: {warning}\n" in command("card", "check", file).out


def test_check_warns_of_one_number_under_two_ids(tmp_path: Path, command: Command) -> None:
    text, file = load_card("cleanrl-ppo").text, tmp_path / "card.toml"
    first = "[[claim]]" + text.split("[[claim]]")[1]
    file.write_text(text + "\n" + first.replace('"ppo-cartpole"', '"again"'))
    assert (
        "claims ppo-cartpole and again are one number of the same runs: it counts twice"
        in command("card", "check", file).out
    )


def test_check_warns_of_what_no_claim_uses(tmp_path: Path, command: Command) -> None:
    text, file = load_card("cleanrl-dqn").text, tmp_path / "card.toml"
    more = """
[protocol.later]
returns = "training"
last = 10

[protocol.latest]
returns = "training"
last = 1

[environment.other]
paper = "Pendulum-v1"

[implementation.base]
like = "dqn"

[implementation.unused]
like = "base"

[measurement.first]
function = "best_return"
what = "the best return"
hyperparameters."paper: Section 1" = { steps = 10 }
"""
    file.write_text(text + more)
    said = command("card", "check", file)
    assert said.status == 0, said.out
    told = [line.partition("warning: ")[2] for line in said.out.splitlines() if "no claim uses" in line]
    assert told == [
        "no claim uses environment other",
        "no claim uses protocols later, latest",
        "no claim uses implementations base, unused",
        "no claim uses measurement first",
    ]
    # what a used one is like is used
    file.write_text(text.replace('implementation = "dqn"', 'implementation = "unused"') + more)
    assert "no claim uses implementation" not in command("card", "check", file).out


def test_check_warns_of_learning_that_begins_late(tmp_path: Path, command: Command) -> None:
    text, file = load_card("cleanrl-dqn").text, tmp_path / "card.toml"
    assert "total_timesteps = 500_000" in text
    for total, is_late in (("500_000", False), ("20_000", True)):
        file.write_text(text.replace("total_timesteps = 500_000", f"total_timesteps = {total}"))
        said = command("card", "check", file).out
        assert ("dqn: it learns nothing before env step 10,000 of 20,000" in said) is is_late, said


ORDER = """
[implementation.slower]
like = "ppo"
hyperparameters."ours: to see" = { %s }

[[order]]
id = "ppo-is-better"
better = "ppo"
worse = "slower"
environments = ["CartPole-v1"]
protocol = "training"
where = "Figure 1"
"""


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("learning_rate = 1e-5", "learning_rate (0.00025 and 1e-05)"),
        ("num_epochs = 9, gamma = 0.5", "num_epochs (4 and 9), gamma (0.99 and 0.5)"),
        ("gamma = 0.99", "nothing but their names"),
    ],
)
def test_check_says_in_what_the_sides_of_an_order_differ(
    changed: str, told: str, tmp_path: Path, command: Command
) -> None:
    file = tmp_path / "card.toml"
    file.write_text(load_card("cleanrl-ppo").text.replace("\n[[claim]]", ORDER % changed + "\n[[claim]]", 1))
    outcome = command("card", "check", file)
    assert outcome.status == 0, outcome.out
    (note,) = (line for line in outcome.out.splitlines() if "note: " in line)
    found = note.removeprefix("  note: order ppo-is-better: ppo and slower differ in ")
    assert sorted(found.split(", ")) == sorted(told.split(", "))


def test_a_setting_that_one_side_of_an_order_lacks(tmp_path: Path) -> None:
    file = tmp_path / "card.toml"
    text = load_card("cleanrl-dqn").text.replace("\n[[claim]]", ORDER % "dueling = true" + "\n[[claim]]", 1)
    file.write_text(text.replace('like = "ppo"', 'like = "dqn"').replace('better = "ppo"', 'better = "dqn"'))
    card = load_card(str(file))
    assert card.unlike(card.orders[0]) == [("dueling", False, True)]


def test_the_skeletons_order_is_one_as_it_stands(tmp_path: Path) -> None:
    """Its marks of a comment taken away, and the other side named, it has no fault."""
    text = skeleton("ppo", "CartPole-v1")
    begin = text.index("# [[order]]")
    order = re.sub("^# ", "", text[begin:], flags=re.MULTILINE)
    order = order.replace("OTHER", "other").replace('where = ""', 'where = "Figure 1"')
    other = '[implementation.other]\nlike = "ppo"\n\n'
    file = tmp_path / "card.toml"
    file.write_text(text[:begin].replace("[protocol.training]", other + "[protocol.training]") + order)
    assert len(read_card(file)[1]) == 8, "the order has faults, beside the claim's that are marked"


def test_an_argument_that_an_environment_does_not_take_is_a_fault(tmp_path: Path, command: Command) -> None:
    text, file = load_card("cleanrl-ppo").text, tmp_path / "card.toml"
    own = '[environment.CartPole-v1]\npaper = "CartPole-v1"\n'
    file.write_text(text.replace(own, own + "kwargs = { sutton_bartho_reward = true }\n"))
    outcome = command("card", "check", file)
    assert outcome.status == 1
    line = file.read_text().splitlines().index("kwargs = { sutton_bartho_reward = true }") + 1
    fault = "CartPole-v1 takes no argument 'sutton_bartho_reward'; did you mean 'sutton_barto_reward'?"
    assert outcome.out.startswith(f"{file}:{line}: environment.CartPole-v1.kwargs: {fault}")
    assert "no faults" not in outcome.out


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ('wrappers = ["TimeLimt"]', "unknown wrapper 'TimeLimt'; did you mean 'TimeLimit'?"),
        ('wrappers = ["mine.py:Onec"]', "has no 'Onec'; did you mean 'Once'?"),
        ('run = "mind.py:Task"\ndiffers = "all"', "/mind.py; did you mean"),
        ('run = "mind.py:Task"', "environment.CartPole-v1.run: there is no file "),
        ('run = "mine.py:Tsak"\ndiffers = "all"', "neither registers nor defines 'Tsak'; did you mean 'Task'?"),
        ("kwargs = { sutton_barto_reward = 'no' }", "sutton_barto_reward of CartPole-v1 is true or false, not 'no'"),
    ],
)
def test_a_name_that_is_wrong_whatever_is_installed_is_a_fault(
    given: str, fault: str, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "mine.py").write_text(
        "import gymnasium\n\nclass Task(gymnasium.Env): ...\n\nclass Once(gymnasium.Wrapper): ...\n"
    )
    outcome = command("card", "check", card_with(tmp_path, given))
    assert outcome.status == 1
    assert fault in outcome.out
    assert "no faults" not in outcome.out


@pytest.mark.parametrize("wrapper", ["FrameStack", "FlatObsWrapper", "NoopResetEnv", "gymnasium.wrappers:FrameStck"])
def test_a_wrapper_that_may_be_of_another_package_or_version_is_a_note(
    wrapper: str, tmp_path: Path, command: Command
) -> None:
    outcome = command("card", "check", card_with(tmp_path, f'wrappers = ["{wrapper}"]'))
    assert outcome.status == 0
    assert "note: ppo-CartPole-v1 cannot run here: " in outcome.out


def card_with(folder: Path, given: str) -> Path:
    """The card cleanrl-ppo with something more of CartPole-v1."""
    own, file = '[environment.CartPole-v1]\npaper = "CartPole-v1"\n', folder / "card.toml"
    text = load_card("cleanrl-ppo").text
    assert own in text
    file.write_text(text.replace(own, f"{own}{given}\n"))
    return file


def test_check_says_what_cannot_run_here(tmp_path: Path, command: Command) -> None:
    """A claim of two ways of evaluation is the card's fault; an environment that is not installed is not."""
    text = load_card("cleanrl-ppo").text
    file = tmp_path / "card.toml"
    own = '[environment.CartPole-v1]\npaper = "CartPole-v1"\n'
    file.write_text(text.replace(own, own + 'run = "CartPole-v9"\ndiffers = "all"\n'))
    outcome = command("card", "check", file)
    assert outcome.status == 0
    assert "note: ppo-CartPole-v1 cannot run here: unknown environment 'CartPole-v9'" in outcome.out
    for name, every in (("a", 100), ("b", 200)):
        text += f'[protocol.{name}]\nreturns = "evaluation"\neval_every = {every}\neval_episodes = 5\n'
    text = text.replace('\nprotocol = "training"', '\nprotocol = "a"')
    first = text[text.index('id = "ppo-cartpole"') : text.index('[[claim]]\nid = "ppo-acrobot"')]
    file.write_text(f'{text}\n[[claim]]\nprotocol = "b"\n{first.replace("ppo-cartpole", "again", 1)}')
    outcome = command("card", "check", file)
    assert outcome.status == 1
    assert "evaluated in two ways" in outcome.out


def test_check_says_which_agent_cannot_serve_its_environment(tmp_path: Path, command: Command) -> None:
    file = tmp_path / "card.toml"
    own = '[environment.CartPole-v1]\npaper = "CartPole-v1"\n'
    text = load_card("cleanrl-dqn").text
    assert own in text
    file.write_text(text.replace(own, own + 'run = "Pendulum-v1"\ndiffers = "all"\n'))
    outcome = command("card", "check", file)
    assert outcome.status == 0
    notes = [line for line in outcome.out.splitlines() if "note:" in line]
    assert len(notes) == 1
    assert "note: dqn-CartPole-v1 cannot run here: dqn cannot serve Pendulum-v1: it takes" in notes[0]


def test_diff_shows_what_differs_field_by_field(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    card = load_card("cleanrl-ppo")
    other = tmp_path / "other" / "card.toml"
    other.parent.mkdir()
    text = card.text.replace("gamma = 0.99", "gamma = 0.98").replace("last = 100", "last = 20")
    text = text.replace("reported = 490.04", "reported = 491.5").replace("random = -499", "random = -500")
    other.write_text(text.replace("implementation.ppo", "implementation.mine").replace('"ppo"', '"mine"', 1).replace(
        'agent = "mine"', 'agent = "ppo"').replace('implementation = "ppo"', 'implementation = "mine"'))  # fmt: skip
    found = {(place, field): (left, right) for place, field, left, right in differences(card, load_card(str(other)))}
    source = next(iter(card.implementations["ppo"].hyperparameters.values())).source
    assert found.pop(("implementation ppo / mine", "gamma")) == (f"0.99\nfrom {source}", f"0.98\nfrom {source}")
    assert found.pop(("protocol training", "last")) == ("100", "20")
    assert found.pop(("claim ppo-cartpole", "reported")) == ("490.04", "491.5")
    assert found.pop(("environment Acrobot-v1", "random")) == ("-499.0", "-500.0")
    assert {field for _, field in found} == {"implementation"}  # its name, in each claim
    outcome = command("card", "diff", "cleanrl-ppo", other)
    assert outcome.status == 0
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["gamma", "0.99", "[1]", "0.98", "[1]"] in rows
    assert ["reported", "490.04", "491.5"] in rows
    assert all(len(line) <= 80 for line in outcome.out.splitlines() if not line.startswith("["))


def test_diff_of_claims_that_only_one_card_has() -> None:
    found = list(differences(load_card("cleanrl-ppo"), load_card("cleanrl-dqn")))
    assert ("claim ppo-acrobot", "", "in this card alone", "–") in found
    assert ("claim dqn-acrobot", "", "–", "in this card alone") in found
    hyper = {field: (left, right) for place, field, left, right in found if place == "implementation ppo / dqn"}
    assert hyper["num_envs"][0].startswith("4\nfrom code: ")
    assert hyper["buffer_size"][0] == "–"


def test_diff_of_measurements_has_every_field(tmp_path: Path) -> None:
    card = load_card("sutton-barto")
    name, one = next((name, m) for name, m in card.measurements.items() if m.agent and m.seeds)
    other = dataclasses.replace(one, agent="dqn", seeds=7, what="Something else")
    changed = dataclasses.replace(card, measurements={**card.measurements, name: other})
    found = {(field, left, right) for place, field, left, right in differences(card, changed)}
    assert found == {
        ("agent", one.agent, "dqn"), ("seeds", str(one.seeds), "7"), ("what", one.what, "Something else"),
    }  # fmt: skip


def test_diff_of_a_card_and_itself(command: Command) -> None:
    outcome = command("card", "diff", "cleanrl-ppo", "cleanrl-ppo")
    assert outcome.status == 0
    assert "say the same" in outcome.out


def test_card_alone_says_what_it_can(command: Command) -> None:
    assert "new|check|diff" in command("card").problem
    assert "'chekc' is none of new, check, diff; did you mean 'check'?" in command("card", "chekc").problem
