"""Writes docs/formats/openapi.json, from the table of routes that the gateway answers by.

python scripts/openapi.py     a test says when it has to be run again
"""

from __future__ import annotations

import json
from pathlib import Path

from ringmill.client.gateway.http.table.http_routes import ROUTES
from ringmill.client.gateway.http.table.openapi import openapi_document

__all__ = ["PAGE", "page_text"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "formats" / "openapi.json"


def page_text() -> str:
    """The document as the file has to have it."""
    return json.dumps(openapi_document(ROUTES), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page_text(), encoding="utf-8")
