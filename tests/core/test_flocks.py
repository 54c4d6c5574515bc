"""Who holds a lock, by the kernel's own texts."""

from batchd.core.flocks import Flock, flocks_of, lock_id

MOUNTINFO = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 27 0:26 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
"""
FDINFO = "pos:\t0\nflags:\t0100001\nmnt_id:\t31\nino:\t77\n"

LOCKS = """\
1: FLOCK  ADVISORY  WRITE 4711 00:1a:77 0 EOF
1: -> FLOCK  ADVISORY  WRITE 4712 00:1a:77 0 EOF
2: FLOCK  ADVISORY  READ 12 00:1a:78 0 EOF
3: FLOCK  ADVISORY  READ 13 00:1a:78 0 EOF
4: POSIX  ADVISORY  WRITE 99 00:1a:79 0 EOF
5: FLOCK  ADVISORY  WRITE 66 fe:00:77 0 EOF
6: FLOCK  ADV
"""


def test_a_file_is_named_by_its_mount_and_its_inode() -> None:
    assert lock_id(MOUNTINFO, FDINFO, 77) == "00:1a:77"
    assert lock_id(MOUNTINFO, FDINFO.replace("31", "27"), 77) == "fe:00:77"


def test_a_file_of_which_the_texts_say_nothing_has_no_name() -> None:
    assert lock_id(MOUNTINFO, FDINFO.replace("31", "99"), 77) == ""
    assert lock_id(MOUNTINFO, "", 77) == lock_id("", FDINFO, 77) == ""


def test_who_holds_it_is_told_and_who_waits_is_not() -> None:
    found = flocks_of(["00:1a:77", "00:1a:78", "00:1a:79", ""], LOCKS)
    assert found == {
        "00:1a:77": [Flock(4711, is_exclusive=True)],
        "00:1a:78": [Flock(12, is_exclusive=False), Flock(13, is_exclusive=False)],
    }


def test_the_same_inode_of_another_file_system_is_another_file() -> None:
    assert flocks_of(["08:01:77"], LOCKS) == {}
    assert flocks_of(["fe:00:77"], LOCKS) == {"fe:00:77": [Flock(66, is_exclusive=True)]}
