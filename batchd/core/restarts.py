"""Restarts: how often a model server may die before it is left alone for a while.

SUMMARY
    A restart cures most deaths, so the first ones are followed by one at once. Beyond three in ten minutes,
    or twelve in six hours, each further one waits: a random part of five seconds, or where the server dies
    without a cohort of answers in between, of a span that doubles up to ten minutes. A death that a request
    was found guilty of is struck out: it says nothing about the server.

DIAGNOSTICS
    None: values in, decisions out.
"""

from dataclasses import dataclass, replace

#: So many deaths in so many seconds are followed by a restart at once: enough for a bad quarter of an hour,
#: too few to heat a card all night.
SPANS = ((3, 600.0), (12, 21_600.0))

#: The pause before a restart beyond that.
PAUSE_BASE_S = 5.0
PAUSE_CAP_S = 600.0


@dataclass(frozen=True, slots=True)
class Restarts:
    """Moments of deaths, on a clock that never jumps; those of the last six hours.

    `barren`: how many of the latest came in a row without a cohort of answers between them.
    """

    deaths: tuple[float, ...] = ()
    barren: int = 0

    def after_death(self, now: float, is_barren: bool) -> "Restarts":
        """One more."""
        span_s = max(span_s for _, span_s in SPANS)
        deaths = (*(at for at in self.deaths if now - at < span_s), now)
        return Restarts(deaths, self.barren + 1 if is_barren else 0)

    def without(self, count: int) -> "Restarts":
        """A request was to blame for the latest so many."""
        return replace(self, deaths=self.deaths[: max(0, len(self.deaths) - count)])

    def excess(self, now: float) -> int:
        """Deaths beyond what is followed by a restart at once."""
        return max(sum(now - at < span_s for at in self.deaths) - allowed for allowed, span_s in SPANS)

    def pause_s(self, now: float, chance: float) -> float:
        """How long to wait before the next restart; 0: none. `chance` is in [0, 1)."""
        excess = self.excess(now)
        if excess <= 0:
            return 0.0
        return chance * min(PAUSE_CAP_S, PAUSE_BASE_S * 2.0 ** min(excess, self.barren, 30))
