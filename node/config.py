"""The configuration of one node: the command line of `python -m ringmill.node`, checked once.

The only file of node/ that may read the environment and the token file.  Values are plain and frozen, so
that the simulator can build the same configuration by hand.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Literal, NoReturn

from ringmill.cluster.access.client_token import PREFIX
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import NodeId
from ringmill.cluster.limits import MAX_TIMEOUT_S
from ringmill.cluster.wire.offers import CARRIERS, CarrierName

__all__ = ["NodeConfig", "TlsPaths", "data_folder", "parse_arguments"]

CONTAINMENTS = ("auto", "require", "off")
_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")
_TOKEN = re.compile(r"[!-~]{1,1024}")
_ADDRESS = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,39}\]):(\d{1,5})")
_LOOPBACK = re.compile(r"(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost|\[::1\]):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Settings of one node; times in seconds, sizes in bytes."""

    id: NodeId
    address: str  # host:port that peers and clients dial
    data: str  # folder, created if missing
    zone: str = ""
    token: str = ""  # required to submit jobs; "" refuses every job
    profile: str = "default"  # membership timing: "default" or "fast"
    slots: int = 1  # task processes at once
    scrub_every_s: float = 86_400.0  # every block of the store is read this often; 0 never
    compare_every_s: float = (
        60.0  # owners compare their copies this often; 0 only when one may lack something
    )
    purge_after_s: float = 3600.0
    """Deletes and expired values older than this are forgotten, once all owners have them; 0 never."""
    gate: bool = True  # whether requests that the node has no room for are refused (rule O3)
    hint_bytes: int = 1 << 30  # kept for one owner at most
    hint_age_s: float = 3 * 3600.0  # no more are kept for an owner for whom some have waited as long
    pass_vote_after_s: float = 600.0  # a voter that is down for as long loses its vote (rule T3)
    peer_transport: CarrierName = "grpc"  # what other nodes are dialled by, and offered beside gRPC
    client_transport: CarrierName = "grpc"  # what clients are offered beside gRPC
    frames_port: int = 0  # where frames over tcp are taken; 0: the system chooses at each start
    containment: Literal["auto", "require", "off"] = "auto"  # of tasks, as far as the kernel can
    token_file: str = ""
    tls: TlsPaths | None = None  # the files with which the node speaks TLS, and nothing else


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Files of a node that speaks TLS; `crl` may be "".  What it asks clients for, beside the token."""

    cert: str
    key: str
    ca: str
    crl: str = ""
    demands: bool = False  # clients show a certificate as well


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(message, hint="`ringmill node run --help` lists the flags")


def parse_arguments(arguments: Sequence[str]) -> NodeConfig:
    """The configuration of a command line.  Raises InvalidArgument naming the flag and the value."""
    parser = _Parser(prog="ringmill node run", description="Run one Ringmill node.", allow_abbrev=False)
    parser.add_argument("--id", required=True, help="name of the node, e.g. n1")
    parser.add_argument(
        "--listen",
        required=True,
        help="address to listen on: host:port; loopback only, unless with TLS and a token",
    )
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--token-file", default=None, help="file with the cluster's token")
    parser.add_argument("--zone", default="", help="failure domain of this node")
    parser.add_argument("--profile", default="default", choices=("default", "fast"), help="membership timing")
    parser.add_argument("--slots", type=int, default=1, help="number of task processes at once")
    parser.add_argument(
        "--containment",
        choices=CONTAINMENTS,
        default=os.environ.get("RINGMILL_CONTAINMENT", "auto"),
        help="whether tasks of jobs are held to their own files: as far as the kernel can, or not at all; "
        "require runs no jobs where it cannot",
    )
    _add_upkeep(parser)
    _add_tls(parser)
    parser.add_argument(
        "--peer-transport",
        choices=CARRIERS,
        help="what carries frames between nodes; tcp with TLS, else grpc",
    )
    parser.add_argument(
        "--client-transport", default="grpc", choices=CARRIERS, help="what clients may bring frames by"
    )
    parser.add_argument(
        "--frames-port", type=int, default=0, help="port that takes frames over tcp  [the system chooses]"
    )
    given = parser.parse_args(arguments)
    if not _ID.fullmatch(given.id):
        raise InvalidArgument(f"--id {given.id!r}: a lower-case letter, then up to 31 of a-z, 0-9 and -")
    if given.containment not in CONTAINMENTS:  # argparse does not look at what comes from the environment
        raise InvalidArgument(f"--containment {given.containment}: {', '.join(CONTAINMENTS)}")
    if not 0 <= given.slots <= 64:
        raise InvalidArgument(f"--slots {given.slots}: 0 to 64")
    _check_upkeep(given)
    tls = _tls(given)
    return NodeConfig(
        id=NodeId(given.id),
        address=_listened(given.listen, is_guarded=tls is not None and given.token_file is not None),
        data=data_folder(given.data, "--data"),
        zone=given.zone,
        token=_token(given.token_file),
        profile=given.profile,
        slots=given.slots,
        scrub_every_s=given.scrub_every,
        compare_every_s=given.compare_every,
        purge_after_s=given.purge_after,
        gate=given.gate == "on",
        hint_bytes=given.hint_bytes,
        hint_age_s=given.hint_age,
        pass_vote_after_s=given.pass_vote_after,
        peer_transport=given.peer_transport or ("grpc" if tls is None else "tcp"),
        client_transport=given.client_transport,
        containment=given.containment,
        token_file=str(Path(given.token_file).absolute()) if given.token_file else "",
        frames_port=_frames_port(given),
        tls=tls,
    )


def _frames_port(given: argparse.Namespace) -> int:
    port: int = given.frames_port
    if not 0 <= port < 32768 or given.listen.endswith(f":{port}"):
        raise InvalidArgument(
            f"--frames-port {port} must be a port from 1 to 32767, and not that of --listen"
        )
    return port


def _add_tls(parser: argparse.ArgumentParser) -> None:
    """The flags of rule F7 (docs/protocol/requests.md)."""
    parser.add_argument("--tls-cert", default="", help="file with the node's certificate: speak TLS only")
    parser.add_argument("--tls-key", default="", help="file with the key of --tls-cert")
    parser.add_argument("--tls-ca", default="", help="file with the certificates of the cluster's authority")
    parser.add_argument("--tls-crl", default="", help="file with the revocation lists of that authority")
    parser.add_argument(
        "--tls-clients",
        choices=("token", "certificate"),
        help="what clients have to show: the token, or also a certificate  [token]",
    )


def _tls(given: argparse.Namespace) -> TlsPaths | None:
    """Raises InvalidArgument for flags that do not go together."""
    paths = {"--tls-cert": given.tls_cert, "--tls-key": given.tls_key, "--tls-ca": given.tls_ca}
    if not any((*paths.values(), given.tls_crl, given.tls_clients)):
        return None
    if missing := [flag for flag, path in paths.items() if not path]:
        raise InvalidArgument(
            f"{', '.join(missing)} missing: TLS needs --tls-cert, --tls-key and --tls-ca",
            hint="`ringmill ca issue` makes the first two, `ringmill ca init` the last",
        )
    if given.peer_transport in {"grpc", "unix"}:
        raise InvalidArgument(
            f"--peer-transport {given.peer_transport}: with TLS nodes talk over tcp",
            hint="gRPC for Python cannot ask nodes for a certificate that clients need not have",
        )
    return TlsPaths(
        given.tls_cert, given.tls_key, given.tls_ca, given.tls_crl, given.tls_clients == "certificate"
    )


def _add_upkeep(parser: argparse.ArgumentParser) -> None:
    """The flags of what a node does by itself, now and then."""
    parser.add_argument(
        "--scrub-every",
        type=float,
        default=86_400.0,
        help="seconds between two scrubs, which read every block; 0 for never",
    )
    parser.add_argument(
        "--compare-every",
        type=float,
        default=os.environ.get("RINGMILL_COMPARE_EVERY", "60"),
        help="seconds between two comparisons with the other owners; 0 for only when one may lack something",
    )
    parser.add_argument(
        "--purge-after",
        type=_seconds_or_off,
        default=os.environ.get("RINGMILL_PURGE_AFTER", "3600"),
        metavar="SECONDS|off",
        help="seconds after which deletes are forgotten, once all owners have them; off for never",
    )
    parser.add_argument(
        "--purge-after-least",  # tests cannot wait for two minutes
        type=float,
        default=os.environ.get("RINGMILL_PURGE_AFTER_LEAST", str(2 * MAX_TIMEOUT_S)),
        help=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--gate",
        choices=("off", "on"),
        default=os.environ.get("RINGMILL_GATE", "on"),
        help="whether requests that the node cannot do soon are refused at once; on is the default",
    )
    parser.add_argument(
        "--hint-bytes",
        type=int,
        default=os.environ.get("RINGMILL_HINT_BYTES", str(1 << 30)),
        help="bytes of hints kept for one owner that is away",
    )
    parser.add_argument(
        "--hint-age",
        type=float,
        default=os.environ.get("RINGMILL_HINT_AGE", "10800"),
        help="seconds after which no more hints are kept for an owner that is away",
    )
    parser.add_argument(
        "--pass-vote-after",
        type=float,
        default=os.environ.get("RINGMILL_PASS_VOTE_AFTER", "600"),
        help="seconds after which a voter that is down loses its vote to a member that is up and has none",
    )


def _seconds_or_off(text: str) -> float:
    return 0.0 if text == "off" else float(text)


def _check_upkeep(given: argparse.Namespace) -> None:
    """Raises InvalidArgument."""
    if given.gate not in ("off", "on"):  # argparse does not look at what comes from the environment
        raise InvalidArgument(f"--gate {given.gate}: off or on")
    if not (given.scrub_every == 0 or 1 <= given.scrub_every <= 366 * 86_400):
        raise InvalidArgument(f"--scrub-every {given.scrub_every}: 0, or from 1 second to a year")
    if not (given.compare_every == 0 or 1 <= given.compare_every <= 366 * 86_400):
        raise InvalidArgument(f"--compare-every {given.compare_every}: 0, or from 1 second to a year")
    least_s = given.purge_after_least
    if not (given.purge_after == 0 or least_s <= given.purge_after <= 366 * 86_400):
        raise InvalidArgument(
            f"--purge-after {given.purge_after:g}: off, or from {least_s:g} seconds to a year",
            hint=f"a request may take {MAX_TIMEOUT_S:g} s, and must not bring what was deleted and forgotten "
            "meanwhile",
        )
    if given.hint_bytes < 0 or given.hint_age < 0:
        raise InvalidArgument(f"--hint-bytes {given.hint_bytes}, --hint-age {given.hint_age}: 0 or more")
    if not 1 <= given.pass_vote_after <= 366 * 86_400:
        raise InvalidArgument(f"--pass-vote-after {given.pass_vote_after}: from 1 second to a year")


def _listened(address: str, *, is_guarded: bool) -> str:
    """The address; one that other machines can reach only if the node `is_guarded` by TLS and a token."""
    match = _LOOPBACK.fullmatch(address)
    if match and not _is_host(match[1]):
        match = None
    if match is None and is_guarded:
        match = _ADDRESS.fullmatch(address)
        if not match or not _is_dialled(match[1].strip("[]")):
            raise InvalidArgument(
                f"--listen {address!r} is no host:port that nodes and clients can dial",
                hint="give the address of this machine, such as 10.0.0.7:7101",
            )
    if not match:
        raise InvalidArgument(
            f"--listen {address!r} must be a loopback host:port, such as 127.0.0.1:7101",
            hint="any other address needs TLS and a token: --tls-cert, --tls-key, --tls-ca and --token-file; "
            "`ringmill ca` makes certificates",
        )
    if not 0 < int(match[2]) < 32768:
        raise InvalidArgument(
            f"--listen {address!r} must have a port from 1 to 32767",
            hint="the system assigns higher ports to outgoing connections; a dial could connect to itself",
        )
    return address


def _is_dialled(host: str) -> bool:
    """Whether others can dial this host: a name, or an IP address of one machine."""
    if not re.fullmatch(r"[\d.]+|.*:.*", host):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return not address.is_unspecified and not address.is_multicast


def _is_host(name: str) -> bool:
    """Whether an IPv4 address is valid; 127.999.1.1 only has the right form."""
    try:
        return name in {"localhost", "[::1]"} or bool(IPv4Address(name))
    except ValueError:
        return False


def data_folder(given: str, flag: str) -> str:
    """The folder as an absolute path.  Raises InvalidArgument for "", which would be the current folder."""
    if not given:
        raise InvalidArgument(f"{flag} is '': it must name the data folder", hint="'.' is the current folder")
    return str(Path(given).absolute())


def _token(path: str | None) -> str:
    """What the file holds; "" when none is named.  An empty one must not leave a node open to all."""
    if path is None:
        return ""
    try:
        found = os.stat(path)
        others = 0o006 if found.st_gid == os.getegid() else 0o066  # who reads it can act as a node
        if found.st_uid not in {os.geteuid(), 0} or found.st_mode & others:
            raise InvalidArgument(
                f"--token-file {path!r} is not trusted: it belongs to uid {found.st_uid}, "
                f"gid {found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}",
                hint="only its owner may read a token: `chmod 600` it, and start the node as that user",
            )
        token = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"--token-file {path!r}: {error}") from error
    if token.startswith(PREFIX):
        raise InvalidArgument(
            f"--token-file {path!r} holds the token of a client",
            hint="a node needs the cluster's own: the file `token` of a local cluster's folder",
        )
    if not _TOKEN.fullmatch(token):
        raise InvalidArgument(
            f"--token-file {path!r} holds no token: up to 1024 printable characters without spaces",
            hint="`head -c 32 /dev/urandom | base64` prints one",
        )
    return token
