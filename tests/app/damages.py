"""Damages: what can become of a spool, planted one at a time, and the finding that each must lead to.

SUMMARY
    `build(place)` makes a spool with a batch at every station, without a fault in it. Each damage is a
    function that changes some bytes of it. `DAMAGES` names the rule, the place and a piece of the sentence.

DIAGNOSTICS
    None: tests.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lmdb

from batchd.core.fault import Category
from batchd.core.json import dumps, loads
from batchd.core.packing import (
    pack_key,
    pack_progress,
    pack_result,
    pack_state,
    unpack_progress,
    unpack_result,
)
from batchd.core.record import LineState, LineStatus
from tests.fakes.made_batch import chat
from tests.fakes.standing_spool import StandingSpool, batch_id_of

#: Every kind of outcome: answers, a faulty line, no answer, a refusal, a doubled custom_id.
LINES = [chat("a"), None, chat("dead-1"), chat("b"), chat("refused-1"), chat("a"), chat("c"), chat("dead-2")]
ANSWERED, FAULTY, DEAD, PENDING = 0, 1, 2, 3  # line indices of the batch at work

PUBLISHED, WORKING, SEALED, RENAMED, ARCHIVED, READY, CLAIMED, WAITING = map(batch_id_of, range(1, 9))


def build(place: Path) -> Path:
    """The spool, whole; nobody holds it."""
    standing = StandingSpool(place)
    standing.publish(LINES)
    working = standing.begin(LINES)
    standing.answer(working, ANSWERED, DEAD)
    standing.intend(working, PENDING)
    standing.show(working)
    standing.assemble(standing.begin(LINES))
    renamed = standing.begin(LINES)
    standing.assemble(renamed)
    standing.rename(renamed)
    archived = standing.begin(LINES)
    standing.assemble(archived)
    standing.rename(archived)
    standing.archive(archived)
    standing.accept(standing.claim(LINES))
    standing.claim(LINES)
    standing.submit(LINES)
    standing.close()
    return standing.root


@dataclass(frozen=True, slots=True)
class Spot:
    """A spool to be damaged, and where its things are."""

    root: Path

    def at_work(self, batch_id: str) -> Path:
        return self.root / "processing" / batch_id

    def result(self, batch_id: str = PUBLISHED) -> Path:
        (found,) = (self.root / "outbox").glob(f"*.{batch_id}")
        return found

    def partial(self, batch_id: str = WORKING) -> Path:
        return self.root / "partial" / f"{batch_id}.jsonl"

    def original(self, batch_id: str = PUBLISHED) -> Path:
        (found,) = (self.root / "archive" / batch_id).glob("*.jsonl")
        return found

    @contextmanager
    def lines(self, name: str, is_resealed: bool = True) -> Iterator[list[bytes]]:
        """The lines of a file of the published result; its figures in metrics.json follow."""
        path = self.result() / name
        lines = path.read_bytes().splitlines(keepends=True)
        yield lines
        path.write_bytes(b"".join(lines))
        if is_resealed:
            self.reseal(name)

    @contextmanager
    def object(self, name: str, is_resealed: bool = True) -> Iterator[dict[str, Any]]:
        """The one object of a file of the published result."""
        with self.lines(name, is_resealed) as lines:
            value = loads(lines[0])
            assert isinstance(value, dict)
            yield value
            lines[0] = dumps(value) + b"\n"

    @contextmanager
    def outcome(self, name: str, number: int) -> Iterator[dict[str, Any]]:
        """One line of a file of the published result, from 0."""
        with self.lines(name) as lines:
            value = loads(lines[number])
            assert isinstance(value, dict)
            yield value
            lines[number] = dumps(value) + b"\n"

    def reseal(self, name: str) -> None:
        """As if it had been published so: only the content is wrong then."""
        path = self.result() / name
        content = path.read_bytes() if path.exists() else None
        with self.object("metrics.json", is_resealed=False) as metrics:
            metrics["files"].pop(name, None)
            if content is not None:
                digest = hashlib.sha256(content).hexdigest()
                figures = {"sha256": digest, "bytes": len(content), "lines": content.count(b"\n")}
                metrics["files"][name] = figures

    @contextmanager
    def journal(self, batch_id: str = WORKING) -> Iterator["Tables"]:
        """A journal, to be written to behind batchd's back."""
        path = str(self.at_work(batch_id) / "journal")
        with lmdb.open(path, max_dbs=16, map_size=2**26, lib_version=0) as environment:
            names = ("meta", "reqs", "state", "results", "inflight", "plan")
            tables = {name: environment.open_db(name.encode()) for name in names}
            with environment.begin(write=True) as transaction:
                yield Tables(transaction, tables)


