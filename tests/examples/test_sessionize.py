"""Visits against cutting each visitor's sorted clicks one by one."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from examples.sessionize import sessionize
from ringmill import run_local
from tests.examples.records import records_of


def test_a_visit_ends_after_half_an_hour_without_a_page(tmp_path: Path) -> None:
    random = Random(1)
    clicks = [
        {"visitor": f"v{random.randrange(20)}", "at": random.randrange(200_000), "page": f"/{number}"}
        for number in range(1000)
    ]
    (tmp_path / "clicks.jsonl").write_text("".join(f"{json.dumps(click)}\n" for click in clicks))
    run_local(sessionize, str(tmp_path / "clicks.jsonl"), str(tmp_path / "out"))
    expected: list[list[object]] = []
    last: dict[str, object] = {"visitor": None}
    for click in sorted(clicks, key=lambda each: (each["visitor"], each["at"], each["page"])):
        visit = expected[-1] if expected else []
        if click["visitor"] == last["visitor"] and int(str(click["at"])) - int(str(last["at"])) <= 1800:
            visit[2] = int(str(click["at"])) - int(str(visit[1]))
            visit[3] = [*visit[3], click["page"]]  # type: ignore[misc]
        else:
            expected.append([click["visitor"], click["at"], 0, [click["page"]]])
        last = click
    found = [[visitor, *visit] for visitor, visit in records_of(tmp_path / "out")]
    assert sorted(found) == expected
    assert max(len(visit[3]) for visit in found) > 1
