"""What `ringmill cluster autoscale` prints: a line for each decision, and for what is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.printable import printable

if TYPE_CHECKING:
    from ringmill.client.scaling.scaling_policy import Decision, Observation

__all__ = ["ScalingLines"]


class ScalingLines:
    """A ScalingLog (client/scaling/autoscaler.py) on stdout, and as JSON lines in `file`."""

    def __init__(self, settings: Settings, file: TextIO | None, *, is_dry: bool) -> None:
        self._settings = settings
        self._file = file
        self.is_dry = is_dry

    def decided(self, seen: Observation, figures: Mapping[str, float | None], decision: Decision) -> None:
        """Write what was decided at a look."""
        document = {
            "event": "decision",
            "decision": decision.verb,
            "node": decision.node or None,
            "reason": decision.reason,
            "dry_run": self.is_dry,
            "members": len(figures) or None,
            "mean": round(seen.mean, 4) if seen.pressures else None,
            "highest": round(seen.highest, 4) if seen.pressures else None,
            "figures": {
                node: None if figure is None else round(figure, 4) for node, figure in figures.items()
            },
        }
        mean = f"{seen.mean:.0%}" if seen.pressures else "?"
        verb = f"{decision.verb} {decision.node}".strip() + (
            " (dry run)" if self._would_change(decision) else ""
        )
        self._write(document, (verb, len(figures) or None, mean, decision.reason))

    def did(self, what: str, node: str, text: str) -> None:
        """Write what was done."""
        document = {"event": what, "node": node or None, "told": text}
        self._write(document, (f"{what} {node}".strip(), None, None, text))

    def _would_change(self, decision: Decision) -> bool:
        return self.is_dry and decision.verb != "stay"

    def _write(self, document: Mapping[str, Any], row: tuple[str, int | None, str | None, str]) -> None:
        """The line is out before the next step: a log is read while it is written."""
        now = datetime.fromtimestamp(time.time(), UTC)
        stamped = {"time": now.isoformat(timespec="milliseconds"), **document}
        if self._file is not None:
            print(output.to_json(stamped, self._file), file=self._file, flush=True)
        if self._settings.output == "json":
            print(output.to_json(stamped, sys.stdout), flush=True)
        elif self._settings.is_terminal:
            what, count, mean, text = row
            size = "" if count is None else f"{count} members at {mean} of the target"
            print(printable(f"{now:%H:%M:%S}  {what:<12}  {size:<34}  {text}".rstrip()), flush=True)
        else:
            output.show(self._settings, (), (), [(stamped["time"], *row)])
            sys.stdout.flush()
