"""Cards: what a paper claims, how it does it, and on what.

`card`           a card as data
`reader`         its file, read and checked: first `parts`, what claims refer to, then `claims` and orders
`measurements`   the functions that measure what is no return of an agent: how a card names one, and its call
"""
