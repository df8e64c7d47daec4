"""The settings that all verbs share: cluster, endpoints, output format, timeout.

In order of precedence: flags, RINGMILL_* variables, ./ringmill.toml, ~/.config/ringmill/config.toml,
defaults. client/cli/console/global_options.py declares the flags.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringmill.cluster.adapters.files.private_files import distrust
from ringmill.cluster.errors import InvalidArgument

__all__ = ["FORMS", "LONGEST_TIMEOUT_S", "Settings", "bounded_span_s", "seconds"]

DEFAULT_CLUSTER = "default"
DEFAULT_TIMEOUT_S = 5.0
LONGEST_TIMEOUT_S = 7 * 86400.0  # gRPC's timers overflow some way above
LONGEST_SPAN_S = 36_500 * 86400.0
FORMS = ("table", "json", "raw")
NAMES = (
    "base_port", "cluster", "endpoints", "home", "output", "timeout",
    "tls_ca", "tls_cert", "tls_key", "token", "token_file",
)  # fmt: skip
NODES_OWN = (
    "advertise", "bundle_age", "bundle_bytes", "client_transport", "clock_shifts", "compare_every", "config",
    "containment", "data", "frames_port", "gate", "hint_age", "hint_bytes", "host_slots", "id", "join",
    "listen", "log_bytes", "log_file", "log_files", "log_format", "metrics", "node_tls_ca", "node_tls_cert",
    "node_tls_key", "node_token_file", "pass_vote_after", "peer_transport", "profile", "purge_after",
    "purge_after_least", "scrub_every", "seeds", "slots", "tls_clients", "tls_crl", "trace_one_in",
    "traces", "zone",
)  # fmt: skip
"""RINGMILL_* variables of nodes (node/configuration/node_settings.py) that mean nothing to a command."""
_OF_ENDPOINTS = ("endpoints", "token", "token_file", "tls_ca", "tls_cert", "tls_key")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|w)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_CLUSTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[!-~]{0,1024}(\n(next|former) [!-~]{1,1024})?")  # cluster/access/cluster_secret.py


@dataclass(slots=True)
class Settings:
    """The settings of one command.  `output` "table" means tab-separated rows when stdout is not a terminal.

    `given` names the settings that a flag of this command line set, `origins` says where each comes from that
    is not a default.  `left_out` are those of the environment and of files that a flag made meaningless.
    """

    cluster: str = DEFAULT_CLUSTER
    endpoints: str = ""
    home: str = ".ringmill"
    output: str = "table"
    timeout: float | None = None
    token: str = ""
    base_port: int | None = None  # of a new local cluster
    token_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    no_color: bool = False
    verbose: bool = False
    debug: bool = False
    given: set[str] = field(default_factory=set)
    origins: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, tuple[str, str]] = field(default_factory=dict)  # value and origin
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def gathered(cls, environment: Mapping[str, str], files: Sequence[str]) -> Settings:
        """Read the settings of `files` and of `environment`: a later file overrides, RINGMILL_* overrides
        both.

        An unknown name gives a warning, never an error.  Raises InvalidArgument for a value that is not
        valid.
        """
        settings = cls(no_color="NO_COLOR" in environment or environment.get("TERM") == "dumb")
        for path in files:
            if os.path.exists(path) and (why := _distrust(path)):
                settings.warnings.append(f"{path} is ignored: {why}")
                continue
            for name, value in _read_toml(path).items():
                settings._take(name, str(value), f"{name} in {path}")
        for name in sorted(environment):
            if name.startswith("RINGMILL_") and name.removeprefix("RINGMILL_").lower() not in NODES_OWN:
                settings._take(name.removeprefix("RINGMILL_").lower(), environment[name], name)
        return settings

    def _take(self, name: str, value: str, origin: str) -> None:
        if name not in NAMES:
            self.warnings.append(
                f"{origin} is not a setting of ringmill; the settings are {', '.join(NAMES)}"
            )
        elif name == "base_port":
            self.base_port = _port(value, origin)
            self.origins[name] = origin
        else:
            self.set(name, timeout_of(value, origin) if name == "timeout" else value, origin)

    def set(self, name: str, value: object, origin: str) -> None:
        """Set one value.  Raises InvalidArgument, which names `origin`, when it is not valid."""
        if name == "output" and value not in FORMS:
            raise InvalidArgument(
                f"{origin} is {value!r}; an output format is {', '.join(FORMS)}",
                hint=f"{origin}=json, for example",
            )
        if name == "cluster" and not _CLUSTER_NAME.fullmatch(str(value)):
            raise InvalidArgument(
                f"{origin}: {value!r} is not a name for a cluster",
                hint="up to 64 letters, digits, dots, dashes and underscores; it names a folder",
            )
        if name == "token" and not _TOKEN.fullmatch(str(value)):
            raise InvalidArgument(
                f"{origin}: a token has printable ASCII characters only, without spaces",
                hint="the file `token` in the cluster's state folder holds it, without the end of line",
            )
        setattr(self, name, value)
        self.origins[name] = origin

    def set_by_flag(self, name: str, value: object, flag: str) -> None:
        """Set what a flag of this command line says.  Raises InvalidArgument as `set`.

        A typed --cluster leaves out endpoints that nobody typed, and what opens their cluster: the request
        would go there, and not to the cluster that was named.
        """
        self.set(name, value, flag)
        self.given.add(name)
        if "endpoints" in self.given:
            self.take_back()
        elif "cluster" in self.given and self.endpoints:
            for each in _OF_ENDPOINTS:
                if each not in self.given and each in self.origins:
                    self.left_out[each] = (getattr(self, each), self.origins[each])
                    setattr(self, each, "")
                    self.origins[each] = f"{self.origins[each]}, left out because of --cluster"

    def take_back(self) -> None:
        """Undo what --cluster left out, but for what flags have set since."""
        for name, (value, origin) in self.left_out.items():
            if name not in self.given:
                self.set(name, value, origin)
        self.left_out.clear()

    @property
    def timeout_s(self) -> float:
        return DEFAULT_TIMEOUT_S if self.timeout is None else self.timeout

    @property
    def home_folder(self) -> str:
        """The folder of local clusters, as an absolute path; it may not exist yet."""
        return os.path.abspath(self.home)

    @property
    def cluster_folder(self) -> str:
        """The state folder of the local cluster `cluster`, as an absolute path; it may not exist yet."""
        return os.path.join(self.home_folder, self.cluster)

    @property
    def is_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return self.output == "table" and sys.stdout.isatty()

    @property
    def has_color(self) -> bool:
        return self.is_terminal and not self.no_color


def seconds(text: str) -> float:
    """Parse a time span such as "5s" or "12h" into seconds.  Raises InvalidArgument."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(f'{text!r} is not a time span; write "500ms", "5s", "2m", "1h", "30d" or "2w"')
    span_s = float(match[1]) * _UNIT_S[match[2]]
    if span_s > LONGEST_SPAN_S:
        raise InvalidArgument(f"{text!r} is above the longest time span, {LONGEST_SPAN_S / 86400:.0f}d")
    return span_s


