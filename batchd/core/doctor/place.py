"""Place: the spool, its disk, the machine's memory and sleep, and who else is there.

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batchd.core.doctor.finding import Finding, Verdict
from batchd.core.readings import Card, Level, Reading, measures_of
from batchd.core.space import RESULT_LINE_BYTES, Space, bytes_to_come, in_units

#: Below this many requests that still fit, a person should know.
_LINES_FEW = 1_000_000

#: Directories that only the daemon's user needs to enter.
_INNER = ("processing", "partial", "archive")


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """One directory of a spool, as this user may use it."""

    name: str
    owner: str
    may_write: bool
    is_on_mount: bool = True  # of the spool's own directory
    is_apart: bool = True  # nobody moves or deletes there what another user put there


@dataclass(frozen=True, slots=True)
class SpoolFacts:
    """`rooms` is empty where there is no spool yet; then `may_be_made` counts."""

    path: str
    user: str
    rooms: tuple[RoomFacts, ...] = ()
    missing: tuple[str, ...] = ()
    may_be_made: bool = True
    file_system: str = ""
    is_remote: bool = False
    is_held: bool = False
    group: str = ""  # of the inbox


def judge_spool(facts: SpoolFacts) -> Iterator[Finding]:
    """Rights and mounts."""
    if facts.is_remote:
        means = "Locks, leases and durable writes need a local disk; batchd refuses to start there."
        step = "Name a directory on a local disk with --spool, or the setting `spool`"
        yield Finding("spool", Verdict.PROBLEM, f"{facts.path} lies on {facts.file_system}.", means, step)
        return
    if not facts.rooms:
        yield _no_spool(facts)
        return
    apart = [room.name for room in facts.rooms if not room.is_on_mount]
    if apart:
        means = "A claim and a publication are renames, which cannot cross mounts: batchd refuses to start."
        step = f"Put {', '.join(apart)} and the rest under one mount (under systemd: one ReadWritePaths=)"
        yield Finding("spool", Verdict.PROBLEM, f"{', '.join(apart)} of {facts.path} lie apart.", means, step)
        return
    yield _judge_rights(facts)
    if shared := [room.name for room in facts.rooms if not room.is_apart]:
        means = "Members of the group may move, replace and delete each other's files there."
        step = "sudo chmod +t " + " ".join(f"{facts.path}/{name}" for name in shared)
        saw = f"{' and '.join(shared)} of {facts.path} lack the sticky bit."
        yield Finding("spool", Verdict.WARNING, saw, means, step)


def _no_spool(facts: SpoolFacts) -> Finding:
    if facts.may_be_made:
        saw = f"There is no spool at {facts.path}; the first `batchd daemon` makes it."
        return Finding("spool", Verdict.OK, saw)
    saw = f"There is no spool at {facts.path}, and {facts.user} may not make one there."
    step = "batchd daemon --spool DIR with a directory of yours, or install the service (docs/install.md)"
    return Finding("spool", Verdict.PROBLEM, saw, "No daemon could start here.", step)


def _judge_rights(facts: SpoolFacts) -> Finding:
    by_name = {room.name: room for room in facts.rooms}
    held = "a batchd is at work on it" if facts.is_held else "no batchd holds it"
    inbox = by_name.get("inbox")
    if inbox is None or facts.missing:
        lacking = ", ".join(facts.missing or ("inbox",))
        saw = f"The spool {facts.path} lacks {lacking}; the next start makes what lacks."
        return Finding("spool", Verdict.NOTE, saw)
    if not inbox.may_write:
        group = facts.group or "batchd-submit"
        means = f"{facts.user} cannot hand in batches here."
        step = f"sudo usermod -aG {group} {facts.user}, then log in again"
        return Finding(
            "spool", Verdict.PROBLEM, f"{facts.path}/inbox takes nothing from {facts.user}.", means, step
        )
    closed = [name for name in _INNER if name in by_name and not by_name[name].may_write]
    if closed:
        owner = by_name[closed[0]].owner
        saw = f"{facts.user} may hand in batches at {facts.path}; {held}, and it belongs to {owner}."
        means = f"Only {owner} may run a daemon on it."
        return Finding("spool", Verdict.OK, saw, means)
    return Finding("spool", Verdict.OK, f"The spool {facts.path} is this user's to work on; {held}.")


def judge_disk(path: str, free_bytes: int, disk_bytes: int, free_files: int | None) -> Finding:
    """`free_files`: None where the file system does not count them."""
    if not disk_bytes:
        return Finding("disk", Verdict.NOTE, f"The file system of {path} does not tell its size.")
    space = Space(disk_bytes)
    space.measure(free_bytes)
    saw = f"{in_units(free_bytes)} of {in_units(disk_bytes)} are free for {path}."
    if space.is_short:
        means = f"Below {in_units(space.reserve_bytes)} nothing new is sent to the model."
        return Finding("disk", Verdict.PROBLEM, saw, means, f"Make room: du -xsh {path}/* names the largest")
    if free_files is not None and free_files < 1_000:
        means = "Each batch needs some dozen files and directories."
        return Finding("disk", Verdict.PROBLEM, f"{free_files:,} files may still be made for {path}.", means)
    lines = (free_bytes - space.reserve_bytes) // bytes_to_come(1)
    if lines < _LINES_FEW:
        means = (
            f"Some {lines:,} requests fit, with answers of about {RESULT_LINE_BYTES:,} bytes, beside their "
            "own files; a batch that does not fit waits."
        )
        return Finding("disk", Verdict.NOTE, saw, means)
    return Finding("disk", Verdict.OK, saw)


def judge_memory(reading: Reading) -> Iterator[Finding]:
    """The marks that hold the work back, before there is any."""
    for measure in measures_of(reading):
        if measure.name.startswith("card"):
            continue
        level = measure.mark.level(measure.share, Level.CALM)
        verdict = {Level.CALM: Verdict.OK, Level.WARN: Verdict.NOTE}.get(level, Verdict.WARNING)
        means = "" if level < Level.HOLD else "While that lasts, nothing new is sent to the model."
        step = "" if level < Level.HOLD else "ps aux --sort=-rss | head names the largest programs"
        yield Finding("memory", verdict, f"{measure.text[:1].upper()}{measure.text[1:]}.", means, step)


def judge_cards(cards: Sequence[Card], trouble: str) -> Iterator[Finding]:
    """The graphics cards themselves."""
    if trouble:
        means = "A model that is loaded now may fall onto the CPU; nobody can tell how full the card is."
        step = "nvidia-smi; after an update of the driver: reboot"
        yield Finding("gpu", Verdict.WARNING, f"{trouble.rstrip('.')}.", means, step)
    elif not cards:
        yield Finding("gpu", Verdict.OK, "No NVIDIA card is here; the work goes on without one.")
    for number, card in enumerate(cards):
        used = "" if card.used_mib is None else f", {card.used_mib:,} of {card.total_mib:,} MiB used"
        power = "" if card.power_w is None else f", {card.power_w:.0f} W"
        saw = f"GPU {number}: {card.name}, driver {card.driver}{used}{power}."
        reading = Reading((card,))
        is_full = any(measure.share >= measure.mark.warn for measure in measures_of(reading))
        means = "It is nearly full: if that is not the model's doing, a load will fail." if is_full else ""
        yield Finding(
            "gpu", Verdict.NOTE if is_full else Verdict.OK, saw, means, "nvidia-smi" if is_full else ""
        )


def judge_sleep(may_suspend: bool, may_inhibit: bool) -> Finding:
    """Whether the machine may fall asleep in the middle of a batch. `may_inhibit`: tried just now."""
    if not may_suspend:
        return Finding("sleep", Verdict.OK, "This machine does not suspend by itself.")
    if may_inhibit:
        return Finding("sleep", Verdict.OK, "batchd may keep this machine awake while a batch runs.")
    means = "If it suspends, nothing is lost, but nothing goes on either; the model is proven after it wakes."
    step = "sudo systemctl mask sleep.target suspend.target hibernate.target hybrid-sleep.target"
    saw = "This machine can suspend, and this user may not keep it awake."
    return Finding("sleep", Verdict.NOTE, saw, means, step)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A process of a program that may use the same card. `kind`: batchd, ollama."""

    pid: int
    kind: str
    command: str


