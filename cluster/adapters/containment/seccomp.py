"""A seccomp filter: system calls that no task needs, and that reach out of it, fail with EPERM.

It holds what Landlock does not look at: other processes of the same user, the kernel itself, sockets, and
changes of mode and owner by path.  It is inherited and cannot be taken off.

A filter sees numbers, never what a pointer leads to, so sockets are refused when they are made.  Unix sockets
are among them: some services run programs for whoever of their user connects (systemd, Docker).

The filter is classic BPF, written for x86-64 and AArch64; other architectures have none.  Source: seccomp(2),
Documentation/userspace-api/seccomp_filter.rst of Linux, and its tables of system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from ringmill.cluster.adapters.c_library import C_LIBRARY, last_error
from ringmill.cluster.adapters.containment.landlock import promise_no_new_privileges

__all__ = ["filter_program", "forbid_system_calls", "forbidding_filters", "has_seccomp"]

_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000
_EPERM: Final = _REFUSE | errno.EPERM
_ENOSYS: Final = _REFUSE | errno.ENOSYS

_LOAD, _AND = 0x20, 0x54  # BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_AND|BPF_K
_IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data; all little-endian here
_X32: Final = 0x40000000  # of the second ABI of x86-64, whose numbers would pass the filter

_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_REFUSED: Final = {  # name: its number on x86-64 and on AArch64; -1 where there is none
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "perf_event_open": (298, 241), "move_pages": (279, 239), "migrate_pages": (256, 238),
    # namespaces, mounts, other roots
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "setns": (308, 268), "unshare": (272, 97), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    # the kernel and the machine
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "bpf": (321, 280), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, -1),
    "ioperm": (173, -1), "quotactl": (179, 60), "quotactl_fd": (443, 443), "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    # past the checks of this filter or of Landlock
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    # what outlives the task and counts as nobody's memory
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "shmget": (29, 194),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "memfd_secret": (447, 447),
    # what others have of these, whose numbers can be guessed
    "shmat": (30, 196), "shmctl": (31, 195), "semop": (65, 193), "semtimedop": (220, 192),
    "semctl": (66, 191), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_unlink": (241, 181),
    # mode, owner and attributes by path: of any file of this user.  By descriptor it must be open first.
    "chmod": (90, -1), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "lchown": (94, -1), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "setxattrat": (463, 463), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "removexattrat": (466, 466),
}  # fmt: skip

_SOCKET, _SOCKETPAIR, _CLONE, _CLONE3 = (41, 198), (53, 199), (56, 220), (435, 435)
_MEMFD_CREATE: Final = (319, 279)  # of memory that is no process's, and that no limit knows
_PRLIMIT, _SETPRIORITY, _FCNTL = (302, 261), (141, 140), (72, 25)
_SCHEDULING: Final = (  # sched_setparam, sched_setscheduler, sched_setattr, sched_setaffinity
    (142, 118), (144, 119), (314, 274), (203, 122),
)  # fmt: skip
_IOPRIO_SET: Final = (251, 30)
_OF_PROCESS: Final = 1  # IOPRIO_WHO_PROCESS
_SET_LEASE: Final = 1024  # F_SETLEASE
_FAMILIES_OF_NETWORKS: Final = (2, 10, 16)  # AF_INET, AF_INET6, AF_NETLINK: the C library asks for routes
_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEW* of clone(); clone3() has them where a filter cannot look
_KIND_OF_SOCKET: Final = 0xF  # without SOCK_NONBLOCK and SOCK_CLOEXEC
_CONNECTED: Final = (1, 5)  # SOCK_STREAM, SOCK_SEQPACKET; Linux takes SOCK_RAW for SOCK_DGRAM


@dataclass(frozen=True, slots=True)
class _Instruction:
    code: int
    value: int
    if_true: int = 0  # instructions to pass over
    if_false: int = 0

    def encode(self) -> bytes:
        return struct.pack("<HBBI", self.code, self.if_true, self.if_false, self.value)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@cache
def has_seccomp() -> bool:
    """Whether this kernel takes filters, and there is one for this architecture."""
    if C_LIBRARY is None or os.uname().machine not in _ARCHITECTURES:
        return False
    C_LIBRARY.prctl(_PR_SET_SECCOMP, _MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT  # it would take one, but not from nowhere


def forbid_system_calls(*, network: bool) -> None:
    """Apply the filter to this thread and to what it starts.  Raises OSError."""
    code = filter_program(os.uname().machine, network=network)
    program = _Program(len(code) // 8, code)
    promise_no_new_privileges()
    assert C_LIBRARY is not None
    if C_LIBRARY.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0):
        raise last_error()


def forbidding_filters() -> None:
    """Make the filters of this machine beforehand.  Raises KeyError when it can have none."""
    for network in (False, True):
        filter_program(os.uname().machine, network=network)


@cache
def filter_program(machine: str, *, network: bool) -> bytes:
    """The filter as the kernel takes it, 8 bytes an instruction.

    `network` permits sockets of the Internet, and of the kernel's own tables of routes.  Raises KeyError for
    a machine that has none.
    """
    return b"".join(each.encode() for each in _instructions(machine, network=network))


def _instructions(machine: str, *, network: bool) -> Iterator[_Instruction]:
    column = list(_ARCHITECTURES).index(machine)
    yield _Instruction(_LOAD, _ARCHITECTURE_AT)
    yield from _unless_equal(_ARCHITECTURES[machine], _EPERM)  # of a program of another ABI
    yield _Instruction(_LOAD, _NUMBER_AT)
    if machine == "x86_64":
        yield _Instruction(_IF_AT_LEAST, _X32, 0, 1)
        yield _Instruction(_RETURN, _EPERM)
    yield from _if_equal(_CLONE3[column], _ENOSYS)  # then the C library takes clone()
    yield from _if_equal(_MEMFD_CREATE[column], _ENOSYS)  # then programs take a temporary file
    for numbers in _REFUSED.values():
        if numbers[column] >= 0:
            yield from _if_equal(numbers[column], _EPERM)
    families = _FAMILIES_OF_NETWORKS if network else ()
    yield from _judged(_SOCKET[column], [
        _argument(0), *(each for family in families for each in _if_equal(family, _ALLOW)),
        _Instruction(_RETURN, _EPERM),
    ])  # fmt: skip
    yield from _judged(_SOCKETPAIR[column], [  # a datagram names its receiver, paired or not
        _argument(1), _Instruction(_AND, _KIND_OF_SOCKET),
        *(each for kind in _CONNECTED for each in _if_equal(kind, _ALLOW)), _Instruction(_RETURN, _EPERM),
    ])  # fmt: skip
    yield from _judged(_CLONE[column], [
        _argument(0), _Instruction(_IF_BITS, _NEW_NAMESPACES, 0, 1), _Instruction(_RETURN, _EPERM),
    ])  # fmt: skip
    for numbers in (_PRLIMIT, *_SCHEDULING):  # of another process
        yield from _judged(numbers[column], [_argument(0), *_unless_equal(0, _EPERM)])
    yield from _judged(_FCNTL[column], [  # whoever opens a file with a lease waits for its holder
        _argument(1), *_if_equal(_SET_LEASE, _EPERM),
    ])  # fmt: skip
    yield from _judged(_SETPRIORITY[column], [
        _argument(0), *_unless_equal(0, _EPERM),  # of a group, or of all of this user
        _argument(1), *_unless_equal(0, _EPERM),
    ])  # fmt: skip
    yield from _judged(_IOPRIO_SET[column], [
        _argument(0), *_unless_equal(_OF_PROCESS, _EPERM), _argument(1), *_unless_equal(0, _EPERM),
    ])  # fmt: skip
    yield _Instruction(_RETURN, _ALLOW)


def _argument(number: int) -> _Instruction:
    return _Instruction(_LOAD, _ARGUMENTS_AT + 8 * number)  # its lower half, which is all that these have


def _if_equal(value: int, result: int) -> tuple[_Instruction, ...]:
    return _Instruction(_IF_EQUAL, value, 0, 1), _Instruction(_RETURN, result)


def _unless_equal(value: int, result: int) -> tuple[_Instruction, ...]:
    return _Instruction(_IF_EQUAL, value, 1, 0), _Instruction(_RETURN, result)


def _judged(number: int, judgement: list[_Instruction]) -> Iterator[_Instruction]:
    """A call that its arguments decide about; one that the judgement lets through is permitted."""
    yield _Instruction(_IF_EQUAL, number, 0, len(judgement) + 1)
    yield from judgement
    yield _Instruction(_RETURN, _ALLOW)
