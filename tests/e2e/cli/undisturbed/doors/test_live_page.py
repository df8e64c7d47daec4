"""The live page of `ringmill gateway` before five real nodes; in a browser, where there is a Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

CHROMIUM = os.environ.get("RINGMILL_CHROMIUM") or shutil.which("chromium")
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def place(shell: Shell) -> Iterator[str]:
    gateway = shell.start("gateway", "--http", "0")
    assert gateway.stdout is not None
    yield gateway.stdout.readline().decode().split()[1]
    gateway.terminate()
    assert gateway.wait(20) == 0


def opened(url: str, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20)


def token_of(shell: Shell) -> str:
    return (shell.folder / "home" / "default" / "token").read_text().strip()


def live(place: str, token: str) -> dict[str, Any]:
    """What the stream tells first of the cluster."""
    with opened(f"{place}/page/live", token) as stream:
        for line in stream:
            if line == b"event: live\n":
                found: dict[str, Any] = json.loads(next(stream).removeprefix(b"data: "))
                return found
    raise AssertionError("the stream ended")


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(place: str) -> None:
    names, seen = ["index.html"], set()
    while names:
        name = names.pop()
        seen.add(name)
        with opened(f"{place}/page/{name}") as answer:
            body = answer.read().decode()
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        found = [*re.findall(r'"/page/([a-z]+\.\w+)"', body), *re.findall(r'from "\./([a-z]+\.js)"', body)]
        names += set(found) - seen
        assert not re.search(r"(src|href)=\"?(https?:)?//", body)
    assert {"page.css", "page.js", "ring.js", "icon.svg"} <= seen
    with pytest.raises(HTTPError, match="404"):
        opened(f"{place}/page/secrets.txt")


def test_what_is_told_follows_from_the_token(shell: Shell, place: str) -> None:
    shell.until_healthy()
    anybody, owner = live(place, ""), live(place, token_of(shell))
    assert [node["id"] for node in anybody["nodes"]] == ["n1", "n2", "n3", "n4", "n5"]
    assert anybody["health"] == "ok" and anybody["jobs"] is None
    assert isinstance(owner["jobs"], list)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_browser_draws_it_without_an_error_at_both_widths(shell: Shell, place: str) -> None:
    tools = pytest.importorskip("playwright.sync_api")
    shell.ok("put", "page:1", "Ada")
    with tools.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        for width, scheme in ((1280, "light"), (400, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page, errors = context.new_page(), []
            page.on("pageerror", lambda error: errors.append(str(error)))  # noqa: B023 - of this round
            page.on("console", lambda told: errors.append(told.text) if told.type == "error" else None)  # noqa: B023
            page.goto(place)
            page.wait_for_selector("#node-rows tr:nth-child(5)", timeout=WAIT_MS)
            assert page.locator("#ring-picture path").count() > 5
            assert page.locator("#health").inner_text() == "healthy"
            page.locator("#key").focus()
            page.keyboard.type("page:1")
            page.keyboard.press("Enter")
            page.wait_for_selector("#key-told tbody tr:nth-child(3)", timeout=WAIT_MS)
            assert "Ada" in page.locator("#key-told").inner_text()
            assert page.evaluate("document.documentElement.scrollWidth") == width
            key, hot = (page.locator("#keys > div").nth(at).bounding_box() for at in (0, 1))
            is_beside = hot["x"] >= key["x"] + key["width"]
            assert is_beside or hot["y"] >= key["y"] + key["height"] + 10, "hot keys are apart from the form"
            assert not errors
            context.close()
        browser.close()
