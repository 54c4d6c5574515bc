"""What is done with a batch whose journal cannot say its phase: what the other files say."""

import pytest

from batchd.core.lifecycle import Place
from batchd.core.reconcile import Repair, actions


@pytest.mark.parametrize(
    ("has_original", "has_publish", "is_published", "repair"),
    [
        (True, False, False, Repair.SALVAGE),  # at work
        (True, True, False, Repair.SALVAGE),  # assembled, not published: assembled again
        (True, True, True, Repair.SALVAGE),  # a result of that name, and ours still here: never thrown away
        (True, False, True, Repair.ARCHIVE),  # published
        (False, False, True, Repair.DISCARD),  # archived
        (False, False, False, Repair.DISCARD),  # archived, and the result collected
    ],
)
def test_a_batch_without_a_journal_loses_nothing_and_is_published_once(
    has_original: bool, has_publish: bool, is_published: bool, repair: Repair
) -> None:
    place = Place(has_original, has_copy=True, has_journal=True, has_publish=has_publish)
    [action] = actions({"b": place}, {}, {"b": is_published})
    assert action.repair is repair
