"""Writes the events of the logs of nodes and gateways into docs/monitoring.md, from the table of both.

python scripts/events_page.py     a test says when it has to be run again
"""

from __future__ import annotations

from pathlib import Path

from ringmill.cluster.logs.log_events import EVENTS

__all__ = ["PAGE", "with_events"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "monitoring.md"
HEAD = "| event | text |"


def with_events(text: str) -> str:
    """The page with the table as it has to be, at its end."""
    before = text.partition(HEAD)[0]
    rows = [f"| `{event}` | `{_shown(template)}` |" for template, event in EVENTS.items()]
    return "\n".join([before + HEAD, "|---|---|", *rows, ""])


def _shown(template: str) -> str:
    return template.replace("\n", " ").replace("`", "'")


if __name__ == "__main__":
    PAGE.write_text(with_events(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
