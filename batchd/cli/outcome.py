"""The outcome of a published batch, for the verbs that end with it.

SUMMARY
    A result directory is complete from its first moment, so what stands in it is read once and believed.

DIAGNOSTICS
    Fatal: SpoolError when batch.json is not what batchd writes.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from batchd.core.flaws import flawed_answers
from batchd.core.json import loads
from batchd.core.text import printable
from batchd.edges.plain import METRICS_BYTES_MAX, read_head, read_plain
from batchd.errors import SpoolError

#: Where `run` puts its results, in the current directory, unless it is told otherwise.
OUT = Path("batchd-results")

_OF_NOTHING = sha256().hexdigest()

#: The first error line: one has the words of a model server in it, of 64 KiB at most, and a custom_id.
_HEAD_BYTES = 1 << 20

#: Of a reason, as much as a person reads in a terminal. The file has the whole.
_REASON_CHARS_MAX = 300

#: Settings that are options of a batch too: in its results they stand as they were for that batch.
_OPTIONS_TOO = frozenset({"strict", "deduplicate", "strategy", "answers"})


def find_result(outbox: Path, batch_id: str) -> Path | None:
    """The result directory of this batch, once it is published."""
    try:
        return next((place for place in outbox.iterdir() if place.name.endswith(f".{batch_id}")), None)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpoolError(
            f"{outbox} cannot be listed: {error.strerror}.",
            "Who waits for results is a member of the group of the outbox, such as batchd-submit.",
        ) from error


def find_earlier(outbox: Path, file: Path, answer_settings: Mapping[str, object]) -> Iterator[Path]:
    """Results of this very file, under settings that are the same in all that can change an answer."""
    with file.open("rb") as source:
        digest = file_digest(source, "sha256").hexdigest()
    ours = {name: value for name, value in answer_settings.items() if name not in _OPTIONS_TOO}
    section = answer_settings["llamacpp"]
    assert isinstance(section, dict)  # of the settings
    for metrics in sorted(outbox.glob("*/metrics.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # what cannot be read is none of ours
            read: Any = loads(read_plain(metrics, METRICS_BYTES_MAX))
            settings = read["settings"]
            theirs = {**settings, "llamacpp": {key: settings["llamacpp"][key] for key in section}}
            same = all(theirs[name] == value for name, value in ours.items())
            if same and read["provenance"]["input"]["sha256"] == digest:
                yield metrics.parent


def check_input(result: Path, digest: str) -> None:
    """SpoolError where this is the result of something else than the bytes with this SHA-256 (hex)."""
    status, _, _ = _summary(result)
    found: Any = None
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = _metrics(result)["provenance"]["input"]["sha256"]
    # Of a file that could not be read as one, nothing was read: it failed, and has no answers to believe.
    if found != digest and not (status == "failed" and found == _OF_NOTHING):
        raise SpoolError(
            f"The result {ascii(result.name)[1:-1]} is not of the file that was handed in: somebody else has "
            "taken its batch id.",
            "Your file runs under another id: the log of batchd names both. Hand it in again to wait for it.",
        )


def exit_code(result: Path, failed_share_max: float) -> int:
    """0 where the batch completed, with no larger share of failed requests than the operator allows."""
    status, total, failed = _summary(result)
    return 0 if status == "completed" and failed <= failed_share_max * total else 1


def closing_words(result: Path) -> list[str]:
    """What there is to say of a result: why requests have no answer, and what is wrong with the answers.

    Nothing of one that somebody is collecting.
    """
    found: list[str] = []
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, SpoolError):
        found += _failure_words(result)
    with suppress(SpoolError, OSError, ValueError, KeyError, TypeError, AttributeError):
        found += flawed_answers(_metrics(result)["answers"])
    return found


def _failure_words(result: Path) -> Iterator[str]:
    """How many have no answer, the first reason, and where the others stand."""
    status, total, failed = _summary(result)
    if status == "failed":
        batch: Any = loads(read_plain(result / "batch.json", METRICS_BYTES_MAX))
        yield f"The batch failed: {_reason(batch['errors']['data'][0])}"
    if not failed:
        return
    said = f"{failed:,} of {total:,} requests have no answer"
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        first: Any = loads(read_head(result / "errors.jsonl", _HEAD_BYTES).partition(b"\n")[0])
        said = f"{said}. The first: {_reason(first['error'] or first['response']['body']['error'])}"
    yield said
    if (result / "errors.jsonl").is_file():
        yield f"All of them, with their reasons: {printable(str(result / 'errors.jsonl'))}"
    if (result / "retry.jsonl").is_file():
        yield "Once the cause is mended, hand in retry.jsonl, which lies beside it."


def _reason(error: Mapping[str, object]) -> str:
    shown = printable(f"{error['code']}: {error['message']}")
    return shown if len(shown) <= _REASON_CHARS_MAX else f"{shown[: _REASON_CHARS_MAX - 1]}…"


def read_result(result: Path) -> dict[str, object]:
    """A published batch in a few words, for a program."""
    status, total, failed = _summary(result)
    metrics = _metrics(result)
    return {
        "batch_id": metrics["batch_id"],
        "path": str(result),
        "status": status,
        "request_counts": {"total": total, "completed": total - failed, "failed": failed},
        "tokens": metrics["tokens"],
        "answers": metrics["answers"],
    }


def _metrics(result: Path) -> Any:
    try:
        return loads(read_plain(result / "metrics.json", METRICS_BYTES_MAX))
    except FileNotFoundError as error:
        raise _collected(result) from error


def _collected(result: Path) -> SpoolError:
    return SpoolError(
        f"The result {result.name} was published, and somebody collected it already.",
        "Look where it was taken to. The same command would compute it again.",
    )


def _summary(result: Path) -> tuple[str, int, int]:
    try:
        batch = loads(read_plain(result / "batch.json", METRICS_BYTES_MAX))
        if not isinstance(batch, dict):
            raise ValueError("not an object")
        counts = batch["request_counts"]
        return str(batch["status"]), int(counts["total"]), int(counts["failed"])
    except FileNotFoundError as error:
        raise _collected(result) from error
    except OSError as error:
        raise SpoolError(
            f"{result / 'batch.json'} cannot be read: {error.strerror}.", "The results lie beside it."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SpoolError(
            f"{result / 'batch.json'} is not a batch: {error}.", "The results lie beside it."
        ) from error
