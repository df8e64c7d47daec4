"""Checks on this machine and the local cluster on it, each a pure function of what was found there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ringmill.client.doctor.finding import Finding, unwell, warn, well

__all__ = ["MachineFacts", "check_machine"]

EXPIRES_SOON_DAYS: Final = 14
FULL_WARNS: Final = 0.85
FULL_WRONG: Final = 0.95
FEW_FILES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """`states` are those of the processes of a local cluster by node: "running", "paused", "stopped".

    `takers` name who listens on the port of a stopped node; `modes` are those of folders and files that must
    not be open to others, by path; `days_left` are those of certificates by what they are for.
    """

    folder: str
    states: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, int] = field(default_factory=dict)  # pids
    takers: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    days_left: Mapping[str, int] = field(default_factory=dict)
    disk_used: float = 0.0  # share of the disk that the folder is on
    open_files: int = 65_536  # the hard limit
    software: Mapping[str, str] = field(default_factory=dict)  # versions by name


def check_machine(facts: MachineFacts) -> Iterator[Finding]:
    """All checks."""
    for check in _CHECKS:
        yield check(facts)


def processes(facts: MachineFacts) -> Finding:
    """Every process that is recorded runs."""
    stopped = [
        f"{node} does not run (recorded pid {facts.recorded.get(node, 0)})"
        for node, state in facts.states.items()
        if state == "stopped"
    ]
    paused = [node for node, state in facts.states.items() if state == "paused"]
    if stopped and len(stopped) == len(facts.states):
        return Finding("processes", "wrong", "no node of this cluster runs", "ringmill cluster up")
    if paused:
        remedy = f"ringmill cluster resume {' '.join(paused)}"
        return unwell("processes", "wrong", [f"{node} is paused" for node in paused] + stopped, remedy, "")
    names = " ".join(node for node, state in facts.states.items() if state == "stopped")
    return unwell(
        "processes",
        "wrong",
        stopped,
        f"ringmill cluster restart {names}",
        f"{len(facts.states)} processes run as recorded",
    )


def ports(facts: MachineFacts) -> Finding:
    """Nobody else listens where a node that is stopped has to."""
    return unwell(
        "ports",
        "wrong",
        [f"the port of {node} is taken by {who}" for node, who in facts.takers.items()],
        "stop it: a node keeps its address",
        "no port of a stopped node is taken",
    )


def folder_modes(facts: MachineFacts) -> Finding:
    """Only the nodes' user can read their data, logs and token."""
    open_modes = {path: mode for path, mode in facts.modes.items() if mode & 0o077}
    elsewhere = [path for path in open_modes if not f"{path}/".startswith(f"{facts.folder}/")]
    return unwell(
        "folders",
        "wrong",
        [f"{path} has mode {mode:04o}" for path, mode in open_modes.items()],
        f"chmod -R go-rwx {shlex.join([facts.folder, *elsewhere])}",
        "only you can read data, logs and token",
    )


def certificates(facts: MachineFacts) -> Finding:
    """No certificate expires within two weeks."""
    soon = {what: days for what, days in facts.days_left.items() if days <= EXPIRES_SOON_DAYS}
    if not facts.days_left:
        return well("certificates", "none: the nodes do not speak TLS")
    where = f"--dir {shlex.quote(f'{facts.folder}/tls')}"
    is_over = any(days < 0 for days in soon.values())
    return unwell(
        "certificates",
        "wrong" if is_over else "warning",
        [
            f"that of {what} has expired" if days < 0 else f"that of {what} expires in {days} days"
            for what, days in soon.items()
        ],
        f"ringmill ca issue NODE {where} --replace; for the authority: ringmill ca rotate {where}",
        f"the first expires in {min(facts.days_left.values())} days",
    )


def disk(facts: MachineFacts) -> Finding:
    """The disk of the cluster's folder is not nearly full."""
    sentence = f"the disk of {facts.folder} is {facts.disk_used:.0%} full"
    if facts.disk_used < FULL_WARNS:
        return well("disk", sentence)
    return Finding(
        "disk", "wrong" if facts.disk_used >= FULL_WRONG else "warning", sentence, "free some space"
    )


def file_limit(facts: MachineFacts) -> Finding:
    """A node can open enough files and connections."""
    sentence = f"a process may open {facts.open_files:,} files"
    if facts.open_files >= FEW_FILES:
        return well("file limit", sentence)
    return warn(
        "file limit", sentence, f"raise the hard limit to {FEW_FILES} or more: `ulimit -Hn`, LimitNOFILE="
    )


def software(facts: MachineFacts) -> Finding:
    """What runs this command."""
    return well("software", ", ".join(f"{name} {version}" for name, version in facts.software.items()))


_CHECKS: Final[Sequence[Callable[[MachineFacts], Finding]]] = (
    processes, ports, folder_modes, certificates, disk, file_limit, software,
)  # fmt: skip
