"""Three hosts on one machine: network namespaces with addresses, certificates and a delay of their own.

    sudo python examples/deploy/three_hosts/three_hosts.py [--delay-ms 5] [--seconds 5] [--keep]
    sudo python examples/deploy/three_hosts/three_hosts.py --clean

Each host is a namespace on a bridge, and runs one node from a file of settings.  The nodes speak TLS, as
their addresses are not loopback ones.  They are formed into a cluster from a fourth place, the namespace of
this script.  Under a load that checks every read, one host is cut off and comes back.  Exit code 0 when no
acknowledged write was lost, 1 else, 2 when this machine cannot run it.  What was made is removed at the end,
also after Ctrl-C; --clean removes what a killed run has left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import ringmill
from ringmill.client.local.checked_load import CheckedLoad
from ringmill.client.local.processes import our_environment

BRIDGE = "ringmill-br"
NETWORK = "10.213.77"
NAMES = ("n1", "n2", "n3")
PATIENCE_S = 60.0


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
    def ip(self) -> str:
        return f"{NETWORK}.{10 + self.number}"

    @property
    def address(self) -> str:
        return f"{self.ip}:7101"


HOSTS = tuple(Host(name, number) for number, name in enumerate(NAMES, 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--delay-ms", type=float, default=5.0, help="of each packet that a host sends")
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
        for host in HOSTS:
            ip("netns", "add", host.namespace)
            ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            ip("link", "set", host.link, "master", BRIDGE, "up")
            ip("-n", host.namespace, "address", "add", f"{host.ip}/24", "dev", "eth0")
            ip("-n", host.namespace, "link", "set", "eth0", "up")
            ip("-n", host.namespace, "link", "set", "lo", "up")
        print(f"three hosts on {BRIDGE}: {', '.join(host.address for host in HOSTS)}; {delayed(delay_ms)}")
        yield
    finally:
        remove_network()


def delayed(delay_ms: float) -> str:
    """Delay what each host sends, where the kernel can; what came of it."""
    if delay_ms <= 0:
        return "no delay"
    if shutil.which("tc") is None:
        return "no delay, as tc is missing"
    for host in HOSTS:
        shape = ["tc", "-n", host.namespace, "qdisc", "add", "dev", "eth0", "root", "netem"]
        done = subprocess.run(
            [*shape, "delay", f"{delay_ms}ms", f"{delay_ms / 5}ms"], capture_output=True, check=False
        )
        if done.returncode != 0:
            return "no delay, as this kernel has no netem"
    return f"{delay_ms:g} ms each way"


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
    """The load, the cut, and what is left of what was acknowledged."""
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
    return 0 if during > 0 and not load.lost and not load.failed_reads else 1


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
