"""The room of backups: tables are kept for who copies them, and what a backup holds is taken back."""

from __future__ import annotations

from dataclasses import dataclass

from ringmill.cluster.ids import Start
from ringmill.node.backups.bringing import Bringing
from ringmill.node.backups.pins import OwedView, Pins
from ringmill.node.contracts import TopologyView
from ringmill.node.core import Core
from ringmill.node.replica.room import Replica
from ringmill.node.replica.routes import Routes

__all__ = ["Backups", "open_backups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backups:
    pins: Pins
    bringing: Bringing


def open_backups(
    core: Core, replica: Replica, start: Start, topology: TopologyView, owed: OwedView
) -> Backups:
    bringing = Bringing(
        routes=Routes(core.node, topology),
        engine=replica.engine,
        objects=replica.objects,
        watermarks=replica.watermarks,
        clock=core.hybrid,
    )
    pins = Pins(
        core.node,
        start.boot,
        files=core.doors.files,
        replica=replica,
        topology=topology,
        owed=owed,
        clock=core.doors.clock,
    )
    return Backups(pins=pins, bringing=bringing)
