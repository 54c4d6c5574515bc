from dataclasses import replace

from batchd.core.course import Course
from batchd.core.limits import Limits


def test_a_course_begins_with_what_the_operator_gave() -> None:
    course = Course.begin(Limits(4, owns_slots=True))
    assert (course.given, course.limits, course.per_s) == (Limits(4, True), Limits(4, True), 0.0)


def test_its_speed_is_of_the_time_since_the_slots_changed() -> None:
    assert replace(Course.begin(Limits(4, True)), tokens=100, worked_s=4.0).per_s == 25.0
