"""Statistics of a claim: is the measured mean the reported one, within a margin?

Plain tests (Welch, two one-sided tests) are here as libraries have them. They fail at few seeds when returns are
capped, bimodal or skewed: where all of five seeds happen to agree, their variance is near zero and anything is
certain. What a verdict uses is `claim_test`, whose variances are guarded; `rlrepro calibrate` simulates both.

`measured` values are one number a seed, `[S]`. Every difference is measured − reported. NaN is a `Problem`.

`values`, `reported`         ours and the paper's numbers
`plain`, `intervals`         tests and intervals as libraries have them
`claims`, `groups`           guarded tests: of a claim, of two groups and orders
`acceptance`                 against one published agent
`decision`                   from tests to words
`aggregates`, `power`        over tasks; how many seeds decide. To be imported by name.
"""

from rlrepro.papers.stats.acceptance import LEAST_SHARE, Acceptance, acceptance, chance_of_so_many, share_interval
from rlrepro.papers.stats.claims import (
    ASSUMED_LEAST,
    ASSUMED_SEEDS,
    ASSUMED_SPREAD,
    IMAGINED,
    LOAN,
    LOAN_OF_MANY,
    ClaimTest,
    band_test,
    bound_test,
    claim_test,
    guarded_se,
    one_sample_se,
)
from rlrepro.papers.stats.decision import ComputedTest, Decision, Tested, Word, decide
from rlrepro.papers.stats.groups import (
    OrderTest,
    PairTest,
    order_test,
    pair_p,
    pair_test,
    pair_test_from_summary,
    partial_conjunction,
)
from rlrepro.papers.stats.intervals import Estimate, mean_band, mean_interval
from rlrepro.papers.stats.plain import (
    Welch,
    equivalence_p,
    holm,
    holm_array,
    one_sided,
    welch,
    welch_from_summary,
    welch_se,
)
from rlrepro.papers.stats.reported import KINDS, Reported, Spread
from rlrepro.papers.stats.values import ALPHA, CONFIDENCE, MIN_SEEDS, Array, Number, Values, as_values, capital, p_text

__all__ = [
    "ALPHA", "ASSUMED_LEAST", "ASSUMED_SEEDS", "ASSUMED_SPREAD", "CONFIDENCE", "IMAGINED", "KINDS", "LEAST_SHARE",
    "LOAN", "LOAN_OF_MANY", "MIN_SEEDS", "Acceptance", "Array", "ClaimTest", "ComputedTest", "Decision", "Estimate",
    "Number", "OrderTest", "PairTest", "Reported", "Spread", "Tested", "Values", "Welch", "Word", "acceptance",
    "as_values", "band_test", "bound_test", "capital", "chance_of_so_many", "claim_test", "decide", "equivalence_p",
    "guarded_se", "holm", "holm_array", "mean_band", "mean_interval", "one_sample_se", "one_sided", "order_test",
    "p_text", "pair_p", "pair_test", "pair_test_from_summary", "partial_conjunction", "share_interval", "welch",
    "welch_from_summary", "welch_se",
]  # fmt: skip
