"""The configuration of one node: the command line of `python -m ringmill.node`, checked once.

The only file of node/ that may read the environment, the file of --config and the token file;
node/configuration/ is given what they hold.  Values are plain and frozen, so that the simulator can build the
same configuration by hand.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ringmill.cluster.access.client_token import PREFIX
from ringmill.cluster.access.cluster_secret import cluster_secret
from ringmill.cluster.adapters.files.private_files import distrust, draft_of, open_private, replace_private
from ringmill.cluster.adapters.tracing.trace_places import checked_trace_place
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import NodeId
from ringmill.cluster.limits import MAX_TIMEOUT_S
from ringmill.cluster.wire.join_tokens import JoinToken
from ringmill.cluster.wire.offers import CARRIERS, CarrierName
from ringmill.node.configuration.gathering_settings import argument_parser, config_path, gathered, require
from ringmill.node.configuration.node_file import settings_in
from ringmill.node.configuration.setting import Found
from ringmill.node.configuration.shown_settings import shown_settings

__all__ = [
    "NodeConfig",
    "TlsPaths",
    "check_keeps_token",
    "data_folder",
    "keep_token",
    "parse_arguments",
    "show_settings",
    "token_again",
    "token_mark",
]

Containing: TypeAlias = Literal["auto", "require", "off"]
CONTAINMENTS: Final[tuple[Containing, ...]] = ("auto", "require", "off")
_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")
_ANY_HOST = ("0.0.0.0", "[::]", "[::0]")  # noqa: S104 - they are refused
_ADDRESS = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,39}\]):(\d{1,5})")
_LOOPBACK = re.compile(r"(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost|\[::1\]):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Settings of one node; times in seconds, sizes in bytes."""

    id: NodeId
    address: str  # host:port that peers and clients are told, and dial
    data: str  # folder, created if missing
    listen: str = ""  # host:port to bind; "" for `address`
    seeds: tuple[str, ...] = ()  # asked for the topology while the node belongs to no cluster
    join: JoinToken | None = None  # by which the node becomes a member; None once it has the `token`
    token_file: str = ""  # where the `token` was, or will be once the node has joined
    zone: str = ""
    token: str = ""  # required to submit jobs; "" refuses every job
    profile: str = "default"  # membership timing: "default" or "fast"
    slots: int = 1  # task processes at once
    host_slots: int = 0  # of all nodes of this machine together; 0: its cores, or `slots` if that is more
    scrub_every_s: float = 86_400.0  # every block of the store is read this often; 0 never
    compare_every_s: float = (
        60.0  # owners compare their copies this often; 0 only when one may lack something
    )
    purge_after_s: float = 3600.0
    """Deletes and expired values older than this are forgotten, once all owners have them; 0 never."""
    clock_shifts: str = ""  # in tests: a folder by whose files the wall clock is wrong
    gate: bool = True  # whether requests that the node has no room for are refused (rule O3)
    hint_bytes: int = 1 << 30  # kept for one owner at most
    hint_age_s: float = 3 * 3600.0  # no more are kept for an owner for whom some have waited as long
    bundle_bytes: int = 1 << 30  # of the code of jobs that this node keeps
    bundle_age_s: float = 7 * 86_400.0  # for which code that no open job needs is kept without use
    pass_vote_after_s: float = 600.0  # a voter that is down for as long loses its vote (rule T3)
    peer_transport: CarrierName = "grpc"  # what other nodes are dialled by, and offered beside gRPC
    client_transport: CarrierName = "grpc"  # what clients are offered beside gRPC
    log_format: str = "text"  # or "json"
    metrics: str = ""  # host:port that serves metrics over HTTP; "" nowhere
    traces: str = ""  # where spans go: "file:/PATH" or a URL; "" nowhere
    trace_one_in: int = 100  # of the requests whose client does not trace one is traced; 0 none
    frames_port: int = 0  # where frames over tcp are taken; 0: the system chooses at each start
    containment: Containing = "auto"  # of tasks, as far as the kernel can
    tls: TlsPaths | None = None  # the files with which the node speaks TLS, and nothing else
    log_file: str = ""  # "": stderr
    log_bytes: int = 16 << 20  # after which `log_file` is rotated
    log_files: int = 4  # that there are at most
    config_file: str = field(default="", compare=False)  # where settings were; it may hold a join token

    @property
    def bound(self) -> str:
        """host:port to listen on."""
        return self.listen or self.address

    @property
    def proved(self) -> tuple[str, ...]:
        """Where clients may dial this node.  All addresses of a host are the address of none."""
        is_any = self.bound.rpartition(":")[0] in _ANY_HOST
        return (self.address,) if is_any else (self.address, self.bound)


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Files of a node that speaks TLS; `crl` may be "".  What it asks clients for, beside the token."""

    cert: str
    key: str
    ca: str
    crl: str = ""
    demands: bool = False  # clients show a certificate as well


def parse_arguments(arguments: Sequence[str]) -> NodeConfig:
    """The configuration of a command line, with what the environment and the file of --config add.

    Raises InvalidArgument naming the flag, variable, or line of the file, and the value.
    """
    parser = argument_parser("ringmill node run", "Run one Ringmill node.")
    flags = vars(parser.parse_args(arguments))
    path, _ = config_path(flags, os.environ)
    config = _checked(settings_given(flags))
    return replace(config, config_file=str(Path(path).absolute()) if path else "")


def settings_given(flags: Mapping[str, str]) -> dict[str, Found]:
    """All settings of a node that is started with these flags, and where each comes from.

    Raises InvalidArgument for one that is missing, or that no node can start with.
    """
    path, named_by = config_path(flags, os.environ)
    file = settings_in(_trusted_text(path, named_by), path) if path else {}
    found = gathered(flags, os.environ, file)
    require(found)
    return found


def show_settings(arguments: Sequence[str]) -> None:
    """`ringmill node config`: print the settings, once they are checked.  Raises InvalidArgument."""
    parser = argument_parser("ringmill node config", "Check the settings of a node, and print them.")
    parser.add_argument("--origin", action="store_true", help="also print where each comes from")
    parser.add_argument("-o", choices=("table", "json"), dest="form", help="one line for each, or JSON")
    flags = vars(parser.parse_args(arguments))
    has_origin, form = flags.pop("origin", False), flags.pop("form", "table")
    found = settings_given(flags)
    _checked(found)
    for line in shown_settings(found, has_origin=has_origin, form=form):
        print(line)


def _checked(found: Mapping[str, Found]) -> NodeConfig:
    """Raises InvalidArgument for what the table alone cannot refuse."""
    value = {name: each.value for name, each in found.items()}

    def text(name: str) -> str:
        return str(value[name])

    def number(name: str) -> float:
        given = value[name]
        assert isinstance(given, int | float)
        return given

    if not _ID.fullmatch(text("id")):
        raise InvalidArgument(
            f"{found['id'].origin} {text('id')!r}: a lower-case letter, then up to 31 of a-z, 0-9 and -"
        )
    _check_purge(found["purge_after"], number("purge_after"), number("purge_after_least"))
    tls = _tls(found)
    listen = _listened(
        text("listen"),
        found["listen"].origin,
        is_guarded=tls is not None and value["token_file"] is not None,
        is_known=value["advertise"] is not None,
    )
    seeds = value["seeds"]
    assert isinstance(seeds, tuple)
    join = _join_token(found)
    return NodeConfig(
        id=NodeId(text("id")),
        address=listen if value["advertise"] is None else _dialled(text("advertise"), found["advertise"]),
        listen=listen,
        seeds=tuple(dict.fromkeys(_dialled(seed, found["seeds"]) for seed in seeds)),
        data=data_folder(text("data"), found["data"].origin),
        zone=text("zone"),
        join=join,
        token_file=str(Path(text("token_file")).absolute()) if value["token_file"] else "",
        token="" if join else _token(found["token_file"]),
        profile=text("profile"),
        slots=int(number("slots")),
        host_slots=int(number("host_slots")),
        scrub_every_s=number("scrub_every"),
        compare_every_s=number("compare_every"),
        purge_after_s=number("purge_after"),
        clock_shifts=str(Path(text("clock_shifts")).absolute()) if value["clock_shifts"] else "",
        gate=value["gate"] == "on",
        hint_bytes=int(number("hint_bytes")),
        hint_age_s=number("hint_age"),
        bundle_bytes=int(number("bundle_bytes")),
        bundle_age_s=number("bundle_age"),
        pass_vote_after_s=number("pass_vote_after"),
        peer_transport=_carrier(str(value["peer_transport"] or ("grpc" if tls is None else "tcp"))),
        client_transport=_carrier(text("client_transport")),
        frames_port=_frames_port(found, listen),
        log_format=text("log_format"),
        metrics=_metrics(found, listen, is_guarded=tls is not None and value["token_file"] is not None),
        traces=_traces(found["traces"]),
        trace_one_in=int(number("trace_one_in")),
        containment=_containment(text("containment")),
        tls=tls,
        log_file=str(Path(text("log_file")).absolute()) if value["log_file"] is not None else "",
        log_bytes=int(number("log_bytes")),
        log_files=int(number("log_files")),
    )


def _frames_port(found: Mapping[str, Found], listen: str) -> int:
    port = found["frames_port"].value
    assert isinstance(port, int)
    if port and listen.endswith(f":{port}"):
        raise InvalidArgument(
            f"{found['frames_port'].origin} {port} is the port of {found['listen'].origin}, too",
            hint="frames over tcp need a port of their own",
        )
    return port


def _metrics(found: Mapping[str, Found], listen: str, *, is_guarded: bool) -> str:
    """host:port to serve metrics at, or "".  The rule for addresses is that of --listen."""
    given, text = found["metrics"], str(found["metrics"].value or "")
    if not text:
        return ""
    address = f"127.0.0.1:{text}" if text.isascii() and text.isdecimal() else text
    port = _listened(address, given.origin, is_guarded=is_guarded, is_known=True).rpartition(":")[2]
    if port in {listen.rpartition(":")[2], str(found["frames_port"].value)}:
        raise InvalidArgument(
            f"{given.origin} {port} is the port of --listen or --frames-port, too",
            hint="metrics need a port of their own",
        )
    return address


def _traces(given: Found) -> str:
    return checked_trace_place(given.origin, str(given.value)) if given.value else ""


def _containment(name: str) -> Containing:
    """Invalid texts were refused by the table of settings."""
    return next(known for known in CONTAINMENTS if known == name)


def _carrier(name: str) -> CarrierName:
    """Invalid texts were refused by the table of settings."""
    return next(carrier for carrier in CARRIERS if carrier == name)


def _tls(found: Mapping[str, Found]) -> TlsPaths | None:
    """Raises InvalidArgument for settings that do not go together (rule F7)."""
    names = ("tls_cert", "tls_key", "tls_ca", "tls_crl")
    paths = {name: str(found[name].value or "") for name in names}
    if not any(paths.values()) and found["tls_clients"].value is None:
        return None
    if missing := [found[name].setting.flag for name in names[:3] if not paths[name]]:
        raise InvalidArgument(
            f"{', '.join(missing)} missing: TLS needs --tls-cert, --tls-key and --tls-ca",
            hint="`ringmill ca issue` makes the first two, `ringmill ca init` the last",
        )
    carrier = found["peer_transport"]
    if carrier.value in {"grpc", "unix"}:
        raise InvalidArgument(
            f"{carrier.origin} {carrier.value}: with TLS nodes talk over tcp",
            hint="gRPC for Python cannot ask nodes for a certificate that clients need not have",
        )
    demands = found["tls_clients"].value == "certificate"
    return TlsPaths(paths["tls_cert"], paths["tls_key"], paths["tls_ca"], paths["tls_crl"], demands)


def _join_token(found: Mapping[str, Found]) -> JoinToken | None:
    """None when there is none, or the node has the cluster's token already.  Raises InvalidArgument."""
    given, path = found["join"], found["token_file"].value
    if not given.value:
        return None
    if not path or not found["seeds"].value:
        raise InvalidArgument(
            f"{given.origin} needs --token-file and --seeds",
            hint="seeds are members, which let the node join; the file is where it keeps the cluster's token",
        )
    if os.path.lexists(str(path)):
        return None
    try:
        token = JoinToken.parse(str(given.value))
    except InvalidArgument as error:
        raise InvalidArgument(f"{given.origin}: {error.message}") from error
    if token.grant.node != found["id"].value:
        raise InvalidArgument(
            f"{given.origin} is a token for {token.grant.node}, and this is {found['id'].value}"
        )
    return token


