"""Stand-ins for the ports: they keep the same contract as the real edges, in memory.

DIAGNOSTICS
    None: nothing runs on import.
"""
