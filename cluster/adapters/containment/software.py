"""The files that programs need whatever they do: libraries, Python with its packages, settings of the system.

Tasks may read these and no other files that nobody named.  Of /etc that is what the C library, TLS and
interpreters read, not the folder: services keep passwords there, and root reads everything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["READABLE_DEVICES", "SHARED_MEMORY", "USABLE_DEVICES", "software_folders"]

_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/opt", "/nix/store", "/gnu/store")
_SETTINGS: Final = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version", "fonts",
    "gai.conf", "group", "host.conf", "hostname", "hosts", "inputrc", "java", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "ld.so.preload", "locale.alias", "localtime", "login.defs", "lsb-release", "magic",
    "mime.types", "netconfig", "networks", "nsswitch.conf", "os-release", "passwd", "perl", "pki/ca-trust",
    "pki/tls/certs", "pki/tls/openssl.cnf", "protocols", "python3", "R", "resolv.conf", "rpc", "services",
    "shells", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
_KERNEL: Final = ("/proc", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm")
"""/proc as children have numbers of their own; Landlock refuses the environment, the memory and the
descriptors of processes outside, whoever asks."""
_JAVA: Final = "/etc/java-"

USABLE_DEVICES: Final = ("/dev/null", "/dev/full", "/dev/zero")
READABLE_DEVICES: Final = ("/dev/random", "/dev/urandom")
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  where the C library keeps the locks of multiprocessing


@cache
def software_folders() -> tuple[str, ...]:
    """Absolute paths without links in them, of files and folders that exist; found once in a process."""
    wanted = [*_SYSTEM, *(f"/etc/{name}" for name in _SETTINGS), *_java(), *_KERNEL, *_of_python()]
    found = dict.fromkeys(os.path.realpath(path) for path in wanted if path and os.path.exists(path))
    return tuple(path for path in found if not _is_below_another(path, found))


def _java() -> Iterator[str]:
    """Its settings lie in a folder for each version."""
    for name in os.listdir("/etc") if os.path.isdir("/etc") else ():
        if f"/etc/{name}".startswith(_JAVA):
            yield f"/etc/{name}"


def _of_python() -> Iterator[str]:
    """The installation, its environment, and the packages beside them."""
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.realpath(sys.executable))
    package = str(Path(os.path.abspath(__file__)).parents[__name__.count(".") - 1])
    yield package
    yield from (entry.path for entry in os.scandir(package) if entry.is_symlink())  # of a checkout
    around = os.path.dirname(os.path.abspath(package))
    yield from (
        entry for entry in sys.path if (entry and os.path.abspath(entry) != around) or _is_installed(entry)
    )
    for name, module in list(sys.modules.items()):  # packages that were installed as they lie somewhere
        if name.startswith("__editable___"):
            yield from vars(module).get("MAPPING", {}).values()


def _is_installed(entry: str) -> bool:
    """Whether a folder holds packages and nothing else, as a checkout does not."""
    return os.path.basename(entry) in ("site-packages", "dist-packages")


def _is_below_another(path: str, paths: dict[str, None]) -> bool:
    while (parent := os.path.dirname(path)) != path:
        if parent in paths:
            return True
        path = parent
    return False
