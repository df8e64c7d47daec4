"""The committed OpenAPI document is the one that the gateway serves."""

from __future__ import annotations

import json

import openapi
from ringmill.client.gateway.http.table.http_routes import ROUTES, openapi_text


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
