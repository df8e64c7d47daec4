"""From settings to a connected client: --endpoints, or the addresses of the named local cluster."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from ringmill.client.cli.console.settings import Settings
from ringmill.client.local.local_state import load_cluster, read_token
from ringmill.cluster.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    from ringmill.client.connection import AsyncClient
    from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles

__all__ = ["endpoints_of", "open_client", "secrets_of", "tls_of_settings", "cluster_token"]

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
    from ringmill.client.connection import connect, follow_token
    from ringmill.cluster.limits import MAX_TIMEOUT_S

    timeout_s = min(settings.timeout_s, MAX_TIMEOUT_S)  # a verb that waits for longer asks again and again
    token = cluster_token(settings)
    client = connect(
        endpoints,
        timeout=timeout_s,
        token=token,
        session=session,
        tls_ca=_tls_ca(settings),
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
    )
    return follow_token(client, partial(cluster_token, settings)) if token else client


def secrets_of(settings: Settings) -> list[str]:
    """Files and folders that open the cluster: the token and the key of this client, a local cluster's state.

    The folder of a local cluster is left out when all of the user's home is in it.
    """
    folder = settings.cluster_folder
    is_home = f"{os.path.expanduser('~')}/".startswith(f"{os.path.abspath(folder)}/")
    named = (settings.token_file, settings.tls_key, "" if is_home else folder)
    return [path for path in named if path]


def tls_of_settings(settings: Settings) -> TlsFiles | None:
    """TLS for links that a verb opens itself.  Raises InvalidArgument."""
    from ringmill.client.connection import tls_of

    return tls_of(_tls_ca(settings), settings.tls_cert, settings.tls_key)


def _tls_ca(settings: Settings) -> str:
    """--tls-ca or RINGMILL_TLS_CA, else the authority of the chosen local cluster, if it has one."""
    if settings.tls_ca or (settings.endpoints and "cluster" not in settings.given):
        return settings.tls_ca
    cluster = load_cluster(settings.cluster_folder)
    if cluster is None or not cluster.tls:
        return ""
    from ringmill.client.local.authority.local_tls import tls_ca_of

    return tls_ca_of(cluster.folder)


def cluster_token(settings: Settings) -> str:
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
