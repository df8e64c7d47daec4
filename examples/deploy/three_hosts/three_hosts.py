"""Three hosts on one machine: network namespaces with addresses, certificates and a delay of their own.

    sudo python examples/deploy/three_hosts/three_hosts.py [--delay-ms 2.5] [--seconds 5] [--keep]
    sudo python examples/deploy/three_hosts/three_hosts.py --clean

Each host is a namespace on a bridge, and runs one node from a file of settings.  The nodes speak TLS, as
their addresses are not loopback ones.  They are formed into a cluster from a fourth place, the namespace of
this script.  Under a load that checks every read, one host is cut off and comes back, each node is given
another certificate, and that of one is revoked.  Strangers knock meanwhile.  Exit code 0 when no acknowledged
write was lost and every stranger was refused, 1 else, 2 when this machine cannot run it.  What was made is
removed at the end, also after Ctrl-C; --clean removes what a killed run has left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

import ringmill
from ringmill.client.local.authority.certificates import make_authority, make_certificate, pem_key
from ringmill.client.local.checked_load import CheckedLoad
from ringmill.client.local.processes import our_environment
from ringmill.cluster.adapters.network.tls.certificate_names import Holder

Signer: TypeAlias = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]

BRIDGE = "ringmill-br"
NETWORK = "10.213.77"
CLONE = "/dev/net/tun"  # TAP devices are made of it
NAMES = ("n1", "n2", "n3")
PATIENCE_S = 60.0
PORT, FRAMES_PORT = 7101, 7201
KNOCKS = 3  # of each stranger: the log has a line of the first, and counts the others for a minute


@dataclass(frozen=True)
class Host:
    """One of the three: its node, and where it is."""

    name: str
    number: int

    @property
    def namespace(self) -> str:
        return f"ringmill-{self.name}"

    @property
    def link(self) -> str:
        """The bridge's end of its cable."""
        return f"ringmill-{self.name}"

    @property
    def far_end(self) -> str:
        """The other end, until it is the host's eth0."""
        return f"ringmill-{self.name}-far"

    @property
    def ip(self) -> str:
        return f"{NETWORK}.{10 + self.number}"

    @property
    def address(self) -> str:
        return f"{self.ip}:{PORT}"


