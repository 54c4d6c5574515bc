"""The audit: what must be true of a spool at every moment, checked from the outside.

SUMMARY
    finding   the rules, and a broken one as a value
    outcome   one result line, one input line, from their bytes
    results   a result directory
    journal   a journal and our copy of the input
    places    where a batch stands, against the table of states

    Written apart from the rooms that make these files, and sharing only the tables that define them:
    `core/lifecycle`, `core/packing`. `app/verify` hands the bytes in.

DIAGNOSTICS
    None: everything wrong is a Finding.
"""
