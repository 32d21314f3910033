"""What was found, for people to read.

`rows`         a verdict as texts
`page`         report.html as plain data for templates/; `figures` draws
`report`       `rlrepro report`: a reproduction's page, Markdown and badge
`scoreboard`   `rlrepro scoreboard`: the claims of several reproductions
`proofs`       `rlrepro proofs`: what has been shown of each agent
"""