@dataclass(frozen=True, slots=True)
class Tables:
    """Rows by line index."""

    transaction: "lmdb.Transaction[bytes]"
    tables: "dict[str, lmdb._Database]"

    def get(self, table: str, index: int) -> bytes:
        value = self.transaction.get(pack_key(index), db=self.tables[table])
        assert value is not None
        return value

    def put(self, table: str, index: int, value: bytes) -> None:
        assert self.transaction.put(pack_key(index), value, db=self.tables[table])

    def drop(self, table: str, index: int) -> None:
        assert self.transaction.delete(pack_key(index), db=self.tables[table])

    def put_meta(self, key: bytes, value: bytes) -> None:
        assert self.transaction.put(key, value, db=self.tables["meta"])

    def count(self, **changes: int) -> None:
        """Move the counters by so much."""
        progress = unpack_progress(self.transaction.get(b"counters", db=self.tables["meta"]) or b"")
        moved = {name: getattr(progress, name) + by for name, by in changes.items()}
        self.put_meta(b"counters", pack_progress(replace(progress, **moved)))


Damage = Callable[[Spot], object]

DAMAGES: dict[str, tuple[Damage, str, str, str]] = {}


def planted(rule: str, place: str, what: str) -> Callable[[Damage], Damage]:
    def keep(damage: Damage) -> Damage:
        DAMAGES[damage.__name__] = (damage, rule, place, what)
        return damage

    return keep


# --- a published result ----------------------------------------------------------------------------------

OUTPUT = f"outbox/reviews.{PUBLISHED}/output.jsonl"
ERRORS = f"outbox/reviews.{PUBLISHED}/errors.jsonl"
RETRY = f"outbox/reviews.{PUBLISHED}/retry.jsonl"
BATCH = f"outbox/reviews.{PUBLISHED}/batch.json"


@planted("I3", f"reviews.{PUBLISHED}", "Line index 3 has no outcome.")
def a_missing_line(spot: Spot) -> None:
    with spot.lines("output.jsonl") as lines:
        del lines[1]


@planted("I3", OUTPUT, "line index 3 has an outcome already")
def a_doubled_line(spot: Spot) -> None:
    with spot.lines("output.jsonl") as lines:
        lines.insert(1, lines[1])


@planted("I4", OUTPUT, "the same length, other bytes")
def a_changed_byte(spot: Spot) -> None:
    with spot.lines("output.jsonl", is_resealed=False) as lines:
        lines[0] = lines[0].replace(b"answer", b"Answer", 1)


@planted("I3", OUTPUT, "Line 2 is not in input order: line index 0.")
def lines_in_another_order(spot: Spot) -> None:
    with spot.lines("output.jsonl") as lines:
        lines[:2] = lines[1::-1]


@planted("I3", OUTPUT, "Line 1 has another custom_id")
def a_swapped_custom_id(spot: Spot) -> None:
    with spot.lines("output.jsonl") as lines:
        first, second = lines[0], lines[1]
        lines[0] = first.replace(b'"custom_id":"a"', b'"custom_id":"b"')
        lines[1] = second.replace(b'"custom_id":"b"', b'"custom_id":"a"')


@planted("I3", OUTPUT, "is cut off: it has no newline")
def a_file_cut_at_its_end(spot: Spot) -> None:
    with spot.lines("output.jsonl") as lines:
        lines[-1] = lines[-1][:-1]


@planted("I3", OUTPUT, "is not JSON")
def a_file_cut_in_a_line(spot: Spot) -> None:
    with spot.lines("output.jsonl") as lines:
        lines[-1] = lines[-1][:-40]