HOSTS = tuple(Host(name, number) for number, name in enumerate(NAMES, 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    late = "how late each host's cable hands packets over, each way"
    parser.add_argument("--delay-ms", type=float, default=2.5, help=late)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long one host is cut off")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and data")
    parser.add_argument("--clean", action="store_true", help="only remove what a killed run has left")
    given = parser.parse_args()
    if why := lacking():
        print(f"three_hosts: {why}", file=sys.stderr)
        return 2
    if given.clean:
        remove_network()
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        return run(given.delay_ms, given.seconds, keep=given.keep)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def lacking() -> str:
    """Why this machine cannot run it; "" when it can."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if shutil.which("ip") is None:
        return "needs the program ip (package iproute2)"
    if subprocess.run(["ip", "netns", "list"], capture_output=True, check=False).returncode != 0:
        return "network namespaces are not to be had here"
    return ""


def run(delay_ms: float, cut_s: float, *, keep: bool) -> int:
    with ExitStack() as stack:
        folder = stack.enter_context(working_folder(keep=keep))
        stack.enter_context(network(delay_ms))
        prepare(folder)
        for host in HOSTS:
            stack.enter_context(node(host, folder))
        members = ",".join(f"{host.name}={host.address}" for host in HOSTS)
        command(folder, "cluster", "form", "--members", members, "--timeout", "60s")
        return asyncio.run(story(folder, cut_s))


@contextmanager
def working_folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ringmill-hosts-"))
    try:
        yield folder
    finally:
        if keep:
            print(f"logs and data: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def network(delay_ms: float) -> Iterator[None]:
    """The bridge, and a namespace for each host, with an address and a delay."""
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        raise SystemExit(f"three_hosts: {BRIDGE} is there: another run, or --clean removes what one has left")
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        with cables(delay_ms) as cables_text:
            for host in HOSTS:
                ip("netns", "add", host.namespace)
                ip("link", "set", host.far_end, "netns", host.namespace, "name", "eth0")
                ip("link", "set", host.link, "master", BRIDGE, "up")
                ip("-n", host.namespace, "address", "add", f"{host.ip}/24", "dev", "eth0")
                ip("-n", host.namespace, "link", "set", "eth0", "up")
                ip("-n", host.namespace, "link", "set", "lo", "up")
            print(f"three hosts on {BRIDGE}: {', '.join(host.address for host in HOSTS)}; {cables_text}")
            yield
    finally:
        remove_network()


@contextmanager
def cables(delay_ms: float) -> Iterator[str]:
    """One for each host, between the bridge and what becomes its eth0; how late they are."""
    if delay_ms <= 0 or not os.path.exists(CLONE):
        for host in HOSTS:
            ip("link", "add", host.link, "type", "veth", "peer", "name", host.far_end)
        yield "no delay" if delay_ms <= 0 else f"no delay, as {CLONE} is missing"
        return
    program = [sys.executable, "-P", str(Path(__file__).with_name("slow_cables.py")), str(delay_ms)]
    ends = [f"{host.link}:{host.far_end}" for host in HOSTS]
    with subprocess.Popen([*program, *ends], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            if process.stdout.readline() != b"ready\n":
                raise SystemExit("three_hosts: the kernel gives no TAP devices; --delay-ms 0 does without")
            yield f"{delay_ms:g} ms on each cable"
        finally:
            process.stdin.close()


def remove_network() -> None:
    """What there is of it."""
    for host in HOSTS:
        subprocess.run(["ip", "netns", "delete", host.namespace], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", host.link], capture_output=True, check=False)
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)


def prepare(folder: Path) -> None:
    """The cluster's token, its authority, and for each host a certificate and a file of settings."""
    write(folder / "token", secrets.token_urlsafe(32))
    ringmill_command("ca", "init", "--dir", str(folder / "ca"), "--name", "hosts")
    for host in HOSTS:
        ringmill_command("ca", "issue", host.name, "--dir", str(folder / "ca"), "--address", host.address)
        settings = {
            "id": host.name,
            "listen": host.address,
            "data": str(folder / host.name),
            "zone": f"rack-{host.number}",
            "token-file": str(folder / "token"),
            "tls-cert": str(folder / "ca" / "nodes" / f"{host.name}.pem"),
            "tls-key": str(folder / "ca" / "nodes" / f"{host.name}.key"),
            "tls-ca": str(folder / "ca" / "ca.pem"),
            "tls-crl": str(folder / "ca" / "ca.crl"),
            "frames-port": FRAMES_PORT,
            "seeds": [other.address for other in HOSTS if other != host],
        }
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        write(folder / f"{host.name}.toml", "".join(lines))


@contextmanager
def node(host: Host, folder: Path) -> Iterator[None]:
    """The node of a host, in its namespace."""
    place = ["ip", "netns", "exec", host.namespace]
    program = [sys.executable, "-P", "-m", "ringmill.node", "--config", str(folder / f"{host.name}.toml")]
    with open(folder / f"{host.name}.log", "wb") as log:
        process = subprocess.Popen([*place, *program], env=our_environment(), stdout=log, stderr=log)
    try:
        time.sleep(0.5)  # what forbids a start is told at once
        if process.poll() is not None:
            end = (folder / f"{host.name}.log").read_text().strip()
            raise SystemExit(f"three_hosts: {host.name} did not start: {end}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def story(folder: Path, cut_s: float) -> int:
    """The load, the cut, the certificates, and what is left of what was acknowledged."""
    cut_off = HOSTS[1]
    endpoints = [host.address for host in HOSTS]
    token, authority = (folder / "token").read_text(), str(folder / "ca" / "ca.pem")
    async with ringmill.connect(endpoints, timeout=5.0, token=token, tls_ca=authority) as db:
        load, is_over = CheckedLoad(db, keys=64, workers=8, read_tries=5), asyncio.Event()
        working = asyncio.create_task(load.run(is_over.is_set))
        try:
            await until(lambda: load.acknowledged >= 200, "the first 200 writes", working)
            before = load.acknowledged
            ip("link", "set", cut_off.link, "down")
            print(f"{cut_off.name} is cut off after {before} acknowledged writes")
            await asyncio.sleep(cut_s)
            during = load.acknowledged - before
            ip("link", "set", cut_off.link, "up")
            print(f"{cut_off.name} is back; {during} writes were acknowledged without it")
            await asyncio.sleep(1.0)
            await renew(folder, load, working)
            let_in = await revoke(folder, load, working)
        finally:
            is_over.set()
            await working
        command(folder, "cluster", "status", "--wait", "healthy", "--timeout", "60s")
        load.failed_reads.clear()
        await load.read_back("all")
    print(
        f"{load.acknowledged} acknowledged writes, {load.reads} checked reads, {load.refused} refused, "
        f"{load.unknown} unknown, slowest write {load.slowest_write_s:.2f} s; lost: {len(load.lost)}, "
        f"not read: {len(load.failed_reads)}"
    )
    for line in [*load.lost, *load.failed_reads][:10]:
        print(f"    {line}")
    return 0 if during > 0 and not let_in and not load.lost and not load.failed_reads else 1


async def renew(folder: Path, load: CheckedLoad, working: asyncio.Task[None]) -> None:
    """Give each node another certificate, which it shows without a restart."""
    before = load.acknowledged
    for host in HOSTS:
        issue_again(folder, host)
        wanted = x509.load_pem_x509_certificate((folder / "ca" / "nodes" / f"{host.name}.pem").read_bytes())
        for port in (PORT, FRAMES_PORT):
            shown = -1
            while shown != wanted.serial_number:
                shown = await asyncio.to_thread(shown_serial, folder, host, port)
    await until(lambda: load.acknowledged > before + 50, "50 writes", working)
    print(f"all show new certificates; {load.acknowledged - before} writes were acknowledged meanwhile")


async def revoke(folder: Path, load: CheckedLoad, working: asyncio.Task[None]) -> list[str]:
    """Revoke the certificate of a node, and give it another one when the others have cut it off.

    Returns which strangers were let in, or told of too often.
    """
    before, stolen = load.acknowledged, HOSTS[2]
    ringmill_command("ca", "revoke", stolen.name, "--dir", str(folder / "ca"))
    let_in = await asyncio.to_thread(knock, folder, HOSTS[0])
    for host in HOSTS[:2]:
        is_heard = partial(
            is_logged, folder / f"{host.name}.log", f"{stolen.name} shows a certificate that was"
        )
        await until(is_heard, f"that {host.name} hears of it", working)
    await until(lambda: load.acknowledged > before + 50, "50 writes", working)
    print(f"{stolen.name} was revoked; {load.acknowledged - before} writes were acknowledged without it")
    issue_again(folder, stolen)
    return let_in


def is_logged(log: Path, text: str) -> bool:
    return text in log.read_text()


def issue_again(folder: Path, host: Host) -> None:
    ringmill_command("ca", "issue", host.name, "--dir", str(folder / "ca"), "--replace")


def shown_serial(folder: Path, host: Host, port: int) -> int:
    """The serial number of the certificate that a port shows."""
    context = ssl.create_default_context(cafile=str(folder / "ca" / "ca.pem"))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host.ip, port), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=host.ip) as secure,
    ):
        return int(str((secure.getpeercert() or {}).get("serialNumber", "0")), 16)


