"""From a paper's card to a verdict: nothing of training itself is here.

cards     `cards`, read by `card_reader` from `card_tables`; `card_commands`
numbers   `published` (the book), `published_convert`, `beside_book`; `protocol`, by which a number is scored
runs      `plan`, `units`, `reproduction`; `measure` and `measured_training` for what no return tells; `results`
others'   `importers`, `histories`, `score`, `comparison`
judging   `stats`, `spreads`, `power`, `aggregates`, `calibrate`, `verdict`
showing   `page`, `rows`, `figures`, `report`, `scoreboard`, `markdown`, `compare_command`, `proofs`, `bundle`
"""
