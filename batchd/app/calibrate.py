"""Calibrate: measures on this machine what one model may be given, and which number of slots is fastest.

SUMMARY
    profile = await calibrate(engine, settings, model, minutes, clock, on_step)

    1. loads of a few windows give the straight line of memory over tokens
    2. for 1, 2, 4, 8... slots, a binary search gives the largest window that loads and answers
    3. for each of them, the rate under load; the fewest slots that are as fast as any are chosen
    4. the choice runs for `minutes` under load; a fault makes the windows smaller, and it is proven again

    On an attached server slots are not ours: they are measured, and the search is for their number alone. It
    drives the port `ModelServer`, as a batch does (`calibrate_trial`, `drill`).

DIAGNOSTICS
    Fatal: UnavailableError when the server cannot be used, or not even the smallest load fits.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

from batchd.app.blocking import abandonable
from batchd.app.calibrate_trial import Bench
from batchd.app.drill import Tally, sustain, together
from batchd.app.engines import ASK_TIMEOUT_S, Engine, out_of_reach, wait_for
from batchd.app.gauges import look_at_machine
from batchd.app.profiles import identity_of
from batchd.core.calibration import (
    SAFE_SHARE,
    WINDOW_TOKENS_MIN,
    Identity,
    Profile,
    Proof,
    Row,
    Search,
    best_slots,
    is_flat,
    rounded_down,
    slots_to_try,
)
from batchd.core.fault import ModelFault
from batchd.core.model import Loaded
from batchd.daemon.ports import Clock
from batchd.errors import UnavailableError
from batchd.settings import Settings

#: More slots than this were never faster on one card.
SLOTS_MAX = 16

#: The window in which the rates are measured: that of a batch with prompts of some 2,000 tokens.
RATE_WINDOW_TOKENS = 2_560

#: How long each number of slots runs, as a share of the proof; some answers at least, half a minute at most.
RATE_SHARE = 0.25
RATE_S_MIN, RATE_S_MAX = 5.0, 30.0

#: Answers of one slot below which a rate is rough.
ANSWERS_FEW = 3

#: One of so many requests of the proof is long: a share of the window, or what is read in this time.
LONG_EVERY = 8
LONG_SHARE = 0.75
LONG_READ_S = 5.0

#: The proof is repeated with smaller windows after a fault, so often at most.
PROOFS_MAX = 4

LEAVE_S = 60.0

#: Told how much is done (0 to 1), and what is done now.
OnStep = Callable[[float, str], None]

#: The share of the whole at which each part ends.
_LINE_END, _SEARCH_END, _RATES_END = 0.08, 0.35, 0.65


async def calibrate(
    engine: Engine, settings: Settings, model: str, minutes: float, clock: Clock, on_step: OnStep
) -> Profile:
    """The whole calibration; the server is left without the model."""
    try:
        return await _Course(engine, settings, model, clock, on_step).run(minutes * 60)
    finally:
        await (engine.server.unload if engine.limits.owns_slots else engine.server.restart)(LEAVE_S)


class _Course:
    """One calibration under way."""

    def __init__(self, engine: Engine, settings: Settings, model: str, clock: Clock, on_step: OnStep) -> None:
        self._engine = engine
        self._settings = settings
        self._model = model
        self._clock = clock
        self._on_step = on_step
        self._bench = Bench(engine, settings, model, clock)
        self._notes: list[str] = []

    async def run(self, proof_s: float) -> Profile:
        """All parts, one after the other."""
        identity = await self._identify()
        slots = await self._slots()
        await self._measure_line(slots[0])
        rows = await self._search(slots)
        rows = await self._rates(rows, max(RATE_S_MIN, min(proof_s * RATE_SHARE, RATE_S_MAX)))
        rows, chosen, proof = await self._prove(rows, proof_s)
        return Profile(
            identity=identity,
            made_at=self._clock.now(),
            rows=tuple(rows),
            trials=tuple(self._bench.trials),
            line=self._bench.line,
            source=self._bench.source,
            slots=chosen.slots,
            window_tokens=chosen.safe_tokens,
            proof=proof,
            notes=tuple(self._notes),
            read_tokens_per_s=round(self._bench.measured_rate, 2),
        )

    async def _identify(self) -> Identity:
        self._on_step(0.0, "asking the server")
        [described] = await wait_for([self._engine], self._clock)
        digests = await self._engine.server.digests([self._model], ASK_TIMEOUT_S)
        if isinstance(digests, ModelFault):
            raise out_of_reach(self._engine, digests)
        if self._model not in digests:
            raise UnavailableError(
                f"The server does not have the model '{self._model}'.", "Get it, or name one that is there."
            )
        reading = await abandonable(look_at_machine)
        self._bench.begin(reading)
        return identity_of(self._model, digests[self._model], described, reading)

    async def _slots(self) -> tuple[int, ...]:
        """The numbers of slots to try; on a server that is not ours, the one that it has."""
        if self._engine.limits.owns_slots:
            return slots_to_try(self._settings.slots or SLOTS_MAX)
        self._on_step(0.01, "measuring the slots of the server")
        await self._loaded(1, WINDOW_TOKENS_MIN)
        measured = await together(self._engine.server, self._model, SLOTS_MAX, self._clock)
        if isinstance(measured, ModelFault):
            raise out_of_reach(self._engine, measured)
        return (max(1, measured),)

    async def _measure_line(self, slots: int) -> None:
        """The smallest load, which must work; then two more, as far as they fit."""
        self._on_step(_LINE_END / 3, f"loading {slots} x {WINDOW_TOKENS_MIN:,} tokens")
        await self._loaded(slots, WINDOW_TOKENS_MIN)
        cap = self._bench.cap
        for number, share in enumerate((1 / 8, 1 / 4), start=2):
            window = max(WINDOW_TOKENS_MIN * number, rounded_down(cap * share))
            if window <= cap:
                self._on_step(_LINE_END * number / 3, f"loading {slots} x {window:,} tokens")
                await self._bench.trial(slots, window)

    async def _search(self, slots: Sequence[int]) -> list[Row]:
        """The largest windows. With twice the slots half the window is likely."""
        rows: list[Row] = []
        cap = likely = self._bench.cap
        for number, count_ in enumerate(slots):
            search = Search.begin(count_, cap, likely)
            while (window := search.next_window()) is not None:
                share = (number + (0.5 if search.fits or search.fails else 0.0)) / len(slots)
                self._on_step(_between(_LINE_END, _SEARCH_END, share), f"trying {count_} x {window:,} tokens")
                search = search.after(window, (await self._bench.trial(count_, window)).fits)
            if not search.fits:
                break  # with more slots even less would fit
            rows.append(Row(count_, search.fits, search.safe_tokens))
            # Only where memory was the limit has the next one less room.
            likely = cap if search.fits >= search.cap else search.fits // 2
            cap = self._bench.cap if search.fits >= search.cap else search.fits
        return rows

    async def _rates(self, rows: list[Row], span_s: float) -> list[Row]:
        """Each number of slots under load, until more of them bring nothing twice in a row."""
        measured: list[Row] = []
        for number, row in enumerate(rows):
            if is_flat([item.requests_per_s for item in measured]):
                self._notes.append(
                    f"from {row.slots} slots on no load was measured: the doubling before had brought nothing"
                )
                return [*measured, *rows[number:]]
            window = min(row.safe_tokens, RATE_WINDOW_TOKENS)
            says = f"{row.slots} slots under load"
            self._on_step(_between(_SEARCH_END, _RATES_END, number / len(rows)), says)
            tally = await self._under_load(row.slots, window, span_s, lambda share: None)
            if tally.fault is not None:
                self._notes.append(f"{row.slots} slots failed under load: {tally.fault.message[:200]}")
                row = replace(row, safe_tokens=0)
            elif tally.requests < ANSWERS_FEW * row.slots:
                self._notes.append(
                    f"{row.slots} slots gave only {tally.requests} answers in {tally.lasted_s:.0f} s: their "
                    "rate is rough; with more --minutes it is measured for longer"
                )
            measured.append(
                replace(
                    row,
                    requests_per_s=round(tally.requests_per_s, 3),
                    tokens_per_s=round(tally.tokens_per_s, 1),
                )
            )
        return measured

    async def _prove(self, rows: list[Row], proof_s: float) -> tuple[list[Row], Row, Proof]:
        """The choice under load. What fails shows that all windows were taken too large."""
        for _ in range(PROOFS_MAX):
            chosen = next((row for row in rows if row.slots == best_slots(rows)), None)
            if chosen is None:
                break
            says = f"proving {chosen.slots} x {chosen.safe_tokens:,} tokens"

            def on_share(share: float, says: str = says) -> None:
                self._on_step(_between(_RATES_END, 1.0, share), says)

            on_share(0.0)
            self._bench.begin_peak()
            tally = await self._under_load(chosen.slots, chosen.safe_tokens, proof_s, on_share, has_long=True)
            if tally.fault is None:
                self._on_step(1.0, "done")
                return rows, chosen, Proof(round(tally.lasted_s, 1), tally.requests, self._bench.peak_bytes)
            self._notes.append(f"{says} failed: {tally.fault.message[:200]}")
            rows = [replace(row, safe_tokens=_smaller(row.safe_tokens)) for row in rows]
        raise UnavailableError(
            f"No choice for '{self._model}' held under load.", "; ".join(self._notes[-PROOFS_MAX:])
        )

    async def _under_load(
        self,
        slots: int,
        window_tokens: int,
        span_s: float,
        on_share: Callable[[float], None],
        has_long: bool = False,
    ) -> Tally:
        loaded = await self._bench.load(slots, window_tokens)
        if isinstance(loaded, ModelFault):
            return Tally(fault=loaded)
        warm = await self._bench.warm(slots)
        if warm.fault is not None:
            return warm
        usual_tokens = warm.prompt_tokens / slots  # the shared beginning is most of it, and comes on top
        long_words = self._bench.words_for(
            min(window_tokens * LONG_SHARE - 2 * usual_tokens, LONG_READ_S * self._bench.prefill_rate)
        )
        counter = count()

        def words_of(number: int) -> int:
            return long_words if has_long and next(counter) % LONG_EVERY == 0 else 12

        # The last answer may come long after the span: it counts, and so does its time.
        tally = await sustain(
            self._engine.server, self._model, slots, span_s, self._clock, words_of, on_share
        )
        await self._bench.look()
        if tally.fault is not None:
            await self._engine.server.restart(LEAVE_S)
        return tally

    async def _loaded(self, slots: int, window_tokens: int) -> Loaded:
        """A load that must work."""
        trial = await self._bench.trial(slots, window_tokens)
        if trial.fits and self._bench.loaded is not None:
            return self._bench.loaded
        raise UnavailableError(
            f"'{self._model}' does not even load with {slots} slots of {window_tokens:,} tokens: {trial.why}",
            self._engine.hint,
        )


def _between(begin: float, end: float, share: float) -> float:
    return begin + (end - begin) * share


def _smaller(window_tokens: int) -> int:
    smaller = rounded_down(window_tokens * SAFE_SHARE)
    return smaller if smaller >= WINDOW_TOKENS_MIN else 0
