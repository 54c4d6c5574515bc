"""What pictures are made of."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.drawing import Panel, box, dot, opened, steps, text


@given(st.floats(1e-3, 1e14))
def test_the_marks_of_an_axis_reach_the_top_and_not_far_above(top: float) -> None:
    marks = steps(top)
    assert len(marks) == 5
    assert marks[0] == 0
    assert top <= marks[-1] * (1 + 1e-9)
    assert marks[-1] <= top * 5 + 1e-9


def test_no_name_of_a_stranger_becomes_markup() -> None:
    hostile = "</text><script>alert(1)</script>\x1b[31m\u202e"
    elements = [text(1, 2, hostile), dot(1, 2, "#fff", hostile), box(1, 2, 3, 4, "#fff", hostile)]
    root = ElementTree.fromstring("".join([*opened(10, 10), *elements, "</svg>"]))
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {
        "svg",
        "rect",
        "text",
        "circle",
        "title",
    }
    assert "\x1b" not in "".join(elements)


@pytest.mark.parametrize(("value", "height"), [(0, 100.0), (5, 60.0), (10, 20.0), (99, 20.0), (-1, 100.0)])
def test_a_value_stands_inside_of_its_panel(value: float, height: float) -> None:
    assert Panel(0, 20, 50, 100).height_of(value, 10) == height
