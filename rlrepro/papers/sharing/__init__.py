"""A reproduction for others to check.

`bundle`   `rlrepro bundle`: one file
`verify`   `rlrepro verify`: its verdicts held against its results, and a claim of it run again
"""
