"""Talk: what the journal keeps of conversations comes back as it was."""

from batchd.core.conversation import Sample
from batchd.core.json import dumps
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Endpoint, Message, Request
from batchd.core.result import result_line
from batchd.core.talk import COUNTS, TALK, Standing, Talk, answer_text, counts_of, notes_of, talk_of


def test_what_was_kept_comes_back() -> None:
    talk = Talk({0: Standing([[7], [0, 7, 3, 3]], 2, (Sample(4, 10, 12, 3, 2),)), 9: Standing([])})
    talk.counts["trims"] = 5
    assert talk_of({TALK: talk.to_meta()}) == talk


def test_before_the_first_entry_there_is_nothing() -> None:
    assert talk_of({}) == Talk()
    assert counts_of({}) == dict.fromkeys(COUNTS, 0)
    assert counts_of({TALK: dumps({"sections": {}, "counts": {"trims": 2}}).decode()})["trims"] == 2


def test_the_text_of_an_answer_is_read_back_byte_for_byte() -> None:
    request = Request("a", Endpoint.CHAT, "m", (Message("user", "Hi."),), (), {}, 16)
    for text in ("", "plain", "two\nlines\u2028three\x00\t\"'\\ \U0001f600 \u0085"):
        answer = Answer(text, None, "stop", Usage(1, 1, 0, Source.ENGINE, None, None))
        assert answer_text(result_line(request, answer, "0" * 40, 1.0)) == text


def test_the_results_say_what_a_conversation_does_to_answers_and_what_was_let_go() -> None:
    counts = counts_of({})
    [said] = notes_of(counts, 0)
    assert "turns of conversations" in said
    _, trims, errors = notes_of({**counts, "trims": 2, "kept_exchanges": 4, "dropped_exchanges": 8}, 3)
    assert trims.startswith("Conversations were trimmed 2 times: 4 exchanges were kept and 8,")
    assert errors == "3 requests ended with errors; their conversations went on without them."
