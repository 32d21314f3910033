"""What a card's claims need, one unit for each implementation or measurement on each environment, and what it gave.

`unit`      a card's units, their settings, and whether they can run here
`results`   every episode and evaluation of every seed, as files that can be committed
`measure`   a measurement's unit, made
"""
