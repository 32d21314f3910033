"""Runs of any origin against each other and beside published numbers; no card is needed.

`score`        `rlrepro score`: a source by every protocol
`comparison`   what is compared and tested; `figure` draws it
`command`      `rlrepro compare`
"""
