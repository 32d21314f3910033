"""Bundles: a round trip, what a stranger may have done to one, and a claim run again."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlrepro.errors import Problem
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.pages.report import markdown
from rlrepro.papers.reproduce.reproduction import Reproduction
from rlrepro.papers.sharing import bundle, verify
from rlrepro.papers.units.results import read_results, write_results
from rlrepro.papers.units.unit import choose, units_of
from rlrepro.papers.verdicts.verdict import judge
from rlrepro.papers.verdicts.verdict_json import as_json
from tests.conftest import Command

CARD = """
format = 1
[paper]
title = "Made up"
authors = "Nobody"
year = 2020
url = "https://example.org"
[implementation.random]
agent = "random"
[implementation.random.hyperparameters."ours: small"]
total_timesteps = 400
num_envs = 2
[protocol.training]
returns = "training"
last = 5
[claim_defaults]
implementation = "random"
protocol = "training"
reported = 22
margin = 10
margin_why = "made up"
where = "nowhere"
[[claim]]
id = "pole"
environment = "CartPole-v1"
[[claim]]
id = "far"
environment = "CartPole-v1"
reported = 400
"""


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished reproduction of two seeds."""
    folder = tmp_path_factory.mktemp("made") / "made-up"
    folder.mkdir()
    (folder / "card.toml").write_text(CARD)
    card = load_card(str(folder / "card.toml"))
    assert Reproduction(folder, card, 1.0, ["test"], 1).run(units_of(card, *choose(card, [])), (3, 5)) == []
    (folder / "report.md").write_text("# A report\n")
    return folder


@pytest.fixture
def packed(reproduction: Path, tmp_path: Path) -> Path:
    return bundle.pack(reproduction, tmp_path / "made-up.rlrepro.zip")


Edit = Callable[[dict[str, bytes]], None]