def judge_neighbours(neighbours: Sequence[Neighbour], mode: str, held: Sequence[str] = ()) -> Finding:
    """Two governors, or two servers, on one card fight for its memory. `held`: who has which card."""
    ours = [item for item in neighbours if item.kind == "batchd"]
    servers = [item for item in neighbours if item.kind == "ollama"]
    if len(ours) > 1:
        saw = f"{len(ours)} batchd work on this machine: {_listed(ours)}.{_held(held)}"
        means = "Each decides by itself how much of the card it takes; together it may be too much."
        return Finding(
            "neighbours", Verdict.WARNING, saw, means, "Stop all but one, and use `batchd submit --wait`"
        )
    if len(servers) > 1 or (servers and mode in ("own", "child")):
        saw = f"Model servers that run already: {_listed(servers)}."
        means = "Two of them on one card leave each other no memory."
        step = "systemctl disable --now ollama, or attach to it: BATCHD_OLLAMA__MODE=attach"
        return Finding("neighbours", Verdict.WARNING, saw, means, step)
    if ours or held:
        saw = f"One batchd is at work: {_listed(ours) or 'another user hides it'}.{_held(held)}"
        means = "A second one on the same card is refused, unless it is told to share it (share_card)."
        return Finding("neighbours", Verdict.OK, saw, means if held else "")
    return Finding("neighbours", Verdict.OK, "No other batchd is at work on this machine.")


def _held(held: Sequence[str]) -> str:
    return f" It has the lock of {'; '.join(held[:8])}." if held else ""


def _listed(items: Sequence[Neighbour]) -> str:
    return ", ".join(f"{item.command} (process {item.pid})" for item in items[:5])
