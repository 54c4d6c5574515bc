"""Judging: runaways end as error lines with what there was, and what was not taken is counted."""

import threading
from collections.abc import Callable

import pytest

from batchd.app.judging import AT_ONCE_CHARS_MAX
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Request
from batchd.core.runaway import LEARN_FROM, LEARNED_TOKENS_MIN
from batchd.core.schema import Breach
from batchd.core.validity import unread
from tests.app.premises import Premises, codes, metrics_of, records
from tests.fakes.made_batch import chat, json_chat
from tests.fakes.scripted_model import Script, answer

Build = Callable[..., Premises]

LOOP = "Well, " + "it is. " * 100


def cut(text: str, tokens: int) -> Answer:
    return Answer(text, None, "length", Usage(100, tokens, 60, Source.ENGINE, 0.01, 0.5))


async def test_a_loop_is_asked_again_with_another_seed_and_the_second_answer_counts(premises: Build) -> None:
    world = premises(Script().answers("a", cut(LOOP, 64), answer("better")))
    batch_id = world.drop([chat("a", bound=64)])
    async with world.at_work():
        result = await world.result(batch_id)
    assert world.server.sent == ["a", "a"]
    (line,) = records(result / "output.jsonl")
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "better"
    metrics = metrics_of(result)
    assert metrics["answers"]["asked_again"]["reseeded"] == 1
    assert metrics["answers"]["completed"] == 1
    assert metrics["tokens"]["evaluated"]["value"] == (10 - 5) + 10 + (100 - 60), "answer, canary, the loop"
    assert any("asked again, with another seed" in note for note in metrics["notes"])


async def test_a_loop_that_stays_one_is_an_error_line_with_what_there_was(premises: Build) -> None:
    world = premises(Script().answers("a", cut(LOOP, 64), cut(LOOP, 64)))
    batch_id = world.drop([chat("a", bound=64), chat("b")])
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"a": "runaway", "b": "answered"}
    (line,) = records(result / "errors.jsonl")
    assert line["response"] is None
    assert "'Well, ', then 100 times 'it is. '" in line["error"]["message"]
    assert metrics_of(result)["answers"]["asked_again"]["runaways"] == 1
    assert metrics_of(result)["faults"]["runaway"] == 1


async def test_what_was_not_taken_is_counted_over_a_restart(premises: Build) -> None:
    world = premises(Script().answers("a", cut(LOOP, 64), answer()).holds("b", "c"))
    world.drain_s = 0.05
    world.build()
    batch_id = world.drop([chat("a", bound=64), chat("b"), chat("c")])
    async with world.at_work():
        await world.until(lambda: {"b", "c"} <= set(world.server.sent))
    world.server.release()
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    assert metrics_of(result)["answers"]["asked_again"]["reseeded"] == 1


async def test_an_answer_that_is_cut_and_no_loop_is_the_answer_and_the_notes_say_so(premises: Build) -> None:
    world = premises(Script().answers("a", cut("and so", 64)))
    batch_id = world.drop([chat("a", bound=64)])
    async with world.at_work():
        result = await world.result(batch_id)
    (line,) = records(result / "output.jsonl")
    assert line["response"]["body"]["choices"][0]["finish_reason"] == "length"
    assert any("1 answers were cut at their bound" in note for note in metrics_of(result)["notes"])


async def test_a_bound_is_learned_and_an_answer_that_needs_more_gets_all_of_it(premises: Build) -> None:
    """The operator's default is 1,024 tokens; a hundred short answers say that 256 are enough."""
    count = LEARN_FROM + 20
    script = Script()
    long = Answer("all of it", None, "stop", Usage(100, 700, 0, Source.ENGINE, 0.01, 0.5))
    last = f"r{count - 1}"
    script.answers(last, cut("a part of", LEARNED_TOKENS_MIN), long)
    world = premises(script)
    lines = [chat(f"r{number}", bound=1_024) for number in range(count)]
    batch_id = world.drop(lines)
    async with world.at_work():
        result = await world.result(batch_id)
    answers = {line["custom_id"]: line for line in records(result / "output.jsonl")}
    assert len(answers) == count
    assert answers[last]["response"]["body"]["choices"][0]["message"]["content"] == "all of it"
    assert world.server.sent.count(last) == 2
    again = metrics_of(result)["answers"]["asked_again"]
    assert (again["lengthened"], again["completion_tokens"]) == (1, LEARNED_TOKENS_MIN)


async def test_a_long_answer_is_read_beside_the_event_loop(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty megabytes of doubled keys are read for six seconds."""
    threads: dict[int, threading.Thread] = {}

    def noted(request: Request, heard: Answer) -> Breach | None:
        threads[len(heard.text)] = threading.current_thread()
        return unread(request, heard)

    monkeypatch.setattr("batchd.app.judging.unread", noted)
    short, long = '{"a":1}', '{"a":[' + "1," * AT_ONCE_CHARS_MAX + "1]}"
    world = premises(Script().answers("a", answer(short)).answers("b", answer(long)))
    batch_id = world.drop([json_chat("a"), json_chat("b")])
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"a": "answered", "b": "answered"}
    assert threads[len(short)] is threading.current_thread()
    assert threads[len(long)] is not threading.current_thread()
