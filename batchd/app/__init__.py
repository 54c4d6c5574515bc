"""The app: builds every room once, introduces them to each other, and runs the house.

SUMMARY
    serve       the daemon: until a signal
    run_files   the same rooms for some files: until they are done, or paused

    SIGTERM and SIGINT begin the drain; a second one ends at once. Either way nothing is lost. SIGHUP has the
    daemon read its settings again.

DIAGNOSTICS
    Fatal: ConfigError, UnavailableError, SpoolError, JournalError travel up to the command line.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from batchd.app.blocking import to_its_end
from batchd.app.cards import cards_held
from batchd.app.collector import calm_collector
from batchd.app.engines import ASK_TIMEOUT_S, Engine, ask_all, build_engines, out_of_reach, wait_for
from batchd.app.foreground import Ended as Ended
from batchd.app.foreground import Wanted, hand_in, identify, read_content, run_wanted
from batchd.app.gauges import MachineGauges, programs_of
from batchd.app.house import House
from batchd.app.outside import Outside
from batchd.app.profiles import with_profiles
from batchd.app.provenance import describe_model, provenance
from batchd.app.reload import Reloading
from batchd.app.unseen import nothing_unseen
from batchd.core.fault import ModelFault
from batchd.core.provenance import agreed
from batchd.core.rules import Rules
from batchd.core.status import StatusReport
from batchd.core.strategy import Habits
from batchd.edges import log
from batchd.edges.clock import SystemClock
from batchd.edges.inhibitor import SleepInhibitor
from batchd.edges.spool import Spool, final_name
from batchd.edges.systemd import Systemd
from batchd.edges.validation import Validation
from batchd.edges.watch import Bell
from batchd.errors import BatchdError
from batchd.settings import Settings, Surroundings

OnTick = Callable[[StatusReport], None]


async def serve(read: Callable[[], Settings], around: Surroundings) -> None:
    """Run the daemon until it is told to stop. `read` gives the settings, now and at each reload."""
    calm_collector()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    settings = read()
    _log_for_service(settings, around)
    spool, schemas = Spool.open(settings.spool), Validation()
    try:
        clock = SystemClock()
        engines = with_profiles(await build_engines(settings, clock), settings)
        service = _service(around)
        house = _house(settings, service, spool, engines, schemas, None, lambda report: None)

        def adopt(changed: Settings) -> None:
            _log_for_service(changed, around)
            rules = _rules(changed, spool, engines, is_run=False)
            house.adopt(rules, _shown(changed, engines), changed.drain_s)

        reload = Reloading(settings, read, adopt, service, clock, lambda: house.board.state == "ready")
        with await to_its_end(cards_held, settings, engines):
            await _until_stopped(house, house.run(), reload)
    finally:
        await to_its_end(schemas.close)
        spool.close()


def _log_for_service(settings: Settings, around: Surroundings) -> None:
    is_journal = log.is_journal(around.journal_stream, sys.stderr)
    log.configure(settings.log_level, sys.stderr, is_journal, log.JOURNAL_SOCKET)


def _service(around: Surroundings) -> Systemd:
    return Systemd(around.notify_socket, around.watchdog_usec, around.watchdog_pid)


async def run_files(
    settings: Settings,
    around: Surroundings,
    files: Sequence[Path],
    options: Sequence[Mapping[str, object]],
    outbox: Path | None,
    on_tick: OnTick,
) -> list[Ended]:
    """The result directory of each file, or its pause. Raises KeyboardInterrupt when a signal came first."""
    calm_collector()
    # The bar says what the log would, so only trouble is logged unless more was asked for.
    is_asked_for = "log_level" in settings.model_fields_set
    log.configure(settings.log_level if is_asked_for else "WARNING", sys.stderr, False)
    spool, schemas, on_card = Spool.open(settings.spool, outbox), Validation(), ExitStack()
    try:
        clock = SystemClock()
        engines = with_profiles(await build_engines(settings, clock), settings)
        on_card.enter_context(await to_its_end(cards_held, settings, engines))
        described = await wait_for(engines, clock)
        versions = sorted({server.version for server in described})
        wanted = await _identified(settings, engines, ", ".join(versions), files, options)
        await to_its_end(hand_in, spool, settings.spool, wanted)
        house = _house(settings, _service(around), spool, engines, schemas, wanted, on_tick)
        finished: dict[str, str] = {}

        async def work() -> None:
            finished.update(await run_wanted(house, spool, wanted))

        await _until_stopped(house, work())
        paused = house.roster.paused
        if not {item.batch_id for item in wanted} <= {*finished, *paused}:
            raise KeyboardInterrupt
        return [
            Ended(item.batch_id, item.source.name, finished.get(item.batch_id), paused.get(item.batch_id))
            for item in wanted
        ]
    finally:
        on_card.close()
        await to_its_end(schemas.close)
        spool.close()


async def _identified(
    settings: Settings,
    engines: Sequence[Engine],
    version: str,
    files: Sequence[Path],
    options: Sequence[Mapping[str, object]],
) -> list[Wanted]:
    """Each file as the batch that it is: its id depends on all that can change an answer."""
    answer_settings = {**settings.answer_settings(), "engine_version": version}
    wanted = []
    for file, asked in zip(files, options, strict=True):
        content = await asyncio.to_thread(read_content, file)
        served = sorted({settings.model or settings.model_aliases.get(name, name) for name in content.models})
        digests = await _digests(engines, served)
        wanted.append(identify(file, content, asked, answer_settings, digests))
    return wanted


async def _digests(engines: Sequence[Engine], models: Sequence[str]) -> Mapping[str, str]:
    """What these names stand for, as most servers have it."""
    answers = await ask_all(engines, lambda server: server.digests(models, ASK_TIMEOUT_S))
    found = [answer for answer in answers if not isinstance(answer, ModelFault)]
    if found:
        return agreed(found)
    assert isinstance(answers[0], ModelFault)
    raise out_of_reach(engines[0], answers[0])


def _house(
    settings: Settings,
    service: Systemd,
    spool: Spool,
    engines: Sequence[Engine],
    schemas: Validation,
    wanted: Sequence[Wanted] | None,
    on_tick: OnTick,
) -> House:
    outside = Outside(
        spool=spool,
        clock=SystemClock(),
        service=service,
        bell=Bell(settings.spool / "inbox"),
        engines=engines,
        final_name=final_name,
        new_batch_id=lambda: f"batch_{secrets.token_hex(16)}",
        describe_model=describe_model,
        provenance=provenance,
        gauges=MachineGauges(programs_of(settings)),
        inhibitor=SleepInhibitor(),
        schemas=schemas,
        pid=os.getpid(),
    )
    only = None if wanted is None else frozenset(item.batch_id for item in wanted)
    rules = _rules(settings, spool, engines, is_run=wanted is not None)
    return House(outside, rules, _shown(settings, engines), settings.drain_s, only, on_tick)


def _slots(engines: Sequence[Engine]) -> int:
    """The most that any of them may have; each is bounded by its own limits."""
    return max(engine.limits.slots for engine in engines)


def _shown(settings: Settings, engines: Sequence[Engine]) -> dict[str, object]:
    """What the results say of the settings."""
    secrets_left_out = {"llamacpp": {"api_key"}}
    return {**settings.model_dump(mode="json", exclude=secrets_left_out), "slots": _slots(engines)}


def _rules(settings: Settings, spool: Spool, engines: Sequence[Engine], is_run: bool) -> Rules:
    settle_s = settings.settle_s if settings.settle_s is not None else spool.default_settle_s()
    return Rules(
        slots=_slots(engines),
        window_tokens_max=settings.window_tokens_max,
        request_timeout_s=settings.request_timeout_s,
        give_up_s=settings.give_up_s,
        idle_unload_s=settings.idle_unload_s,
        completion_tokens_default=settings.completion_tokens_default,
        line_bytes_max=settings.line_bytes_max,
        lines_max=settings.lines_max,
        attempts_max=settings.attempts_max,
        answers=settings.answers,
        answer_attempts=settings.answer_attempts,
        pilot=settings.pilot,
        strict=settings.strict,
        deduplicate=settings.deduplicate,
        strategy=settings.strategy,
        habits=Habits(**settings.conversation.model_dump()),
        enforce_window=settings.enforce_window,
        # What a foreground run hands in itself is complete from the first moment.
        settle_s=0.0 if is_run else settle_s,
        archive_days=settings.archive_days,
        input_bytes_max=settings.input_bytes_max,
        owner_bytes_max=settings.owner_bytes_max,
        reserve_bytes=settings.reserve_bytes,
        model=settings.model,
        model_aliases=settings.model_aliases,
    )


async def _until_stopped(
    house: House, work: Coroutine[None, None, None], reload: Callable[[], None] | None = None
) -> None:
    """Run this; the first signal begins the drain, the second ends at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def obey() -> None:
        if house.is_stopping:
            task.cancel()
        house.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, obey)
    if reload is not None:
        loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        with nothing_unseen(loop, task):
            await work
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except BaseExceptionGroup as group:
        raise (_first_of_ours(group) or group) from group
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _first_of_ours(group: BaseExceptionGroup[BaseException]) -> BatchdError | None:
    """The expected trouble among what several tasks raised."""
    for error in group.exceptions:
        if isinstance(error, BatchdError):
            return error
        if isinstance(error, BaseExceptionGroup) and (found := _first_of_ours(error)):
            return found
    return None