@planted("I3", ERRORS, "line index 0 has an outcome already")
def an_answered_line_that_failed_too(spot: Spot) -> None:
    answered = spot.result() / "output.jsonl"
    with spot.lines("errors.jsonl") as lines:
        first = loads(answered.read_bytes().splitlines()[0])
        assert isinstance(first, dict)
        error = {"code": "crash", "message": "It died.", "line": 1}
        lines.insert(0, dumps({**first, "response": None, "error": error}) + b"\n")


@planted("I3", ERRORS, "belongs into the other file: it is answered")
def an_answer_among_the_errors(spot: Spot) -> None:
    with spot.lines("output.jsonl") as answers:
        moved = answers.pop(0)
    with spot.lines("errors.jsonl") as errors:
        errors.insert(0, moved)


@planted("I3", OUTPUT, "has an id that is not of this batch")
def a_line_of_another_batch(spot: Spot) -> None:
    with spot.lines("output.jsonl") as lines:
        lines[0] = lines[0].replace(PUBLISHED.removeprefix("batch_").encode(), b"f" * 32)


@planted("I3", OUTPUT, "which the input lacks")
def a_line_too_many(spot: Spot) -> None:
    with spot.lines("output.jsonl") as lines:
        lines.append(lines[-1].replace(b"00000006", b"00000063"))


@planted("I3", OUTPUT, "has an answer that holds nothing")
def an_answer_without_choices(spot: Spot) -> None:
    with spot.outcome("output.jsonl", 0) as line:
        line["response"]["body"]["choices"] = []


@planted("I4", f"reviews.{PUBLISHED}/notes.txt", "not in the list of metrics.json")
def an_extra_file(spot: Spot) -> None:
    (spot.result() / "notes.txt").write_text("mine")


@planted("I4", f"reviews.{PUBLISHED}/.output.jsonl.tmp", "not in the list of metrics.json")
def a_temporary_file(spot: Spot) -> None:
    (spot.result() / ".output.jsonl.tmp").write_text("half")


@planted("I4", f"reviews.{PUBLISHED}/more", "It is not a plain file.")
def a_directory_in_a_result(spot: Spot) -> None:
    (spot.result() / "more").mkdir()


@planted("I6", OUTPUT, "It is not a plain file.")
def a_result_that_leads_elsewhere(spot: Spot) -> None:
    path = spot.result() / "output.jsonl"
    elsewhere = spot.root.parent / "elsewhere.jsonl"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@planted("I4", OUTPUT, "the same length, other bytes (SHA-256)")
def an_edited_hash_in_the_metrics(spot: Spot) -> None:
    with spot.object("metrics.json", is_resealed=False) as metrics:
        metrics["files"]["output.jsonl"]["sha256"] = "0" * 64


@planted("I4", BATCH, "It is missing, and metrics.json lists it.")
def no_batch_object(spot: Spot) -> None:
    (spot.result() / "batch.json").unlink()


@planted("I4", BATCH, "It is missing.")
def no_batch_object_and_no_figures(spot: Spot) -> None:
    (spot.result() / "batch.json").unlink()
    with spot.object("metrics.json", is_resealed=False) as metrics:
        del metrics["files"]


@planted("I4", f"reviews.{PUBLISHED}/metrics.json", "nothing proves that this result is whole")
def no_metrics(spot: Spot) -> None:
    (spot.result() / "metrics.json").unlink()


@planted("I8", BATCH, "request_counts differ from a recount: completed 3, failed 5, total 8.")
def a_wrong_count(spot: Spot) -> None:
    with spot.object("batch.json") as batch:
        batch["request_counts"]["failed"] += 1


@planted("I8", BATCH, "usage differs from a recount: 21 and 9 tokens.")
def a_wrong_usage(spot: Spot) -> None:
    with spot.object("batch.json") as batch:
        batch["usage"]["output_tokens"] += 1


@planted("I4", BATCH, "Its 'output_file_id' is not what it must be.")
def a_wrong_file_id(spot: Spot) -> None:
    with spot.object("batch.json") as batch:
        batch["output_file_id"] = None


