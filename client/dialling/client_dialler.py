"""Opens the links of one client to the nodes of its cluster, with the token that they have to know."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import cached_property, partial

from ringmill.client.arguments import checked_token
from ringmill.client.dialling.node_links import open_link
from ringmill.client.local_token import FollowedToken, find_token_file, read_token_file
from ringmill.client.routing.balancing import Balancer
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Link
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.files.private_files import distrust
from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.adapters.network.link_proofs import one_spelling
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ports import FileSystem
from ringmill.cluster.wire.offers import CarrierName

__all__ = ["ClientDialler", "open_files"]


@dataclass(eq=False)
class ClientDialler:
    """Opens the links of one client.  They hold it, so it does not hold the client, which is closed when
    nobody does."""

    token: str
    session: bool
    transport: CarrierName
    tls: TlsFiles | None
    finds_token: bool
    token_path: str = ""  # where it was found, if none was given
    directory: Directory = field(init=False)

    def dial(self, address: str) -> Link:
        balancer = self.directory.balancer
        return open_link(
            address,
            session=self.session,
            transport=self.transport,
            check=partial(self._check_node, address),
            token=self.token_source,
            tls=self.tls,
            loaded=None if balancer is None else partial(_tell_load, balancer, address),
        )

    @cached_property
    def token_source(self) -> Callable[[], str]:
        """Tells the token that nodes have to know, looked for at first; "" asks for no proof."""
        is_given = self.token or not self.finds_token
        return partial(str, self.token) if is_given else self._found_token()

    def job_token_source(self) -> Callable[[], str]:
        """Tells the token for jobs: one not found before is looked for by the addresses of all members."""
        return self.token_source if self.token_source() or not self.finds_token else self._found_token()

    def _check_node(self, address: str, introduction: Introduction) -> None:
        self.directory.check_cluster(introduction.cluster, address, introduction.formers)

    def _found_token(self) -> Callable[[], str]:
        """Tells RINGMILL_TOKEN, else the token of the local cluster that these endpoints belong to."""
        if given := os.environ.get("RINGMILL_TOKEN", ""):
            return partial(str, checked_token(given))
        home = os.path.abspath(os.environ.get("RINGMILL_HOME", ".ringmill"))
        addresses = [one_spelling(each) for each in self.directory.addresses()]
        with open_files() as files:
            path = self.token_path = find_token_file(files, home, addresses, distrust)
        return FollowedToken(partial(_token_in, path), SystemClock()) if path else str


def _tell_load(balancer: Balancer, address: str, load: int) -> None:
    balancer.loaded(address, load, asyncio.get_running_loop().time())


def open_files() -> AbstractContextManager[FileSystem]:
    """The files of this machine, for as long as they are needed."""
    return closing(OsFileSystem())


def _token_in(path: str) -> str:
    with open_files() as files:
        return read_token_file(files, path)
