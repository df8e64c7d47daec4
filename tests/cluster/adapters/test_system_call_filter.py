"""The seccomp filter of both architectures, run by an interpreter of the little of BPF that it uses."""

import errno
import os
import struct

import pytest

from ringmill.cluster.adapters.containment import contain as containing
from ringmill.cluster.adapters.containment.contain import contain
from ringmill.cluster.adapters.containment.level import ContainmentLevel
from ringmill.cluster.adapters.containment.seccomp import filter_program
from ringmill.cluster.mapreduce.messages.reach import Reach

ALLOWED, REFUSED, ABSENT = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {
    "x86_64": {"read": 0, "ptrace": 101, "socket": 41, "socketpair": 53, "clone": 56, "clone3": 435,
               "prlimit": 302, "setpriority": 141, "chmod": 90, "fchmod": 91, "execve": 59,
               "mount": 165, "unshare": 272, "init_module": 175, "bpf": 321, "io_uring_setup": 425,
               "keyctl": 250, "fcntl": 72, "sched_setparam": 142, "sched_setscheduler": 144,
               "sched_setattr": 314, "sched_setaffinity": 203, "ioprio_set": 251,
               "memfd_create": 319, "memfd_secret": 447,
               "shmat": 30, "shmctl": 31, "semop": 65, "semtimedop": 220, "semctl": 66, "msgsnd": 69,
               "msgrcv": 70, "msgctl": 71, "mq_unlink": 241},
    "aarch64": {"read": 63, "ptrace": 117, "socket": 198, "socketpair": 199, "clone": 220, "clone3": 435,
                "prlimit": 261, "setpriority": 140, "chmod": 53, "fchmod": 52, "execve": 221,
                "mount": 40, "unshare": 97, "init_module": 105, "bpf": 280, "io_uring_setup": 425,
                "keyctl": 219, "fcntl": 25, "sched_setparam": 118, "sched_setscheduler": 119,
               "sched_setattr": 274, "sched_setaffinity": 122, "ioprio_set": 30,
                "memfd_create": 279, "memfd_secret": 447,
               "shmat": 196, "shmctl": 195, "semop": 193, "semtimedop": 192, "semctl": 191, "msgsnd": 189,
               "msgrcv": 188, "msgctl": 187, "mq_unlink": 181},
}  # fmt: skip


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    given = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, 8 * at)
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", given, value)
            case 0x54:
                accumulator &= value
            case 0x06:
                return int(value)
            case 0x15 | 0x35 | 0x45:
                holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value}
                at += if_true if holds[code] else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_refuses_by_number_and_by_argument(machine: str) -> None:
    numbers, here = NUMBERS[machine], ARCHITECTURES[machine]
    held, online = (filter_program(machine, network=each) for each in (False, True))

    def of(name: str, *arguments: int, program: bytes = held) -> int:
        return verdict(program, here, numbers[name], *arguments)

    assert {of(name) for name in ("read", "execve", "fchmod", "clone", "prlimit", "setpriority")} == {ALLOWED}
    past_it = ("mount", "unshare", "init_module", "bpf", "io_uring_setup", "keyctl")
    assert {of(name) for name in ("ptrace", "chmod", *past_it)} == {REFUSED} and of("clone3") == ABSENT
    of_others = ("shmat", "shmctl", "semop", "semtimedop", "semctl", "msgsnd", "msgrcv", "msgctl")
    assert {of(name) for name in ("memfd_secret", "mq_unlink", *of_others)} == {REFUSED}
    assert of("memfd_create") == ABSENT, "memory that no limit counts; programs do without"
    assert of("clone", 0x01200011) == ALLOWED and of("clone", 0x10000011) == REFUSED
    assert of("prlimit", 0, 7) == ALLOWED and of("prlimit", 77, 7) == REFUSED
    for scheduling in ("sched_setparam", "sched_setscheduler", "sched_setattr", "sched_setaffinity"):
        assert of(scheduling, 0, 3) == ALLOWED and of(scheduling, 77, 3) == REFUSED
    assert of("ioprio_set", 1, 0, 7) == ALLOWED
    assert {of("ioprio_set", *who) for who in ((1, 77), (2, 0), (3, 0))} == {REFUSED}
    assert {of("fcntl", 3, command) for command in (0, 1, 4, 6, 1030)} == {ALLOWED}
    assert of("fcntl", 3, 1024) == REFUSED, "a lease"
    assert {of("setpriority", *who) for who in ((0, 77), (2, 0), (1, 0))} == {REFUSED}
    assert {of("socketpair", 1, kind | 0o2000000) for kind in (1, 5)} == {ALLOWED}
    assert {of("socketpair", 1, kind | 0o2000000) for kind in (2, 3)} == {REFUSED}
    for family in (1, 2, 10, 16, 17):
        assert of("socket", family, 1) == REFUSED
        is_of_internet = family in (2, 10, 16)
        assert of("socket", family, 1, program=online) == (ALLOWED if is_of_internet else REFUSED)
    other = next(each for each in ARCHITECTURES.values() if each != here)
    assert verdict(held, other, numbers["read"]) == REFUSED, "a program of another ABI"
    if machine == "x86_64":
        assert verdict(held, here, 0x40000000 | numbers["read"]) == REFUSED, "x32"


def test_a_kernel_without_either_contains_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("landlock_version", "has_seccomp", "drop_capabilities", "promise_no_new_privileges"):
        monkeypatch.setattr(containing, name, lambda: 0)
    here = os.path.dirname(os.path.realpath(__file__))
    contained = contain(Reach(("code.zip",), (here,), (), (), network=False))
    assert contained.may_read(__file__) and not contained.may_write(__file__)
    assert os.listdir("/") != []


def test_a_level_tells_what_it_has_and_what_it_lacks() -> None:
    levels = [ContainmentLevel(7, True), ContainmentLevel(4, True), ContainmentLevel(0, True)]
    assert [str(each) for each in levels] == ["landlock 7 + seccomp", "landlock 4 + seccomp", "seccomp"]
    assert [each.lack for each in levels] == ["", *["Landlock 6 (Linux 6.12)"] * 2]
    bare = ContainmentLevel(0, False)
    assert str(bare) == "rlimits only" and bare.lack == "Landlock 6 (Linux 6.12) and seccomp filters"
