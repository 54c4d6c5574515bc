"""Options files from the fuzzer: taken or refused, never raised, and the words of a refusal are bounded.

DIAGNOSTICS
    None: tests.
"""

import json
import os
from dataclasses import asdict

import pytest

from batchd.core.json import dumps
from batchd.core.options import Options, parse_options, peek_batch_id, window_s
from tests.fuzz.judge import read
from tests.fuzz.mutations import OPTION_NAMES, options_of

FILES = max(int(os.environ.get("BATCHD_TEST_FUZZ_LINES", "20000")) // 10, 1_000)
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

#: Sixteen unknown keys by name, one sentence for the others, and one for each known key.
REFUSALS_MAX = 16 + 1 + len(OPTION_NAMES)
MESSAGE_CHARS_MAX = 300
PARAM_CHARS_MAX = 64


@pytest.mark.timeout(60 + FILES // 100)
def test_each_options_file_is_taken_or_refused_in_bounded_words() -> None:
    taken = 0
    for number in range(FILES):
        raw = options_of(SEED, number)
        try:
            taken += judge_options(raw)
        except BaseException as error:
            error.add_note(f"BATCHD_TEST_SEED={SEED}, options_of({SEED}, {number}): {raw[:2_000]!r}")
            raise
    assert FILES // 50 < taken < FILES // 2


def judge_options(raw: bytes) -> bool:
    options, refusals = parse_options(raw)
    assert peek_batch_id(raw) == options.batch_id
    assert len(refusals) <= REFUSALS_MAX
    for refusal in refusals:
        assert (refusal.code, refusal.line) == ("invalid_options", None)
        assert 0 < len(refusal.message) <= MESSAGE_CHARS_MAX
        assert len(refusal.param or "") <= PARAM_CHARS_MAX
    dumps([asdict(refusal) for refusal in refusals])
    value = read(raw).value
    if refusals:
        assert options == Options()
        return False
    assert value is not None
    given = {name: item for name, item in value.items() if item is not None}
    assert given == {name: item for name, item in asdict(options).items() if name in given}
    assert set(given) <= set(OPTION_NAMES)
    assert window_s(options.completion_window) > 0
    assert len(options.metadata) <= 16
    dumps(asdict(options))
    return True


def test_a_crowd_of_unknown_options_is_named_in_part_and_counted() -> None:
    raw = json.dumps({f"stric{number}{'t' * 90}": number for number in range(50_000)}).encode()
    _, refusals = parse_options(raw)
    assert len(refusals) == 17
    assert refusals[-1].message == f"{50_000 - 16} more options are unknown."
    assert judge_options(raw) is False


def test_an_endless_option_name_is_cut() -> None:
    (refusal,) = parse_options(json.dumps({"strict" * 150_000: True}).encode())[1]
    assert refusal.param == ("strict" * 11)[:64]
    assert len(refusal.message) < MESSAGE_CHARS_MAX
