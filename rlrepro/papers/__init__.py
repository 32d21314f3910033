"""From a paper's card to a verdict: cards, published numbers, plans, scores, statistics, verdicts, pages.

The way of the data, module by module: `cards` → `plan` → `units` → `reproduction` (which trains) → `results` →
`protocol` → `stats` → `verdict` → `page`.
"""
