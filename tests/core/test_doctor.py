"""The doctor's judgement: facts in, findings out, by table."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.doctor.finding import Finding, Verdict, in_order, is_well, not_seen
from batchd.core.doctor.place import (
    Neighbour,
    RoomFacts,
    SpoolFacts,
    judge_cards,
    judge_disk,
    judge_memory,
    judge_neighbours,
    judge_sleep,
    judge_spool,
)
from batchd.core.doctor.server import (
    BuildFacts,
    EngineFacts,
    ModelFacts,
    ModelPlace,
    judge_build,
    judge_engine,
    judge_models,
    judge_places,
    judge_share,
    judge_slots,
    slots_seen,
)
from batchd.core.readings import Card, Reading

OK, NOTE, WARNING, PROBLEM = Verdict
GB = 10**9


def short(finding: Finding) -> tuple[Verdict, str]:
    """Verdict and what to type."""
    return finding.verdict, finding.step


def test_the_worst_comes_first_and_only_problems_are_unwell() -> None:
    findings = [
        Finding(str(number), verdict, "") for number, verdict in enumerate((OK, PROBLEM, NOTE, WARNING, OK))
    ]
    assert [item.topic for item in in_order(findings)] == ["1", "3", "2", "0", "4"]
    assert not is_well(findings)
    assert is_well([Finding("x", WARNING, ""), not_seen("y", "it hangs")])


OLLAMA = EngineFacts("ollama", "attach", "http://127.0.0.1:11434", trouble="connection refused.")
EMBEDDED = EngineFacts("llamacpp", "child", "", embedded="2026.10", has_model_file=True)


@pytest.mark.parametrize(
    ("facts", "verdict", "step"),
    [
        (replace(OLLAMA, version="0.33"), OK, ""),
        (replace(OLLAMA, has_unit=True, has_program=True), PROBLEM, "systemctl start ollama"),
        (replace(OLLAMA, has_program=True), PROBLEM, "BATCHD_OLLAMA__MODE=own"),
        (OLLAMA, PROBLEM, "pip install 'batchd[embedded]'"),
        (replace(OLLAMA, mode="own"), OK, ""),
        (EngineFacts("llamacpp", "url", "http://h", version="b1"), OK, ""),
        (EngineFacts("llamacpp", "url", "http://h"), PROBLEM, "Start that llama-server"),
        (EMBEDDED, OK, ""),
        (replace(EMBEDDED, has_model_file=False), PROBLEM, "--gguf FILE"),
        (replace(EMBEDDED, embedded=""), PROBLEM, "pip install 'batchd[embedded]'"),
    ],
)
def test_an_engine_is_there_or_the_step_says_how_to_get_one(
    facts: EngineFacts, verdict: Verdict, step: str
) -> None:
    finding = judge_engine(facts)
    assert finding.verdict is verdict
    assert step in finding.step
    assert bool(finding.step) is (verdict is PROBLEM)


def test_as_whom_ollama_runs_is_said_and_a_stranger_is_worth_a_note() -> None:
    usual = replace(OLLAMA, version="0.33", users=("ollama",), trusted=("me", "ollama", "root"))
    finding = judge_engine(usual)
    assert finding.verdict is OK
    assert finding.saw == "Ollama 0.33 answers at http://127.0.0.1:11434 (attach, run by ollama)."
    finding = judge_engine(replace(usual, users=("mallory",)))
    assert (finding.verdict, finding.step.split(";")[0]) == (
        NOTE,
        "If that is right: BATCHD_OLLAMA__USER=mallory",
    )
    assert "run by mallory" in finding.saw
    refused = judge_engine(replace(OLLAMA, has_unit=True, is_refused=True))
    assert (refused.verdict, "end it" in refused.step) == (PROBLEM, True)


NONE = ModelPlace("/home/a/.ollama/models", exists=False, has_models=False)
MINE = ModelPlace("/home/a/.ollama/models", exists=True, has_models=True)
THEIRS = ModelPlace("/usr/share/ollama/.ollama/models", exists=True, has_models=True, owner="ollama")
CLOSED = replace(THEIRS, has_models=False, blocked_at="/usr/share/ollama")


@pytest.mark.parametrize("mode", ["own", "attach"])
@pytest.mark.parametrize(
    ("own", "others", "is_good", "step"),
    [
        (MINE, [CLOSED], True, ""),
        (NONE, [THEIRS], False, "BATCHD_OLLAMA__MODELS_DIR=/usr/share/ollama/.ollama/models"),
        (NONE, [CLOSED], False, "sudo usermod -aG ollama a && sudo chmod g+rx /usr/share/ollama"),
        (CLOSED, [], False, "sudo usermod -aG ollama a && sudo chmod g+rx /usr/share/ollama"),
    ],
)
def test_models_that_an_own_server_cannot_read_are_named_with_the_command(
    mode: str, own: ModelPlace, others: list[ModelPlace], is_good: bool, step: str
) -> None:
    finding = judge_places(mode, own, others, "a")
    assert finding is not None
    assert finding.verdict is (OK if is_good else PROBLEM if mode == "own" else NOTE)
    assert finding.step.startswith(step)


def test_no_models_anywhere_is_for_the_engine_to_say() -> None:
    assert judge_places("own", NONE, [replace(NONE, exists=True)], "a") is None


CHAT = ModelFacts("chat:1b", "llama")


@pytest.mark.parametrize(
    ("models", "wanted", "verdicts"),
    [
        ([], None, [PROBLEM]),
        ([CHAT], None, [OK]),
        ([CHAT], "chat:1b", [OK]),
        ([CHAT], "other", [PROBLEM]),
        ([replace(CHAT, name="other:latest")], "other", [OK]),
        ([CHAT, replace(CHAT, name="v", is_serial=True)], None, [OK, NOTE]),
        ([replace(CHAT, is_sliding=True)], None, [OK, NOTE]),
    ],
)
def test_models_are_listed_and_special_families_named(
    models: list[ModelFacts], wanted: str | None, verdicts: list[Verdict]
) -> None:
    findings = list(judge_models(models, wanted))
    assert [finding.verdict for finding in findings] == verdicts
    if verdicts == [PROBLEM]:
        assert findings[0].step == f"ollama pull {wanted or 'MODEL'}"


@pytest.mark.parametrize(
    ("size", "gpu", "cards", "verdict"),
    [
        (None, 5, 1, None),
        (100, None, 1, None),
        (100, 0, 0, OK),
        (100, 40, 0, OK),
        (100, 100, 1, OK),
        (100, 99, 1, WARNING),
        (100, 0, 1, PROBLEM),
    ],
)
def test_a_model_beside_its_card_is_seen(
    size: int | None, gpu: int | None, cards: int, verdict: Verdict | None
) -> None:
    finding = judge_share(replace(CHAT, size_bytes=size, gpu_bytes=gpu), cards)
    assert (finding and finding.verdict) is verdict


@pytest.mark.parametrize(
    ("ran", "slots"),
    [
        ([], 0),
        ([(0, 10)], 1),
        ([(0, 10), (10, 20), (20, 30)], 1),
        ([(0, 10), (9.5, 20)], 1),  # two clocks that do not agree to the last
        ([(0, 10), (0.1, 10.2), (10, 20), (10.2, 20)], 2),
        ([(0, 10)] * 4 + [(10, 20)] * 4, 4),
        ([(0, 30), (0, 10), (10, 20), (20, 30)], 2),
    ],
)
def test_slots_are_requests_that_ran_at_one_time(ran: list[tuple[float, float]], slots: int) -> None:
    assert slots_seen(ran) == slots


@given(st.integers(1, 8), st.integers(1, 40))
def test_waves_of_equal_requests_show_their_slots(slots: int, requests: int) -> None:
    ran = [(number // slots, number // slots + 1.0) for number in range(requests)]
    assert slots_seen(ran) == min(slots, requests)


@pytest.mark.parametrize(
    ("asked", "measured", "owns", "verdict", "step"),
    [
        (1, 1, False, OK, ""),
        (4, 4, True, OK, ""),
        (1, 4, False, WARNING, "BATCHD_SLOTS=4"),
        (4, 8, True, OK, ""),
        (16, 8, False, OK, ""),  # at least so many
        (4, 1, False, WARNING, "OLLAMA_NUM_PARALLEL=4"),
        (4, 1, True, WARNING, "BATCHD_SLOTS=1"),
    ],
)
def test_measured_slots_are_compared_with_the_asked_ones(
    asked: int, measured: int, owns: bool, verdict: Verdict, step: str
) -> None:
    finding = judge_slots(asked, measured, 8, "m", owns)
    assert finding.verdict is verdict
    assert step in finding.step


@pytest.mark.parametrize(
    ("facts", "cards", "verdict"),
    [
        (BuildFacts(""), ["card"], OK),
        (BuildFacts("1", ("cpu",)), [], OK),
        (BuildFacts("1", ("cpu", "gpu")), ["card"], OK),
        (BuildFacts("1", ("cpu",)), ["card"], NOTE),
        (BuildFacts("1", ("cpu",), is_chosen=True), ["card"], WARNING),
        (BuildFacts("1", trouble="it ended with -4"), [], WARNING),
    ],
)
def test_an_engine_without_gpu_on_a_machine_with_one_is_seen(
    facts: BuildFacts, cards: list[str], verdict: Verdict
) -> None:
    assert judge_build(facts, cards).verdict is verdict


def rooms(*closed: str) -> tuple[RoomFacts, ...]:
    return tuple(RoomFacts(name, "batchd", name not in closed) for name in ("inbox", "processing", "archive"))


SPOOL = SpoolFacts("/s", "a", rooms(), group="batchd-submit")


def test_a_room_where_members_may_move_each_others_files_is_a_finding_of_its_own() -> None:
    shared = replace(SPOOL, rooms=(replace(rooms()[0], is_apart=False), *rooms()[1:]))
    findings = list(judge_spool(shared))
    assert [finding.verdict for finding in findings] == [OK, WARNING]
    assert findings[1].step == "sudo chmod +t /s/inbox"


@pytest.mark.parametrize(
    ("facts", "verdict", "step"),
    [
        (SPOOL, OK, ""),
        (replace(SPOOL, rooms=rooms("processing", "archive"), is_held=True), OK, ""),
        (replace(SPOOL, rooms=rooms("inbox")), PROBLEM, "sudo usermod -aG batchd-submit a"),
        (replace(SPOOL, missing=("outbox",)), NOTE, ""),
        (replace(SPOOL, rooms=rooms()[1:], missing=("inbox",)), NOTE, ""),
        (replace(SPOOL, rooms=()), OK, ""),
        (replace(SPOOL, rooms=(), may_be_made=False), PROBLEM, "--spool DIR"),
        (replace(SPOOL, file_system="nfs4", is_remote=True), PROBLEM, "local disk"),
        (replace(SPOOL, rooms=(replace(rooms()[0], is_on_mount=False),)), PROBLEM, "one mount"),
    ],
)
def test_rights_and_mounts_of_a_spool(facts: SpoolFacts, verdict: Verdict, step: str) -> None:
    [finding] = judge_spool(facts)
    assert finding.verdict is verdict
    assert step in finding.step


@pytest.mark.parametrize(
    ("free", "disk", "files", "verdict"),
    [
        (0, 0, None, NOTE),
        (500 * GB, 1_000 * GB, None, OK),
        (10 * GB, 1_000 * GB, 10**6, OK if (10 * GB - 2**32) // 3_600 >= 10**6 else NOTE),
        (6 * GB, 1_000 * GB, 10**6, NOTE),
        (1 * GB, 1_000 * GB, 10**6, PROBLEM),
        (500 * GB, 1_000 * GB, 10, PROBLEM),
    ],
)
def test_a_disk_is_judged_by_what_a_batch_needs(
    free: int, disk: int, files: int | None, verdict: Verdict
) -> None:
    assert judge_disk("/s", free, disk, files).verdict is verdict


@pytest.mark.parametrize(("stalled", "verdict"), [(0.0, OK), (0.2, NOTE), (0.4, WARNING), (0.9, WARNING)])
def test_memory_has_the_marks_of_the_daemon(stalled: float, verdict: Verdict) -> None:
    [finding] = judge_memory(Reading((Card("c", "1", 10, 10),), stalled_share=stalled))
    assert finding.verdict is verdict


def test_cards_are_listed_and_a_driver_that_fails_is_said() -> None:
    cards = (Card("c", "1", 1_000, 10, power_w=61.4), Card("d", "1", 1_000, 990), Card("e", "1"))
    findings = list(judge_cards(cards, ""))
    assert [finding.verdict for finding in findings] == [OK, NOTE, OK]
    assert findings[0].saw == "GPU 0: c, driver 1, 10 of 1,000 MiB used, 61 W."
    assert [short(finding)[0] for finding in judge_cards((), "The driver does not answer.")] == [WARNING]
    assert [finding.verdict for finding in judge_cards((), "")] == [OK]


@pytest.mark.parametrize(
    ("may_suspend", "may_inhibit", "verdict"),
    [(False, False, OK), (True, True, OK), (True, False, NOTE)],
)
def test_a_machine_that_may_fall_asleep_is_said(
    may_suspend: bool, may_inhibit: bool, verdict: Verdict
) -> None:
    assert judge_sleep(may_suspend, may_inhibit).verdict is verdict


BATCHD, OTHER = Neighbour(1, "batchd", "batchd daemon"), Neighbour(2, "batchd", "batchd run")
SERVER = Neighbour(3, "ollama", "ollama serve")


@pytest.mark.parametrize(
    ("found", "mode", "verdict"),
    [
        ([], "attach", OK),
        ([BATCHD, SERVER], "attach", OK),
        ([BATCHD, OTHER], "attach", WARNING),
        ([SERVER], "own", WARNING),
        ([SERVER], "child", WARNING),
        ([SERVER, SERVER], "attach", WARNING),
    ],
)
def test_two_who_fight_for_one_card_are_named(found: list[Neighbour], mode: str, verdict: Verdict) -> None:
    assert judge_neighbours(found, mode).verdict is verdict


def test_who_has_the_card_is_named_also_where_its_process_is_hidden() -> None:
    held = ["GPU-1 (process 7, spool /srv/spool, user batchd)"]
    seen = judge_neighbours([Neighbour(7, "batchd", "batchd daemon")], "attach", held)
    hidden = judge_neighbours([], "attach", held)
    two = judge_neighbours([Neighbour(pid, "batchd", "batchd run") for pid in (7, 8)], "attach", held)
    assert [item.verdict for item in (seen, hidden, two)] == [Verdict.OK, Verdict.OK, Verdict.WARNING]
    assert all("GPU-1 (process 7, spool /srv/spool, user batchd)" in item.saw for item in (seen, hidden, two))
    assert "another user hides it" in hidden.saw
