"""What must be true of a spool after any blow: what `batchd verify` says, and what only a submitter can know.

SUMMARY
    problems_of        the spool as it lies there, by the code of `batchd verify`
    outcomes_of        of one result: requests without an outcome, and outcomes beyond the first
    problems_of_result whether the original, by whose hash `batchd verify` goes, is what was handed in

DIAGNOSTICS
    None: everything wrong is a sentence.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path

from batchd.app.verify import verify


def problems_of(spool: Path, outbox: Path | None = None) -> list[str]:
    """While the daemon is dead or stopped: nothing that is odd may be a matter of the moment."""
    return [str(finding) for finding in verify(spool, outbox, pause_s=0.0).findings]


def outcomes_of(result: Path, batch_file: bytes) -> tuple[list[str], list[str]]:
    """(lost, doubled) custom_ids, by what was handed in."""
    asked = [json.loads(line)["custom_id"] for line in _lines(batch_file)]
    files = [path for name in ("output.jsonl", "errors.jsonl") if (path := result / name).exists()]
    had = Counter(json.loads(line)["custom_id"] for path in files for line in _lines(path.read_bytes()))
    return [name for name in asked if not had[name]], [name for name in had if had[name] > 1]


def problems_of_result(result: Path, batch_file: bytes, archive: Path) -> list[str]:
    wanted = hashlib.sha256(batch_file).hexdigest()
    found = []
    metrics = json.loads((result / "metrics.json").read_bytes())
    if metrics["provenance"]["input"]["sha256"] != wanted:
        found.append(f"{result.name} is the result of another file")
    kept = [hashlib.sha256(path.read_bytes()).hexdigest() for path in archive.glob("*/*.jsonl")]
    if kept.count(wanted) != 1:
        found.append(f"the original of {result.name} is {kept.count(wanted)} times in the archive")
    return found


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line.strip()]
