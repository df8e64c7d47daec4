"""What the page shows of what it is told, where Node can run its scripts: before elements that only keep what
they are given."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.gateway.page.live_view import live_view

NODE = shutil.which("node")


@pytest.fixture(autouse=True, scope="module")
def needed_node() -> None:
    """Node 18 is the first that has a global `ReadableStream`."""
    told = b""
    if NODE is not None:
        told = subprocess.run([NODE, "--version"], capture_output=True, timeout=60, check=True).stdout
    if int(told.lstrip(b"v").partition(b".")[0] or 0) < 18:
        pytest.skip("no Node 18, or newer, to run the page's scripts")


WORLD = """
class Element {
  dataset = {}; style = {}; innerHTML = ""; textContent = ""; childNodes = [];
  append() {} setAttribute() {} addEventListener() {} replaceChildren() {}
  get children() { return []; }
}
const byId = new Map();
globalThis.document = {
  title: "", createElement: () => new Element(), createElementNS: () => new Element(),
  getElementById: (id) => { if (!byId.has(id)) byId.set(id, new Element()); return byId.get(id); },
};
globalThis.sessionStorage = { getItem: () => null, setItem() {} };
const shown = [];
const told = JSON.parse(process.argv[2]);
globalThis.fetch = async () => {
  if (!told.length) { console.log(JSON.stringify(shown)); process.exit(0); }
  const events = told.shift();
  return {
    ok: true, status: 200,
    body: new ReadableStream({
      async pull(stream) {
        const [kind, body] = events.shift() ?? [];
        const line = `event: ${kind}\\ndata: ${JSON.stringify(body)}\\n\\n`;
        if (kind) stream.enqueue(new TextEncoder().encode(line)); else stream.close();
        await new Promise((later) => setImmediate(later));
      },
    }),
  };
};
globalThis.setTimeout = (then) => setImmediate(then);
let text = "";
Object.defineProperty(document.getElementById("health"), "textContent", {
  get: () => text, set: (now) => { text = now; shown.push([now, document.title]); },
});
await import("./page.js");
"""


def shown_after(tmp_path: Path, *streams: list[tuple[str, Any]]) -> list[list[str]]:
    """The verdicts that are shown, with the title, when the gateway tells these events on one stream after
    the other."""
    assert NODE is not None
    for each in files("ringmill.client.gateway.page").joinpath("files").iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "world.js").write_text(WORLD)
    command = [NODE, str(tmp_path / "world.js"), json.dumps(streams)]
    ran = subprocess.run(command, capture_output=True, timeout=60, check=True)
    shown: list[list[str]] = json.loads(ran.stdout)
    return shown


def live(health: str = "ok") -> tuple[str, Any]:
    node = NodeStatus(id="n1", address="127.0.0.1:1", state="up", membership="up", owns=16)
    status = ClusterStatus("c", 1, 1, "ok", (), "n1", Ranges(16, 0, 0), (node,))
    return "live", live_view(1.0, replace(status, health=health), None, None, None, None)


def test_nobody_who_answers_is_shown_until_somebody_does(tmp_path: Path) -> None:
    trouble = ("trouble", {"at_s": 2.0, "message": "nobody answers"})
    assert shown_after(tmp_path, [trouble, live(), trouble, trouble, live("degraded")], [live()]) == [
        ["no answer", "no answer · Ringmill"],
        ["healthy", "healthy · c · Ringmill"],
        ["no answer", "no answer · c · Ringmill"],
        ["degraded", "degraded · c · Ringmill"],
        ["no answer", "no answer · c · Ringmill"],  # the gateway has closed the stream
        ["healthy", "healthy · c · Ringmill"],
        ["no answer", "no answer · c · Ringmill"],
    ]