def keep_token(path: str, token: str) -> None:
    """Write the cluster's token where the next start reads it, whole or not at all.  Raises OSError."""
    replace_private(path, f"{token}\n".encode(), is_synced=True)


def check_keeps_token(path: str) -> None:
    """Raises InvalidArgument unless `keep_token` can write there, by making the file that it would begin
    with."""
    try:
        os.close(open_private(draft_of(path), os.O_WRONLY | os.O_CREAT))
        os.unlink(draft_of(path))
    except OSError as error:
        raise InvalidArgument(
            f"--token-file {path!r} cannot be written: {error.strerror}",
            hint="the node keeps the token of the cluster that it joins there: name a file in a folder of its"
            " own, such as one below the folder of its data",
        ) from error


def _check_purge(found: Found, after_s: float, least_s: float) -> None:
    """Raises InvalidArgument."""
    if after_s == 0 or least_s <= after_s <= 366 * 86_400:
        return
    raise InvalidArgument(
        f"{found.origin or found.setting.flag} {after_s:g}: off, or from {least_s:g} seconds to a year",
        hint=f"a request may take {MAX_TIMEOUT_S:g} s, and must not bring what was deleted and forgotten "
        "meanwhile",
    )


def _trusted_text(path: str, named_by: str) -> str:
    """What a file with settings holds.  Raises InvalidArgument for one that others can write."""
    try:
        why = distrust(path, follow=True) or distrust(os.path.dirname(path) or ".", follow=True)
        if why:
            raise InvalidArgument(
                f"{named_by} {path!r} is not trusted: {why}",
                hint="a node starts as its file says; only its user, or root, may be able to write it",
            )
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{named_by} {path!r}: {error}") from error