def knock(folder: Path, host: Host) -> list[str]:
    """Come to a host without TLS, with a certificate of another authority, and with one that has expired.

    Returns who was let in, or is not told of by just one line in the log of the node.
    """
    now, faults = datetime.now(UTC), list[str]()
    ours = x509.load_pem_x509_certificate((folder / "ca" / "ca.pem").read_bytes())
    (key,) = (folder / "ca").glob("ca-*.key")
    signer = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    strangers: dict[str, tuple[Signer, datetime] | None] = {
        "wrong version number": None,
        "unable to get local issuer certificate": (make_authority("hosts", now), now),
        "certificate has expired": ((ours, signer), now - timedelta(days=9)),
    }
    for complaint, bad in strangers.items():
        context = None if bad is None else showing(folder, *bad)
        for port in (FRAMES_PORT, PORT) if bad is None else (FRAMES_PORT,):
            if any(is_let_in(host, port, context) for _ in range(KNOCKS)):
                faults.append(f"{complaint}: let in at {port}")
        lines = [line for line in (folder / f"{host.name}.log").read_text().splitlines() if complaint in line]
        if len(lines) != 1:
            faults.append(f"{complaint}: {len(lines)} lines in the log")
    print(f"strangers without TLS, of another authority, and expired: {faults or 'refused, one line each'}")
    return faults


def showing(folder: Path, authority: Signer, at: datetime) -> ssl.SSLContext:
    """TLS with a certificate of n2 that was made by this authority at this time, for a day."""
    certificate, key = make_certificate(Holder("hosts", "n2"), [HOSTS[1].ip], 1, authority, at)
    path = folder / "stranger.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + pem_key(key))
    context = ssl.create_default_context(cafile=str(folder / "ca" / "ca.pem"))
    context.load_cert_chain(path)
    return context


def is_let_in(host: Host, port: int, context: ssl.SSLContext | None) -> bool:
    """Whether anything but a refusal comes from the node."""
    with socket.create_connection((host.ip, port), timeout=10) as plain:
        try:
            if context is None:
                plain.sendall(b"is anybody there?\r\n")
                answer = plain.recv(1024)
                return bool(answer) and answer[:1] != b"\x15"  # an alert of TLS
            with context.wrap_socket(plain, server_hostname=host.ip) as secure:
                secure.sendall(b"is anybody there?\r\n")
                return bool(secure.recv(1024))
        except (ssl.SSLError, ConnectionError):
            return False


async def until(condition: Callable[[], bool], what: str, working: asyncio.Task[None]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if working.done() or time.monotonic() > deadline:
            raise SystemExit(f"three_hosts: {what} took longer than {PATIENCE_S:.0f} s")
        await asyncio.sleep(0.05)


def command(folder: Path, *words: str) -> None:
    """A verb, as an operator with the token and the authority's certificate types it."""
    endpoints = [] if "--members" in words else ["--endpoints", ",".join(host.address for host in HOSTS)]
    known = ["--token-file", str(folder / "token"), "--tls-ca", str(folder / "ca" / "ca.pem")]
    ringmill_command(*words, *endpoints, *known)


def ringmill_command(*words: str) -> None:
    checked([sys.executable, "-P", "-m", "ringmill", *words])


def ip(*words: str) -> None:
    checked(["ip", *words])


def checked(line: Sequence[str]) -> None:
    done = subprocess.run(line, env=our_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"three_hosts: {' '.join(line)} failed: {(done.stderr or done.stdout).strip()}")


def write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main())