@planted("I4", BATCH, "Its 'status' is none of an ended batch.")
def a_wrong_status(spot: Spot) -> None:
    with spot.object("batch.json") as batch:
        batch["status"] = "in_progress"


@planted("I4", BATCH, "It is not a JSON object.")
def a_batch_object_cut_off(spot: Spot) -> None:
    with spot.lines("batch.json") as lines:
        lines[0] = lines[0][:50]


@planted("I3", RETRY, "Line 1 is not the next failed line of the original.")
def a_changed_retry_line(spot: Spot) -> None:
    with spot.lines("retry.jsonl") as lines:
        lines[0] = lines[0].replace(b"hi", b"ho")


@planted("I3", RETRY, "Line index 2 got no answer and is not in it.")
def a_retry_line_left_out(spot: Spot) -> None:
    with spot.lines("retry.jsonl") as lines:
        del lines[0]


@planted("I3", RETRY, "Line index 7 got no answer and is not in it.")
def no_retry_at_all(spot: Spot) -> None:
    (spot.result() / "retry.jsonl").unlink()
    spot.reseal("retry.jsonl")


@planted("I3", RETRY, "is cut off: it has no newline")
def a_retry_cut_off(spot: Spot) -> None:
    with spot.lines("retry.jsonl") as lines:
        lines[-1] = lines[-1][:-1]


@planted("I3", RETRY, "that many did not fail")
def a_short_retry_whose_original_is_gone(spot: Spot) -> None:
    shutil.rmtree(spot.original().parent)
    with spot.lines("retry.jsonl") as lines:
        lines.clear()


@planted("I3", f"reviews.{PUBLISHED}", "Line index 3 has no outcome.")
def a_missing_line_whose_original_is_gone(spot: Spot) -> None:
    shutil.rmtree(spot.original().parent)
    a_missing_line(spot)


# --- places ----------------------------------------------------------------------------------------------


@planted("I4", "outbox", "is published twice")
def a_result_twice_in_the_outbox(spot: Spot) -> None:
    shutil.copytree(spot.result(), spot.root / "outbox" / f"again.{PUBLISHED}")


@planted("I2", f"processing/{SEALED}", "a result of it is published already")
def a_batch_at_work_and_in_the_outbox(spot: Spot) -> None:
    shutil.copytree(spot.at_work(SEALED) / "publish", spot.root / "outbox" / f"reviews.{SEALED}")


@planted("I2", f"processing/{WORKING}", "its deletion was begun")
def a_batch_at_work_and_in_the_trash(spot: Spot) -> None:
    shutil.copytree(spot.at_work(WORKING), spot.at_work(f".trash-{WORKING}"))


@planted("I4", "outbox/.half", "It is no batch's")
def a_hidden_directory_in_the_outbox(spot: Spot) -> None:
    (spot.root / "outbox" / ".half").mkdir()


@planted("S1-S7", "outbox/notes", "It is no batch's")
def a_stranger_in_the_outbox(spot: Spot) -> None:
    (spot.root / "outbox" / "notes").write_text("mine")


@planted("I6", f"outbox/x.{PUBLISHED}", "It is a link")
def a_link_in_the_outbox(spot: Spot) -> None:
    (spot.root / "outbox" / f"x.{PUBLISHED}").symlink_to(spot.root.parent)


@planted("S1-S7", "processing/old\\x0astuff", "It is no batch's")
def a_stranger_in_processing(spot: Spot) -> None:
    spot.at_work("old\nstuff").mkdir()


@planted("S1-S7", "archive/old", "It is no batch's")
def a_stranger_in_the_archive(spot: Spot) -> None:
    (spot.root / "archive" / "old").mkdir()


@planted("S1-S7", "partial/x.jsonl", "It is no batch's")
def a_stranger_in_partial(spot: Spot) -> None:
    (spot.root / "partial" / "x.jsonl").touch()


@planted("S1-S7", f"partial/{PUBLISHED}.jsonl", "It belongs to no batch at work.")
def a_partial_that_was_forgotten(spot: Spot) -> None:
    spot.partial(PUBLISHED).touch()


