"""The summary: what intake found out survives the journal, and becomes the facts of batch.json."""

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fault import Refusal
from batchd.core.json import loads
from batchd.core.options import Options
from batchd.core.record import Progress, Spent
from batchd.core.summary import Acceptance, facts_of, from_meta
from batchd.core.validity import Answers

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
REFUSALS = st.builds(Refusal, TEXT, TEXT, st.none() | TEXT, st.none() | st.integers(1, 2**40))
ACCEPTANCES = st.builds(
    Acceptance,
    name=TEXT,
    total=st.integers(0, 2**40),
    faulty=st.integers(0, 2**40),
    group_count=st.integers(0, 2**40),
    prompt_tokens=st.integers(0, 2**50),
    created_at=st.floats(0, 2**40),
    sha256=TEXT,
    size_bytes=st.integers(0, 2**50),
    endpoint=TEXT,
    model=st.none() | TEXT,
    options=st.builds(
        Options, st.none() | TEXT, st.dictionaries(TEXT, TEXT), TEXT, st.none() | st.booleans()
    ),
    is_strict=st.booleans(),
    notes=st.lists(TEXT).map(tuple),
    refusals=st.lists(REFUSALS).map(tuple),
    deduplicate=st.none() | st.booleans(),
    answers=st.none() | st.sampled_from(Answers),
)


@given(ACCEPTANCES)
def test_the_facts_come_back_from_the_journal_as_they_were(acceptance: Acceptance) -> None:
    assert from_meta(acceptance.to_meta()) == acceptance


@given(ACCEPTANCES)
def test_each_fact_is_one_json_text_of_its_own(acceptance: Acceptance) -> None:
    meta = acceptance.to_meta()
    assert loads(meta["total"].encode()) == acceptance.total
    assert set(meta) == set(Acceptance.__dataclass_fields__)


@given(ACCEPTANCES)
def test_other_values_beside_them_are_left_alone(acceptance: Acceptance) -> None:
    assert from_meta({**acceptance.to_meta(), "in_progress_at": "1.5", "later": "?"}) == acceptance


def accepted(options: Options) -> Acceptance:
    return Acceptance(
        "a.jsonl", 9, 1, 1, 10, 1_000.0, "ab" * 32, 5, "/v1/embeddings", "m", options, False, (), ()
    )


def test_the_batch_object_is_told_what_happened() -> None:
    progress = Progress(9, 7, 2, Spent(100, 20, 60), {}, 0.0)
    options = Options(metadata={"k": "v"}, completion_window="2h")
    facts = facts_of("batch_1", accepted(options), progress, "cancelled", {"cancelled_at": 5.0})
    assert (facts.id, facts.endpoint, facts.status) == ("batch_1", "/v1/embeddings", "cancelled")
    assert (facts.total, facts.completed, facts.failed) == (9, 7, 2)
    assert (facts.created_at, facts.expires_at, facts.cancelled_at) == (1_000.0, 8_200.0, 5.0)
    assert facts.input_file_id == f"file-{'ab' * 16}"
    assert facts.usage is not None
    assert (facts.usage.prompt_tokens, facts.usage.cached_tokens, facts.usage.completion_tokens) == (
        100,
        60,
        20,
    )
    assert facts.metadata == {"k": "v"}


def test_a_file_of_which_there_are_no_lines_has_no_id() -> None:
    def ids(completed: int, failed: int) -> tuple[str | None, str | None]:
        progress = Progress(completed + failed, completed, failed, Spent(), {}, 0.0)
        facts = facts_of("batch_1", accepted(Options()), progress, "completed", {})
        return facts.output_file_id, facts.error_file_id

    assert ids(1, 0) == ("output.jsonl", None)
    assert ids(0, 1) == (None, "errors.jsonl")
    assert ids(0, 0) == (None, None)
