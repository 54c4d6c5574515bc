import pytest

from batchd.core.options import Options, is_batch_id, parse_options, peek_batch_id, window_s

ID = "batch_" + "0123456789abcdef" * 2


def test_no_file_and_an_empty_object_are_the_defaults() -> None:
    assert parse_options(None) == (Options(), [])
    assert parse_options(b"{}") == (Options(), [])


def test_all_known_options_are_taken() -> None:
    raw = (
        b'{"batch_id":"%s","metadata":{"a":"b"},"completion_window":"48h","strict":true,'
        b'"deduplicate":false,"pilot":7,"pilot_confirm":true,"strategy":"naive","answers":"as_given"}'
        % ID.encode()
    )
    expected = Options(ID, {"a": "b"}, "48h", True, False, 7, True, "naive", "as_given")
    assert parse_options(raw) == (expected, [])
    assert peek_batch_id(raw) == ID


@pytest.mark.parametrize(
    ("raw", "param", "words"),
    [
        (b"{", None, "not usable JSON"),
        (b'{"strict":true,"strict":false}', None, "not usable JSON"),
        (b"[]", None, "one JSON object"),
        (b'{"meta_data":{}}', "meta_data", "Did you mean 'metadata'?"),
        (b'{"zzz":1}', "zzz", "Known are"),
        (b'{"batch_id":"batch_1"}', "batch_id", "32 hex"),
        (b'{"batch_id":7}', "batch_id", "32 hex"),
        (b'{"strict":1}', "strict", "true or false"),
        (b'{"deduplicate":"no"}', "deduplicate", "true or false"),
        (b'{"pilot":-1}', "pilot", "from 0 to 1000"),
        (b'{"pilot":true}', "pilot", "from 0 to 1000"),
        (b'{"pilot":1001}', "pilot", "from 0 to 1000"),
        (b'{"pilot_confirm":1}', "pilot_confirm", "true or false"),
        (b'{"strategy":"chat"}', "strategy", "one of prefix, naive, conversation"),
        (b'{"strategy":[]}', "strategy", "one of prefix, naive, conversation"),
        (b'{"answers":"given"}', "answers", "one of checked, as_given"),
        (b'{"answers":true}', "answers", "one of checked, as_given"),
        (b'{"completion_window":"soon"}', "completion_window", "24h"),
        (b'{"completion_window":24}', "completion_window", "24h"),
        (b'{"metadata":[]}', "metadata", "object"),
        (b'{"metadata":{"a":1}}', "metadata", "string"),
        (b'{"metadata":{"%s":"v"}}' % (b"k" * 65), "metadata", "64 characters"),
        (
            b'{"metadata":{%s}}' % b",".join(b'"%d":"v"' % number for number in range(17)),
            "metadata",
            "16 pairs",
        ),
    ],
)
def test_a_bad_options_file_says_what_is_wrong(raw: bytes, param: str | None, words: str) -> None:
    options, refusals = parse_options(raw)
    assert options == Options()
    assert [refusal.param for refusal in refusals] == [param]
    assert words in refusals[0].message
    assert {refusal.code for refusal in refusals} == {"invalid_options"}


def test_several_faults_are_all_named() -> None:
    _, refusals = parse_options(b'{"strict":1,"colour":2}')
    assert {refusal.param for refusal in refusals} == {"strict", "colour"}


def test_unknown_options_are_named_up_to_a_bound_and_counted_beyond_it() -> None:
    _, refusals = parse_options(b"{%s}" % b",".join(b'"x%d":1' % number for number in range(20)))
    assert [refusal.param for refusal in refusals] == [*(f"x{number}" for number in range(16)), None]
    assert refusals[-1].message == "4 more options are unknown."


def test_an_unknown_option_with_a_long_name_is_cut_also_as_the_param() -> None:
    _, (refusal,) = parse_options(b'{"%s":1}' % (b"stric" * 9_000))
    assert refusal.param == ("stric" * 13)[:64]
    assert len(refusal.message) < 200


def test_a_window_is_a_number_and_a_unit() -> None:
    assert [window_s(text) for text in ("30s", "5m", "24h", "7d")] == [30, 300, 86_400, 604_800]


def test_batch_ids_are_exact() -> None:
    assert is_batch_id(ID)
    assert not is_batch_id(ID.upper())
    assert not is_batch_id(ID + "\n")
