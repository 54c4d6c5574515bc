"""Recovery: each state that a crash can leave, and what is done about it."""

from dataclasses import dataclass, field, replace

import pytest

from batchd.core.lifecycle import Phase, UnknownStateError
from batchd.core.record import Plan
from batchd.daemon.recovery import Recovered, recover
from batchd.errors import JournalError
from tests.fakes.made_batch import made_batch
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_spool import Directory, MemorySpool

A, B, C, D = (f"batch_{n:032x}" for n in range(4))
NAME = f"a.{A}"  # of a result


@dataclass
class World:
    spool: MemorySpool = field(default_factory=MemorySpool)
    journals: dict[str, MemoryJournal] = field(default_factory=dict)
    opened: list[MemoryJournal] = field(default_factory=list)

    def put(
        self,
        batch_id: str,
        orig: bool = True,
        copy: bool = False,
        publish: bool = False,
        phase: Phase | None = None,
        journal: bool = False,
    ) -> None:
        """A directory as a crash left it."""
        directory = Directory({b"a.jsonl": b"x\n"} if orig else {}, b"x\n" if copy else None)
        directory.publish = {} if publish else None
        self.spool.processing[batch_id] = directory
        if journal or phase is not None:
            self.spool.journals.add(batch_id)
            self.journals[batch_id] = self._at(phase)

    def _at(self, phase: Phase | None) -> MemoryJournal:
        journal = MemoryJournal()
        if phase is None:
            return journal
        if phase is Phase.READY:
            journal.accept(Plan(0, (), made_batch([]).journal.plan().order), {})
            return journal
        made_batch([], journal)
        if phase is Phase.PUBLISHING:
            journal.set_phase(Phase.PUBLISHING, {"final_name": NAME})
        return journal

    def open(self, path: str) -> MemoryJournal:
        self.opened.append(self.journals[path.split("/")[-2]])
        return self.opened[-1]

    def recover(self) -> Recovered:
        return recover(self.spool, self.open)


NOTHING = Recovered(intake=[], work=[], publish=[])


def test_an_empty_spool_needs_nothing() -> None:
    assert World().recover() == NOTHING


def test_a_claim_that_did_not_happen_is_removed() -> None:
    world = World()
    world.put(A, orig=False)
    assert world.recover() == NOTHING
    assert world.spool.processing == {}


@pytest.mark.parametrize(("copy", "journal"), [(False, False), (True, False), (True, True), (False, True)])
def test_an_intake_that_was_cut_begins_again_from_the_original(copy: bool, journal: bool) -> None:
    world = World()
    world.put(A, copy=copy, journal=journal)
    assert world.recover() == Recovered(intake=[A], work=[], publish=[])
    directory = world.spool.processing[A]
    assert (directory.copy, directory.orig, world.spool.journals) == (None, {b"a.jsonl": b"x\n"}, set())


@pytest.mark.parametrize(
    ("phase", "publish"), [(Phase.READY, False), (Phase.IN_PROGRESS, False), (Phase.IN_PROGRESS, True)]
)
def test_accepted_work_goes_on(phase: Phase, publish: bool) -> None:
    world = World()
    world.put(A, copy=True, publish=publish, phase=phase)
    assert world.recover() == Recovered(intake=[], work=[A], publish=[])
    assert world.spool.processing[A].copy is not None
    assert A in world.spool.journals


def test_a_sealed_result_is_to_be_published() -> None:
    world = World()
    world.put(A, copy=True, publish=True, phase=Phase.PUBLISHING)
    assert world.recover() == Recovered(intake=[], work=[], publish=[A])


@pytest.mark.parametrize("orig", [True, False])
def test_what_is_published_is_archived_and_put_away_and_never_published_again(orig: bool) -> None:
    world = World()
    world.put(A, orig=orig, copy=True, phase=Phase.PUBLISHING)
    assert world.recover() == replace(NOTHING, published={A: NAME})
    assert (world.spool.processing, world.spool.outbox) == ({}, {})
    assert (A in world.spool.archived) is orig


@pytest.mark.parametrize(
    ("orig", "copy", "publish", "phase"),
    [
        (False, True, False, Phase.READY),
        (True, False, False, Phase.IN_PROGRESS),
        (True, True, True, Phase.READY),
        (False, True, True, Phase.PUBLISHING),
        (True, True, True, None),
    ],
)
def test_a_directory_that_no_state_describes_stops_recovery(
    orig: bool, copy: bool, publish: bool, phase: Phase | None
) -> None:
    world = World()
    world.put(A, orig=orig, copy=copy, publish=publish, phase=phase)
    world.put(B, orig=False)
    before = dict(world.spool.processing)
    with pytest.raises(UnknownStateError, match="No batch can look like this"):
        world.recover()
    assert world.spool.processing == before


def test_a_journal_that_cannot_be_opened_stops_recovery_and_nothing_is_discarded() -> None:
    """It may hold a night of answers: a full disk or a newer schema is no reason to compute them again."""
    world = World()
    world.put(A, copy=True, phase=Phase.IN_PROGRESS)

    def refuse(path: str) -> MemoryJournal:
        raise JournalError("The journal has schema 9; this batchd knows 1.")

    with pytest.raises(JournalError, match="schema 9"):
        recover(world.spool, refuse)
    assert world.spool.processing[A].copy == b"x\n"
    assert A in world.spool.journals


def test_a_journal_whose_making_was_interrupted_is_redone() -> None:
    """What a kill left of it opens as an empty one, without a phase."""
    world = World()
    world.put(A, copy=True, journal=True)
    assert world.recover().intake == [A]
    assert A not in world.spool.journals


def test_the_oldest_work_comes_first() -> None:
    world = World()
    world.put(A)
    world.put(B, copy=True, phase=Phase.READY)
    world.put(C, copy=True, phase=Phase.IN_PROGRESS)
    world.put(D, copy=True, publish=True, phase=Phase.PUBLISHING)
    assert world.recover() == Recovered(intake=[A], work=[C, B], publish=[D])


def test_recovery_closes_every_journal_and_may_be_repeated() -> None:
    world = World()
    world.put(A, copy=True, phase=Phase.IN_PROGRESS)
    world.put(B, copy=True, phase=Phase.PUBLISHING)
    first = world.recover()
    assert first.published == {B: NAME}
    assert world.recover() == replace(first, published={})
    assert world.opened
    assert all(journal._is_closed for journal in world.opened)


OPTIONS = b"a.options.json"


def test_options_that_a_crash_kept_from_following_their_batch_follow_now() -> None:
    world = World()
    world.put(A)
    world.spool.drop(OPTIONS, b"{}")
    assert world.recover().intake == [A]
    assert world.spool.processing[A].orig == {b"a.jsonl": b"x\n", OPTIONS: b"{}"}


def test_options_of_a_newer_file_of_that_name_stay_with_it() -> None:
    world = World()
    world.put(A)
    world.spool.drop(OPTIONS, b"{}")
    world.spool.drop(b"a.jsonl", b"y\n")
    assert world.recover().intake == [A]
    assert world.spool.processing[A].orig == {b"a.jsonl": b"x\n"}
    assert set(world.spool.inbox) == {b"a.jsonl", OPTIONS}


def test_options_that_came_after_the_intake_was_begun_are_not_taken() -> None:
    world = World()
    world.put(A, copy=True)
    world.spool.drop(OPTIONS, b"{}")
    assert world.recover().intake == [A]
    assert set(world.spool.inbox) == {OPTIONS}
