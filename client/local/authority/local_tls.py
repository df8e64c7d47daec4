"""The certificates of a local cluster that `ringmill cluster up --tls` has started: HOME/NAME/tls.

Its nodes read them there, and so do the verbs that name the cluster.
"""

from __future__ import annotations

import os

from ringmill.client.local.authority.authority import Authority, check_cluster_name
from ringmill.client.local.local_state import LocalCluster
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles

__all__ = ["authority_of", "check_can_have_tls", "certify", "node_flags", "tls_ca_of", "tls_files_of"]


def check_can_have_tls(name: str) -> None:
    """Raise InvalidArgument for a cluster whose name cannot stand in certificates."""
    check_cluster_name("--cluster", name)


def certify(cluster: LocalCluster) -> None:
    """Make the authority, if there is none, and a certificate for each node that has none, or none that goes
    with its key."""
    authority = authority_of(cluster.folder)
    if not authority.files.has(authority.files.bundle):
        authority.init(cluster.name)
    for node in cluster.nodes:
        if not authority.is_whole(node.id):
            authority.issue(node.id, [node.address, "localhost"], replace=True)


def node_flags(cluster: LocalCluster, node: str) -> list[str]:
    """What a node of a cluster with TLS is started with."""
    files = authority_of(cluster.folder).files
    return [
        "--tls-cert", files.certificate(node), "--tls-key", files.key(node),
        "--tls-ca", files.bundle, "--tls-crl", files.revocations,
    ]  # fmt: skip


def tls_ca_of(folder: str) -> str:
    """The certificates of the authority of the local cluster in `folder`; "" for one without TLS."""
    path = authority_of(folder).files.bundle
    return path if os.path.exists(path) else ""


def tls_files_of(cluster: LocalCluster) -> TlsFiles | None:
    """TLS for a client of the cluster; None for one without."""
    return TlsFiles(ca=tls_ca_of(cluster.folder)) if cluster.tls else None


def authority_of(folder: str) -> Authority:
    return Authority(os.path.join(folder, "tls"))
