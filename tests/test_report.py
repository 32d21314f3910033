"""Reports: made of card and results alone, the same bytes every time, and nothing of a card is ever markup."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from rlrepro.papers.calibration.coverage import coverage_note
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.markdown import md
from rlrepro.papers.pages import figures, page, rows
from rlrepro.papers.pages.report import badge, markdown, shield, write_report
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.scoring import History, Score, score, window
from rlrepro.papers.units.results import Results, UnitResults, read_results, write_results
from rlrepro.papers.units.unit import settings_of, shared, units_of
from rlrepro.papers.verdicts.verdict import Judgement, Verdict, judge
from tests.conftest import Command

HEAD = """
format = 1
[paper]
title = "A paper"
authors = "A. Author"
year = 2020
url = "https://example.org/paper"
[environment.CartPole-v1]
paper = "CartPole-v1"
random = 0
best = 500
[environment.Acrobot-v1]
paper = "Acrobot-v1"
random = -500
best = 0
[implementation.a]
agent = "random"
[implementation.a.hyperparameters."paper: Table 3"]
total_timesteps = 10_000
num_envs = 2
[implementation.b]
like = "a"
[protocol.training]
returns = "training"
last = 10
[protocol.highest]
returns = "evaluation"
statistic = "max of seed mean"
eval_every = 1000
eval_episodes = 5
[protocol.agent]
returns = "evaluation"
statistic = "one agent"
[claim_defaults]
implementation = "a"
protocol = "training"
margin = 20
margin_why = "small"
where = "Table 1"
"""
CLAIMS = """
[[claim]]
id = "equal"
environment = "CartPole-v1"
reported = 200.0
spread = 6
spread_kind = "population sd"
seeds = 10
[[claim]]
id = "lower"
environment = "CartPole-v1"
reported = 400.5
spread = 6
spread_kind = "sample sd"
seeds = 10
[[claim]]
id = "bare"
environment = "CartPole-v1"
reported = 210
margin = 100
seeds = 30
[[claim]]
id = "highest"
environment = "CartPole-v1"
protocol = "highest"
reported = 200
[[claim]]
id = "agent"
environment = "Acrobot-v1"
protocol = "agent"
reported = -80
margin = 50
[[claim]]
id = "together"
environments = ["CartPole-v1", "Acrobot-v1"]
aggregate = "iqm"
reported = 0.6
margin = 0.3
[[claim]]
id = "later"
implementation = "b"
environment = "Acrobot-v1"
reported = -80
[[order]]
id = "a over b"
better = "a"
worse = "b"
environments = ["CartPole-v1"]
at_least = 1
protocol = "training"
where = "Figure 2"
"""


def some(*ids: str) -> str:
    """The card with these claims alone."""
    blocks = re.split(r"\n(?=\[\[)", CLAIMS)
    return HEAD + "\n".join(block for block in blocks if any(f'id = "{one}"' in block for one in ids))


LEVELS = {("a", "CartPole-v1"): 200.0, ("a", "Acrobot-v1"): -100.0, ("b", "CartPole-v1"): 150.0}
RUN = {
    "seeds": [0, 1],
    "command": "python -m rlrepro.reproduce mine",
    "started": "2026-01-01T00:00:00+00:00",
    "ended": "2026-01-01T00:30:00+00:00",
    "status": "finished",
    "versions": {"torch": "2.5"},
    "hardware": {"cpu": "a processor"},
    "git": {"commit": "abc123", "changed": True},
}
Make = Callable[..., Path]


def history(seed: int, level: float, steps: int = 10_000, spread: float = 0.05) -> History:
    """A seed that learns up to about `level`."""
    generator = np.random.default_rng([seed, abs(round(level))])
    x = np.arange(100.0, steps + 1, 100)
    y = level + spread * abs(level) * (generator.normal(size=len(x)) - 5 * np.exp(-x / 2000))
    return History(seed, np.column_stack([x, y]), np.column_stack([x, y])[9::10], y[-5:], steps)


def like(folder: Path, text: str, histories: Callable[[float], list[History]], scale: float = 1.0) -> Path:
    """A reproduction of the card `text`, its units' histories made by level."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.toml").write_text(text)
    card = load_card(str(folder / "card.toml"))
    units = {}
    for unit in units_of(card, card.claims, card.orders):
        level = LEVELS.get((unit.implementation, unit.environment))
        if level is not None:
            settings = shared(settings_of(card, unit, (0, 1), scale))
            units[unit.name] = UnitResults(settings, (RUN,), tuple(histories(level)))
    write_results(folder / "results", Results(scale, units))
    return folder


