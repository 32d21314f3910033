"""The book of published results: what papers and projects have printed, in data/.

`published`   its rows, read and asked
`beside`      a run beside it: which numbers it answers, and which it can't
`convert`     TOML that a person wrote into rows; `sentences`: metrics in words as protocols
`command`     `rlrepro published`
"""
