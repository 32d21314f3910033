"""A card's claims trained, measured, judged and shown: `python -m rlrepro.reproduce`.

`reproduction`   the command: runs what is missing, keeps results, writes the page
`plan`           what it takes, and how many seeds a claim needs: --plan
"""