def ten(level: float) -> list[History]:
    return [history(seed, level) for seed in range(10)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = like(tmp_path_factory.mktemp("report") / "mine", HEAD + CLAIMS, ten)
    write_report(folder)
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time, and are not what every test is about."""
    monkeypatch.setattr(figures, "draw", lambda *_: figures.Drawing(b"<svg></svg>", b""))


class Page(HTMLParser):
    """The tags, addresses and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def test_everything_is_there(written: Path) -> None:
    html = Page((written / "report.html").read_text())
    text = " ".join(html.text.split())
    for wanted in ("A paper", "2020", "Table 1", "equal within ± 20", "± 6 (population sd, 10 seeds)", "below",
                   "paper: Table 3", "total_timesteps", "10,000", "a processor", "torch 2.5", "abc123, with changes",
                   "30.0 min", "python -m rlrepro.reproduce card.toml --claims equal --seeds 10", "Holm", "Schuirmann",
                   "Welch", "Clopper", "Agarwal", "Satterthwaite", "IQM", "no runs yet", "Every seed"):  # fmt: skip
        assert wanted in text, wanted
    assert text.index("equal within") < text.index("Claim by claim")  # the verdicts come first
    assert "NOT COMPARABLE" not in text
    assert len(html.ids) == len(set(html.ids))
    anchors = [value[1:] for tag, name, value in html.attributes if (tag, name) == ("a", "href") and value[0] == "#"]
    assert len(anchors) == 8
    assert set(anchors) <= set(html.ids)
    counts = dict(rows.counts(judge_of(written)))
    assert counts == {"reproduced": 4, "below": 1, "inconclusive": 2, "not run": 1}
    qualified = [v.claim.id for v in judge_of(written).verdicts if v.word == "reproduced" and v.qualified]
    assert qualified == ["bare"]
    assert html.tags.count("abbr") == 2  # in the table and at its section


def judge_of(folder: Path):  # type: ignore[no-untyped-def]
    return judge(load_card(str(folder / "card.toml")), read_results(folder / "results"))


def renamed(judgement: Judgement, identity: str) -> Judgement:
    """With a first claim of a name that no card may have: were that rule to go, names are no markup all the same."""
    first, *others = judgement.verdicts
    claim = dataclasses.replace(first.claim, id=identity)
    return dataclasses.replace(judgement, verdicts=(dataclasses.replace(first, claim=claim), *others))


def test_nothing_is_loaded_and_nothing_runs(written: Path) -> None:
    html = Page((written / "report.html").read_text())
    assert not {"script", "link", "img", "iframe", "object", "embed", "image", "base", "form"} & set(html.tags)
    for tag, name, value in html.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href", "action", "poster"):
            assert value.startswith("#") or (tag, value) == ("a", "https://example.org/paper")
    assert not re.search(r"@import|url\((?!#)", (written / "report.html").read_text())


def test_the_same_results_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from rlrepro.papers.pages.report import write_report as w\n"
    code += "w(Path(sys.argv[1]), into=Path(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, str(written), str(tmp_path)], check=True)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert {"equal.svg", "equal-seeds.svg", "overview.svg", "profiles.svg", "a-over-b.svg"} <= {p.name for p in made}
    for path in made:
        assert (tmp_path / path).read_bytes() == (written / path).read_bytes(), path


def test_pdfs_are_the_same_bytes(tmp_path: Path) -> None:
    folder = like(tmp_path / "in", some("equal"), ten)
    made = []
    for name in ("one", "two"):
        write_report(folder, into=tmp_path / name, pdf=True)
        made.append({path.name: path.read_bytes() for path in (tmp_path / name / "figures").glob("*.pdf")})
    assert set(made[0]) == {"equal.pdf", "equal-seeds.pdf", "profiles.pdf"}
    assert made[0] == made[1]


def test_figures_say_what_they_show(written: Path) -> None:
    words = " ".join(ElementTree.parse(written / "figures" / "equal.svg").getroot().itertext())
    for wanted in ("10 seeds", "mean, 95 % interval", "paper: 200 ± 2 (standard error)", "± margin 20", "what counts",
                   "env steps", "training return"):  # fmt: skip  # 6 × √(10 / 9) / √10 = 2
        assert wanted in words, wanted
    assert "tolerance 50" in (written / "figures" / "agent.svg").read_text()
    assert "normalised score" in (written / "figures" / "together.svg").read_text()


def test_every_seed_is_shown_and_why_one_is_missing(tmp_path: Path) -> None:
    def histories(level: float) -> list[History]:
        good = [history(seed, level) for seed in range(8)]
        crashed = dataclasses.replace(history(8, level, 4000), stopped="ValueError: <b>boom</b>", broke=True)
        not_finite = history(9, level)
        not_finite.episodes[-1, 1] = np.nan
        return [*good, crashed, not_finite]

    write_report(like(tmp_path, some("equal", "a over b"), histories))
    html = Page((tmp_path / "report.html").read_text())
    text = " ".join(html.text.split())
    for shown in ("8 no score it stopped at env step 4,000 (ValueError: <b>boom</b>)", "9 no score its return is nan"):
        assert text.count(shown) == 3  # of the claim, and of either side of the claim of order
    for seed, value in score(Protocol("training", last=10), histories(200.0)).per_seed.items():
        assert f"{seed} {value:.1f}" in text
    assert "8 seeds, 2 without a score" in text
    assert "8 seeds, 2 without a score" in (tmp_path / "report.md").read_text()


NASTY = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)> $x_1^{2}$ | `c` {{ 7 * 7 }} ]]> --> \\\\"