def bounded_span_s(flag: str, text: str, least_s: float, most_s: float) -> float:
    """A time span in seconds.  Raises InvalidArgument, which names `flag`, outside `least_s` to `most_s`."""
    try:
        span_s = seconds(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"{flag}: {error}", hint=f"{flag} 5s, for example") from error
    if not least_s <= span_s <= most_s:
        raise InvalidArgument(
            f"{flag} {text[:40]} is not between {least_s:g} s and {most_s:g} s", hint=f"{flag} {most_s:g}s"
        )
    return span_s


def timeout_of(text: str, origin: str) -> float:
    """A timeout in seconds.  Raises InvalidArgument that names `origin`."""
    try:
        span_s = seconds(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"{origin}: {error}", hint=f"{origin}=5s, for example") from error
    if not 0 < span_s <= LONGEST_TIMEOUT_S:
        raise InvalidArgument(
            f"{origin}: a timeout is above 0 and at most {LONGEST_TIMEOUT_S / 86400:.0f}d, not {text!r}",
            hint=f"{origin}=5s, for example",
        )
    return span_s


def _port(value: str, origin: str) -> int:
    if not value.isdecimal():
        raise InvalidArgument(f"{origin} is {value!r}; it must be a port number")
    return int(value)


def _distrust(path: str) -> str:
    """Why another user may have written this settings file or own its folder; "" when none can."""
    return distrust(path, follow=True) or distrust(os.path.dirname(path) or ".", follow=True)


def _read_toml(path: str) -> dict[str, Any]:
    """The settings of one file; empty when it does not exist.

    Raises InvalidArgument when it does not parse.
    """
    if not os.path.exists(path):
        return {}
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:  # bytes that are not UTF-8 are a ValueError, too
        raise InvalidArgument(
            f"{path} is not valid TOML: {error}", hint=f"correct or remove {path}"
        ) from error
