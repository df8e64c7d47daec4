"""The committed OpenAPI document is the one that the gateway serves."""

from __future__ import annotations

import json
from typing import Any

import openapi
from ringmill.client.gateway.http.table.http_routes import ROUTES, openapi_text
from ringmill.client.gateway.http.table.route_links import LINKS


def test_the_committed_document_is_the_served_one() -> None:
    assert openapi.PAGE.read_text(encoding="utf-8") == openapi.page_text(), "run scripts/openapi.py"
    assert json.loads(openapi_text()) == json.loads(openapi.page_text())


def test_every_route_has_a_name_of_its_own_and_a_description() -> None:
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)
    for operations in json.loads(openapi.page_text())["paths"].values():
        for operation in operations.values():
            assert operation["description"], operation["operationId"]
            assert "default" in operation["responses"]


def operations() -> dict[str, dict[str, Any]]:
    paths = json.loads(openapi.page_text())["paths"]
    return {each["operationId"]: each for methods in paths.values() for each in methods.values()}


def test_a_link_leads_to_an_operation_and_gives_what_its_path_needs() -> None:
    known, linked = operations(), set()
    for name, operation in known.items():
        for status, answer in operation["responses"].items():
            for link in answer.get("links", {}).values():
                following = {each["name"]: each["in"] for each in known[link["operationId"]]["parameters"]}
                assert link["parameters"].keys() <= following.keys(), name
                in_path = {each for each, place in following.items() if place == "path"}
                assert in_path <= link["parameters"].keys(), name
                assert status.startswith(("2", "3")) and answer["content"], name
                linked.add((name, link["operationId"]))
    assert {
        ("putKey", "getKey"), ("putKey", "deleteKey"), ("createKeyspace", "dropKeyspace"),
        ("submitJob", "getJob"), ("submitJob", "followJob"), ("submitJob", "listJobParts"),
    } <= linked  # fmt: skip


def test_what_a_link_takes_from_an_answer_is_in_it() -> None:
    """Else whoever follows it asks for nothing."""
    known = operations()
    for name in LINKS:
        for status, answer in known[name]["responses"].items():
            for link in answer.get("links", {}).values():
                for expression in link["parameters"].values():
                    source, _, pointer = expression.partition("#")
                    if source == "$response.body":
                        schema = answer["content"]["application/json"]["schema"]
                        for part in pointer.strip("/").split("/"):
                            schema = schema["items"] if part.isdigit() else schema["properties"][part]
                        assert schema["type"] == "string", (name, status)
