"""The intake: what each kind of file becomes."""

from collections.abc import Callable
from hashlib import sha256

import pytest

from batchd.core.fault import Refusal
from batchd.core.json import loads
from batchd.core.lifecycle import Phase
from batchd.core.rules import Rules
from batchd.daemon import reading
from batchd.errors import InputChangedError
from tests.daemon.inlet import NAME, WANTED, World
from tests.fakes.made_batch import chat, content, embed
from tests.fakes.memory_spool import MemorySpool
from tests.foreign_files import FOREIGN


def test_good_lines_are_journaled_with_their_place_and_plan() -> None:
    rubric = "The same for both of them. " * 9
    lines = [chat("a", system=rubric), chat("b", system="Other."), chat("c", system=rubric)]
    taken = World().take(content(lines))
    assert taken.journal.phase() is Phase.READY
    assert (taken.facts.total, taken.facts.faulty, taken.facts.group_count) == (3, 0, 2)
    assert [loads(taken.line(index)) for index in range(3)] == lines
    assert taken.journal.plan().order.tolist() == [0, 2, 1]
    assert (taken.facts.endpoint, taken.facts.model) == ("/v1/chat/completions", "m")
    assert (taken.facts.name, taken.facts.size_bytes) == ("reviews.jsonl", len(content(lines)))
    assert taken.facts.created_at == 1_800_000_000.0
    assert taken.facts.refusals == ()


def test_a_bad_line_gets_its_error_line_and_the_rest_runs() -> None:
    taken = World().take(content([chat("a"), None, chat("c")]))
    assert taken.codes() == {1: "invalid_json_line"}
    assert (taken.facts.faulty, taken.facts.refusals) == (1, ())
    assert sorted(taken.journal.plan().order) == [0, 2]
    assert taken.journal.progress().failed == 1


@pytest.mark.parametrize("name", ["UTF-16, as PowerShell writes it", "gzip", "an indented array", "CSV"])
def test_a_file_of_the_wrong_type_fails_with_one_sentence_and_is_known_by_its_hash(name: str) -> None:
    raw = FOREIGN[name][0]
    taken = World().take(raw)
    assert taken.journal.phase() is Phase.READY
    assert [refusal.code for refusal in taken.facts.refusals] == ["wrong_file_type"]
    assert taken.facts.refusals[0].message.startswith("The file is ")
    assert (taken.facts.total, taken.facts.faulty) == (0, 0)
    assert (taken.facts.sha256, taken.facts.size_bytes) == (sha256(raw).hexdigest(), len(raw))


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_bad_first_line_is_a_bad_line_and_no_wrong_type(is_strict: bool) -> None:
    rules = Rules(slots=1, settle_s=0.0, strict=is_strict)
    taken = World(rules).take(b"custom_id,prompt\n" + content([chat("a"), chat("b")]))
    assert taken.codes() == {0: "invalid_json_line"}
    assert [refusal.code for refusal in taken.facts.refusals] == ["invalid_json_line"] * is_strict


def test_a_file_that_came_again_at_once_says_so_in_its_results() -> None:
    world = World()
    first = world.take(content([chat("a")]))
    world.clock.pass_by(6.0)
    again = world.take(content([chat("b")]))
    world.clock.pass_by(600.0)
    later = world.take(content([chat("c")]))
    assert (first.facts.notes, later.facts.notes) == ((), ())
    assert "came again 6 s after" in again.facts.notes[0]
    assert first.id in again.facts.notes[0]


def test_a_doubled_custom_id_is_refused_and_the_first_one_stands() -> None:
    taken = World().take(content([chat("a"), chat("b"), chat("a")]))
    assert taken.codes() == {2: "duplicate_custom_id"}


def test_another_url_than_the_first_is_refused() -> None:
    taken = World().take(content([chat("a"), embed("b")]))
    assert list(taken.codes()) == [1]
    assert taken.facts.endpoint == "/v1/chat/completions"


def test_blank_lines_are_skipped_and_still_counted_for_the_numbers() -> None:
    taken = World().take(b"\n" + content([chat("a")]) + b"  \n" + b"nonsense\n")
    assert taken.facts.total == 2
    assert [row.number for row in taken.journal.read_lines([0, 1])] == [2, 4]
    assert taken.faults[1]["line"] == 4
    assert any("Blank lines: 2" in note for note in taken.facts.notes)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda raw: b"\xef\xbb\xbf" + raw, "byte-order mark"),
        (lambda raw: raw.replace(b"\n", b"\r\n"), "CR LF: 2"),
        (lambda raw: raw[:-1], "no newline"),
    ],
    ids=["BOM", "CRLF", "no final newline"],
)
def test_odd_files_are_read_and_said(change: object, note: str) -> None:
    assert callable(change)
    lines = [chat("a"), chat("b")]
    taken = World().take(change(content(lines)))
    assert (taken.facts.total, taken.facts.faulty) == (2, 0)
    assert [loads(taken.line(index)) for index in range(2)] == lines
    assert [note in said for said in taken.facts.notes] == [True]


