"""The OpenAPI 3.1 document of the HTTP door, made of its table of routes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ringmill.client.gateway.http.problems import PROBLEM_TYPE
from ringmill.client.gateway.http.table.http_route import Content, HttpRoute
from ringmill.client.gateway.http.table.parameters import Parameter
from ringmill.client.gateway.http.table.route_links import links_document
from ringmill.client.gateway.http.table.schemas import PROBLEM
from ringmill.cluster.limits import MAX_KEY_BYTES

__all__ = ["openapi_document"]

_SEGMENTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "key": (
        "The key, percent-encoded: bytes of any kind. Slashes may stand as they are.",
        {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES},
    ),
    "keyspace": (
        "The name of a keyspace.",
        {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
    ),
    "part": ("The name of a part file.", {"type": "string", "pattern": "^part-[0-9]{5,10}(\\.gz|\\.zst)?$"}),
    "job": ("The id of a job.", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,100}$"}),
}
_TAGS: Final = {
    "keys": "Values, siblings and contexts. The ETag is the causal context of what was read.",
    "registers": "Values that change by compare-and-set. The ETag is the version.",
    "merging": "Counters, sets and maps, whose concurrent changes all count.",
    "keyspaces": "Named sets of keys with settings of their own.",
    "jobs": "MapReduce jobs. They need a token of the role jobs.",
    "cluster": "The members, the ring, and what is hot.",
    "gateway": "The gateway itself.",
}

_UNCHANGED: Final = 304
_PROBLEM_CONTENT: Final = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_UNAUTHORIZED: Final = {
    "description": "A token is missing, or the one that was shown is unknown, expired or revoked.",
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True}},
    "content": _PROBLEM_CONTENT,
}


def openapi_document(routes: Sequence[HttpRoute]) -> dict[str, Any]:
    """The document; equal for equal routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
        if route.method == "GET" and "{key}" in route.path and route.name == "getKey":
            head = {**_operation(route), "operationId": "headKey", "summary": "Read a key without its value."}
            head["responses"] = {
                status: {"description": answer["description"]} if "description" in answer else answer
                for status, answer in head["responses"].items()
            }
            paths[route.path]["head"] = head
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ringmill",
            "version": "1",
            "summary": "A leaderless key-value store and a MapReduce engine, over HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The cluster's token, or a client's own. Nodes decide what it opens.",
                }
            },
            "responses": {"Unauthorized": _UNAUTHORIZED},
            "schemas": {"Problem": PROBLEM},
        },
    }


def _operation(route: HttpRoute) -> dict[str, Any]:
    description = " ".join((inspect.getdoc(route.handler) or "").split())
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "description": description,
        "parameters": [
            *(_segment(name) for name in re.findall(r"\{(\w+)\}", route.path)),
            *map(_parameter, route.parameters),
        ],
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    links = links_document(route.name)
    operation["responses"] = {
        **{
            str(status): _answer(description, content, {} if status == _UNCHANGED else links)
            for status, (description, content) in route.answers.items()
        },
        **({"401": {"$ref": "#/components/responses/Unauthorized"}} if route.needs_cluster else {}),
        "default": {
            "description": "A problem (RFC 9457): the code and outcome are those of the error.",
            "content": _PROBLEM_CONTENT,
        },
    }
    return operation


def _segment(name: str) -> dict[str, Any]:
    description, schema = _SEGMENTS[name]
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.is_required,
        "schema": dict(parameter.schema),
    }


def _answer(description: str, content: Content, links: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        **({"content": _content(content)} if content else {}),
        **({"links": links} if links else {}),
    }


def _content(content: Content) -> Mapping[str, Any]:
    return {name: {"schema": dict(schema)} if schema else {} for name, schema in content.items()}
