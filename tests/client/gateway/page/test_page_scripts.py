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
  append(...children) { texts.push(...children.filter((child) => typeof child === "string")); }
  replaceChildren() {}
  addEventListener(kind, then) { this[kind] = then; }
  setAttribute(name, value) { if (name === "aria-label") labels.add(value); }
  get children() { return []; }
}
const byId = new Map(), labels = new Set(), texts = [], timers = new Map();
globalThis.document = {
  title: "", createElement: () => new Element(), createElementNS: () => new Element(),
  getElementById: (id) => { if (!byId.has(id)) byId.set(id, new Element()); return byId.get(id); },
};
globalThis.sessionStorage = { getItem: () => null, setItem() {} };
const shown = [];
const told = JSON.parse(process.argv[2]);
const asked = [], job = { job: "j", state: "SUCCEEDED", rows: [], stages: [], seconds: 1, submitted_at: 1 };
globalThis.fetch = async (path, { signal }) => {
  if (!path.startsWith("/page/live")) {
    asked.push(path);
    return { ok: true, status: 200, json: async () => job };
  }
  if (!told.length) {
    console.log(JSON.stringify({ shown, labels: [...labels], texts, asked }));
    process.exit(0);
  }
  const events = told.shift();
  return {
    ok: true, status: 200,
    body: new ReadableStream({
      start(stream) { signal.addEventListener("abort", () => stream.error(signal.reason)); },
      async pull(stream) {
        let [kind, body] = events.shift() ?? [];
        for (; kind === "silence"; [kind, body] = events.shift() ?? []) {  // all timers of the page are over
          for (const [timer, then] of [...timers]) { timers.delete(timer); then(); }
          if (signal.aborted) return;
        }
        if (kind === "key") {
          for (const [id, value] of Object.entries(body)) document.getElementById(id).value = value;
          await document.getElementById("key-form").submit({ preventDefault() {} });
        }
        if (kind === "beat") { stream.enqueue(new TextEncoder().encode(": looking\\n\\n")); return; }
        const line = `event: ${kind}\\ndata: ${JSON.stringify(body)}\\n\\n`;
        if (kind) stream.enqueue(new TextEncoder().encode(line)); else stream.close();
        await new Promise((later) => setImmediate(later));
      },
    }),
  };
};
globalThis.setTimeout = (then, ms) => {
  if (ms <= 1000) return setImmediate(then);
  const timer = { ms };
  timers.set(timer, then);
  return timer;
};
globalThis.clearTimeout = (timer) => timers.delete(timer);
let text = "";
Object.defineProperty(document.getElementById("health"), "textContent", {
  get: () => text, set: (now) => { text = now; shown.push([now, document.title]); },
});
await import("./page.js");
"""


def shown_after(tmp_path: Path, *streams: list[tuple[str, Any]]) -> list[list[str]]:
    """The verdicts that are shown, with the title, when the gateway tells these events on one stream after
    the other."""
    shown: list[list[str]] = ran(tmp_path, *streams)["shown"]
    return shown


def ran(tmp_path: Path, *streams: list[tuple[str, Any]]) -> dict[str, Any]:
    """That, the labels of pictures, the texts that were put in, and what else was asked for."""
    assert NODE is not None
    for each in files("ringmill.client.gateway.page").joinpath("files").iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "world.js").write_text(WORLD)
    command = [NODE, str(tmp_path / "world.js"), json.dumps(streams)]
    told = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    found: dict[str, Any] = json.loads(told)
    return found


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


def test_a_stream_that_stays_open_is_not_an_answer_until_it_says_something(
    tmp_path: Path,
) -> None:
    healthy, lost = ["healthy", "healthy · c · Ringmill"], ["no answer", "no answer · c · Ringmill"]
    silence, beat = ("silence", None), ("beat", None)
    assert shown_after(tmp_path, [live(), silence, beat, live()]) == [healthy, lost, healthy, lost]
    assert shown_after(tmp_path, [live(), silence, silence], [live()]) == [healthy, lost, healthy, lost]


def test_nodes_keep_their_bars_however_much_else_happens(tmp_path: Path) -> None:
    state = {"at_s": 1.0, "kind": "state", "node": "n1", "value": "up", "text": "n1 is up"}
    epoch = {"at_s": 2.0, "kind": "epoch", "node": "", "value": "2", "text": "topology epoch 2"}
    more = ("events", [epoch] * 300)
    told = ran(tmp_path, [("events", [state]), more, more, more, live()])
    assert "State of 1 nodes over the last minutes; the events are listed below" in told["labels"]


def test_a_job_that_is_over_is_asked_for_once_also_when_it_is_in_no_list_any_more(tmp_path: Path) -> None:
    kind, body = live()
    jobs = [{"job": name, "name": "", "state": "SUCCEEDED", "seconds": 1.0} for name in ("j", "k")]
    listed, gone = (kind, {**body, "jobs": jobs}), (kind, {**body, "jobs": jobs[1:]})
    assert ran(tmp_path, [listed] * 4 + [gone] * 8)["asked"] == ["/page/job/j"]


@pytest.mark.parametrize("key", [".", ".."])
def test_a_key_that_a_browser_cannot_put_into_a_path_is_reported_as_that(tmp_path: Path, key: str) -> None:
    told = ran(tmp_path, [("key", {"keyspace": "default", "key": key})])
    assert any("cannot ask for it" in text for text in told["texts"]) and not told["asked"]
