"""The kinds of spread that a printed number may have, by the words that cards and the book use."""

from __future__ import annotations

SPREADS = {
    "population sd": "standard deviation over seeds, divided by n (NumPy's default)",
    "sample sd": "standard deviation over seeds, divided by n − 1",
    "standard error": "standard error of the mean over seeds",
    "interval 95": "95 % interval of the mean over seeds: half its width, or low and high",
    "over episodes": "standard deviation over the episodes of one agent: says nothing of seeds",
    "unknown": "printed, and not said what it is",
    "none": "not printed",
}

#: in a row of a table
SHORT = {
    **{kind: kind for kind in SPREADS},
    "interval 95": "half a 95 % interval",
    "over episodes": "sd over episodes of one agent",
    "unknown": "of an unknown kind",
    "none": "",
}
