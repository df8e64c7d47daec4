"""A browser at the live page: browser_caller.py URL CHROMIUM TOKEN NODE prints how it went as JSON.

It waits until the page shows that NODE is down, and then looks a key up.
"""

from __future__ import annotations

import json
import sys

from playwright.sync_api import sync_playwright

WAIT_MS = 60_000


def main(url: str, chromium: str, token: str, node: str) -> None:
    errors: list[str] = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.add_init_script(f"sessionStorage.setItem('ringmill-token', '{token}')")
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#node-rows tr:nth-child(5)", timeout=WAIT_MS)
        page.wait_for_selector(f"#node-rows tr:has-text('{node}') .state-down", timeout=WAIT_MS)
        page.locator("#key").fill("seen-by-browsers")
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-told tbody tr:nth-child(3)", timeout=WAIT_MS)
        is_right = "Ada" in page.locator("#key-told").inner_text()
        version = browser.version
        browser.close()
    print(
        json.dumps(
            {
                "version": version,
                "asked": 2,
                "failed": len(errors),
                "wrong": int(not is_right),
                "told": errors[:3],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
