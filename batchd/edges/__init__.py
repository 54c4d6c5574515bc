"""The edges wing: each file touches one outside thing.

DIAGNOSTICS
    None: nothing runs on import.
"""
