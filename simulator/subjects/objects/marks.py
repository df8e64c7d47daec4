"""What runs of keys and values have to meet now and then: marks in the code of clients and of most rooms of a
node (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["OBJECT_MARKS"]

OBJECT_MARKS: Final = (
    # Clients
    "a client retries",
    "a client turns to another node",
    "a client finds a node silent with requests under way",
    "a client sends a request again that may have been done",
    "a silent node answers before the node that was asked instead",
    # Requests
    "a node refuses a request as it has too much to do",
    "a read replaces a silent owner",
    "a slow owner is asked last",
    "a read does not meet its quorum",
    "a receipt has no context beside siblings",
    "a read asks further owners to hold what it shows",
    "a read fails as too few hold what it would show",
    "a read writes back to an owner",
    "writes of one frame are applied together",
    "a batch changes a key twice",
    "a write is forwarded to an owner",
    "an owner that cannot read its copy lets another coordinate",
    "a write loses its quorum after sending",
    "a write runs out of time before it is applied",
    "an owner seen down is not asked",
    "an owner seen down is asked after all",
    "a write does not wait for a silent owner alone",
    "a write is not forwarded to a silent owner",
    "a hint waits in memory for the disk",
    "an owner that missed a write gets a hint",
    "a stopping node leaves hints behind",
    "a later attempt finds that an earlier one was applied",
    "a later attempt is applied as no earlier one was",
    "a later attempt cannot tell what became of the earlier ones",
    # Replicas and hints
    "a start finds damaged hints",
    "a hint that the disk refused is kept after all",
    "a hint over the bound is dropped",
    "a hint has changed while it was delivered",
    "a newer write is merged into a hint",
    "a read waits for the disk",
    "a late copy changes nothing",
    "an object is stored as it came",
    "a key is written while its range is healed",
    "siblings stand beside each other",
    "a copy of a write that was sent twice and replaced is dropped",
    "an owner refuses a hint",
    # Repair
    "owners cannot be compared yet",
    "a comparison waits for its turn",
    "copies that differed for a moment need no repair",
    "an owner gets what only another one held",
    "an owner brings another one what it lacks",
    "the older of two objects is not asked for",
    "a damaged copy is not compared",
    "a damaged range has to wait for its sources",
    "damaged control state is put back",
    "owners are compared as hints may be lost",
    "a damaged range is healed from other owners",
    "a hint is delivered",
    "hints for an owner wait longer",
    # Membership: topology, starts and clocks
    "a clock step cannot be compared",
    "a clock step that others share is accepted",
    "a clock is alone with its step",
    "one member alone does not end a serving start",
    "members refuse an old copy of a folder",
    "a copy beside the folder in use is refused",
    "a start waits for its confirmation",
    "a new disk takes the place of a lost one",
    # Probes
    "a suspect is declared down",
    "a suspect refutes",
    "a member is probed at once as its connection broke",
    # Storage
    "a compaction drops a tombstone",
    "a compaction meets a damaged block",
    "a flush fails and is tried again",
    "a flush finds a log damaged and takes the memtable",
    "a compaction fails and is tried again",
    "a table moves down without a merge",
    "a start keeps everything without a manifest",
    "a start sets a damaged table aside",
    "a start finds that a log has lost batches",
    "a log with a torn end is replaced by a table",
    "a full disk makes a node read-only",
)
