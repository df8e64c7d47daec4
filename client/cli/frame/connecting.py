"""From settings to a connected client: --endpoints, or the addresses of the named local cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringmill.client.cli.frame.settings import Settings
from ringmill.client.local.local_state import load_cluster, read_token
from ringmill.cluster.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    from ringmill.client.connection import AsyncClient

__all__ = ["endpoints_of", "open_client"]

_LONGEST_TOKEN_FILE = 4096


def endpoints_of(settings: Settings) -> list[str]:
    """Addresses to connect to.  Raises Unavailable when there is no endpoint and no such local cluster."""
    if settings.endpoints:
        return settings.endpoints.split(",")
    cluster = load_cluster(settings.cluster_folder)
    if cluster is None:
        raise Unavailable(
            f"there is no local cluster {settings.cluster!r} in {settings.home_folder}",
            hint="`ringmill cluster up` starts one; --endpoints host:port names another",
        )
    return [node.address for node in cluster.nodes]


def open_client(settings: Settings, *, session: bool = False) -> AsyncClient:
    """A client for the verbs.  Most verbs send one request, so it opens no session unless told to."""
    endpoints = endpoints_of(settings)
    from ringmill.client.connection import connect
    from ringmill.cluster.limits import MAX_TIMEOUT_S

    timeout_s = min(settings.timeout_s, MAX_TIMEOUT_S)  # a verb that waits for longer asks again and again
    return connect(endpoints, timeout=timeout_s, token=_token(settings), session=session)


def _token(settings: Settings) -> str:
    """The token from --token-file, RINGMILL_TOKEN or the chosen local cluster, in this order."""
    if settings.token_file:
        try:
            with open(settings.token_file, encoding="ascii") as file:
                settings.set("token", file.read(_LONGEST_TOKEN_FILE).strip(), "--token-file")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(
                f"--token-file {settings.token_file} cannot be read: {error}",
                hint="it is the file `token` in the state folder of the cluster",
            ) from error
    if settings.token or (settings.endpoints and "cluster" not in settings.given):
        return settings.token
    return read_token(settings.cluster_folder)
