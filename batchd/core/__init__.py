"""The first floor: decides, and touches nothing outside.

DIAGNOSTICS
    None: nothing runs on import.
"""
