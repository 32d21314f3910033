"""From a paper's card to a verdict and its page. Training itself is `rlrepro.train`'s; here it is asked for.

In the order of their layers: each imports from those above it only (tests/test_layers.py).

*.py           what any may need: `protocol` says how runs become one number, and scores; `histories` is what it scores,
               of a run's folder; `spreads`, kinds of ±; `toml_lines` and `toml_tables`, faults by line; `markdown`
stats/         tests, intervals, aggregates over tasks, power
calibration/   how often those err, by simulation
book/          what papers have published, as data, and a run beside it
cards/         what a paper claims, read and checked
units/         what a card's claims need to run, and what that gave
importers/     runs of any origin: ours, Stable-Baselines3's, TensorBoard's, CSV
compare/       these scored, and against each other
verdicts/      claim by claim: was it reproduced?
pages/         verdicts for people: reports, figures, the scoreboard, proofs
authoring/     begin a card, check it, see how two differ
reproduce/     a card from its plan to its page
sharing/       a reproduction in one file, and somebody else's run again
"""
