"""Where a node may listen for frames, and what it does with what lies there."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ringmill.cluster.adapters.network.sockets.socket_places import bound_port, loopback_port, socket_file
from ringmill.cluster.errors import InvalidArgument


@pytest.fixture
def path() -> Iterator[str]:
    with TemporaryDirectory() as folder:
        yield f"{folder}/frames.sock"


def test_a_socket_file_is_its_owners_alone_and_goes_with_its_listener(path: str) -> None:
    with socket_file(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert not os.path.lexists(path)


def test_what_a_killed_process_left_is_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(path)
        dead.listen()
    with socket_file(path) as listening:
        listening.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            caller.connect(path)


def test_a_path_where_somebody_listens_is_left_to_them(path: str) -> None:
    with socket_file(path) as listening:
        listening.listen()
        with pytest.raises(InvalidArgument, match="another process listens there"), socket_file(path):
            pass
        assert os.path.lexists(path)


def test_a_file_that_is_not_a_socket_is_left_as_it_is(path: str) -> None:
    Path(path).write_text("mine")
    with pytest.raises(InvalidArgument, match="a file that is not a socket"), socket_file(path):
        pass
    assert Path(path).read_text() == "mine"


def test_a_socket_of_somebody_else_is_not_removed_at_the_end(path: str) -> None:
    with socket_file(path):
        os.rename(path, f"{path}.old")
        Path(path).write_text("another")
    assert Path(path).read_text() == "another"


def test_a_path_too_long_for_a_socket_is_named_with_the_limit(path: str) -> None:
    long = f"{os.path.dirname(path)}/{'x' * 120}"
    told = rf"{long}: it has {len(long)} bytes, the limit is 10"
    with pytest.raises(InvalidArgument, match=told), socket_file(long):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_only_a_loopback_address_is_listened_on(host: str) -> None:
    with pytest.raises(InvalidArgument, match="a loopback address is wanted"), loopback_port(host):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost"])
def test_a_loopback_port_is_free(host: str) -> None:
    with loopback_port(host) as listening:
        assert listening.getsockname()[1] > 0


def test_a_port_that_was_asked_for_is_had_or_named() -> None:
    with bound_port("127.0.0.1") as first:
        port = first.getsockname()[1]
    with bound_port("127.0.0.1", port) as listening:
        listening.listen()
        taken = pytest.raises(InvalidArgument, match=rf"cannot take frames on 127\.0\.0\.1:{port}")
        with taken, bound_port("127.0.0.1", port):
            pass
