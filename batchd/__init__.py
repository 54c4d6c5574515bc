"""batchd: runs OpenAI-format batch files on a local model, and loses nothing.

SUMMARY
    The package has floors; a file imports only from floors below its own. See README.md for the drawing.

DIAGNOSTICS
    None: nothing runs on import.
"""

__version__ = "0.1.0"