def nasty(identity: str) -> str:
    """A card with hostile text in every field that takes any."""
    text = (
        some("equal", "lower", "agent", "a over b")
        .replace('"A paper"', f'"{NASTY}"')
        .replace('"A. Author"', f'"{NASTY}"')
    )
    text = text.replace('"small"', f'"{NASTY}"').replace('"Table 1"', f'"{NASTY}"').replace("Table 3", "<i>" + NASTY)
    text = text.replace('paper = "Acrobot-v1"', f'paper = "{NASTY}"\nrun = "Acrobot-v1"\ndiffers = "{NASTY}"')
    text = text.replace('id = "equal"', f'id = "{identity}"\nnote = "{NASTY}"')
    return f'deviations = ["{NASTY}"]\n{text}\n[compute]\nstated = "{NASTY}"\n'


@pytest.mark.parametrize("identity", ["equal", "../../../up"])
def test_no_text_of_a_card_is_markup(tmp_path: Path, identity: str) -> None:
    write_report(like(tmp_path / "in", nasty(identity), ten), into=tmp_path / "one")
    html = Page((tmp_path / "one" / "report.html").read_text())
    assert not {"script", "img", "i", "link"} & set(html.tags)
    assert not any(name.startswith("on") for _, name, _ in html.attributes)
    assert {v for t, n, v in html.attributes if t == "a" and n == "href" and v[0] != "#"} == {
        "https://example.org/paper"
    }
    shown = NASTY.replace("\\\\", "\\")
    assert html.text.count(shown) > 10
    made = sorted(p for p in tmp_path.rglob("*.svg"))
    assert len(made) > 5
    assert all((tmp_path / "one") in p.parents for p in made)  # no name leads out
    for path in made:
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert tags <= {"svg", "g", "path", "text", "tspan", "defs", "clipPath", "rect", "use", "style", "metadata",
                        "title"}, path  # fmt: skip


