"""Seats: free numbers are given again, the lowest first."""

from batchd.core.seats import Seats


def test_who_comes_gets_the_lowest_free_numbers() -> None:
    seats = Seats()
    assert seats.slot_count == 0
    assert seats.join(2) == [0, 1]
    assert seats.join(3) == [2, 3, 4]
    seats.leave([0, 1])
    assert (seats.slot_count, repr(seats)) == (5, "Seats([2, 3, 4])")
    assert seats.join(3) == [0, 1, 5]
    assert seats.slot_count == 6
