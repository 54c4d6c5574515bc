"""Answers that are not what was asked for: asked again, then an error line, with the answer kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchd.app.verify import verify
from batchd.core.model import Answer, Source, Usage
from batchd.core.validity import Answers
from tests.app.premises import Premises, codes, metrics_of, records
from tests.fakes.made_batch import Line, chat, json_chat
from tests.fakes.scripted_model import Script, answer

Build = Callable[..., Premises]

SCHEMA = {
    "type": "object",
    "properties": {"year": {"type": "integer", "minimum": 1900}, "slug": {"pattern": "^[a-z-]+$"}},
    "required": ["year"],
}
GOOD, LOW = '{"year": 1999}', '{"year": 18}'


def cut(text: str, tokens: int = 16) -> Answer:
    return Answer(text, None, "length", Usage(10, tokens, 5, Source.ENGINE, 0.01, 0.5))


def kept(result: Path) -> dict[str, str]:
    """What `rejected.jsonl` has of each request."""
    lines = records(result / "rejected.jsonl")
    return {line["custom_id"]: line["body"]["choices"][0]["message"]["content"] for line in lines}


async def run(world: Premises, lines: list[Line], **options: Any) -> Path:
    batch_id = world.drop(lines, **options)
    async with world.at_work():
        return await world.result(batch_id)


async def test_an_answer_that_breaks_its_schema_is_asked_again_and_the_good_one_counts(
    premises: Build,
) -> None:
    world = premises(Script().answers("a", answer(LOW), answer("no JSON"), answer(GOOD)))
    seeds: list[object] = []
    world.server._watch = lambda request: seeds.append(request.parameters.get("seed"))
    result = await run(world, [json_chat("a", SCHEMA)])
    assert codes(result) == {"a": "answered"}
    assert world.server.sent == ["a", "a", "a"]
    assert len(set(seeds)) == 3, "each try has another seed"
    answers = metrics_of(result)["answers"]
    assert (answers["asked_again"]["rejected"], answers["schema_broken"], answers["not_json"]) == (2, 0, 0)
    assert any("asked again, with another seed" in note for note in metrics_of(result)["notes"])
    assert not (result / "rejected.jsonl").exists()


async def test_one_that_never_holds_is_an_error_line_with_path_and_keyword_and_is_kept(
    premises: Build,
) -> None:
    script = Script().answers("a", answer(LOW), answer("Sure!"), answer('{"year": 2000, "slug": "No!"}'))
    world = premises(script)
    result = await run(world, [json_chat("a", SCHEMA), chat("b")])
    assert codes(result) == {"a": "invalid_answer", "b": "answered"}
    (line,) = records(result / "errors.jsonl")
    error = line["error"]
    assert line["response"] is None
    assert (error["reason"], error["path"], error["keyword"]) == ("schema", "$.slug", "pattern")
    assert "$.slug" in error["message"]
    assert "^[a-z-]+$" in error["message"]
    assert "3 times" in error["message"]
    assert kept(result) == {"a": '{"year": 2000, "slug": "No!"}'}
    assert [line["custom_id"] for line in records(result / "retry.jsonl")] == ["a"]
    metrics = metrics_of(result)
    assert metrics["answers"]["schema_broken"] == 1
    assert metrics["answers"]["asked_again"]["rejected"] == 2
    assert metrics["faults"]["invalid_answer"] == 1
    assert metrics["files"]["rejected.jsonl"]["lines"] == 1
    assert "1 answers break their schema." in (result / "report.html").read_text()
    assert any("1 answers break the schema" in note for note in metrics["notes"])
    evaluated = 5 + 3 * 5 + 10  # the good answer, the three rejected ones, the canary
    assert metrics["tokens"]["evaluated"]["value"] == evaluated


@pytest.mark.parametrize("fixed", [{"seed": 7}, {"temperature": 0}])
async def test_where_the_request_fixes_the_answer_it_is_not_asked_again(
    premises: Build, fixed: dict[str, Any]
) -> None:
    world = premises(Script().answers("a", answer("```json\n{}\n```")))
    result = await run(world, [json_chat("a", **fixed)])
    assert codes(result) == {"a": "invalid_answer"}
    assert world.server.sent == ["a"]
    (line,) = records(result / "errors.jsonl")
    assert "Markdown fence" in line["error"]["message"]
    assert "once" in line["error"]["message"]


@pytest.mark.parametrize("again", [0, 1, 5])
async def test_how_often_it_is_asked_again_is_the_operators(premises: Build, again: int) -> None:
    world = premises(Script().answers("a", *[answer("no")] * 9))
    world.set_rules(answer_attempts=again)
    world.build()
    result = await run(world, [json_chat("a")])
    assert codes(result) == {"a": "invalid_answer"}
    assert len(world.server.sent) == again + 1


async def test_json_that_broke_off_at_its_bound_is_cut(premises: Build) -> None:
    world = premises(Script().answers("a", *[cut('{"year": 19')] * 3))
    result = await run(world, [json_chat("a", SCHEMA)])
    assert codes(result) == {"a": "answer_cut"}
    assert kept(result) == {"a": '{"year": 19'}
    answers = metrics_of(result)["answers"]
    assert (answers["cut_at_bound"], answers["not_json"], answers["schema_broken"]) == (1, 0, 0)


async def test_json_that_was_whole_when_the_bound_came_is_an_answer(premises: Build) -> None:
    world = premises(Script().answers("a", cut(GOOD)))
    result = await run(world, [json_chat("a", SCHEMA)])
    assert codes(result) == {"a": "answered"}
    assert metrics_of(result)["answers"]["cut_at_bound"] == 1


async def test_free_text_that_is_cut_stays_an_answer_and_is_counted(premises: Build) -> None:
    world = premises(Script().answers("a", cut("and so")))
    result = await run(world, [chat("a")])
    assert codes(result) == {"a": "answered"}
    assert metrics_of(result)["answers"]["cut_at_bound"] == 1


async def test_as_given_leaves_them_in_the_output_counts_them_and_asks_nothing_again(
    premises: Build,
) -> None:
    script = Script().answers("a", answer(LOW)).answers("b", answer("Sure!")).answers("c", cut("{"))
    world = premises(script)
    lines = [json_chat("a", SCHEMA), json_chat("b"), json_chat("c"), json_chat("d")]
    script.answers("d", answer("{}"))
    result = await run(world, lines, answers="as_given")
    assert codes(result) == dict.fromkeys("abcd", "answered")
    assert not (result / "rejected.jsonl").exists()
    assert sorted(world.server.sent) == list("abcd")
    metrics = metrics_of(result)
    answers = metrics["answers"]
    assert (answers["schema_broken"], answers["not_json"], answers["cut_at_bound"]) == (1, 1, 1)
    assert metrics["settings"]["answers"] == "as_given"
    assert any("not the JSON that was asked for" in note for note in metrics["notes"])


async def test_as_given_is_a_setting_too_and_a_batch_may_ask_to_be_checked(premises: Build) -> None:
    world = premises(Script().answers("a", *[answer("no")] * 9))
    world.set_rules(answers=Answers.AS_GIVEN)
    world.build()
    first = world.drop([json_chat("a")])
    async with world.at_work():
        assert codes(await world.result(first)) == {"a": "answered"}
        second = world.drop([json_chat("a")], "second.jsonl", answers="checked")
        assert codes(await world.result(second)) == {"a": "invalid_answer"}


async def test_what_was_settled_when_it_was_accepted_holds_to_the_end_whatever_is_set_meanwhile(
    premises: Build,
) -> None:
    """Else half of its answers would be checked, and the results would say it of all of them."""
    world = premises(Script().answers("a", *[answer("no")] * 9).answers("b", *[answer("no")] * 9).holds("b"))
    world.drain_s = 0.05
    world.set_rules(answers=Answers.AS_GIVEN, deduplicate=False)
    world.build()
    batch_id = world.drop([json_chat("a"), json_chat("b")])
    async with world.at_work():
        await world.until(lambda: {"a", "b"} <= set(world.server.sent))
    world.server.release()
    world.set_rules(answers=Answers.CHECKED, deduplicate=True)
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"a": "answered", "b": "answered"}
    settings = metrics_of(result)["settings"]
    assert (settings["answers"], settings["deduplicate"]) == ("as_given", False)


async def test_requests_that_equal_it_end_as_it_does_each_under_its_own_name(premises: Build) -> None:
    world = premises(Script().answers("a", answer("no")))
    result = await run(world, [json_chat(name, temperature=0) for name in "abc"])
    assert codes(result) == dict.fromkeys("abc", "invalid_answer")
    assert world.server.sent == ["a"]
    assert kept(result) == dict.fromkeys("abc", "no")
    assert metrics_of(result)["answers"]["not_json"] == 3
    assert verify(world.root, pause_s=0.01).findings == ()


async def test_a_schema_that_is_none_or_lies_elsewhere_is_refused_when_the_file_comes_in(
    premises: Build,
) -> None:
    world = premises()
    remote = {"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}}
    lines = [json_chat("a", {"type": "strin"}), json_chat("b", remote), json_chat("c", {"pattern": "["})]
    result = await run(world, [*lines, chat("d")])
    assert codes(result) == {**dict.fromkeys("abc", "invalid_value"), "d": "answered"}
    for line in records(result / "errors.jsonl"):
        assert line["response"]["status_code"] == 400
        assert line["response"]["body"]["error"]["param"] == "body.response_format.json_schema.schema"
    assert world.server.sent == ["d"]


async def test_a_batch_whose_answers_are_all_no_good_ends_and_is_not_paused(premises: Build) -> None:
    lines = [json_chat(f"r{number}", temperature=0, seed=number) for number in range(60)]
    script = Script()
    for number in range(60):
        script.answers(f"r{number}", answer("prose"))
    result = await run(premises(script), lines, pilot=0)
    assert set(codes(result).values()) == {"invalid_answer"}
    assert len(records(result / "rejected.jsonl")) == 60


async def test_what_was_rejected_before_a_restart_is_in_the_results_after_it(premises: Build) -> None:
    script = Script().answers("a", *[answer("no")] * 9).holds("b")
    world = premises(script)
    world.drain_s = 0.05
    world.build()
    fillers = [json_chat(f"f{number}", temperature=0, seed=number) for number in range(25)]
    for number in range(25):
        script.answers(f"f{number}", *[answer("{}")] * 2)
    batch_id = world.drop([json_chat("a"), *fillers, chat("b")])
    async with world.at_work():
        await world.until(lambda: "b" in world.server.sent)
        await world.until(lambda: world.house.board.progress_of(batch_id).failed == 1)
    tries = world.server.sent.count("a")
    world.server.release()
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    assert world.server.sent.count("a") == tries, "what is durable is not asked again"
    assert kept(result) == {"a": "no"}
    assert verify(world.root, pause_s=0.01).findings == ()


async def test_an_answer_that_the_window_cut_is_asked_again_in_a_larger_one_before_it_is_judged(
    premises: Build,
) -> None:
    short = replace(cut('{"year": 1'), usage=Usage(1_019, 4, 5, Source.ENGINE, 0.01, 0.5))
    world = premises(Script().answers("a", short, answer(GOOD)))
    result = await run(world, [json_chat("a", SCHEMA)])
    assert codes(result) == {"a": "answered"}
    assert metrics_of(result)["answers"]["asked_again"]["rejected"] == 0


async def test_in_a_conversation_a_rejected_answer_is_left_out_with_its_question(premises: Build) -> None:
    script = Script().answers("a", answer("{}")).answers("b", answer("prose")).answers("c", answer("{}"))
    world = premises(script)
    heard: dict[str, list[str]] = {}
    world.server._watch = lambda request: heard.update(
        {request.custom_id: [message.text for message in request.messages if message.role == "user"]}
    )
    lines = [json_chat(name, temperature=0) for name in "abc"]
    for line, name in zip(lines, "abc", strict=True):
        line["body"]["messages"][1]["content"] = f"Question {name}."  # type: ignore[index]
    result = await run(world, lines, strategy="conversation")
    assert codes(result) == {"a": "answered", "b": "invalid_answer", "c": "answered"}
    assert heard["c"] == ["Question a.", "Question c."]
    assert kept(result) == {"b": "prose"}
