"""The fifth floor: what measures batchd from outside, on real models and against an instant server.

SUMMARY
    bench       the same work in several cases, on a real model
    overhead    batchd alone: the table of what must be fast
    instant     the server that answers at once; its figures are never those of a model

DIAGNOSTICS
    Those of the files.
"""