@planted("I6", "./archive", "It is a link")
def a_room_that_leads_elsewhere(spot: Spot) -> None:
    (spot.root / "archive").rename(spot.root.parent / "archive")
    (spot.root / "archive").symlink_to(spot.root.parent / "archive")


@planted("S1-S7", f"processing/{WORKING}/notes", "It is no batch's")
def a_stranger_in_a_batch(spot: Spot) -> None:
    (spot.at_work(WORKING) / "notes").touch()


@planted("S1-S7", f"processing/{CLAIMED}", "No batch can look like this")
def a_publication_without_a_phase(spot: Spot) -> None:
    (spot.at_work(CLAIMED) / "publish").mkdir()


@planted("S1-S7", f"processing/{WORKING}", "No batch can look like this")
def no_original_at_work(spot: Spot) -> None:
    shutil.rmtree(spot.at_work(WORKING) / "orig")


@planted("S1-S7", f"processing/{READY}", "No batch can look like this")
def no_copy_of_the_input(spot: Spot) -> None:
    (spot.at_work(READY) / "input.jsonl").unlink()


@planted("I2", f"processing/{CLAIMED}/orig", "It holds 2 batch files.")
def two_originals(spot: Spot) -> None:
    (spot.at_work(CLAIMED) / "orig" / "more.jsonl").touch()


@planted("I2", f"processing/{ARCHIVED}", "Its original is neither here nor in archive/.")
def no_original_after_publishing(spot: Spot) -> None:
    shutil.rmtree(spot.root / "archive" / ARCHIVED)


@planted("I2", f"archive/{PUBLISHED}", "It holds 0 batch files")
def an_empty_archive(spot: Spot) -> None:
    spot.original().unlink()


@planted("I2", f"archive/{PUBLISHED}", "is the file that was worked on (SHA-256)")
def a_changed_original(spot: Spot) -> None:
    spot.original().chmod(0o640)
    spot.original().write_bytes(spot.original().read_bytes().replace(b"hi", b"ho"))


# --- what is shown ---------------------------------------------------------------------------------------


@planted("I1", f"partial/{WORKING}.jsonl", "Line 1 is not JSON, and it is not the last.")
def a_torn_partial_line_that_is_not_the_last(spot: Spot) -> None:
    lines = spot.partial().read_bytes().splitlines(keepends=True)
    spot.partial().write_bytes(lines[0][:40] + b"\n" + lines[1])


@planted("I1", f"partial/{WORKING}.jsonl", "Line 1 is no answer that the journal has.")
def a_shown_answer_that_the_journal_lacks(spot: Spot) -> None:
    spot.partial().write_bytes(spot.partial().read_bytes().replace(b"answer", b"Answer"))


@planted("I8", "status.json", "2 completed and 3 failed of 8 lines")
def a_status_ahead_of_the_journal(spot: Spot) -> None:
    path = spot.root / "status.json"
    path.write_bytes(path.read_bytes().replace(b'"completed":1', b'"completed":2'))


@planted("I8", "status.json", "of 9 lines")
def a_status_with_a_line_too_many(spot: Spot) -> None:
    path = spot.root / "status.json"
    path.write_bytes(path.read_bytes().replace(b'"total":8', b'"total":9'))


@planted("I8", "status.json", "1 completed and 4 failed")
def a_status_with_a_failure_too_many(spot: Spot) -> None:
    path = spot.root / "status.json"
    path.write_bytes(path.read_bytes().replace(b'"failed":3', b'"failed":4'))


@planted("I8", "status.json", "cannot be read")
def a_status_cut_off(spot: Spot) -> None:
    path = spot.root / "status.json"
    path.write_bytes(path.read_bytes()[:20])


# --- a batch at work -------------------------------------------------------------------------------------

JOURNAL = f"processing/{WORKING}/journal"


@planted("I2", f"processing/{WORKING}/input.jsonl", "the same length, other bytes")
def a_changed_input(spot: Spot) -> None:
    path = spot.at_work(WORKING) / "input.jsonl"
    path.chmod(0o640)
    path.write_bytes(path.read_bytes().replace(b"hi", b"ho", 1))


