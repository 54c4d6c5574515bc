"""The governor: how much is asked of one model server, and what changes it.

SUMMARY
    A pure function: `decide(course, event)` gives the new course and, where it changes anything, the decision
    with its old value, new value, cause and evidence.

    Slots are the chunk: how many requests the server holds at one time. Where they are ours, the memory of
    all of them is paid for at load, so another number is another load; on an attached server it is only how
    many we send. Down, on out of memory: half the slots where they are ours, then a smaller window; on a
    death in the middle half the slots. Up, after good cohorts: halfway to the smallest that failed where each
    step is a load, else one by one. What failed is remembered, and tried again rarely.

DIAGNOSTICS
    None: values in, decisions out.
"""

from dataclasses import replace

from batchd.core.course import (
    Cohort,
    Course,
    Decided,
    Died,
    Fitted,
    Happening,
    Hung,
    Judged,
    Pressed,
    Spilled,
    TooLarge,
)
from batchd.core.edge import NO_EDGE
from batchd.core.fit import round_up
from batchd.core.limits import RENEWED, Change, Limits
from batchd.core.model import Load

#: A decision names so many of the requests that were to blame.
GUILTY_NAMED_MAX = 10

#: Slots are judged, and raised, after so many full cohorts and at least so many answers.
JUDGED_COHORTS = 2
JUDGED_ANSWERS_MIN = 8

#: More slots that made the whole slower than this share of its former speed are taken back.
PACE_KEPT = 0.95

#: A step that is a load must be paid for: the server works so many times as long as its load took before.
LOAD_PAID_FACTOR = 10.0

#: A death after so many good cohorts of one load is wear, not size: a fresh load cures it.
WORN_COHORTS = 8

#: One that comes much sooner than the renewal that was set is something else after all.
WORN_AGAIN = 0.75

#: A worn load is renewed in good order after this share of the answers that it lasted for.
WORN_SHARE = 0.8

#: Each renewal lets the next load last this much longer: what was taken for wear may have been chance.
RENEWED_FACTOR = 1.25

#: Half of what was asked beside the card must go with half of the slots; less says that the weights are it.
SPILL_KEPT = 0.95


def decide(course: Course, event: Happening) -> Decided:
    """What this leads to. No change: go on, or where something failed, wait: nothing is left to shrink."""
    match event:
        case TooLarge():
            return _too_large(course, event)
        case Spilled():
            return _spilled(course, event)
        case Fitted():
            return _fitted(course, event), None
        case Died():
            return _died(course, event)
        case Hung():
            return _hung(course, event)
        case Pressed():
            return _smaller_chunk(course, event, "the machine is short of memory")
        case Cohort():
            return _cohort(course, event)
        case Judged():
            return _judged(course, event)


def begin_batch(course: Course) -> Course:
    """Its large windows are tried anew."""
    return replace(course, limits=replace(course.limits, window_tokens=None))


# Down.


def _too_large(course: Course, event: TooLarge) -> Decided:
    edge = course.edge
    if course.given.owns_slots:
        edge = edge.below_cells(event.load.slots * event.load.window_tokens, event.now)
    course = replace(course, edge=edge)
    limits, change = _ladder(course, event.load, event.window_tokens_min, "out of memory at load")
    if change is None:
        # Somebody else has the memory: the load is tried again later, as it was asked for.
        return replace(course, limits=course.given, edge=NO_EDGE), None
    return replace(course, limits=limits), replace(change, evidence=event.evidence)


def _spilled(course: Course, event: Spilled) -> Decided:
    if course.accepts_spill:
        return course, None
    is_weights = course.spilled_bytes is not None and event.spilled_bytes > SPILL_KEPT * course.spilled_bytes
    cause = "the load lies partly beside the card"
    limits, change = _ladder(course, event.load, event.window_tokens_min, cause)
    if change is None or is_weights:
        course = replace(course, limits=course.given, accepts_spill=True)
        cause = "smaller loads lie beside the card as well: the model itself does not fit into it"
        return course, Change("spill_accepted", "no", "yes", cause, event.evidence)
    edge = course.edge
    if course.given.owns_slots:
        edge = edge.below_cells(event.load.slots * event.load.window_tokens, event.now)
    course = replace(course, limits=limits, edge=edge, spilled_bytes=event.spilled_bytes)
    return course, replace(change, evidence=event.evidence)