def _listened(address: str, origin: str, *, is_guarded: bool, is_known: bool) -> str:
    """The address; one that other machines can reach only if the node `is_guarded` by TLS and a token.

    An address that stands for all of a host cannot be dialled, and needs one that the node `is_known` by.
    """
    match = _LOOPBACK.fullmatch(address)
    if match and not _is_host(match[1]):
        match = None
    if match is None and is_guarded:
        match = _ADDRESS.fullmatch(address)
        host = match[1].strip("[]") if match else ""
        if not match or not (_is_dialled(host) or (is_known and match[1] in _ANY_HOST)):
            raise InvalidArgument(
                f"{origin} {address!r} is not a host:port that nodes and clients can dial",
                hint="give the address of this machine, such as 10.0.0.7:7101; one that stands for "
                "all of them needs --advertise",
            )
    if not match:
        raise InvalidArgument(
            f"{origin} {address!r} must be a loopback host:port, such as 127.0.0.1:7101",
            hint="any other address needs TLS and a token: --tls-cert, --tls-key, --tls-ca and --token-file; "
            "`ringmill ca` makes certificates",
        )
    if not 0 < int(match[2]) < 32768:
        raise InvalidArgument(
            f"{origin} {address!r} must have a port from 1 to 32767",
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


def _dialled(address: str, given: Found) -> str:
    """An address that others dial: a name or an address of a host, and a port."""
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port) < 65536
    if not is_port or not _HOST.fullmatch(host):
        raise InvalidArgument(f"{given.origin} {address[:80]!r} is not host:port, such as db1.example:7101")
    if host in _ANY_HOST:
        raise InvalidArgument(f"{given.origin} {address!r} stands for all addresses of a host: name one")
    return address


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


