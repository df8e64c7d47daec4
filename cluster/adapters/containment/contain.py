"""Contains this process, for the rest of its life: it and what it starts reach what a Reach says, no more.

What the kernel does not have is left out; the level in force is told elsewhere (level.py).  What the kernel
has and refuses is an error, and no code of a job runs then.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from ringmill.cluster.adapters.containment.capabilities import drop_capabilities
from ringmill.cluster.adapters.containment.landlock import (
    READ,
    WRITE,
    Ruleset,
    landlock_version,
    promise_no_new_privileges,
)
from ringmill.cluster.adapters.containment.seccomp import (
    forbid_system_calls,
    forbidding_filters,
    has_seccomp,
)
from ringmill.cluster.adapters.containment.software import (
    READABLE_DEVICES,
    SHARED_MEMORY,
    USABLE_DEVICES,
    software_folders,
)
from ringmill.cluster.adapters.file_identities import identities
from ringmill.cluster.mapreduce.messages.reach import Reach, is_within

__all__ = ["Contained", "contain", "prepare_to_contain"]


@dataclass(frozen=True, slots=True)
class Contained:
    """What this process may use from now on: files and folders without links in their paths."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    secrets: tuple[str, ...]
    network: bool

    def may_read(self, path: str) -> bool:
        real = os.path.realpath(path)
        return any(is_within(real, each) for each in (*self.reads, *self.writes))

    def is_secret(self, path: str) -> bool:
        """Whether it is of the cluster itself, so that nothing gives it to a task."""
        real = os.path.realpath(path)
        return not self.may_read(path) and any(is_within(real, each) for each in self.secrets)

    def may_write(self, path: str) -> bool:
        real = os.path.realpath(path)
        return any(is_within(real, each) for each in self.writes)


def prepare_to_contain() -> None:
    """Find out beforehand what `contain` finds out once in a process: those forked from this one know it."""
    software_folders()
    if landlock_version() and has_seccomp():
        forbidding_filters()


def contain(reach: Reach, files: Iterable[str] = ()) -> Contained:
    """Apply `reach`, and permit these files, too.  Call it while this process has one thread.

    Raises OSError when the kernel refuses.
    """
    secrets = [os.path.realpath(path) for path in reach.secrets]
    named = [os.path.realpath(path) for path in (*reach.reads, *files)]
    secrets += _other_names(secrets, named)
    reads = [each for path in (*software_folders(), *named) for each in _without(secrets, path)]
    given, writes = map(os.path.realpath, reach.given), map(os.path.realpath, reach.writes)
    usable = (*writes, SHARED_MEMORY, *USABLE_DEVICES)
    contained = Contained((*given, *reads), usable, tuple(secrets), reach.network)
    if version := landlock_version():
        with closing(Ruleset(version, network=reach.network)) as rules:
            rules.permit_all((*contained.reads, *READABLE_DEVICES), READ)
            rules.permit_all(contained.writes, WRITE)
            rules.restrict()
    promise_no_new_privileges()
    drop_capabilities()
    if has_seccomp():
        forbid_system_calls(network=reach.network)
    return contained


def _other_names(secrets: Collection[str], paths: Iterable[str]) -> list[str]:
    """Hard links to these, as far as they are files, at or below the paths: a rule for a folder permits them.

    Nothing is searched while each of them has one name, as is usual.
    """
    wanted = identities(secrets, least_names=2)
    found = []
    for path in paths if wanted else ():
        below = (f"{folder}/{name}" for folder, _, names in os.walk(path) for name in names)
        found += [each for each in (path, *below) if identities([each]) & wanted]
    return found


def _without(secrets: Collection[str], path: str) -> Iterator[str]:
    """The path, or what is in it but the secrets: a rule cannot forbid what one above it permits."""
    if any(is_within(path, secret) for secret in secrets):
        return
    inside = [secret for secret in secrets if is_within(secret, path)]
    if not inside:
        yield path
        return
    with os.scandir(path) as entries:
        below = [entry.path for entry in entries if not entry.is_symlink()]
    for each in below:
        yield from _without(inside, each)
