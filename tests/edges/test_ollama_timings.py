"""The log of an own Ollama tells what was read for an answer, and never more than it knows."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from batchd.edges.ollama_server.timings import MISSES_MAX, Timings, is_telling

#: As a runner writes them: two slots side by side, and what stands between.
LOG = """\
srv    load_model: initializing, n_slots = 2, n_ctx_slot = 2048, kv_unified = 'false'
slot   operator(): id  0 | task 11 | cached n_tokens = 348, memory_seq_rm [348, end)
slot print_timing: id  0 | task 11 | prompt eval time =      68.50 ms /     8 tokens (    8.56 ms per token)
slot print_timing: id  1 | task 13 | prompt eval time =      81.35 ms /   356 tokens (   10.17 ms per token)
slot print_timing: id  0 | task 11 |        eval time =     243.81 ms /     8 tokens (   34.83 ms per token)
slot print_timing: id  0 | task 11 |       total time =     312.30 ms /    16 tokens
slot print_timing: id  1 | task 13 |        eval time =     177.96 ms /     8 tokens (   25.42 ms per token)
"""


def noted(text: str) -> Timings:
    timings = Timings()
    for line in text.splitlines():
        timings.note(line)
    return timings


async def told(timings: Timings) -> int | None:
    return await timings.evaluated(0.068495, 0.243807)


async def test_an_answer_is_found_by_its_durations() -> None:
    timings = noted(LOG)
    assert timings.slots == 2
    assert await timings.evaluated(0.08135, 0.177962) == 356
    assert await timings.evaluated(0.068495, 0.243807) == 8


async def test_an_answer_of_one_token_is_found_by_its_reading_alone() -> None:
    assert await noted(LOG).evaluated(0.068495, None) == 8


async def test_an_answer_is_found_once() -> None:
    timings = Timings(wait_s=0.01)
    for line in LOG.splitlines():
        timings.note(line)
    assert await timings.evaluated(0.068495, 0.243807) == 8
    assert await timings.evaluated(0.068495, 0.243807) is None


async def test_another_answer_is_not_taken_for_it() -> None:
    assert await noted(LOG).evaluated(0.068495, 0.177962) is None


async def test_of_two_that_look_alike_the_dearer_one_is_taken() -> None:
    timings = noted(LOG + LOG.replace("   8 tokens (    8.56", " 200 tokens (    8.56"))
    assert await timings.evaluated(0.068495, 0.243807) == 200


async def test_the_halves_of_two_tasks_are_no_answer() -> None:
    timings = noted(LOG.replace("task 11 |        eval", "task 17 |        eval"))
    assert await timings.evaluated(0.068495, 0.243807) is None


async def test_a_line_that_comes_after_its_answer_is_waited_for() -> None:
    timings = noted("")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(told(timings))
        await asyncio.sleep(0)
        for line in LOG.splitlines():
            timings.note(line)
    assert waiting.result() == 8


async def test_a_log_without_timings_is_soon_not_waited_for() -> None:
    timings = Timings(wait_s=0.01)
    for _ in range(MISSES_MAX):
        assert not timings.is_silent
        assert await timings.evaluated(1.0, 1.0) is None
    assert timings.is_silent
    for line in LOG.splitlines():
        timings.note(line)
    assert await timings.evaluated(0.068495, 0.243807) is None
    assert "0 missed" not in repr(timings)


async def test_who_waits_need_not_wait_for_a_log_that_has_ended() -> None:
    timings = Timings(wait_s=60)
    asked = timings.evaluated(1.0, 1.0)
    timings.close()
    assert await asked is None


async def test_a_caller_that_has_gone_is_no_trouble() -> None:
    timings = Timings(wait_s=60)
    timings.evaluated(0.068495, 0.243807).cancel()
    for line in LOG.splitlines():
        timings.note(line)
    timings.close()


@given(st.text(max_size=80), st.sampled_from(["print_timing: ", "load_model: "]))
def test_a_line_of_any_other_program_is_no_trouble(text: str, mark: str) -> None:
    timings = Timings()
    timings.note(mark + text)
    timings.note(f"slot print_timing: id  0 | task 1 | prompt eval time = {text} ms / 9 tokens")
    timings.note(f"slot print_timing: id  {text} | task 1 |        eval time = 1.00 ms / {text} tokens")
    assert timings.slots is None


def test_only_short_lines_of_a_runner_are_looked_at() -> None:
    assert all(is_telling(line) for line in LOG.splitlines() if "operator" not in line)
    assert not is_telling(LOG.splitlines()[1])
    assert not is_telling("print_timing: " + "x" * 10_000)