def test_a_dollar_is_a_dollar(tmp_path: Path) -> None:
    judgement = renamed(judge_of(like(tmp_path, some("equal", "lower"), ten)), r"$\alpha_1$ <b>")
    _, drawings = page.render(judgement)
    words = "".join(ElementTree.fromstring(drawings["overview"].svg).itertext())
    assert r"$\alpha_1$ <b>" in words


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b", r"a\|b"),
        ("<script>", "&lt;script&gt;"),
        ("&lt;", "&amp;lt;"),
        ("`x` *y* _z_ [a](b) ~c~ $d$ # e !f", r"\`x\` \*y\* \_z\_ \[a\](b) \~c\~ \$d\$ \# e \!f"),
        ("two\nlines\t.", "two lines ."),
        ("\\|", r"\\\|"),
    ],
)
def test_markdown_is_escaped(text: str, written: str) -> None:
    assert md(text) == written


def test_markdown_tables_keep_their_columns(tmp_path: Path) -> None:
    judgement = renamed(judge_of(like(tmp_path, nasty("equal"), ten)), NASTY)
    rows = [line for line in markdown(judgement).splitlines() if line.startswith("|")]
    columns = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows]
    assert columns == [7] * (2 + len(judgement.verdicts)) + [6] * (2 + len(judgement.results.units))
    assert not any("<" in row for row in rows)


def test_badges_count_losses(written: Path) -> None:
    text = badge(judge_of(written))
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == "reproduced 4/8 · 1 below · 2 inconclusive · 1 not run"
    assert root.attrib["role"] == "img"
    assert ElementTree.fromstring(shield("<&>", '"', "#000")).attrib["aria-label"] == '<&> "'


