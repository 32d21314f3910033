"""For whoever writes a card.

`command`   `rlrepro card new|check|diff`: begin one, find its faults and doubts, see how two differ
`doubts`    what it says that is likelier a slip than meant
"""
