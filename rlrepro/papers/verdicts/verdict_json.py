"""Verdicts for other programs: verdicts.json."""

from __future__ import annotations

import json
import math
from typing import Any

from rlrepro.papers import stats
from rlrepro.papers.cards.card import Claim
from rlrepro.papers.verdicts.verdict import MOST_LISTED, Judgement, Verdict


def verdicts_json(judgement: Judgement) -> bytes:
    """The file verdicts.json."""
    return (json.dumps(as_json(judgement), indent=1, ensure_ascii=False) + "\n").encode()


def as_json(judgement: Judgement) -> dict[str, Any]:
    """The verdicts for other programs."""
    return {
        "format": 1,
        "card": judgement.card.name,
        "scale": judgement.scale,
        "verdicts": [_row(verdict) for verdict in judgement.verdicts],
        "notes": list(judgement.notes),
    }


def _row(verdict: Verdict) -> dict[str, Any]:
    row: dict[str, Any] = {"claim": verdict.claim.id, "verdict": verdict.word, "kind": verdict.kind, "why": verdict.why}
    if isinstance(verdict.claim, Claim):
        row |= {"reported": verdict.claim.reported, "margin": verdict.claim.margin}
        if verdict.claim.values:
            row["values"] = list(verdict.claim.values)
    if isinstance(verdict.test, stats.ComputedTest):
        row["measured"] = list(verdict.test.measured) if len(verdict.test.measured) > 1 else verdict.test.measured[0]
    if verdict.score is not None and len(verdict.score.values):
        row["measured"] = verdict.score.mean
        if len(verdict.score.per_seed) <= MOST_LISTED:
            row["per_seed"] = {str(s): v for s, v in verdict.score.per_seed.items()}
        else:
            row["seeds"] = len(verdict.score.per_seed)
    if verdict.score is not None and verdict.score.missing:
        row["missing"] = {str(s): why for s, why in verdict.score.missing.items()}
    if verdict.score is not None and verdict.score.least:
        row["at_least"] = {str(s): v for s, v in verdict.score.least.items()}
    row |= {name: True for name, holds in (("control", verdict.is_control), ("any_solver", verdict.is_loose)) if holds}
    if verdict.changed:
        row["changed"] = verdict.changed
    if verdict.qualified:
        row["assumed"] = verdict.qualified
    if isinstance(verdict.test, stats.Acceptance):
        row |= {
            "threshold": verdict.test.threshold,
            "reached": verdict.test.reached,
            "reached_outright": verdict.test.outright,
            "seeds": verdict.test.seeds,
        }
    if isinstance(verdict.test, stats.OrderTest) and verdict.decision is not None:
        row |= {
            "ahead_on": verdict.test.wins,
            "tasks": verdict.test.tasks,
            "differences": list(verdict.test.differences),
            "p_holds": verdict.test.p_holds,
            "p_contrary": verdict.test.p_contrary,
            "p_holds_holm": verdict.decision.p_equivalence,
            "p_contrary_holm": verdict.decision.p_difference,
        }
    if isinstance(verdict.test, stats.ClaimTest) and verdict.decision is not None:
        row |= {
            "difference": verdict.test.difference,
            "interval_95": [end if math.isfinite(end) else None for end in (verdict.test.low, verdict.test.high)],
            "p_equivalence": verdict.test.p_equivalence,
            "p_difference": verdict.test.p_difference,
            "p_equivalence_holm": verdict.decision.p_equivalence,
            "p_difference_holm": verdict.decision.p_difference,
        }
    return row
