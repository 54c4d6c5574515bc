"""The daemon wing: rooms that wait and give orders.

DIAGNOSTICS
    None: nothing runs on import.
"""
