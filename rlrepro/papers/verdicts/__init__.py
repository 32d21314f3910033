"""Was a claim reproduced?

`verdict`           a card and its results become a `Judgement`
`card_aggregates`   each agent over all tasks of a card
`verdict_json`      verdicts.json, for other programs
"""
