"""The settings of a node: the one table that the command line, the file, the environment and the pages of the
documentation are made from.

Values are checked here one by one; node/config.py checks what depends on more than one, or on the machine.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.limits import MAX_TIMEOUT_S
from ringmill.cluster.wire.offers import CARRIERS
from ringmill.node.configuration.setting import Setting

__all__ = ["CONFIG", "NODE_SETTINGS"]

_YEAR_S: Final = 366 * 86_400.0
CONFIG: Final = "config"  # RINGMILL_CONFIG and --config: the file itself, which is no setting in a file

NODE_SETTINGS: Final = (
    Setting(name="id", is_required=True, help="name of the node, e.g. n1"),
    Setting(
        name="listen",
        is_required=True,
        help="address to listen on: host:port; loopback only, unless with TLS and a token",
    ),
    Setting(name="advertise", help="address that others are told and dial; the one of --listen if not given"),
    Setting(
        name="seeds",
        kind="list",
        default=(),
        help="addresses that are asked for the topology while the node belongs to no cluster",
    ),
    Setting(name="data", is_required=True, help="data folder"),
    Setting(name="token_file", is_clients_too=True, help="file with the cluster's token"),
    Setting(name="tls_cert", is_clients_too=True, help="file with the node's certificate: speak TLS only"),
    Setting(name="tls_key", is_clients_too=True, help="file with the key of --tls-cert"),
    Setting(name="tls_ca", is_clients_too=True, help="file with the certificates of the cluster's authority"),
    Setting(name="tls_crl", help="file with the revocation lists of that authority"),
    Setting(
        name="tls_clients",
        choices=("token", "certificate"),
        help="what clients have to show: the token, or also a certificate  [token]",
    ),
    Setting(
        name="join",
        is_secret=True,
        help="join token by which the node becomes a member, and fills the file of --token-file",
    ),
    Setting(name="zone", default="", help="failure domain of this node"),
    Setting(name="profile", default="default", choices=("default", "fast"), help="membership timing"),
    Setting(name="slots", kind="count", default=1, most=64, help="number of task processes at once"),
    Setting(
        name="host_slots",
        kind="count",
        default=0,
        most=4096,
        help="task processes that all nodes of this machine have at once; 0 for as many as it has cores",
    ),
    Setting(
        name="scrub_every",
        kind="seconds",
        default=86_400.0,
        least=1,
        most=_YEAR_S,
        or_zero=True,
        help="seconds between two scrubs, which read every block; 0 for never",
    ),
    Setting(
        name="compare_every",
        kind="seconds",
        default=60.0,
        least=1,
        most=_YEAR_S,
        or_zero=True,
        help="seconds between two comparisons with the other owners; 0 for only when one may lack something",
    ),
    Setting(
        name="purge_after",
        kind="seconds or off",
        default=3600.0,
        help="seconds after which deletes are forgotten, once all owners have them; off for never",
    ),
    Setting(
        name="purge_after_least",
        kind="seconds",
        default=2 * MAX_TIMEOUT_S,
        is_hidden=True,  # tests cannot wait for two minutes
        help="the least --purge-after",
    ),
    Setting(
        name="clock_shifts",
        is_hidden=True,  # tests cannot set the clock of the machine
        help="folder whose file of this node's name has the seconds by which the node's wall clock is ahead",
    ),
    Setting(
        name="gate",
        default="on",
        choices=("off", "on"),
        help="whether requests that the node cannot do soon are refused at once; on is the default",
    ),
    Setting(
        name="hint_bytes",
        kind="count",
        default=1 << 30,
        help="bytes of hints kept for one owner that is away",
    ),
    Setting(
        name="hint_age",
        kind="seconds",
        default=10_800.0,
        help="seconds after which no more hints are kept for an owner that is away",
    ),
    Setting(
        name="bundle_bytes",
        kind="count",
        default=1 << 30,
        help="bytes of code of jobs that the node keeps; what an open job needs is always kept",
    ),
    Setting(
        name="bundle_age",
        kind="seconds",
        default=604_800.0,
        help="seconds after which code of jobs is dropped that no open job needs and nobody has used",
    ),
    Setting(
        name="pass_vote_after",
        kind="seconds",
        default=600.0,
        least=1,
        most=_YEAR_S,
        help="seconds after which a voter that is down loses its vote to a member that is up and has none",
    ),
    Setting(
        name="peer_transport",
        choices=CARRIERS,
        help="what carries frames between nodes; tcp with TLS, else grpc",
    ),
    Setting(
        name="client_transport", default="grpc", choices=CARRIERS, help="what clients may bring frames by"
    ),
    Setting(
        name="frames_port",
        kind="count",
        default=0,
        least=1,
        most=32_767,
        or_zero=True,
        help="port that takes frames over tcp  [the system chooses]",
    ),
    Setting(
        name="log_format",
        default="text",
        choices=("text", "json"),
        help="form of the log: lines for people, or an object on each line for programs",
    ),
    Setting(
        name="metrics",
        help="[HOST:]PORT that serves metrics to Prometheus over HTTP, on loopback without HOST  [none]",
    ),
    Setting(
        name="traces",
        help="where traces go: file:PATH, a file or a folder, or the URL of a collector of OTLP over HTTP  "
        "[nowhere]",
    ),
    Setting(
        name="trace_one_in",
        kind="count",
        default=100,
        least=1,
        or_zero=True,
        help="of how many requests whose client does not trace one is traced; 0 for none",
    ),
    Setting(
        name="containment",
        default="auto",
        choices=("auto", "require", "off"),
        help="whether tasks of jobs are held to their own files: as far as the kernel can, or not at all; "
        "require runs no jobs where it cannot",
    ),
    Setting(name="log_file", help="file of the log, in a folder that is there; stderr if not given"),
    Setting(
        name="log_bytes",
        kind="count",
        default=16 << 20,
        least=4096,
        help="bytes after which --log-file becomes FILE.1, FILE.1 becomes FILE.2, and so on",
    ),
    Setting(
        name="log_files",
        kind="count",
        default=4,
        least=2,
        most=1000,
        help="number of files of the log; the oldest is removed",
    ),
)
