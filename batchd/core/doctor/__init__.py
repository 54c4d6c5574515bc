"""The doctor: what was found out about a machine, judged.

SUMMARY
    finding    what a person is told of one thing
    server     engine, mode, models, slots, and where the model runs
    place      spool, disk, memory, sleep, and who else is there

    Facts in, findings out. Who looks is `app/doctor`.

DIAGNOSTICS
    None: values only.
"""
