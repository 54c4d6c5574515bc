import hashlib

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.tally import Tally


@given(st.lists(st.binary()))
def test_a_tally_is_of_all_pieces_however_they_are_cut(pieces: list[bytes]) -> None:
    tally = Tally()
    assert list(tally.passed(pieces)) == pieces
    whole = b"".join(pieces)
    assert tally.figures() == {
        "sha256": hashlib.sha256(whole).hexdigest(),
        "bytes": len(whole),
        "lines": whole.count(b"\n"),
    }


def test_a_tally_has_a_face() -> None:
    tally = Tally()
    tally.add(b"a\nb")
    assert repr(tally) == "<Tally 1 lines, 3 bytes>"
