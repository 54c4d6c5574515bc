"""The tests; their fakes and the simulator are imported from here.

DIAGNOSTICS
    None: nothing runs on import.
"""
