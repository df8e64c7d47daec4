"""`ringmill ca init|issue|revoke|rotate|show`: the certificates of a cluster whose nodes speak TLS.

What they do is in client/local/authority/authority.py.  How TLS is set up: docs/operations.md.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.lazy import NO_CLUSTER, LazyGroup, Verb
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.client.local.authority.authority import Shown

__all__ = ["ca", "init", "issue", "revoke", "rotate", "show"]

WARN_DAYS = 30
_HOME = "ringmill.client.cli.ca_verbs"

ca = LazyGroup(
    "ca",
    {
        "init": Verb(f"{_HOME}:init", "make the authority of a cluster", NO_CLUSTER),
        "issue": Verb(f"{_HOME}:issue", "make the certificate of a node or a client", NO_CLUSTER),
        "revoke": Verb(f"{_HOME}:revoke", "have nodes refuse a certificate", NO_CLUSTER),
        "rotate": Verb(f"{_HOME}:rotate", "change the authority's key, in two steps", NO_CLUSTER),
        "show": Verb(f"{_HOME}:show", "list certificates, and how long they are valid", NO_CLUSTER),
    },
    "Make and look after the certificates of nodes that speak TLS.",
)
_folder = click.option("--dir", "folder", required=True, type=click.Path(), help="folder of the authority")


@click.command()
@_folder
@click.option(
    "--name", "cluster", default="ringmill", show_default=True, help="the cluster's name in certificates"
)
@click.pass_obj
def init(settings: Settings, folder: str, cluster: str) -> None:
    """Make a certificate authority in an empty folder, for ten years.

    Whoever has its key can make nodes: keep the folder on a machine that runs none.
    """
    from ringmill.client.local.authority.authority import Authority

    authority = Authority(folder)
    authority.init(cluster)
    first = authority.show()[0]
    document = {"cluster": cluster, "ca": authority.files.bundle, "fingerprint": first.fingerprint}
    output.fields(settings, document, list(document.items()))
    output.next_command(settings, f"ringmill ca issue n1 --dir {shlex.quote(folder)} --address HOST:PORT")


@click.command()
@_folder
@click.argument("node", required=False)
@click.option("--client", help="a certificate of a client of this name, instead of a node's")
@click.option("--address", "addresses", multiple=True, help="HOST[:PORT] that clients dial; may be repeated")
@click.option("--days", type=int, default=365, show_default=True, help="how long it is valid")
@click.option(
    "--replace", is_flag=True, help="in the place of the present one, at its addresses if none is given"
)
@click.pass_obj
def issue(
    settings: Settings,
    folder: str,
    node: str | None,
    client: str | None,
    addresses: tuple[str, ...],
    days: int,
    replace: bool,
) -> None:
    """Make the certificate and the key of NODE, or of a client."""
    from ringmill.client.local.authority.authority import Authority

    if (node is None) == (client is None):
        raise InvalidArgument(
            "name a NODE, or a client with --client",
            hint=f"ringmill ca issue n1 --dir {shlex.quote(folder)} --address HOST:PORT",
        )
    if client is not None and addresses:
        raise InvalidArgument("--address means nothing with --client: nobody dials a client")
    authority = Authority(folder)
    one = authority.issue(
        node or client or "", addresses, days=days, is_node=node is not None, replace=replace
    )
    document = {
        "name": one.name,
        "certificate": authority.files.certificate(one.name),
        "key": authority.files.key(one.name),
        "serial": one.serial,
        "fingerprint": one.fingerprint,
        "hosts": one.hosts,
    }
    rows = [(name, " ".join(value) if isinstance(value, list) else value) for name, value in document.items()]
    output.fields(settings, document, rows)


@click.command()
@_folder
@click.argument("certificate")
@click.pass_obj
def revoke(settings: Settings, folder: str, certificate: str) -> None:
    """Revoke CERTIFICATE: a serial number, or all of a node, or all of client/NAME.

    Nodes refuse it once they have the file ca.crl of the folder, which they read when it changes.
    """
    from ringmill.client.local.authority.authority import Authority

    authority = Authority(folder)
    revoked = authority.revoke(certificate)
    document = {"revoked": [each.serial for each in revoked], "list": authority.files.revocations}
    output.fields(settings, document, [("revoked", len(revoked)), ("list", authority.files.revocations)])
    output.advise(settings, "copy the list to every node, as its --tls-crl")


@click.command()
@_folder
@click.option("--finish", is_flag=True, help="trust the new authority alone")
@click.pass_obj
def rotate(settings: Settings, folder: str, finish: bool) -> None:
    """Change the key of the authority.

    Between `rotate` and `rotate --finish` both are trusted.  Give ca.pem to all nodes and clients after the
    first, then issue new certificates with `issue --replace` one by one, and give it again after the last.
    """
    from ringmill.client.local.authority.authority import Authority

    authority = Authority(folder)
    if finish:
        removed, bundle = authority.finish(), authority.files.bundle
        rows = [("removed", " ".join(removed)), ("ca", bundle)]
        output.fields(settings, {"removed": removed, "ca": bundle}, rows)
        return
    document = {"authority": authority.rotate(), "ca": authority.files.bundle}
    output.fields(settings, document, list(document.items()))
    output.advise(settings, "give ca.pem to every node and client before you issue certificates")


@click.command()
@_folder
@click.pass_obj
def show(settings: Settings, folder: str) -> None:
    """List the authorities that are trusted, and every certificate that was issued."""
    from ringmill.client.local.authority.authority import Authority

    authority = Authority(folder)
    rows = authority.show()
    document = {"cluster": authority.cluster, "certificates": [asdict(each) for each in rows]}
    table = [
        (each.name, each.state, each.days_left, each.serial, each.fingerprint, " ".join(each.hosts))
        for each in rows
    ]
    output.show(settings, document, ("NAME", "STATE", "DAYS", "SERIAL", "SHA-256", "HOSTS"), table)
    for each in rows:
        if each.days_left < WARN_DAYS and each.state in {"signs", "trusted", "valid"}:
            output.note(f"{each.name} ends in {each.days_left} days: `{_renewal(each, folder)}`")


def _renewal(shown: Shown, folder: str) -> str:
    """The command that makes another one in its place."""
    where = f"--dir {shlex.quote(folder)}"
    if shown.state != "valid":
        return f"ringmill ca rotate {where}"
    holder = shown.name.removeprefix("client/")
    who = holder if holder == shown.name else f"--client {holder}"
    return f"ringmill ca issue {who} {where} --replace"
