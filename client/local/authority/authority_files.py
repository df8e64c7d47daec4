"""The folder of a cluster's certificate authority: what is in it, read and written without half states.

    DIR/              mode 0700
    DIR/ca.pem        the certificates that nodes and clients trust; the first one signs, and during a
                      rotation the former one follows
    DIR/ca-ID.key     the key of the authority with that id, mode 0600; ID begins its fingerprint
    DIR/ca.crl        the revocation lists, one of each authority in ca.pem
    DIR/issued.json   every certificate that was issued, with its serial number
    DIR/nodes/NAME.pem, DIR/nodes/NAME.key, DIR/clients/...    those certificates and their keys

The bundle is replaced in one step after the key is there, so a command that was interrupted leaves the former
state.  `cryptography` is imported by those who call, not with this module.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ringmill.cluster.adapters.files.private_files import (
    claim_folder,
    distrust,
    make_private_folder,
    open_private,
    replace_private,
)
from ringmill.cluster.errors import Conflict, CorruptData, NotFound, PermissionDenied

__all__ = ["AuthorityFolder", "Issued"]

_FORMAT: Final = 1
_AUTHORITY_KEY: Final = re.compile(r"ca-([0-9a-f]+)\.key")


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate that was issued.  `serial` is hexadecimal, `until` seconds since 1970."""

    serial: str
    name: str  # of a node, or "client/NAME"
    authority: str  # the id of the authority that signed it
    until: float
    fingerprint: str
    hosts: list[str] = field(default_factory=list)
    revoked: float = 0.0  # when, in seconds since 1970; 0 if it is not


class AuthorityFolder:
    """The files of one authority.  Raises what the operating system raises, and RingmillError."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.abspath(folder)

    @property
    def option(self) -> str:
        """How a command names this folder."""
        return f"--dir {shlex.quote(self.path)}"

    @property
    def bundle(self) -> str:
        return self._file("ca.pem")

    @property
    def revocations(self) -> str:
        return self._file("ca.crl")

    def certificate(self, name: str) -> str:
        """Where the certificate of a node, or of "client/NAME", is."""
        return self._file(f"{_place(name)}.pem")

    def key(self, name: str) -> str:
        return self._file(f"{_place(name)}.key")

    def authority_key(self, identity: str) -> str:
        return self._file(f"ca-{identity}.key")

    def authority_keys(self) -> list[str]:
        """The ids of the authorities whose keys are here."""
        names = sorted(os.listdir(self.path))
        return [found[1] for name in names if (found := _AUTHORITY_KEY.fullmatch(name))]

    def make(self) -> None:
        """Make the folder.  Raises Conflict when there is an authority in it."""
        make_private_folder(self.path)
        claim_folder(self.path)
        make_private_folder(self._file("nodes"))
        make_private_folder(self._file("clients"))
        if os.path.lexists(self.bundle):
            raise Conflict(
                f"--dir {self.path} has a certificate authority already",
                hint=f"`ringmill ca show {self.option}` lists it; `ringmill ca rotate {self.option}` makes "
                "it a new key",
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder: one command at a time changes it."""
        import fcntl

        path = self._file(".lock")
        with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read(self, path: str) -> bytes:
        """A file that nobody else can have written.  Raises NotFound, PermissionDenied."""
        try:
            if why := distrust(path):
                raise PermissionDenied(f"{why}: it is not used", hint=f"see `ls -l {path}`")
            with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise NotFound(
                f"--dir {self.path} has no certificate authority: {os.path.basename(path)} is missing",
                hint=f"`ringmill ca init {self.option}` makes one",
            ) from None

    def write_new(self, path: str, data: bytes) -> None:
        """Write a file that must not be there.  Raises Conflict."""
        try:
            descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            raise Conflict(f"{path} is there already") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def replace(self, path: str, data: bytes) -> None:
        """Write a file in the place of the former one, in one step."""
        replace_private(path, data, is_synced=True)

    def has(self, path: str) -> bool:
        return os.path.lexists(path)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def issued(self) -> list[Issued]:
        """All certificates that were issued.  Raises CorruptData."""
        path = self._file("issued.json")
        try:
            written: dict[str, Any] = json.loads(self.read(path))
            if written["format"] != _FORMAT:
                raise ValueError(f"format {written['format']}, this release reads {_FORMAT}")
            return [Issued(**each) for each in written["certificates"]]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptData(
                f"{path} cannot be read: {error}", hint="put it back from a copy: revoking needs its serials"
            ) from error

    def write_issued(self, certificates: list[Issued]) -> None:
        document = {"format": _FORMAT, "certificates": [asdict(each) for each in certificates]}
        self.replace(self._file("issued.json"), json.dumps(document, indent=1).encode() + b"\n")

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)


def _place(name: str) -> str:
    """Where the files of a node, or of "client/NAME", are; no node can have the name of another file."""
    return f"clients/{name.partition('/')[2]}" if "/" in name else f"nodes/{name}"
