"""Status: what the daemon says of itself, as one value, one file and one line.

SUMMARY
    `StatusReport` is all that `batchd status` can show. `render` makes the bytes of `status.json`, `parse`
    reads them back, `status_line` is the line for `systemctl status`.

    Counts, ids, times and file names stand here, never the text of a request or of an answer. Names come
    from submitters, so every text is made printable on its way out.

    A report carries a version. New fields may be added with a default; a change of meaning is a new version.

DIAGNOSTICS
    Fatal: `parse` raises SpoolError for bytes that are no report, or one of a newer version.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any, TypeVar, get_type_hints

from batchd.core.cached import share_words
from batchd.core.json import dumps, loads
from batchd.core.pause import way_on
from batchd.core.text import printable
from batchd.errors import SpoolError

VERSION = 1

#: The daemon's last word; no newer status follows.
STOPPED = "stopped"

#: Listed things of the inbox that cannot be claimed. Anybody who may submit can make a million of them, and
#: the report is put together every second, by the thread that also sends the requests.
UNCLAIMABLE_MAX = 100

#: Characters of the line for the service manager, whose display cuts longer ones anywhere.
_LINE_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The model server and what it holds. `state` is what is true now: absent, loading, resident, cooling.

    `user`: as whom an attached server of this machine runs; empty where that is not known.
    """

    engine: str
    address: str
    state: str
    model: str | None = None
    window_tokens: int | None = None
    slots: int | None = None
    detail: str = ""
    next_try_at: float | None = None
    user: str = ""


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """One batch. `status` is OpenAI's word, `detail` why it waits; a rate is None until it is measured.

    `is_paused`: it waits for a person, and gives way to the others meanwhile. `estimate`: what its pilot
    showed. `cached_share`: of the prompt tokens, what was not read again; None where the server does not
    tell.
    """

    id: str
    name: str
    status: str
    total: int
    completed: int
    failed: int
    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    cached_share: float | None = None
    eta_s: float | None = None
    detail: str = ""
    is_paused: bool = False
    estimate: str = ""
    is_cached_estimated: bool = False


@dataclass(frozen=True, slots=True)
class Unclaimable:
    """A thing in the inbox that stays where it is, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The whole report. `state` of the daemon: starting, ready, draining, stopped.

    Moments are since the epoch. `next_check_at` is when it looks again at what it waits for.
    `unclaimable_more` counts what the list leaves out. `notice` concerns all batches and needs a person.
    `servers`: where there are several, each of them; `model` is then the one that is best off.
    """

    written_at: float
    pid: int
    state: str
    model: ModelStatus | None = None
    batches: tuple[BatchStatus, ...] = ()
    unclaimable: tuple[Unclaimable, ...] = ()
    next_check_at: float | None = None
    unclaimable_more: int = 0
    version: int = VERSION
    notice: str = ""
    servers: tuple[ModelStatus, ...] = ()


#: The better off a server is, the earlier its state stands here.
_BEST_FIRST = ("resident", "loading", "cooling")


def best_of(servers: Sequence[ModelStatus]) -> ModelStatus:
    """Of several servers the one that is best off; of equals the first."""
    rank = {state: number for number, state in enumerate(_BEST_FIRST)}
    return min(servers, key=lambda server: rank.get(server.state, len(rank)))


def render(report: StatusReport) -> bytes:
    """The bytes of status.json."""
    left_out = max(0, len(report.unclaimable) - UNCLAIMABLE_MAX)
    short = replace(
        report,
        unclaimable=report.unclaimable[:UNCLAIMABLE_MAX],
        unclaimable_more=report.unclaimable_more + left_out,
    )
    return dumps(_cleaned(asdict(short))) + b"\n"


def parse(raw: bytes) -> StatusReport:
    """The report in these bytes, which anybody may have written."""
    try:
        return _parsed(raw)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise _unreadable("it is not JSON, or no report") from None


