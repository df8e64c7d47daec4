"""The links of the OpenAPI document, followed as a tool follows them."""

from __future__ import annotations

from typing import Any

from ringmill.client.gateway.http.table.http_routes import ROUTES
from ringmill.client.gateway.http.table.openapi import openapi_document
from tests.client.gateway.http_world import Answered, Caller, http_door
from tests.client.one_node import OneNode

DOCUMENT = openapi_document(ROUTES)
PLACES = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


async def asked(caller: Caller, name: str, given: dict[str, str], **more: Any) -> Answered:
    """Ask for an operation with these parameters, by name."""
    method, path, operation = PLACES[name]
    places = {each["name"]: each["in"] for each in operation["parameters"]}
    in_path = {name: value for name, value in given.items() if places[name] == "path"}
    headers = {name: value for name, value in given.items() if places[name] == "header"}
    return await caller.ask(method, path.format(**in_path), headers=headers, **more)


def linked(name: str, following: str, given: dict[str, str], answered: Answered) -> dict[str, str]:
    """What a link says of the parameters of the operation that follows."""
    link = PLACES[name][2]["responses"][str(answered.status)]["links"][following]
    assert link["operationId"] == following
    found = {}
    for parameter, expression in link["parameters"].items():
        kind, _, place = expression.removeprefix("$").partition(".")
        assert kind in {"request", "response"}
        where, _, key = place.partition(".")
        found[parameter] = given[key] if where == "path" else answered.headers[key]
    return found


async def test_what_was_written_is_read_by_its_link_and_replaced_by_that_of_the_read(
    node: tuple[OneNode, str],
) -> None:
    async with http_door(node[1]) as caller:
        given = {"keyspace": "default", "key": "linked"}
        written = await asked(caller, "putKey", given, data=b"first")
        read_by = linked("putKey", "getKey", given, written)
        read = await asked(caller, "getKey", read_by)
        assert (read.status, read.body) == (200, b"first")
        replaced_by = linked("getKey", "putKey", read_by, read)
        assert replaced_by["If-Match"] == read.headers["ETag"]
        assert (await asked(caller, "putKey", replaced_by, data=b"second")).status == 200
        assert (await asked(caller, "getKey", read_by)).body == b"second"