def _ladder(course: Course, load: Load, window_tokens_min: int, cause: str) -> tuple[Limits, Change | None]:
    """The next smaller limits; no change where nothing is left to shrink."""
    limits, fitted = course.limits, course.fitted
    if limits.owns_slots and load.slots > 1:
        fits = fitted.slots if fitted is not None and fitted.window_tokens >= load.window_tokens else 0
        # What was good before is gone back to at once; else by half.
        slots = fits if 0 < fits < load.slots else load.slots // 2
        name = "slots_halved" if slots == load.slots // 2 else "slots_back"
        return replace(limits, slots=slots), Change(name, str(load.slots), str(slots), cause)
    slots, window_tokens = limits.slots, round_up(load.window_tokens // 2)
    if fitted is not None and window_tokens <= fitted.window_tokens:
        slots, window_tokens = fitted.slots, fitted.window_tokens
    # What fitted once and does not now is not too large: the memory is taken, and may come back.
    if not window_tokens_min <= window_tokens < load.window_tokens:
        return limits, None
    change = Change("window_reduced", str(load.window_tokens), str(window_tokens), cause)
    return replace(limits, slots=slots, window_tokens=window_tokens), change


def _died(course: Course, event: Died) -> Decided:
    is_worn = course.answers >= max(WORN_COHORTS * event.load.slots, WORN_AGAIN * (course.answers_max or 0))
    if not is_worn:
        after, change = _smaller_chunk(course, event, "the server died under its chunk")
        return _keeping(course, after, change)
    answers_max = int(course.answers * WORN_SHARE)
    old = "never" if course.answers_max is None else str(course.answers_max)
    cause = f"the server died after {course.answers} good answers of one load: a fresh one cures that"
    change = Change("renewal_set", old, str(answers_max), cause, event.evidence)
    return _keeping(course, replace(course, answers_max=answers_max), change)


def _smaller_chunk(course: Course, event: Died | Pressed, cause: str) -> Decided:
    load = event.load
    if load.slots > 1:
        slots = load.slots // 2
        edge = course.edge.below_slots(load.slots, event.now)
        course = replace(course, limits=replace(course.limits, slots=slots), edge=edge, grown_from=None)
        return course, Change("slots_halved", str(load.slots), str(slots), cause, event.evidence)
    if isinstance(event, Died) and not event.is_memory:
        return course, None
    limits, change = _ladder(replace(course, fitted=None), load, event.window_tokens_min, cause)
    if change is None:
        return course, None
    return replace(course, limits=limits), replace(change, evidence=event.evidence)


def _hung(course: Course, event: Hung) -> Decided:
    slots = event.load.slots - max(1, event.load.slots // 10)
    if slots < 1:
        return course, None
    cause = "the server was silent beyond its deadline"
    change = Change("slots_reduced", str(event.load.slots), str(slots), cause, event.evidence)
    after = replace(course, limits=replace(course.limits, slots=slots), grown_from=None)
    return _keeping(course, after, change)


def _keeping(course: Course, after: Course, change: Change | None) -> Decided:
    """A death's consequence, and what it was before, for the case that one request turns out to be guilty."""
    return (after if change is None else replace(after, before=course.before or course)), change


def _judged(course: Course, event: Judged) -> Decided:
    before, now = course.before, replace(course, before=None)
    if before is None or not event.guilty:
        return now, None
    now = replace(now, limits=before.limits, edge=before.edge, answers_max=before.answers_max)
    cause = f"{len(event.guilty)} requests alone were to blame for the deaths"
    names = ", ".join(event.guilty[:GUILTY_NAMED_MAX])
    return now, Change("limits_restored", _words(course.limits), _words(now.limits), cause, names)


def _words(limits: Limits) -> str:
    window = "" if limits.window_tokens is None else f", window {limits.window_tokens} tokens"
    return f"{limits.slots} slots{window}"


# Up.


def _fitted(course: Course, event: Fitted) -> Course:
    is_more = course.fitted is not None and event.load.slots != course.fitted.slots
    return replace(
        course,
        fitted=event.load,
        load_s=event.load_s,
        answers=0,
        judged_answers=0,
        tokens=0,
        worked_s=0.0,
        grown_from=course.grown_from if is_more else None,
    )


def _cohort(course: Course, event: Cohort) -> Decided:
    course = replace(course, answers=course.answers + event.answers, edge=course.edge.answered(event.answers))
    if course.answers_max is not None and course.answers >= course.answers_max:
        answers_max = int(course.answers_max * RENEWED_FACTOR)
        cause = "a load is renewed before it is worn out"
        change = Change(RENEWED, str(course.answers_max), str(answers_max), cause)
        return replace(course, answers_max=answers_max), change
    # In the first round of a load each slot reads its whole prompt: the price of the load, not of the chunk.
    is_first = course.answers - event.answers < course.limits.slots
    if not event.is_full or is_first or course.fitted is None:
        return course, None
    course = replace(
        course,
        judged_answers=course.judged_answers + event.answers,
        tokens=course.tokens + event.tokens,
        worked_s=course.worked_s + event.duration_s,
    )
    slots = course.limits.slots
    if course.judged_answers < max(JUDGED_COHORTS * slots, JUDGED_ANSWERS_MIN):
        return course, None
    if course.grown_from is not None and course.per_s < PACE_KEPT * course.grown_from[1]:
        return _taken_back(course, event.now)
    return _grown(course, event.now)


def _taken_back(course: Course, now: float) -> Decided:
    assert course.grown_from is not None
    old, (slots, per_s) = course.limits.slots, course.grown_from
    evidence = f"{course.per_s:.1f} tokens/s with {old} slots, {per_s:.1f} with {slots}"
    edge = course.edge.below_pace(old, now)
    course = replace(course, limits=replace(course.limits, slots=slots), edge=edge, grown_from=None)
    return course, Change("slots_back", str(old), str(slots), "more slots were slower", evidence)


def _grown(course: Course, now: float) -> Decided:
    limits, fitted = course.limits, course.fitted
    assert fitted is not None
    if limits.owns_slots and course.worked_s < LOAD_PAID_FACTOR * course.load_s:
        return course, None
    edge = course.edge.beyond(limits.slots, fitted.window_tokens)
    course = replace(course, edge=edge)
    ceiling = min(course.given.slots, edge.slots_max(fitted.window_tokens))
    cause = "good cohorts"
    if limits.slots < ceiling:
        step = max(1, (ceiling - limits.slots) // 2) if limits.owns_slots else 1
    elif limits.slots < course.given.slots and edge.may_probe(now):
        step, cause = 1, "what failed once is tried again"
        course = replace(course, edge=edge.probed(now))
    else:
        return course, None
    slots = limits.slots + step
    evidence = f"{course.answers} answers of this load, {course.per_s:.1f} tokens/s"
    course = replace(
        course,
        limits=replace(limits, slots=slots),
        grown_from=(limits.slots, course.per_s),
        judged_answers=0,
        tokens=0,
        worked_s=0.0,
    )
    return course, Change("slots_raised", str(limits.slots), str(slots), cause, evidence)
