"""`python -m batchd` is the same as `batchd`.

DIAGNOSTICS
    Those of the command line.
"""

from batchd.cli import main

if __name__ == "__main__":
    main()