@pytest.mark.usefixtures("undrawn")
def test_runs_at_a_smaller_scale_are_marked_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = like(tmp_path, HEAD + CLAIMS, lambda level: [history(s, level, 5000) for s in range(10)], scale=0.5)
    judgement = write_report(folder, show=True)
    assert {v.word for v in judgement.verdicts} == {"not comparable", "not run"}
    assert "NOT COMPARABLE" in (folder / "report.html").read_text()
    assert "NOT COMPARABLE" in (folder / "report.md").read_text()
    assert "NOT COMPARABLE" in capsys.readouterr().out
    assert "not comparable" in (folder / "badge.svg").read_text()
    assert "--scale 0.5" in (folder / "report.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_why_a_short_run_has_no_score_is_told_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(like(tmp_path, some("equal"), lambda level: [history(0, level, 400)], scale=0.5), show=True)
    assert "equal: run at 0.5 of the paper's steps; no seed has a score (seed 0: it has 4 of the 10" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_bound_has_no_margin_in_its_figure(tmp_path: Path) -> None:
    for rule in ("", 'rule = "at least"\n'):
        text = some("bare").replace("reported = 210\nmargin = 100\nseeds = 30", f"{rule}reported = 210")
        text = text.replace('margin = 20\nmargin_why = "small"\n', "") if rule else text
        folder = like(tmp_path / (rule and "bound"), text, ten)
        write_report(folder)
        assert (">± margin " in (folder / "figures" / "bare.svg").read_text()) == (not rule)
        assert ("shaded across" in (folder / "report.html").read_text()) == (not rule)


def test_axes_of_lengths_say_so(tmp_path: Path) -> None:
    """And a caption is no label."""
    text = some("equal").replace("num_envs = 2", "num_envs = 1").replace("last = 10", 'last = 10\nof = "length"')
    folder = like(tmp_path, text, ten)
    write_report(folder)
    curve, strip = ((folder / "figures" / f"equal{end}.svg").read_text() for end in ("", "-seeds"))
    assert ">episode length<" in curve
    assert ">episode length, by the protocol<" in strip
    assert "return" not in curve + strip
    assert "Episode length in training: the mean of episodes in bins of" in (folder / "report.html").read_text()


def test_the_steps_to_a_threshold_stand_along_the_axis_of_steps(tmp_path: Path) -> None:
    """The paper's number upright, the threshold across, and a seed that never got there as at least what it had."""
    text = some("equal").replace("last = 10", 'last = 1\nof = "steps"\nthreshold = 205')
    levels = [100.0, *(220.0,) * 9]
    folder = like(tmp_path, text, lambda _: [history(s, level) for s, level in enumerate(levels)])
    write_report(folder)
    curve, strip = ((folder / "figures" / f"equal{end}.svg").read_text() for end in ("", "-seeds"))
    assert ">threshold 205<" in curve
    assert ">training return<" in curve
    assert ">env steps to the threshold, by the protocol<" in strip
    page = (folder / "report.html").read_text()
    assert "≥ 10,000" in page
    assert "it had not reached 205 at env step 10,000" in page
    assert "10 seeds, 1 of which never reached it" in page
    assert ", ∞)" in page
    assert "Seeds that never reached the threshold count with the env steps that they had" in page


def test_axes_of_returns_say_whose(written: Path) -> None:
    labels = {"equal": "training return", "highest": "evaluation return", "together": "normalised score"}
    for name, label in labels.items():
        assert f">{label}<" in (written / "figures" / f"{name}.svg").read_text()
    assert ">return, by the protocol<" in (written / "figures" / "equal-seeds.svg").read_text()


def test_a_spread_is_apart_from_what_it_is(written: Path) -> None:
    judgement = judge_of(written)
    found = {verdict.claim.id: rows.row_of(judgement.card, verdict) for verdict in judgement.verdicts}
    assert (found["equal"].spread, found["equal"].spread_kind) == ("± 6", "population sd, 10 seeds")
    assert found["equal"].spread_text == "± 6 (population sd, 10 seeds)"
    assert (found["bare"].spread, found["bare"].spread_text) == ("", "(no spread printed, 30 seeds)")
    assert found["a over b"].spread_text == ""
    bare = next(verdict for verdict in judgement.verdicts if verdict.claim.id == "bare")
    claim = dataclasses.replace(bare.claim, per_seed=(1.0, 2.0), seeds=2)
    bare = dataclasses.replace(bare, claim=claim)
    assert rows.row_of(judgement.card, bare).spread_text == "(printed seed by seed, 2 seeds)"


@pytest.mark.parametrize(
    "histories",
    [
        pytest.param(lambda level: [history(s, level, spread=0) for s in range(10)], id="all seeds equal"),
        pytest.param(lambda level: [history(4, level)], id="one seed"),
        pytest.param(lambda level: [], id="no seed"),
        pytest.param(lambda level: [dataclasses.replace(history(s, level), stopped="crash", broke=True, steps=900,
                                                        episodes=np.empty((0, 2)), evaluations=np.empty((0, 2)),
                                                        final=np.empty(0)) for s in (0, 1)], id="all crashed at once"),
        pytest.param(lambda level: [history(s, level * 1e60) for s in range(10)], id="huge"),
    ],
)  # fmt: skip
def test_odd_results_make_a_page(tmp_path: Path, histories: Callable[[float], list[History]]) -> None:
    write_report(like(tmp_path, some("equal", "highest", "agent", "together", "a over b"), histories), show=True)
    html = Page((tmp_path / "report.html").read_text())
    assert "a over b" in html.text
    assert "a and b differ in nothing but their names" in html.text
    assert json.loads((tmp_path / "verdicts.json").read_text())["card"] == tmp_path.name


@pytest.mark.usefixtures("undrawn")
def test_many_claims_are_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_MANY", 7)
    write_report(like(tmp_path, HEAD + CLAIMS, ten))
    html = Page((tmp_path / "report.html").read_text())
    assert html.tags.count("details") == 8


# --- small parts


def test_numbers_are_rounded_and_signed_for_print() -> None:
    assert rows.number(-1234.567, 1) == "−1,234.6"
    assert rows.number(-0.001, 1) == "0.0"
    assert rows.number(float("nan")) == rows.number(None) == "—"
    assert rows.number(float("-inf")) == "−∞"
    assert [rows.decimals_for(m) for m in (1e-9, 1e-7, 1e-6, 1e-4)] == [11, 9, 6, 6]
    assert [rows.decimals_for(m) for m in (0.05, 0.1, 1, 9.9, 10, 48, 100, 5000)] == [4, 3, 2, 2, 1, 1, 0, 0]
    assert rows.exact(490.04) == "490.04"


def test_the_papers_own_error_by_kind(written: Path) -> None:
    claims = {claim.id: claim for claim in load_card(str(written / "card.toml")).claims}
    mark = page.mark_of(claims["equal"], False)  # 6 is the population sd of 10: sample sd √40, standard error 2
    assert mark.error == pytest.approx(2)
    assert mark.half == pytest.approx(2 * 2.2621571628)  # Student's t, 9 degrees of freedom, 97.5 %
    assert page.mark_of(claims["lower"], False).error == pytest.approx(6 / 10**0.5)
    assert page.mark_of(claims["bare"], False).error is None
    three = dataclasses.replace(claims["equal"], spread=1.5, spread_kind="standard error", seeds=3)
    assert page.mark_of(three, False).error == pytest.approx(1.5)


def test_training_curves_are_means_of_bins() -> None:
    episodes = np.array([[10.0, 1], [20, 3], [21, 5], [100, 7]])
    curve = figures.training_curve([History(0, episodes, np.empty((0, 2)), np.empty(0), 100)], 100)
    assert curve.bins == 10  # 100, 50 and 25 have empty bins too, and no fewer are tried
    assert curve.x.tolist() == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    np.testing.assert_array_equal(curve.y, [[1, 3, 5, *[np.nan] * 6, 7]])
    dense = np.column_stack([np.arange(1.0, 1001), np.repeat(np.arange(100.0), 10)])
    curve = figures.training_curve([History(0, dense, np.empty((0, 2)), np.empty(0), 1000)], 1000)
    np.testing.assert_array_equal(curve.y, [np.arange(100)])


def test_a_seed_that_never_reached_a_threshold_has_a_score_and_is_counted_once(written: Path) -> None:
    card = load_card(str(written / "card.toml"))
    why = {1: "it never reached it", 2: "it stopped"}
    found = Score(card.protocols["training"], {0: 100.0}, why, least={1: 500.0})
    row = rows.row_of(card, Verdict(card.claims[0], "inconclusive", "equivalence", "", score=found))
    assert (row.measured, row.seeds) == ("≥ 300.0", "2 seeds, 1 of which never reached it, 1 without a score")


@pytest.mark.parametrize(("one_sided", "span"), [(False, (180, 220)), (True, (180, 200))])
def test_the_margin_of_a_published_agent_is_drawn_below_its_number_alone(
    one_sided: bool, span: tuple[float, float]
) -> None:
    spans: list[tuple[float, float]] = []
    mark = figures.Mark(200, 6.0, 12.0, 20, one_sided)
    figures._paper(lambda low, high, **_: spans.append((low, high)), lambda *_, **__: None, mark)
    assert spans == [span, (194, 206)]  # and the standard error to both sides


def test_names_are_listed_up_to_five_and_of_more_the_first_four() -> None:
    assert rows.listed("abcde") == "a, b, c, d, e"
    assert rows.listed("abcdef") == "a, b, c, d and 2 more"


def test_evaluation_curves_keep_their_steps() -> None:
    one = History(0, np.empty((0, 2)), np.array([[10.0, 1], [20, np.inf]]), np.empty(0), 20)
    other = History(1, np.empty((0, 2)), np.array([[20.0, 4], [30, 5]]), np.empty(0), 30)
    curve = figures.evaluation_curve([one, other])
    assert curve.x.tolist() == [10, 20, 30]
    np.testing.assert_array_equal(curve.y, [[1, np.nan, np.nan], [np.nan, 4, 5]])


def test_window_of_what_counts() -> None:
    made = [history(seed, 100.0) for seed in (0, 1)]
    assert window(Protocol("training", last=10), made) == (9100, 10_000)
    assert window(Protocol("training", after_step=2000, to_step=3000), made) == (2100, 3000)
    assert window(Protocol("training", last=10_000), made) is None


# --- the command


@pytest.mark.usefixtures("undrawn")
def test_command(written: Path, tmp_path: Path, command: Command) -> None:
    done = command("report", written, "--into", tmp_path / "there")
    assert done.status == 0
    assert max(map(len, done.out.split("\n\n")[0].splitlines())) <= 80
    assert "▼ below" in done.out
    assert str(tmp_path / "there" / "report.html") in done.out
    assert (tmp_path / "there" / "verdicts.json").read_bytes() == (written / "verdicts.json").read_bytes()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda f: (f / "card.toml").unlink(), "is no reproduction: it has no card.toml"),
        (lambda f: shutil.rmtree(f / "results"), "run the card first"),
        (lambda f: (f / "results" / "results.json").write_text("{"), "is damaged"),
        (lambda f: (f / "results" / "results.json").write_text('{"format": 99}'), "is not of this version"),
        (lambda f: (f / "results" / "a-CartPole-v1.csv.gz").unlink(), "No such file"),
        (lambda f: (f / "results" / "a-CartPole-v1.csv.gz").write_bytes(b""), "its hash differs"),
        (lambda f: shutil.rmtree(f), "there is no card"),
    ],
)
def test_what_cannot_be_reported_is_said(
    written: Path, tmp_path: Path, command: Command, damage: Callable[[Path], object], problem: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(written, folder)
    damage(folder)
    assert problem in command("report", folder).problem


def test_settings_of_another_version_of_the_card_are_refused(written: Path, tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(written, folder)
    text = (folder / "card.toml").read_text()
    (folder / "card.toml").write_text(text.replace("total_timesteps = 10_000", "total_timesteps = 20_000"))
    assert "total_timesteps = 10000, but the card says 20000" in command("report", folder).problem


def test_matplotlib_is_imported_late() -> None:
    names = ("cli", "reproduce", "papers.pages.report", "papers.pages.page", "papers.pages.scoreboard")
    modules = ", ".join(f"rlrepro.{name}" for name in names)
    code = f"import sys, {modules}; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_markdown_has_the_notes_and_deviations_of_its_card(tmp_path: Path) -> None:
    text = HEAD.replace("format = 1", 'format = 1\ndeviations = ["Another *version*."]', 1) + CLAIMS.replace(
        'id = "equal"', 'id = "equal"\nnote = "Known | of old."', 1
    )
    like(tmp_path / "one", text, ten)
    page = markdown(write_report(tmp_path / "one"))
    assert "\n- **equal**: Known \\| of old.\n" in page
    assert "\n- Another \\*version\\*.\n" in page


def test_markdown_says_what_is_to_be_known_of_the_runs(tmp_path: Path, undrawn: None) -> None:
    def one_stopped(level: float) -> list[History]:
        first, *others = ten(level)
        return [dataclasses.replace(first, steps=500, stopped="it ran out of *time*"), *others]

    write_report(like(tmp_path, some("equal"), one_stopped))
    said = (tmp_path / "report.md").read_text()
    assert r"- a-CartPole-v1: seed 0 did not finish: it ran out of \*time\*" in said


@pytest.mark.parametrize(("rule", "kind"), [("", "difference"), ("about", "band"), ("at least", "mean")])
def test_the_coverage_is_that_of_the_interval_beside_it(rule: str, kind: str, tmp_path: Path, undrawn: None) -> None:
    own = 'spread = 6\nspread_kind = "population sd"\nseeds = 10'
    text = HEAD.replace('margin = 20\nmargin_why = "small"\n', "") if rule == "at least" else HEAD
    body = f'[[claim]]\nid = "it"\nenvironment = "CartPole-v1"\nreported = 200.0\n{own if not rule else ""}\n'
    folder = like(tmp_path, text + body + (f'rule = "{rule}"\n' if rule else ""), ten)
    write_report(folder)
    page = " ".join(Page((folder / "report.html").read_text()).text.split())
    after = page[page.index("Measured − reported") :].partition("Standard error")[0]
    notes = {one: str(coverage_note(one, 10)) for one in ("difference", "band", "mean")}
    assert [one for one, note in notes.items() if note in after] == [kind]


def test_markdown_says_how_its_columns_are_read(tmp_path: Path, undrawn: None) -> None:
    """Each sentence where the table has what it speaks of, and no other."""

    def of(name: str, text: str) -> str:
        return markdown(write_report(like(tmp_path / name, text, ten)))

    holm = "p: after Holm's correction over all of the card's claims that a test decides"
    stars = "\\* rests on an assumption"
    power = "A number of seeds that would decide a claim does so four times in five"
    whole = of("whole", HEAD + CLAIMS)
    assert "its 95 % t interval, which knows of no bounds of the returns. " + holm in whole
    assert power not in whole
    assert stars in whole
    assert f"- Interval of the mean: {coverage_note('mean', 10)}." in whole
    assert f"- Interval of the difference: {coverage_note('difference', 10)}." in whole
    one = of("one", some("equal"))
    assert "t interval" in one
    assert holm not in one
    assert stars not in one
    wide = some("equal").replace("margin = 20\n", "margin = 8\n").replace("reported = 200.0", "reported = 205.0")
    near = of("near", wide)
    assert power in near
    assert "seeds would decide it" in near


def test_markdown_says_of_what_its_numbers_are(tmp_path: Path) -> None:
    """GitHub does not show report.html: which environment a number is of, and what trained it, must not need it."""
    text = HEAD.replace('paper = "Acrobot-v1"', 'paper = "Acrobot-v0"\nrun = "Acrobot-v1"\ndiffers = "the | of it"')
    page = markdown(write_report(like(tmp_path / "one", text + CLAIMS, ten)))
    assert "\n- The paper's Acrobot-v0 is Acrobot-v1 here: the \\| of it.\n" in page
    assert "The paper's CartPole-v1" not in page
    assert "\n- **training**: training return, mean of the last 10 episodes\n- **highest**: " in page
    assert "\n| a-CartPole-v1 | 10,000 | 0, 1 | 2026-01-01 | abc123, with changes that were not committed |\n" in page
    assert "\nVersions: torch 2.5.\n" in page


def test_seeds_that_some_claims_have_more_of_are_a_command_of_their_own(tmp_path: Path) -> None:
    """Of the whole card they would make another verdict of a claim that rests on fewer."""
    folder = like(tmp_path / "one", HEAD + CLAIMS, ten)
    results = read_results(folder / "results")
    unit = results.units["a-Acrobot-v1"]
    more = dataclasses.replace(unit, histories=(*unit.histories, *(history(seed, -100.0) for seed in (10, 11))))
    write_results(folder / "results", Results(1.0, {**results.units, "a-Acrobot-v1": more}))
    found = judge(load_card(str(folder / "card.toml")), read_results(folder / "results"))
    again = "python -m rlrepro.reproduce card.toml"
    both = [f"{again} --seeds 10", f"{again} --claims agent together --seeds 10,11"]
    assert rows.commands(found) == both
    assert "\n".join(["```", *both, "```"]) in markdown(found)
    assert rows.commands(found, "agent") == [f"{again} --claims agent --seeds 12"]
    assert rows.commands(found, "equal") == [f"{again} --claims equal --seeds 10"]
    together = [f"{again} --claims together --seeds 10", f"{again} --claims together --seeds 10,11"]
    assert rows.commands(found, "together") == together
    asked = dataclasses.replace(unit, planned=tuple(range(12)))  # of which two did not come to run
    write_results(folder / "results", Results(1.0, {**results.units, "a-Acrobot-v1": asked}))
    planned = judge(load_card(str(folder / "card.toml")), read_results(folder / "results"))
    assert rows.commands(planned) == both
    fresh = dataclasses.replace(unit, histories=tuple(history(seed, -100.0) for seed in (10, 11)))
    write_results(folder / "results", Results(1.0, {**results.units, "a-Acrobot-v1": fresh}))
    found = judge(load_card(str(folder / "card.toml")), read_results(folder / "results"))
    others = "equal lower bare highest together 'a over b'"
    assert rows.commands(found) == [f"{again} --claims {others} --seeds 10", both[1]]
