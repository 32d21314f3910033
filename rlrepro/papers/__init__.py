"""From a paper's card to a verdict and its page. Training itself is `rlrepro.train`'s; here it is asked for.

cards     `cards`, read by `card_reader`: `card_parts`, `card_claims`; `card_tables`, `toml_lines`; `card_commands`
numbers   `published` (the book), `published_command`, `published_convert` and its `published_sentences`, `beside_book`;
          `protocol`, which scores
runs      `plan`, `units`, `reproduction`; `measure` calls `measurements`, for what no return tells; `results`
others'   `importers`, `histories`, `score`, `comparison`
judging   `stats`, `spreads`, `power`, `aggregates`, `calibrate`, `verdict`
showing   `page`, `rows`, `figures`, `report`, `scoreboard`, `markdown`, `compare_command`, `compare_figure`, `proofs`
sharing   `bundle` packs a reproduction, `verify` runs somebody's again
"""