def _parsed(raw: bytes) -> StatusReport:
    value = loads(raw)
    if not isinstance(value, dict):
        raise _unreadable("it is not an object")
    version = value.get("version")
    if not isinstance(version, int):
        raise _unreadable("it has no version")
    if version > VERSION:
        raise SpoolError(
            f"status.json has version {version}; this batchd reads up to {VERSION}.",
            "Ask with the batchd that runs the daemon, or a newer one.",
        )
    model = value.get("model")
    return _built(
        StatusReport,
        value,
        model=None if model is None else _built(ModelStatus, model),
        batches=tuple(_built(BatchStatus, item) for item in _listed(value, "batches")),
        unclaimable=tuple(_built(Unclaimable, item) for item in _listed(value, "unclaimable")),
        servers=tuple(_built(ModelStatus, item) for item in _listed(value, "servers")),
    )


def status_line(report: StatusReport) -> str:
    """One line: the batch at work, how many wait behind it, and what needs a person."""
    running = sorted(report.batches, key=lambda batch: (batch.is_paused, batch.status != "in_progress"))
    paused = sum(batch.is_paused for batch in running[1:])
    parts = [_batch_words(running[0])] if running else ["idle" if report.state == "ready" else report.state]
    if len(report.batches) > 1:
        parts.append(f"{len(report.batches) - 1} more" + (f", {paused} paused" if paused else ""))
    if running:
        parts += _server_words(report)
    if report.notice:
        parts.append(report.notice)
    count = len(report.unclaimable) + report.unclaimable_more
    if count:
        parts.append(f"{count} in the inbox cannot be claimed")
    return printable(" · ".join(parts))[:_LINE_CHARS_MAX]


def duration(seconds: float) -> str:
    """A length of time in its two largest units: `2 d 3 h`, `6 h 10 min`, `4 min 30 s`, `12 s`."""
    left = max(0, round(seconds))
    parts = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        parts.append((count, unit))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def _batch_words(batch: BatchStatus) -> str:
    done = batch.completed + batch.failed
    if batch.is_paused:
        return f"paused {done:,}/{batch.total:,} · {way_on(batch.id)} · {batch.detail}"
    words = [f"{batch.status} {done:,}/{batch.total:,}"]
    if batch.failed:
        words.append(f"{batch.failed:,} failed")
    if batch.requests_per_s is not None:
        words.append(f"{batch.requests_per_s:.1f}/s")
    if cached := share_words(batch.cached_share, batch.is_cached_estimated):
        words.append(f"{cached} cached")
    if batch.eta_s is not None:
        words.append(f"ETA {duration(batch.eta_s)}")
    return " · ".join(words)


def _server_words(report: StatusReport) -> list[str]:
    """Who does not answer; nothing where all do."""
    if not report.servers:
        model = report.model
        return [] if model is None or model.state == "resident" else [f"model {model.state}"]
    away = [server for server in report.servers if server.state != "resident"]
    words = [f"{server.address} {server.state}" for server in away]
    ready = len(report.servers) - len(away)
    return [f"{ready} of {len(report.servers)} servers: {', '.join(words)}"] if away else []


_T = TypeVar("_T")


def _built(cls: type[_T], value: object, **ready: object) -> _T:
    """A dataclass from an object of the file; keys that it does not know are left aside."""
    if not isinstance(value, dict):
        raise _unreadable(f"a {cls.__name__} is not an object")
    hints = get_type_hints(cls)
    given: dict[str, Any] = dict(ready)
    for field in fields(cls):  # type: ignore[arg-type]  # every caller hands in a dataclass
        if field.name in ready or field.name not in value:
            continue
        item = value[field.name]
        if isinstance(item, int) and not isinstance(item, hints[field.name]):
            item = float(item)  # another writer may have written 3 for 3.0
        if not isinstance(item, hints[field.name]) or (isinstance(item, float) and not isfinite(item)):
            raise _unreadable(f"'{field.name}' has a wrong type")
        given[field.name] = item
    try:
        return cls(**given)
    except TypeError:
        raise _unreadable(f"a {cls.__name__} lacks a field") from None


def _listed(value: dict[str, object], name: str) -> list[object]:
    found = value.get(name, [])
    if not isinstance(found, list):
        raise _unreadable(f"'{name}' is not a list")
    return found


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def _unreadable(why: str) -> SpoolError:
    return SpoolError(
        f"status.json cannot be read: {why}.", "A running daemon writes it anew within seconds."
    )