def rewrite(file: Path, edit: Edit, restate: bool = False) -> Path:
    """The bundle with its files edited; `restate`: the manifest then states what is there."""
    with zipfile.ZipFile(file) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    edit(files)
    if restate:
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in files.items()
            if name != "manifest.json"
        }
        files["manifest.json"] = json.dumps(manifest).encode()
    other = file.with_name("edited.rlrepro.zip")
    with zipfile.ZipFile(other, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return other


def refused(file: Path, place: Path) -> str:
    with pytest.raises(Problem) as caught:
        bundle.open_bundle(file, place / "opened")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bundle_holds_what_was_packed(reproduction: Path, packed: Path, tmp_path: Path) -> None:
    opened = bundle.open_bundle(packed, tmp_path / "opened")
    card, results = load_card(str(reproduction / "card.toml")), read_results(reproduction / "results")
    assert opened.name == "made-up"
    assert opened.card.text == card.text
    assert opened.results.units.keys() == results.units.keys()
    for name, unit in results.units.items():
        assert opened.results.units[name].seeds == (3, 5)
        for one, other in zip(unit.histories, opened.results.units[name].histories, strict=True):
            np.testing.assert_array_equal(one.episodes, other.episodes)
    assert dict(opened.verdicts) == json.loads(json.dumps(as_json(judge(card, results))))
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == [
            "manifest.json",
            "card.toml",
            "report.md",
            "results/random-CartPole-v1.csv.gz",
            "results/results.json",
            "verdicts.json",
        ]
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_same_files_give_the_same_bytes(reproduction: Path, packed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "made-up"
    shutil.copytree(reproduction, copy)
    again = bundle.pack(copy, tmp_path / "again.zip")
    assert again.read_bytes() == packed.read_bytes()


def test_what_is_no_bundle_is_not_written_over(reproduction: Path, packed: Path, tmp_path: Path) -> None:
    file = tmp_path / "precious.toml"
    file.write_text("mine = true\n")
    with pytest.raises(Problem, match=r"precious\.toml is no bundle, and would be written over"):
        bundle.pack(reproduction, file)
    assert file.read_text() == "mine = true\n"
    file.write_bytes(packed.read_bytes())
    assert bundle.pack(reproduction, file).read_bytes() == packed.read_bytes()


def test_verdicts_of_other_results_are_not_packed(reproduction: Path, tmp_path: Path) -> None:
    copy = tmp_path / "made-up"
    shutil.copytree(reproduction, copy)
    card, results = load_card(str(copy / "card.toml")), read_results(copy / "results")
    stated = as_json(judge(card, results))
    stated["verdicts"][0]["verdict"] = "reproduced"
    (copy / "verdicts.json").write_text(json.dumps(stated))
    with pytest.raises(Problem, match="is not of these results"):
        bundle.pack(copy, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize("text", ["", '{"verdicts": [', "[]", "3"])
def test_verdicts_that_are_cut_are_not_packed(reproduction: Path, tmp_path: Path, text: str, command: Command) -> None:
    copy = tmp_path / "made-up"
    shutil.copytree(reproduction, copy)
    (copy / "verdicts.json").write_text(text)
    problem = command("bundle", copy, "--into", tmp_path / "x.zip").problem
    assert problem.startswith(f"{copy / 'verdicts.json'} is no")
    assert not (tmp_path / "x.zip").exists()


def test_a_file_that_was_changed(packed: Path, tmp_path: Path) -> None:
    def edit(files: dict[str, bytes]) -> None:
        files["report.md"] += b"reproduced!"

    assert "report.md was changed" in refused(rewrite(packed, edit), tmp_path)


@pytest.mark.parametrize(
    "name", ["../evil.py", "/etc/evil", "results/../../evil.csv.gz", "evil.py", "results\\e.csv.gz"]
)
def test_a_path_that_leads_elsewhere(packed: Path, tmp_path: Path, name: str) -> None:
    said = refused(rewrite(packed, lambda files: files.update({name: b"x"}), restate=True), tmp_path)
    assert "no file of a bundle" in said
    assert not (tmp_path / "evil.py").exists()
    assert not (tmp_path / "opened").exists()


def test_a_name_that_leads_elsewhere(packed: Path, tmp_path: Path) -> None:
    def edit(files: dict[str, bytes]) -> None:
        manifest = json.loads(files["manifest.json"])
        files["manifest.json"] = json.dumps({**manifest, "name": "../../evil"}).encode()

    assert "no name that a folder can have" in refused(rewrite(packed, edit), tmp_path)


@pytest.mark.parametrize("name", ["card.toml", "verdicts.json", "results/random-CartPole-v1.csv.gz", "manifest.json"])
def test_a_file_that_is_not_there(packed: Path, tmp_path: Path, name: str) -> None:
    def edit(files: dict[str, bytes]) -> None:
        del files[name]

    said = refused(rewrite(packed, edit, restate=name != "manifest.json"), tmp_path)
    assert name in said


def test_a_file_that_the_manifest_lacks_is_refused(packed: Path, tmp_path: Path) -> None:
    edited = rewrite(packed, lambda files: files.update({"report.html": b"<p>"}))
    assert "not in its manifest.json" in refused(edited, tmp_path)
    edited = rewrite(packed, lambda files: files.update({"results/more.csv.gz": b"x"}), restate=True)
    assert "results/more.csv.gz" in refused(edited, tmp_path)


def test_a_bundle_that_would_fill_the_disk(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_MOST_BYTES", 200_000)
    edited = rewrite(packed, lambda files: files.update({"report.html": b" " * 300_000}), restate=True)
    assert "would unpack to" in refused(edited, tmp_path)
    unit = "results/random-CartPole-v1.csv.gz"
    bomb = gzip.compress(b"0" * 1_000_000)
    assert len(bomb) < 2_000
    edited = rewrite(packed, lambda files: files.update({unit: bomb}), restate=True)
    assert "would unpack to more than" in refused(edited, tmp_path)


@pytest.mark.parametrize("cut", [0, 10, 500, -40])
def test_a_bundle_that_is_cut_off_is_refused(packed: Path, tmp_path: Path, cut: int) -> None:
    half = tmp_path / "half.zip"
    half.write_bytes(packed.read_bytes()[:cut])
    assert "half.zip" in refused(half, tmp_path)


@pytest.mark.parametrize("at", range(40, 4_000, 317))
def test_a_bit_that_flipped_is_never_a_traceback(packed: Path, tmp_path: Path, at: int) -> None:
    data = bytearray(packed.read_bytes())
    data[at % len(data)] ^= 0x55
    file = tmp_path / "flipped.zip"
    file.write_bytes(bytes(data))
    with contextlib.suppress(Problem):  # a bit that says nothing, as of a date, may flip
        bundle.open_bundle(file, tmp_path / "opened")


STRANGE = st.sampled_from(
    [None, True, 0, -1, 1.5, 10**30, 1e308, float("nan"), float("inf"), "", "x", "../x", [], [1], {}, {"x": 1}, "3"]
)


def _places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [place for key, value in inner for place in [(*path, key), *_places(value, (*path, key))]]


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_strange_documents_are_never_a_traceback(packed: Path, data: st.DataObject) -> None:
    """One entry of results.json or verdicts.json is something else, and every hash is put right."""
    name = data.draw(st.sampled_from(["results/results.json", "verdicts.json"]))

    def edit(files: dict[str, bytes]) -> None:
        values = json.loads(files[name])
        *outer, last = data.draw(st.sampled_from(_places(values)))
        inner = values
        for key in outer:
            inner = inner[key]
        inner[last] = data.draw(STRANGE)
        files[name] = json.dumps(values).encode()

    edited = rewrite(packed, edit, restate=True)
    with tempfile.TemporaryDirectory() as place, contextlib.suppress(Problem):
        opened = bundle.open_bundle(edited, Path(place))
        made = bundle.rejudged(opened.card, opened.results)
        bundle.contradictions(opened.verdicts, made)
        bundle.explained_otherwise(opened.verdicts, made)
        units = units_of(opened.card, *choose(opened.card, []))
        seeds = verify._seeds(edited, opened.card, opened.results, units, None)
        verify.compare_reruns(opened.card, opened.card.claims, units, opened.results, opened.results, seeds)
        verify.circumstances(opened.results, opened.results, units)


def test_a_number_of_steps_that_is_none(packed: Path, tmp_path: Path) -> None:
    def edit(files: dict[str, bytes]) -> None:
        about = json.loads(files["results/results.json"])
        about["units"]["random-CartPole-v1"]["seeds"]["3"]["steps"] = float("inf")
        files["results/results.json"] = json.dumps(about).encode()

    assert "is damaged" in refused(rewrite(packed, edit, restate=True), tmp_path)


CODE: Mapping[str, tuple[str, str]] = {
    "agent": ('agent = "random"', 'agent = "evil.py:Agent"'),
    "module": ('agent = "random"', 'agent = "evil.mod:Agent"'),
    "environment": ("[[claim]]", '[environment.x]\npaper = "x"\nrun = "evil:X-v0"\ndiffers = "all"\n[[claim]]'),
    "wrapper": ("[[claim]]", '[environment.x]\npaper = "CartPole-v1"\nwrappers = ["evil.py:W(a=1)"]\n[[claim]]'),
}


@pytest.mark.parametrize("kind", CODE)
def test_a_card_that_names_code_of_its_own(
    packed: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    old, new = CODE[kind]

    def edit(files: dict[str, bytes]) -> None:
        files["card.toml"] = files["card.toml"].decode().replace(old, new, 1).encode()

    assert "say --trust to run it" in refused(rewrite(packed, edit, restate=True), tmp_path)
    assert not (tmp_path / "ran").exists()


def test_results_that_were_edited_give_other_verdicts(packed: Path, tmp_path: Path, command: Command) -> None:
    """Every hash is put right, also the one in results.json: the verdicts tell."""

    def edit(files: dict[str, bytes]) -> None:
        folder = tmp_path / "results"
        folder.mkdir()
        for name, data in files.items():
            if name.startswith("results/"):
                (tmp_path / name).write_bytes(data)
        results = read_results(folder)
        name, unit = next(iter(results.units.items()))
        better = [dataclasses.replace(h, episodes=h.episodes + np.array([0.0, 378.0])) for h in unit.histories]
        write_results(
            folder, dataclasses.replace(results, units={name: dataclasses.replace(unit, histories=tuple(better))})
        )
        files.update({f"results/{path.name}": path.read_bytes() for path in folder.iterdir()})

    outcome = command("verify", rewrite(packed, edit, restate=True))
    assert outcome.status == 1
    assert "NOT those that its results give" in outcome.out
    assert "far: " in outcome.out


def test_what_a_bundle_says_cannot_speak_to_the_terminal(packed: Path, command: Command) -> None:
    def edit(files: dict[str, bytes]) -> None:
        stated = json.loads(files["verdicts.json"])
        stated["verdicts"][0]["claim"] = "\x1b[2J\nall well"
        files["verdicts.json"] = json.dumps(stated).encode()

    outcome = command("verify", rewrite(packed, edit, restate=True))
    assert outcome.status == 1
    assert "\x1b" not in outcome.out
    assert "\nall well" not in outcome.out


def test_a_claim_that_is_stated_twice(packed: Path, command: Command) -> None:
    def edit(files: dict[str, bytes]) -> None:
        stated = json.loads(files["verdicts.json"])
        stated["verdicts"].insert(0, {**stated["verdicts"][1], "verdict": "reproduced"})
        files["verdicts.json"] = json.dumps(stated).encode()

    outcome = command("verify", rewrite(packed, edit, restate=True))
    assert outcome.status == 1
    assert "3 verdicts are stated, of 2 claims" in outcome.out


def test_a_page_that_says_something_else_is_told_of(packed: Path, command: Command) -> None:
    """The packed one is "# A report": a text of whoever packed it."""
    told = "its report.md is NOT what this version writes of its results"
    assert told in command("verify", packed, "--claims", "pole", "--seeds", "1").out
    opened = bundle.open_bundle(packed, packed.parent / "opened")
    pages = {"report.md": markdown(judge(opened.card, opened.results)).encode()}

    def edit(files: dict[str, bytes]) -> None:
        files.update(pages)

    honest = bundle.open_bundle(rewrite(packed, edit, restate=True), packed.parent / "again")
    assert verify._note_on_pages(honest) == ""
    name, _, rest = pages["report.md"].partition(b"\n")
    pages["report.md"] = b"# the folder's name then\n" + rest
    renamed = bundle.open_bundle(rewrite(packed, edit, restate=True), packed.parent / "renamed")
    assert verify._note_on_pages(renamed) == 'its report.md is headed "the folder\'s name then"'
    pages["report.md"] = name + b"\n" + rest + b"more\n"
    more = bundle.open_bundle(rewrite(packed, edit, restate=True), packed.parent / "more")
    assert told in verify._note_on_pages(more)


def test_a_claim_is_run_again_as_it_was_reproduced(tmp_path: Path, command: Command) -> None:
    """What its runs record depends on the other claims that share them."""
    folder = tmp_path / "made-up"
    folder.mkdir()
    curve = '[protocol.curve]\nreturns = "evaluation"\nlast = 1\neval_every = 100\neval_episodes = 2\n'
    claim = '[[claim]]\nid = "curve"\nenvironment = "CartPole-v1"\nprotocol = "curve"\n'
    text = CARD.replace("[claim_defaults]", f"{curve}[claim_defaults]") + claim
    (folder / "card.toml").write_text(text)
    card = load_card(str(folder / "card.toml"))
    assert Reproduction(folder, card, 1.0, ["test"], 1).run(units_of(card, *choose(card, [])), (3, 5)) == []
    outcome = command("verify", bundle.pack(folder, tmp_path / "it.rlrepro.zip"), "--claims", "pole", "--seeds", "1")
    assert outcome.status == 0
    assert "the same bit for bit, 1 of 1 seeds" in outcome.out


def test_verify_runs_a_claim_again_bit_for_bit(packed: Path, command: Command) -> None:
    outcome = command("verify", packed, "--claims", "pole", "--seeds", "1")
    assert (outcome.status, outcome.err) == (0, "")
    assert "its 2 verdicts are those that its results give" in outcome.out
    assert "random-CartPole-v1: the same bit for bit, 1 of 1 seeds" in outcome.out


def test_explanations_in_other_words_are_no_contradiction_and_are_named(packed: Path, command: Command) -> None:
    def edit(files: dict[str, bytes]) -> None:
        stated = json.loads(files["verdicts.json"])
        stated["verdicts"][0] |= {"why": "proved beyond doubt", "changed": "not at all", "assumed": "nothing"}
        stated["notes"] = ["All is well."]
        files["verdicts.json"] = json.dumps(stated).encode()

    outcome = command("verify", rewrite(packed, edit, restate=True), "--claims", "pole", "--seeds", "1")
    assert (outcome.status, outcome.err) == (0, "")
    first = json.loads(zipfile.ZipFile(packed).read("verdicts.json"))["verdicts"][0]["claim"]
    assert f"in words that are not this version's, and were not held: {first}, notes" in outcome.out
    assert "not this version's" not in command("verify", packed, "--claims", "pole", "--seeds", "1").out


def test_seeds_that_the_bundle_has_not(packed: Path, command: Command) -> None:
    assert "no finished run of seed 7 (it has 3, 5)" in command("verify", packed, "--seeds", "3,7").problem
    assert "has 2 finished seeds, not 3" in command("verify", packed, "--seeds", "3").problem
    assert "no claim 'poel'; did you mean 'pole'?" in command("verify", packed, "--claims", "poel").problem


def _again(
    reproduction: Path, shift: float, seeds: tuple[int, ...] = (3, 5), margin: float = 150.0
) -> tuple[list[verify.Rerun], list[str]]:
    """The reproduction against itself with every return moved."""
    card, theirs = load_card(str(reproduction / "card.toml")), read_results(reproduction / "results")
    units = units_of(card, *choose(card, ["pole"]))
    name, unit = next(iter(theirs.units.items()))
    moved = [dataclasses.replace(h, episodes=h.episodes + np.array([0.0, shift])) for h in unit.histories]
    runs = tuple({**run, "versions": {**run["versions"], "torch": "0.1"}} for run in unit.runs)
    ours = dataclasses.replace(theirs, units={name: dataclasses.replace(unit, histories=tuple(moved), runs=runs)})
    claims = [dataclasses.replace(card.claims[0], margin=margin)]
    return verify.compare_reruns(card, claims, units, theirs, ours, seeds), verify.circumstances(theirs, ours, units)


def test_other_bits_that_are_statistically_the_same(reproduction: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reruns, different = _again(reproduction, 0.125)
    assert reruns[0].other_bits == (3, 5)
    assert reruns[0].tests["pole"].test.difference == pytest.approx(0.125)
    assert verify.report(reruns, different) == 0
    shown = capsys.readouterr().out
    assert "statistically the same within ± 150" in shown
    assert "torch: " in shown
    assert "0.1 here" in shown


def test_other_bits_that_differ(reproduction: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reruns, different = _again(reproduction, 400.0)
    assert verify.report(reruns, different) == 1
    assert "DIFFERENT" in capsys.readouterr().out


def test_seeds_that_have_lost_their_score_differ(reproduction: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However alike the others are."""
    card, theirs = load_card(str(reproduction / "card.toml")), read_results(reproduction / "results")
    units = units_of(card, *choose(card, ["pole"]))
    name, unit = next(iter(theirs.units.items()))
    first, second = unit.histories
    lost = dataclasses.replace(first, episodes=first.episodes * np.array([1.0, np.nan]))
    ours = dataclasses.replace(theirs, units={name: dataclasses.replace(unit, histories=(lost, second))})
    reruns = verify.compare_reruns(card, card.claims[:1], units, theirs, ours, (3, 5))
    assert verify.report(reruns, []) == 1
    assert (
        "pole: DIFFERENT: no score of seed 3: its return is nan, which has one in the bundle" in capsys.readouterr().out
    )


def test_seeds_that_had_no_score_in_the_bundle_either_are_not_lost(reproduction: Path) -> None:
    card, theirs = load_card(str(reproduction / "card.toml")), read_results(reproduction / "results")
    units = units_of(card, *choose(card, ["pole"]))
    name, unit = next(iter(theirs.units.items()))
    first, second = unit.histories
    sides = [
        dataclasses.replace(theirs, units={name: dataclasses.replace(unit, histories=(one, second))})
        for one in (
            dataclasses.replace(first, episodes=first.episodes * factor) for factor in ([1, np.nan], [1, np.inf])
        )
    ]
    (rerun,) = verify.compare_reruns(card, card.claims[:1], units, *sides, (3, 5))
    assert (rerun.same_bits, rerun.other_bits, rerun.lost) == ((5,), (3,), {})


def test_a_seed_that_took_other_steps_has_other_bits(reproduction: Path) -> None:
    card, theirs = load_card(str(reproduction / "card.toml")), read_results(reproduction / "results")
    units = units_of(card, *choose(card, ["pole"]))
    name, unit = next(iter(theirs.units.items()))
    first, second = unit.histories
    longer = dataclasses.replace(first, steps=first.steps + 2)
    ours = dataclasses.replace(theirs, units={name: dataclasses.replace(unit, histories=(longer, second))})
    (rerun,) = verify.compare_reruns(card, card.claims[:1], units, theirs, ours, (3, 5))
    assert (rerun.same_bits, rerun.other_bits) == ((5,), (3,))


def test_claims_whose_runs_have_other_bits_share_the_error(reproduction: Path) -> None:
    card, theirs = load_card(str(reproduction / "card.toml")), read_results(reproduction / "results")
    units = units_of(card, *choose(card, []))
    name, unit = next(iter(theirs.units.items()))
    moved = tuple(dataclasses.replace(h, episodes=h.episodes + np.array([0.0, 1.0])) for h in unit.histories)
    ours = dataclasses.replace(theirs, units={name: dataclasses.replace(unit, histories=moved)})
    for claims, alpha in ((card.claims[:1], 0.05), (card.claims, 0.025)):
        (rerun,) = verify.compare_reruns(card, claims, units, theirs, ours, (3, 5))
        assert rerun.alpha == pytest.approx(alpha)


def test_other_bits_without_a_score_to_compare_differ() -> None:
    assert verify.Rerun("unit", (), (3,), {}, {}, 0.05).differs
    assert not verify.Rerun("unit", (3,), (), {}, {}, 0.05).differs


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.5, 0.5 * (1 + 1e-10), True),
        (0.5, 0.5 * (1 + 1e-8), False),
        (0.0, 1e-8, False),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        ([1, {"p": 2.0}], [1, {"p": 2.0 + 1e-10}], True),
        ([1, {"p": 2.0}], [1, {"p": 2.0, "q": 0.0}], False),
        ([1, 2], [1], False),
        ("a", "b", False),
    ],
)
def test_numbers_are_alike_to_nine_digits(one: Any, other: Any, same: bool) -> None:
    assert bundle.alike(one, other) is same
    assert bundle.alike(other, one) is same


def test_what_is_shown_neither_to_be_the_same_nor_to_differ_is_not_the_same(
    reproduction: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reruns, different = _again(reproduction, 0.125, margin=0.5)
    assert verify.report(reruns, different) == 1
    assert "NOT DECIDED: neither shown to be the same within ± 0.5, nor different" in capsys.readouterr().out


def test_one_seed_that_was_run_again_decides_nothing(reproduction: Path) -> None:
    reruns, _ = _again(reproduction, 400.0, seeds=(3,))
    assert reruns[0].tests["pole"].word(0.05).startswith("NOT DECIDED: one seed was run again")
    assert reruns[0].differs


@pytest.mark.parametrize(
    ("here", "there", "word"),
    [
        ([30.0, 30.1, 29.9, 30.0, 30.2], np.linspace(99.9, 100.1, 10), "DIFFERENT"),  # 70 apart, a margin of 50
        ([-10.0, -10.1], np.linspace(99.9, 100.1, 10), "DIFFERENT"),
        ([120.0, 120.1], np.linspace(99.9, 100.1, 10), "statistically the same within ± 50"),  # apart, but within
        ([100.0, 100.0], [100.0, 100.0], "statistically the same within ± 50"),
        ([40.0, 40.0], [100.0, 100.0], "DIFFERENT"),
        ([0.0, 200.0, 90.0], [10.0, 120.0, 170.0], "NOT DECIDED: neither shown to be the same within ± 50"),
        ([100.0, 100.0], [100.0], "NOT DECIDED: one seed is in the bundle"),
    ],
)
def test_a_rerun_is_the_same_where_that_is_shown(here: Any, there: Any, word: str) -> None:
    assert verify.Likeness(np.asarray(here), np.asarray(there), 50.0).word(0.05).startswith(word)


def test_equal_scores_are_the_same_and_a_claim_without_a_margin_has_the_spread_of_the_bundle() -> None:
    there = np.arange(10.0)  # a standard deviation of 2.87
    assert verify.Likeness(there, there, 0.0, same_scores=True).word(0.001).startswith("statistically the same: every")
    assert (
        verify.Likeness(there[:2], there, 0.0, same_scores=True).word(0.001).startswith("statistically the same: ever")
    )
    narrow = there.mean() + np.tile([-0.01, 0.01], 5)  # its own spread does not count
    assert verify.Likeness(narrow, there, 0.0).word(0.05) == "statistically the same within ± 5.745"
    many = np.tile([-1.0, 1.0], 100)  # apart with significance, though by less than two standard deviations
    assert verify.Likeness(many + 0.5, many, 0.0).word(0.05) == "DIFFERENT"
    assert verify.Likeness(many + 0.5, many, 2.0).word(0.05) == "statistically the same within ± 2"
    rng, words = np.random.default_rng(0), []
    for shift in (0.0, 6.0):
        pairs = [verify.Likeness(rng.normal(shift, 3, 10), rng.normal(0, 3, 10), 0.0) for _ in range(200)]
        words.append([pair.word(0.05 / 3)[:9] for pair in pairs])
    assert words[0].count("statistic") > 180
    assert words[1].count("DIFFERENT") > 180
    assert words[1].count("statistic") <= 4  # two standard deviations apart


def test_bundle_says_where_it_wrote(
    reproduction: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a b.zip"
    outcome = command("bundle", reproduction, "--into", file)
    assert outcome.status == 0
    assert outcome.out.endswith(f"to check it: rlrepro verify '{file}'\n")
    for folder in (".", "/", tmp_path):
        assert f"--into {folder} is a folder" in command("bundle", reproduction, "--into", folder).problem
    assert "is no reproduction" in command("bundle", tmp_path).problem
    (tmp_path / "reproductions").mkdir()
    shutil.copytree(reproduction, tmp_path / "reproductions" / "the-paper")
    monkeypatch.chdir(tmp_path)
    assert "did you mean 'the-paper'?" in command("bundle", "the-papper").problem


def test_the_commands_of_the_page(
    reproduction: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With this reproduction and its claim in place of those that the page names."""
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).resolve().parent.parent / "docs" / "bundle.md"
    lines = [line.strip() for line in page.read_text().splitlines() if line.startswith("    rlrepro ")]
    assert len(lines) == 3
    shutil.copytree(reproduction, tmp_path / "reproductions" / "mine")
    for line in [*lines, "rlrepro bundle mine --into by-name.rlrepro.zip"]:
        own = line.replace("cleanrl-ppo", str(reproduction)).replace("ppo-cartpole", "pole")
        assert command(*own.split()[1:]).status == 0
