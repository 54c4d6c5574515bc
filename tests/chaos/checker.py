"""What must be true of a spool after any blow, read from its files alone.

SUMMARY
    problems_of        what no moment may show: a batch in two places, a state that is not in the table
    problems_of_result one published batch against what was handed in

DIAGNOSTICS
    None: everything wrong is a sentence.
"""

import hashlib
import json
import re
from pathlib import Path

_BATCH_ID = re.compile(r"batch_[0-9a-f]{32}")


def problems_of(spool: Path) -> list[str]:
    """While the daemon is dead or stopped: places and states."""
    found = []
    published = {name.rpartition(".")[2] for name in _names(spool / "outbox")}
    archived = {name.partition(".")[0] for name in _names(spool / "archive")}
    for name in _names(spool / "processing"):
        batch_id = name.removeprefix(".trash-")
        if not _BATCH_ID.fullmatch(batch_id):
            found.append(f"a stranger in processing: {name}")
        place = spool / "processing" / name
        if (place / "publish").is_dir() and batch_id in published:
            found.append(f"{batch_id} is published, and to be published again")
        if _names(place / "orig") and batch_id in archived:
            found.append(f"{batch_id} is in orig/ and in the archive")
    found += [f"a stranger in the outbox: {name}" for name in published if not _BATCH_ID.fullmatch(name)]
    return found


def problems_of_result(result: Path, batch_file: bytes, archive: Path) -> list[str]:
    """Exactly one outcome for each line, in order; counts; hashes; the bytes of the original kept."""
    found = []
    asked = [json.loads(line) for line in batch_file.splitlines() if line.strip()]
    outcomes: dict[str, int] = {}
    for name in ("output.jsonl", "errors.jsonl"):
        ids = [json.loads(line)["custom_id"] for line in _lines(result / name)]
        places = {line["custom_id"]: number for number, line in enumerate(asked)}
        if sorted(ids, key=lambda custom_id: places.get(custom_id, -1)) != ids:
            found.append(f"{name} is not in input order")
        for custom_id in ids:
            outcomes[custom_id] = outcomes.get(custom_id, 0) + 1
    lost = [line["custom_id"] for line in asked if line["custom_id"] not in outcomes]
    doubled = [custom_id for custom_id, count in outcomes.items() if count > 1]
    if lost or doubled or len(outcomes) != len(asked):
        found.append(f"lost {lost}, doubled {doubled}, {len(outcomes)} outcomes of {len(asked)} lines")
    counts = json.loads((result / "batch.json").read_bytes())["request_counts"]
    if counts["total"] != len(asked) or counts["completed"] != len(_lines(result / "output.jsonl")):
        found.append(f"batch.json counts {counts}")
    wanted = hashlib.sha256(batch_file).hexdigest()
    kept = [hashlib.sha256(path.read_bytes()).hexdigest() for path in archive.glob("*/*.jsonl")]
    if kept.count(wanted) != 1:
        found.append(f"the original is {kept.count(wanted)} times in the archive")
    return found


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []
