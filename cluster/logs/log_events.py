"""The vocabulary of events in the logs of nodes and gateways, and a log as JSON: an object on a line for each
record.

A record's event is that of its template, the text before its values are put in.  So a text can be searched
for in the sources, and a program can rely on the name.  A test holds this table to all that nodes and
gateways log, and to docs/monitoring.md.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Final

__all__ = ["EVENTS", "NOTICE", "log_as_json", "note_epoch"]

NOTICE: Final = "notice"
"""The event of a text that is made elsewhere.

It is a reason that `cluster status` gives too, or a warning at the start.
"""

EVENTS: Final = {
    "%s": NOTICE,
    "cannot run: %s": "node.refused",
    "%s listens on %s, start %d": "node.listening",
    "%s takes frames at %s": "node.listening_for_frames",
    "%s serves metrics at %s": "node.serving_metrics",
    "a page could not be made": "node.metrics_not_made",
    "%s records traces to %s": "node.recording_traces",
    "traces are lost: %s takes none": "traces.lost",
    "traces are sent again: %s takes them": "traces.sent_again",
    "%s serves cluster %s": "node.serving",
    "%s stops": "node.stopping",
    "%s: %d calls unanswered after %.1f s": "node.calls_unanswered",
    "what this stop has left is not noted: %s": "node.stop_not_noted",
    "this stop is not noted as clean: %s": "node.stop_not_clean",
    "cluster %s knows %s at %s, where others dial it, and not at %s": "node.other_address",
    "the event loop stands still for %.1f s now, here:\n%s": "loop.stalled",
    "the event loop turns again after %.1f s": "loop.turning",
    "file descriptors are there again: %s of %d in use": "descriptors.free",
    "ended %d sessions on which nothing was asked, as file descriptors are short": "descriptors.idle_ended",
    "closed connections whose answers are not read, with %d bytes in all: %s": "connections.unread_closed",
    "connections whose answers are not read cannot be closed (%s): %s": "connections.unread_not_closed",
    "%s is %s": "member.state",
    "%s doubts itself after standing still for %.1f s": "member.doubts_itself",
    "%s joined at %s, by a join token": "member.let_in",
    "%s joined the cluster by %s": "member.joined",
    "%s was told of cluster %s by %s": "member.told_of_cluster",
    "seed %s %s": "member.seed",
    "seed %s has not let %s join: %s": "member.not_let_in",
    "start %d of %s on an old copy of its data is refused": "member.old_copy_refused",
    "topology epoch %d heard of, not yet had: %s": "topology.awaited",
    "that the first document counts is not on the disk yet: %s": "topology.not_formed",
    "this node serves nothing: %s": "topology.cannot_form",
    "epoch %d is forgotten: %s": "topology.forgotten",
    "earlier epochs are forgotten: %s": "topology.history_forgotten",
    "dropped bundles that no open job needs: %d, of %d bytes": "bundles.dropped",
    "bundles beyond their bounds are kept: %s": "bundles.kept",
    "from topology epoch %d on the voters are %s": "topology.voters",
    "%s has been down for %.0f s and loses its vote": "topology.vote_lost",
    "the vote of %s, down for %.0f s, is not passed on: %s": "topology.vote_kept",
    "cluster %s goes on as %s without this disk": "topology.given_up",
    "what topology epoch %s has accepted is not known: %s": "topology.accepted_unknown",
    "cluster %s goes on as %s without %s: their loss was accepted": "topology.loss_accepted",
    "%s, and the median of %d nodes agrees with it: going on": "clock.jump_shared",
    "the plan is given up: %s": "moves.given_up",
    "the plan is not given up yet: %s": "moves.not_given_up",
    "partition %d is not filled yet: %s": "moves.not_filled",
    "moves wait: %s": "moves.waiting",
    "former copies are dropped later: %s": "moves.copies_left",
    "%s does not know of topology epoch %d yet: %s": "moves.awaiting_member",
    "hints for %s wait %.2f s more: %s": "hints.waiting",
    "a hint for %s is kept, but cannot be delivered: %s": "hints.undeliverable",
    "the hint for %s may not outlive a crash: %s": "hints.not_durable",
    "stopping with a write not acked by %s and no hint for it: %s": "hints.missing",
    "some hints may be lost: %s": "hints.maybe_lost",
    "a hint for %s is lost: %s": "hints.lost",
    "hints may be lost: all owners are compared, to find who misses a write": "hints.compared_for",
    "compared with the other owners: %d objects moved since the start": "repair.compared",
    "healed: %d damaged parts were merged from other copies": "repair.healed",
    "a former copy of partition %d is damaged: what survived is kept": "repair.former_copy_damaged",
    "damaged ranges are healed without %s: their loss was accepted": "repair.loss_accepted",
    "the store in %s ends by a fault": "store.fault",
    "scrubbed the store, %d damages": "scrub.done",
    "the scrub of the store failed: %s": "scrub.failed",
    "scrubbing found damage: %s": "scrub.damage",
    "damage found, so the table is written anew: %s": "scrub.rewriting",
    "the manifest cannot be used, so all keys are fenced until they are healed: %s": "store.fenced",
    "a file of the store is read again in %g s: %s": "store.read_again",
    "a file of the data folder is read again in %g s: %s": "folder.read_again",
    "control state is taken from its second copy: %s": "store.control_from_copy",
    "control state has no second copy: %s": "store.control_without_copy",
    "keys and bytes are counted without what cannot be read: %s": "store.counted_in_part",
    "the sums of partition %d, kept for %d objects, were not those of its %d": "repair.sums_wrong",
    "dropped keyspaces stay in %d partitions: %s": "keyspaces.held_back",
    "removed what dropped keyspaces have left: %d keys, %d bytes of objects": "keyspaces.removed",
    "deletes of %d partitions are not forgotten: %s": "purge.held_back",
    "deleted registers of %d partitions are not removed: %s": "purge.registers_held_back",
    "partition %d: a version that was deleted and forgotten came again, and is refused: %s": "purge.refused",
    "a key has %d siblings; at %d writes are refused": "request.many_siblings",
    "%s: %s of %s was refused: %s": "request.refused",
    "%s: %s failed": "request.faulty",
    "%s: %s failed: %s": "work.failed",
    "%s: %s failed %d times more in %.0f s: %s": "request.faulty_again",
    "%s: %s was refused %d times more in %.0f s, the last time of %s: %s": "request.refused_again",
    "%s: %s failed again, %d times in %.0f s: %s": "work.failed_again",
    "%s %s: its frames go over gRPC": "link.over_grpc",
    "%s: its connection was closed": "link.closed",
    "--tls-cert %r has ended, nobody accepts it: `ringmill ca issue NODE --dir DIR --replace`": "tls.expired",
    "--tls-cert %r ends in %d days: `ringmill ca issue NODE --dir DIR --replace`": "tls.expiring",
    "the token was read again: %s": "token.read_again",
    "the former token stays in force: %s: %s": "token.kept",
    "%s ends %d streams that the former secret had opened": "token.streams_ended",
    "the certificates were read again: %s": "tls.read_again",
    "the former certificates stay in force: %s": "tls.kept",
    "%s: its connections are ended": "tls.ended",
    "%s does not take the jobs over: %s": "jobs.not_taken_over",
    "job %s cannot go on: %s": "jobs.cannot_go_on",
    "not all that job %s has copied to its output is removed: %s": "jobs.copies_left",
    "the figures of job %s are not kept: %s": "jobs.figures_not_kept",
    "job %s ends by a fault of its coordinator": "jobs.coordinator_fault",
    "what job %s has left is not removed, by a fault": "jobs.leftovers_stay",
    "%s: its tasks are ended, the next task starts another": "tasks.ended",
    "%s: %s of job %s is ended: the %s has %s": "tasks.newest_ended",
    "a door is open at %s": "gateway.listening",
    "the gateway stops": "gateway.stopping",
    "request %s failed": "http.request_failed",
    "%s has failed amid its answer: the connection is closed": "http.answer_broken_off",
    "no connection is accepted: %s": "http.not_accepting",
    "the live page could not be told what the cluster does": "page.not_told",
    "%s is refused: there are %d connections": "redis.connection_refused",
    "the connection of %s is closed: %s": "redis.connection_closed",
    "what %d connections had under way as they went is dropped: %d bytes": "redis.work_dropped",
    "what %s had under way as it went is dropped: %d bytes": "redis.first_work_dropped",
    "a command of a caller failed": "redis.command_failed",
    "a change of a key failed": "redis.change_failed",
    "replies could not be combined": "redis.replies_not_combined",
    "an answer could not be encoded": "redis.answer_not_encoded",
    "expired keys of %s are not removed now: %s (%s)": "sweep.waiting",
    "the sweep of %s failed": "sweep.failed",
}


def log_as_json(node: str) -> None:
    """From now on all handlers of this process write JSON.  `node` is the id of a node, or "gateway"."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_JsonLines(node))


def note_epoch(epoch: int) -> None:
    """What is logged from now on is of this epoch, where the log has epochs."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, _JsonLines):
            handler.formatter.epoch = epoch


class _JsonLines(logging.Formatter):
    """Characters beyond ASCII are escaped, so nothing that is quoted ends a line or steers a terminal."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node
        self.epoch: int | None = None  # before the node knows of one, and at a gateway

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        document: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": EVENTS.get(str(record.msg), NOTICE),
            "message": record.getMessage(),
            "node": self._node,
            "epoch": self.epoch,
            "logger": record.name,
        }
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return json.dumps(document)