def test_a_line_over_the_limit_is_refused_without_being_held() -> None:
    long = chat("b", text="x" * 5_000)
    rules = Rules(slots=1, settle_s=0.0, line_bytes_max=2_000)
    taken = World(rules).take(content([chat("a"), long, chat("c")]))
    assert taken.codes() == {1: "line_too_long"}
    [row] = taken.journal.read_lines([1])
    assert (row.group, row.length) == (-1, 0)


@pytest.mark.parametrize("raw", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_accepted_and_fails(raw: bytes) -> None:
    taken = World().take(raw)
    assert [refusal.code for refusal in taken.facts.refusals] == ["empty_file"]
    assert (taken.journal.phase(), taken.facts.total) == (Phase.READY, 0)


def test_a_file_of_only_bad_lines_fails_with_each_line_named() -> None:
    taken = World().take(b"one\ntwo\n")
    assert [(refusal.code, refusal.line) for refusal in taken.facts.refusals] == [
        ("invalid_json_line", 1),
        ("invalid_json_line", 2),
    ]
    assert len(taken.faults) == 2


def test_reasons_are_bounded_error_lines_are_not() -> None:
    taken = World().take(b"x\n" * (reading.REFUSALS_MAX + 5))
    assert len(taken.facts.refusals) == reading.REFUSALS_MAX
    assert len(taken.faults) == reading.REFUSALS_MAX + 5


def test_strict_fails_the_whole_file_for_one_bad_line() -> None:
    taken = World().take(content([chat("a"), None]), {"strict": True})
    assert [(refusal.code, refusal.line) for refusal in taken.facts.refusals] == [("invalid_json_line", 2)]
    assert taken.facts.is_strict
    assert list(taken.journal.plan().order) == [0]


def test_strict_refuses_a_second_model() -> None:
    taken = World(Rules(slots=1, settle_s=0.0, strict=True)).take(
        content([chat("a"), chat("b", model="other")])
    )
    assert [refusal.code for refusal in taken.facts.refusals] == ["mismatched_model"]


def test_the_submitters_word_on_strict_wins() -> None:
    rules = Rules(slots=1, settle_s=0.0, strict=True)
    taken = World(rules).take(content([chat("a"), None]), {"strict": False})
    assert (taken.facts.refusals, taken.facts.is_strict) == ((), False)


def test_the_options_are_kept() -> None:
    options = {"metadata": {"k": "v"}, "completion_window": "48h", "batch_id": WANTED}
    taken = World().take(content([chat("a")]), options)
    assert taken.id == WANTED
    assert (taken.facts.options.metadata, taken.facts.options.completion_window) == ({"k": "v"}, "48h")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metdata": {}}, "Did you mean 'metadata'?"),
        (b"{nonsense", "not usable JSON"),
        ({"strict": "yes"}, "must be true or false"),
        (b" " * (2**20 + 1), "too large"),
    ],
)
def test_bad_options_fail_the_batch_and_not_the_daemon(options: object, said: str) -> None:
    taken = World().take(content([chat("a")]), options)
    [refusal] = taken.facts.refusals
    assert refusal.code == "invalid_options"
    assert said in refusal.message


def test_a_file_that_can_never_be_read_fails_with_the_reason() -> None:
    world = World()
    world.spool.unusable[NAME] = "The batch file has a second name (hard link)."
    taken = world.take(content([chat("a")]))
    assert taken.facts.refusals == (
        Refusal("invalid_request", "The batch file has a second name (hard link)."),
    )
    assert (taken.facts.total, taken.raw) == (0, b"")


def test_a_file_that_changes_while_it_is_copied_is_tried_again(said: list[str]) -> None:
    class Changing(MemorySpool):
        """Changes once."""

        changes = 1
        resets = 0

        def reset_intake(self, batch_id: str) -> None:
            self.resets += 1
            super().reset_intake(batch_id)

        def copy_input(
            self, batch_id: str, on_block: Callable[[bytes], bool] = lambda block: True
        ) -> tuple[str, int]:
            if self.changes:
                self.changes -= 1
                raise InputChangedError("It grew.")
            return super().copy_input(batch_id, on_block)

    world = World()
    world.spool.__class__ = Changing
    world.spool.drop(NAME, content([chat("a")]))
    [batch_id] = world.intake.sweep(16)
    assert world.intake.accept(batch_id) is None
    assert world.journals == []
    assert isinstance(world.spool, Changing)
    assert world.spool.resets == 1
    assert any("waits: it changed after it was claimed" in line for line in said)
    assert world.intake.accept(batch_id) is not None


def test_a_stop_gives_up_what_is_being_taken_in_and_leaves_it_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "LINES_PER_COMMIT", 2)
    world = World()
    world.spool.drop(NAME, content([chat(f"r{n}") for n in range(9)]))
    [batch_id] = world.intake.sweep(16)
    world.intake.stop()
    assert world.intake.accept(batch_id) is None
    assert batch_id in world.spool.processing
    [journal] = world.journals
    assert (journal.phase(), journal._is_closed) == (None, True)