def token_mark(path: str) -> object:
    """What differs after the token file was written or replaced, or became another's to read."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    whose = found.st_uid, found.st_gid, found.st_mode
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, *whose


def token_again(path: str) -> str:
    """The token that the file of a running node holds now.  Raises InvalidArgument."""
    return _token_in(path, "--token-file")


def _token(given: Found) -> str:
    """What the file holds; "" when none is named.  An empty one must not leave a node open to all."""
    return "" if given.value is None else _token_in(str(given.value), given.origin)


def _token_in(path: str, origin: str) -> str:
    try:
        found = os.stat(path)
        others = 0o006 if found.st_gid == os.getegid() else 0o066  # who reads it can act as a node
        if found.st_uid not in {os.geteuid(), 0} or found.st_mode & others:
            raise InvalidArgument(
                f"{origin} {path!r} is not trusted: it belongs to uid {found.st_uid}, "
                f"gid {found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}",
                hint="only its owner may read a token: `chmod 600` it, and start the node as that user",
            )
        token = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{origin} {path!r}: {error}") from error
    if token.startswith(PREFIX):
        raise InvalidArgument(
            f"{origin} {path!r} holds the token of a client",
            hint="a node needs the cluster's own: the file `token` of a local cluster's folder",
        )
    try:
        return cluster_secret(token).text
    except InvalidArgument as error:
        raise InvalidArgument(
            f"{origin} {path!r} holds no token: {error.message}",
            hint="`head -c 32 /dev/urandom | base64` prints one",
        ) from error
