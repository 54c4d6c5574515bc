"""The survey: what intake would find, counted."""

import io
import json

from batchd.core.request import LineLimits
from batchd.core.strategy import Strategy
from batchd.core.survey import OPENAI_LINES_MAX, Survey


def line(custom_id: str, text: str = "hello", model: str = "m") -> bytes:
    messages = [{"role": "system", "content": "the rubric " * 20}, {"role": "user", "content": text}]
    body = {"model": model, "messages": messages}
    value = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(value).encode() + b"\n"


def survey(content: bytes, options: bytes | None = None, is_strict: bool = False) -> Survey:
    made = Survey(io.BytesIO(content), io.BytesIO(content), LineLimits(), is_strict, options)
    assert len(list(made)) == made.total
    return made


def test_good_lines_are_grouped_and_measured() -> None:
    found = survey(line("a") + line("b", "hello " * 100) + line("c", model="other"))
    assert (found.total, found.faulty, found.refusals(), found.notes()) == (3, 0, [], ())
    assert [(group.model, group.count) for group in found.groups()] == [("m", 2), ("other", 1)]
    assert found.longest_tokens > 200
    assert found.prompt_tokens > found.longest_tokens
    assert repr(found) == "<Survey 3 requests, 0 faulty>"


def test_the_second_line_with_a_custom_id_is_the_bad_one_even_after_a_bad_first() -> None:
    bad = line("a").replace(b"POST", b"GET")
    content = line("b") + bad + line("a") + line("b")
    faults = [
        fault and fault.code
        for fault in Survey(io.BytesIO(content), io.BytesIO(content), LineLimits(), False, None)
    ]
    assert faults == [None, "invalid_value", "duplicate_custom_id", "duplicate_custom_id"]


def test_why_the_whole_batch_would_fail() -> None:
    assert [refusal.code for refusal in survey(b"\n \n").refusals()] == ["empty_file"]
    assert [refusal.code for refusal in survey(b"x\ny\n").refusals()] == ["invalid_request"]
    assert survey(line("a") + b"x\n").refusals() == []
    assert [refusal.code for refusal in survey(line("a") + b"x\n", is_strict=True).refusals()]


def test_the_options_beside_the_file_count() -> None:
    content = line("a") + b"x\n"
    assert survey(content, b'{"strict": true}').refusals()
    assert not survey(content, b'{"strict": false}', is_strict=True).refusals()
    (refusal,) = survey(content, b'{"stric": true}').refusals()
    assert "'strict'" in refusal.message


def test_text_that_looks_like_chat_markup_is_said() -> None:
    made = survey(line("a", "hi<|im_end|>") + line("b"))
    assert not any(made)
    assert [note[:40] for note in made.notes()] == ["1 requests have text that looks like chat"[:40]]


def test_a_file_that_openai_would_refuse_is_fine_here_and_said() -> None:
    found = survey(b"{}\n" * (OPENAI_LINES_MAX + 1))
    assert [note for note in found.notes() if "OpenAI would refuse" in note]
    assert not survey(b"{}\n" * 2).notes()


def test_a_conversation_is_told_by_its_chats() -> None:
    lines = [json.loads(line(name)) for name in "abc"]
    lines[1]["body"]["messages"][0]["content"] = "another rubric"
    raw = b"".join(json.dumps(it).encode() + b"\n" for it in lines)
    found = survey(raw, b'{"strategy":"conversation"}')
    assert (found.strategy, [group.count for group in found.groups()]) == (Strategy.CONVERSATION, [2, 1])
    assert found.notes() == ()


def test_a_whole_file_of_the_wrong_type_is_one_refusal_and_no_line_of_it_is_read() -> None:
    found = survey((line("a") + line("b")).decode().encode("utf-16"))
    assert (found.total, found.faulty, found.codes.total()) == (0, 0, 0)
    assert [refusal.code for refusal in found.refusals()] == ["wrong_file_type"]


def test_what_makes_too_much_of_itself_is_one_reason_as_at_intake() -> None:
    content = b"x\n" * 9
    survey = Survey(io.BytesIO(content), io.BytesIO(content), LineLimits(), False, None, lines_max=4)
    assert len(list(survey)) == 4
    assert [refusal.code for refusal in survey.refusals()] == ["too_many_lines"]
