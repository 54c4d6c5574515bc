"""Chaos: what is left after a blow. Real processes, real kills, real disks.

SUMMARY
    nursery    starts daemons quickly, with a moment at which they die
    world      one spool, one simulated model server, and the books that are kept about both
    checker    what must be true of a spool after any blow, read from its files alone
    disks      small file systems of our own: power cuts, full disks
    mutants    breaks the product in one place at a time; some test must go red
    `python -m tests.chaos MINUTES` runs the blows in numbers

DIAGNOSTICS
    None.
"""
