"""Settings as text: what `ringmill node config` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ringmill.node.configuration.setting import Found, Value

__all__ = ["shown_settings", "value_text"]


def shown_settings(found: Mapping[str, Found], *, has_origin: bool, form: str) -> Iterator[str]:
    """Lines of name, value and origin, separated by tabs; or one JSON document.  No secret is shown."""
    rows = [each for each in found.values() if not each.setting.is_hidden or each.origin]
    if form == "json":
        yield json.dumps(
            {
                each.setting.name: {"value": _plain(each), "origin": _origin(each)}
                if has_origin
                else _plain(each)
                for each in rows
            },
            indent=2,
        )
        return
    for each in rows:
        cells = [each.setting.spelling, value_text(_plain(each))]
        yield "\t".join([*cells, _origin(each)] if has_origin else cells)


def _plain(found: Found) -> Value | None:
    return "given" if found.setting.is_secret and found.value else found.value


def value_text(value: Value | None) -> str:
    """As a flag would be given it; "" for none."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:.0f}"
    return "" if value is None else str(value)


def _origin(found: Found) -> str:
    return found.origin or "default"
