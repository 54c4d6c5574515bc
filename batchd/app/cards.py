"""Cards: which of them the engines of these settings use, and the lock on them.

SUMMARY
    cards_held    for as long as its block lasts, no other batchd works on these cards

    A server on another machine uses no card of this one. An attached one may use any, so all are locked.

DIAGNOSTICS
    Fatal: UnavailableError, ConfigError, as in `edges/card_lock`.
    Warning: another holds the same where anybody can.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from batchd.app.engines import Engine
from batchd.edges import log
from batchd.edges.card_lock import held, hold
from batchd.edges.gpu import card_ids
from batchd.settings import Settings


def cards_held(settings: Settings, engines: Sequence[Engine]) -> AbstractContextManager[None]:
    """Taken now, given back at the end of the block."""
    local = [engine for engine in engines if engine.is_local]
    if settings.share_card or not settings.card_locks or not local:
        return held(None)
    lock = hold(settings.card_locks, used_cards(local, card_ids()), settings.spool)
    for holder in lock.beside:
        log.note(
            "WARNING",
            "card_shared",
            f"the lock of {holder.card} is also held where anybody may write ({holder.words()}); if that is "
            "a batchd, both work on this card, and together they may ask for too much memory",
        )
    return held(lock)


def used_cards(engines: Sequence[Engine], cards: Sequence[str]) -> list[str]:
    """The UUIDs of what these use, of all `cards` in the order of the bus."""
    named = [engine.gpu for engine in engines]
    if not cards or None in named:
        return list(cards)
    numbers = {str(number): card for number, card in enumerate(cards)}
    return sorted({numbers.get(name, name) for name in named if name is not None})
