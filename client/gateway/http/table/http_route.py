"""The table of routes: which method and path is answered by what, and how that is told to clients.

A path is written as OpenAPI writes it.  The segment `{key}` takes all that follows, slashes included, as a
key may have them; every other segment ends at a slash or a colon.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiohttp import web

from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.http.table.parameters import Parameter

__all__ = ["Content", "Handler", "Matched", "HttpRoute", "RouteTable"]

Handler: TypeAlias = Callable[[HttpCall], Awaitable[web.StreamResponse]]
Content: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Media types, each with the schema of its body."""


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """`name` is the operation's id, `answers` what it returns when it succeeds: the meaning and content of
    each status.  Every other answer is a problem.  The description is the docstring of the handler.
    `needs_cluster` is False for what is answered without asking a node.  What `is_cached` takes its place
    among the requests itself, before it asks one."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    handler: Handler
    parameters: tuple[Parameter, ...] = ()
    body: Content = field(default_factory=dict)
    answers: Mapping[int, tuple[str, Content]] = field(default_factory=dict)
    needs_cluster: bool = True
    is_cached: bool = False


@dataclass(frozen=True, slots=True)
class Matched:
    """A route, and the segments of the path that it names, as they came."""

    route: HttpRoute
    path: Mapping[str, str]


class RouteTable:
    """Finds the route of a request."""

    def __init__(self, routes: Sequence[HttpRoute]) -> None:
        self.routes = tuple(routes)
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, HttpRoute]]] = {}
        for route in routes:
            _, by_method = self._patterns.setdefault(route.path, (_pattern(route.path), {}))
            by_method[route.method] = route

    def match(self, method: str, raw_path: str) -> Matched:
        """The route of a method and a path that is still percent-encoded, without its query.

        HEAD is answered by what answers GET.  Raises HttpRefusal 404, or 405 with the methods that there are.
        """
        for pattern, by_method in self._patterns.values():
            found = pattern.fullmatch(raw_path)
            route = by_method.get("GET" if method == "HEAD" else method)
            if found is not None and route is not None:
                return Matched(route, found.groupdict())
        allowed = self.methods(raw_path)
        raise HttpRefusal(
            405, "METHOD_NOT_ALLOWED", f"{method[:20]} is not for this path", headers={"Allow": allowed},
            hint=f"it takes {allowed}",
        )  # fmt: skip

    def methods(self, raw_path: str) -> str:
        """The methods of a path, with commas between them.  Raises HttpRefusal 404 for no path of ours."""
        found = {"OPTIONS"}
        for pattern, by_method in self._patterns.values():
            if pattern.fullmatch(raw_path) is not None:
                found |= {*by_method, *(["HEAD"] if "GET" in by_method else [])}
        if len(found) == 1:
            raise HttpRefusal(
                404, "NO_SUCH_PATH", f"there is nothing at {raw_path[:80]!r}",
                hint="/v1/openapi.json has all paths",
            )  # fmt: skip
        return ", ".join(sorted(found))


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    built = "".join(
        re.escape(part) if at % 2 == 0 else f"(?P<{part}>.*)" if part == "key" else f"(?P<{part}>[^/:]+)"
        for at, part in enumerate(parts)
    )
    return re.compile(built, re.DOTALL)