@planted("I2", JOURNAL, "Line index 0: input.jsonl is not what intake read there.")
def a_changed_line_of_the_input(spot: Spot) -> None:
    a_changed_input(spot)


@planted("I2", f"processing/{WORKING}/input.jsonl", "bytes instead of")
def an_input_cut_off(spot: Spot) -> None:
    path = spot.at_work(WORKING) / "input.jsonl"
    path.chmod(0o640)
    os.truncate(path, path.stat().st_size - 30)


@planted("I2", f"processing/{WORKING}/input.jsonl", "It cannot be read: it is not a plain file.")
def an_input_that_is_no_file(spot: Spot) -> None:
    path = spot.at_work(WORKING) / "input.jsonl"
    path.unlink()
    os.mkfifo(path)


@planted("I8", JOURNAL, "counters differ from a recount: 1 completed, 3 failed, 8 in all.")
def a_counter_off_by_one(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.count(completed=1)


@planted("I1", JOURNAL, "Line index 0: its row in 'results' cannot be read.")
def a_flipped_bit_in_a_result(spot: Spot) -> None:
    with spot.journal() as tables:
        value = bytearray(tables.get("results", ANSWERED))
        value[-1] ^= 1
        tables.put("results", ANSWERED, bytes(value))


@planted("I7", JOURNAL, "Line index 3: its row in 'reqs' cannot be read.")
def a_place_that_cannot_be_read(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.put("reqs", PENDING, b"short")


@planted("I1", JOURNAL, "Line index 0 is finished by its state, and has no result.")
def a_lost_result(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.drop("results", ANSWERED)


@planted("I8", JOURNAL, "Line index 0 has a result, and its state says no.")
def a_lost_state(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.put("state", ANSWERED, pack_state(LineState(LineStatus.PENDING, 1, 0, None)))


@planted("I3", JOURNAL, "The result of line index 0 is another line's")
def another_lines_result(spot: Spot) -> None:
    with spot.journal() as tables:
        is_error, line = unpack_result(ANSWERED, tables.get("results", ANSWERED))
        digits = WORKING.removeprefix("batch_").encode()
        moved = line.replace(digits + b"00000000", digits + b"00000003")
        tables.put("results", ANSWERED, pack_result(ANSWERED, moved, is_error))


@planted("I3", JOURNAL, "The result of line index 0 has a body that is no answer")
def a_result_of_another_shape(spot: Spot) -> None:
    with spot.journal() as tables:
        _, line = unpack_result(ANSWERED, tables.get("results", ANSWERED))
        tables.put("results", ANSWERED, pack_result(ANSWERED, line.replace(b"chat.", b"chit."), False))


@planted("I3", JOURNAL, "The result of line index 0 has another custom_id than its line.")
def a_result_with_another_custom_id(spot: Spot) -> None:
    with spot.journal() as tables:
        _, line = unpack_result(ANSWERED, tables.get("results", ANSWERED))
        renamed = line.replace(b'"custom_id":"a"', b'"custom_id":"z"')
        tables.put("results", ANSWERED, pack_result(ANSWERED, renamed, False))


@planted("I3", JOURNAL, "Line index 1 is faulty and has no error line")
def a_faulty_line_without_its_error(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.drop("results", FAULTY)
        tables.drop("state", FAULTY)
        tables.count(failed=-1)


@planted("I3", JOURNAL, "The result of line index 0 is an answer, and the line is faulty.")
def an_answer_to_a_faulty_line(spot: Spot) -> None:
    with spot.journal() as tables:
        row = bytearray(tables.get("reqs", ANSWERED))
        row[16:20] = b"\xff" * 4  # the group: -1
        tables.put("reqs", ANSWERED, bytes(row))


@planted("I5", JOURNAL, "Line index 0 has a result and is in flight.")
def a_finished_line_in_flight(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.put("inflight", ANSWERED, b"")


@planted("I5", JOURNAL, f"Line index {PENDING} is pending after 0 attempts and 3 crashes.")
def a_poison_request_that_is_tried_for_ever(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.put("state", PENDING, pack_state(LineState(LineStatus.PENDING, 0, 3, Category.CRASH)))


@planted("I5", JOURNAL, f"Line index {PENDING} is pending after 100 attempts and 0 crashes.")
def a_line_that_is_tried_for_ever(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.put("state", PENDING, pack_state(LineState(LineStatus.PENDING, 100, 0, Category.SERVER)))


@planted("I3", JOURNAL, "Line index 7 is missing.")
def a_line_beyond_the_end(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.drop("reqs", 7)
        tables.put("inflight", 8, b"")


@planted("I3", JOURNAL, "Line index 2 has no place in the input.")
def a_line_without_a_place(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.drop("reqs", DEAD)


@planted("I3", JOURNAL, "Its plan is not every understood line once.")
def a_plan_that_lacks_a_line(spot: Spot) -> None:
    with spot.journal() as tables:
        key = b"order:" + pack_key(0)
        order = tables.transaction.get(key, db=tables.tables["plan"])
        assert order is not None
        tables.transaction.put(key, order[:4] * (len(order) // 4), db=tables.tables["plan"])


@planted("I3", JOURNAL, "Its plan is not every understood line once.")
def a_plan_that_cannot_be_read(spot: Spot) -> None:
    with spot.journal() as tables:
        assert tables.transaction.delete(b"size", db=tables.tables["plan"])


@planted("I7", JOURNAL, "What intake noted cannot be read.")
def notes_that_cannot_be_read(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.put_meta(b"value:options", b"nonsense")


@planted("I1", JOURNAL, "The journal is damaged")
def a_damaged_page(spot: Spot) -> None:
    path = spot.at_work(WORKING) / "journal" / "data.mdb"
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096 + 10)
            file.write(b"\xff\xff")


@planted("I1", JOURNAL, "The journal is damaged")
def a_torn_journal(spot: Spot) -> None:
    path = spot.at_work(WORKING) / "journal" / "data.mdb"
    os.truncate(path, path.stat().st_size // 2)


@planted("I1", JOURNAL, "it is no file of LMDB")
def a_journal_of_zeros(spot: Spot) -> None:
    path = spot.at_work(WORKING) / "journal" / "data.mdb"
    size_bytes = path.stat().st_size
    head = path.read_bytes()[:64]
    path.write_bytes(head.replace(bytes.fromhex("dec0efbe"), bytes(4)) + bytes(size_bytes - 64))


@planted("I7", JOURNAL, "The journal has schema 99")
def a_journal_of_another_schema(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.put_meta(b"schema", b"99")


@planted("I1", JOURNAL, "phase cannot be read")
def a_phase_that_nobody_knows(spot: Spot) -> None:
    with spot.journal() as tables:
        tables.put_meta(b"phase", b"dreaming")


@planted("I1", f"partial/{WORKING}.jsonl", "Its batch has no journal with answers.")
def a_lost_journal(spot: Spot) -> None:
    shutil.rmtree(spot.at_work(WORKING) / "journal")


# --- a batch that is being published ---------------------------------------------------------------------


@planted("I4", f"processing/{SEALED}/publish", "its hash is not the journal's")
def a_seal_that_is_broken(spot: Spot) -> None:
    (spot.at_work(SEALED) / "publish" / "report.html").write_text("<p>")


@planted("I3", f"processing/{SEALED}/journal", "It is being published and 1 lines have no outcome.")
def a_publication_with_a_gap(spot: Spot) -> None:
    with spot.journal(SEALED) as tables:
        tables.drop("results", PENDING)
        tables.drop("state", PENDING)
        tables.count(completed=-1)


@planted("I4", f"processing/{SEALED}/journal", "without a final name and a hash")
def a_publication_without_a_name(spot: Spot) -> None:
    with spot.journal(SEALED) as tables:
        assert tables.transaction.delete(b"value:final_name", db=tables.tables["meta"])


@planted("I4", f"outbox/reviews.{RENAMED}/output.jsonl", "1 lines instead of 3")
def a_published_file_cut_off(spot: Spot) -> None:
    path = spot.result(RENAMED) / "output.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
