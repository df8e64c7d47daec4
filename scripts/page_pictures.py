"""Pictures of the live page for docs: while a node is dead, and while a job runs.

    python scripts/page_pictures.py [--into docs/pictures]

Five nodes, a gateway and a load; Debian's Chromium opens the page.  It needs that and Playwright
(`pip install -e .[page]`), and says so.  It ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ringmill.client.local.processes import our_environment
from ringmill.client.testing.scratch_cluster import ScratchCluster

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAM: Final = "import sys; from ringmill.client.cli.main import main; sys.exit(main())"
TEXTS: Final = 4  # files of the library, joined, so that there are several maps
LOAD_S: Final = 40
WAIT_MS: Final = 30_000


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "pictures")
    into = parser.parse_args().into
    chromium = os.environ.get("RINGMILL_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("there is no chromium: install Debian's package, or set RINGMILL_CHROMIUM", file=sys.stderr)
        return 1
    into.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        cluster = held.enter_context(ScratchCluster(nodes=5, partitions=128))
        environment = {
            **our_environment(),
            "RINGMILL_TOKEN": cluster.token,
            "RINGMILL_ENDPOINTS": ",".join(cluster.endpoints),
        }
        gateway = held.enter_context(_command(environment, "gateway", "--http", "0", stdout=subprocess.PIPE))
        held.callback(gateway.terminate)
        assert gateway.stdout is not None
        place = gateway.stdout.readline().decode().split()[1]
        asyncio.run(_pictures(cluster, environment, chromium, place, into))
    return 0


def _command(
    environment: dict[str, str], *line: str, stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, *line],
        env=environment, stdout=stdout, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


async def _pictures(
    cluster: ScratchCluster, environment: dict[str, str], chromium: str, place: str, into: Path
) -> None:
    from playwright.async_api import async_playwright

    load = _command(environment, "bench", "--seconds", str(LOAD_S), "--keys", "2000", "--in-flight", "16")
    try:
        async with async_playwright() as tools:
            browser = await tools.chromium.launch(executable_path=chromium)
            page = await _opened(browser, place, cluster.token, 1280, "light")
            narrow = await _opened(browser, place, cluster.token, 400, "light")
            dark = await _opened(browser, place, cluster.token, 1280, "dark")
            await asyncio.sleep(10)
            await asyncio.to_thread(cluster.kill, "n3")
            await page.wait_for_selector(".state-down", timeout=WAIT_MS)
            await asyncio.sleep(6)
            await _shoot(page, into / "page-kill.png")
            await _shoot(narrow, into / "page-kill-narrow.png")
            await asyncio.get_running_loop().run_in_executor(None, cluster.restart, "n3")
            await _run_job(environment, page, into)
            await _shoot(dark, into / "page-job-dark.png")
            await browser.close()
    finally:
        load.terminate()
        load.wait()


async def _opened(browser: Browser, place: str, token: str, width: int, scheme: str) -> Page:
    context = await browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    await context.add_init_script(f"sessionStorage.setItem('ringmill-token', '{token}')")
    page = await context.new_page()
    await page.goto(place)
    await page.wait_for_selector("#node-rows tr")
    return page


async def _run_job(environment: dict[str, str], page: Page, into: Path) -> None:
    texts = sorted(Path(os.__file__).parent.glob("*.py"), key=lambda each: -each.stat().st_size)[: TEXTS * 10]
    job = _command(
        environment, "job", "run", str(ROOT / "examples" / "wordcount.py:wordcount"),
        "--split-mib", "1", "--output", str(into.parent / ".page-job-output"),
        *(part for each in texts for part in ("--input", str(each))),
    )  # fmt: skip
    try:
        await page.wait_for_selector("#job-picture rect", timeout=WAIT_MS)
        await asyncio.sleep(1.5)
        await _shoot(page, into / "page-job.png")
    finally:
        await asyncio.to_thread(job.wait)
        shutil.rmtree(into.parent / ".page-job-output", ignore_errors=True)


async def _shoot(page: Page, path: Path) -> None:
    await page.screenshot(path=path, full_page=True)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
