"""Sockets to listen on: a file of this user's, a loopback port, or with TLS a port that others reach.

Without TLS clients need no token and nothing is encrypted, so other addresses are refused here as they are
for --listen.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["bound_port", "loopback_port", "socket_file"]

_MAX_PATH_BYTES: Final = 107 if sys.platform == "linux" else 103  # of sockaddr_un, without its end
_FILE_MODE: Final = 0o600


@contextmanager
def loopback_port(host: str, port: int = 0) -> Iterator[socket.socket]:
    """A TCP socket bound to `port` of `host`, 0 for a free one.

    Raises InvalidArgument for a host that others can reach, and for a port that is taken.
    """
    _, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    if not ip_address(address[0]).is_loopback:
        raise InvalidArgument(
            f"cannot take frames on {host}: a loopback address is wanted",
            hint="clients need no token and nothing is encrypted, so no other address is served",
        )
    with bound_port(host, port) as listening:
        yield listening


@contextmanager
def bound_port(host: str, port: int = 0) -> Iterator[socket.socket]:
    """A TCP socket bound to `port` of `host`, 0 for a free one, whoever can reach it.

    For what proves who is there.

    Raises InvalidArgument when the port is taken, or the host is not of this machine.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        if port:  # one that a former process has left is ours again at once
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except OSError as error:
            raise InvalidArgument(
                f"cannot take frames on {host}:{port}: {error}",
                hint="see who holds it with `ss -ltnp`, or choose another with --frames-port",
            ) from error
        yield listening


@contextmanager
def socket_file(path: str) -> Iterator[socket.socket]:
    """A Unix socket bound to `path`, which is removed at the end.  Its folder is the caller's to protect.

    What a killed process left there is replaced.  Raises InvalidArgument when the path is too long for a
    socket, when it is another kind of file, and when somebody listens there.
    """
    size_bytes = len(os.fsencode(path))
    if size_bytes > _MAX_PATH_BYTES:
        raise InvalidArgument(
            f"a Unix socket cannot have the path {path}: it has {size_bytes} bytes, the limit is "
            f"{_MAX_PATH_BYTES}",
            hint="use a data folder with a shorter path, or another transport than unix",
        )
    _make_room(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        made = os.lstat(path).st_ino
        try:
            os.chmod(path, _FILE_MODE)
            yield listening
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(path).st_ino == made:
                    os.unlink(path)


def _make_room(path: str) -> None:
    """Remove the socket file of a process that is gone.  Raises InvalidArgument when the path is taken."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise InvalidArgument(f"cannot take frames at {path}: there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its queue is full: somebody is there
    raise InvalidArgument(f"cannot take frames at {path}: another process listens there")
