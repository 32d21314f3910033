"""How often verdicts err and intervals miss, by simulation.

`simulation`   draws returns of many shapes and counts errors
`tables`       docs/calibration.md of what was counted
`coverage`     the committed numbers, calibration.json, for pages
`command`      `rlrepro calibrate`
"""
