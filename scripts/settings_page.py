"""Writes the table of a node's settings into docs/deploy.md, from the table that the node reads them by.

python scripts/settings_page.py     a test says when it has to be run again
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ringmill.node.configuration.node_settings import NODE_SETTINGS
from ringmill.node.configuration.setting import Setting
from ringmill.node.configuration.shown_settings import value_text

__all__ = ["PAGE", "with_table"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "deploy.md"
HEAD = "| setting | values | default | what it is |"


def with_table(text: str) -> str:
    """The page with the table as it has to be, in the place of the one that it has."""
    before, _, rest = text.partition(HEAD)
    after = rest.lstrip("\n").split("\n\n", 1)[1]
    return "\n".join([before + HEAD, "|---|---|---|---|", *_rows(), "", after])


def _rows() -> Iterator[str]:
    for setting in NODE_SETTINGS:
        if not setting.is_hidden:
            values = setting.allowed.replace('"', "`")
            yield f"| `{setting.spelling}` | {values} | {_default(setting)} | {setting.help} |"


def _default(setting: Setting) -> str:
    if setting.is_required:
        return "needed"
    text = value_text(setting.default)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
