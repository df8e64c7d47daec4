"""Safeguards that forgetting deletes relies on (docs/protocol/deletes.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import ringmill.node.repair.hint_delivery
import ringmill.node.replica.purging.purge_serving
import ringmill.node.replica.purging.watermarks
import ringmill.simulator.subjects.deletes.tunables
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.versions.dead import stale
from ringmill.cluster.versions.hybrid_time import HybridTime, hybrid_time
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.repair.kept_attempts import KeptAttempts
from ringmill.node.repair.purging import Purging
from ringmill.node.replica.comparing.copy_sums import CopySums
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.purging.purge_serving import clock_complaint
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, constant, function, method
from ringmill.simulator.subjects.objects.ablations.healing import without_comparing

__all__ = ["DELETE_ABLATIONS"]

_DELETES: Final = ("deletes",)


def _of(*faults: str, keys: int = 8, core: float = 0.0, load_s: float = 20.0) -> SimulationOptions:
    return SimulationOptions(
        _DELETES, nodes=3, operations=200, keys=keys, faults=faults, core=core, load_s=load_s
    )


def _young() -> Patches:
    """Deletes are forgotten within the time that faults last."""
    return (constant(ringmill.simulator.subjects.deletes.tunables, "AGES_S", (1.0, 2.0)),)


def _age_alone() -> Patches:
    """Each owner forgets what is old enough by its own clock."""
    one_round = Purging.round

    async def forget_old(purging: Purging) -> None:
        mark = hybrid_time(max(0, purging._hybrid.wall_ms() - round(purging._options.after_s * 1000)))
        document = purging._topology.current
        for number in range(len(document.rows) if document is not None else 0):
            present = purging._watermarks.of(PartitionId(number))
            present.kept = present.kept._replace(proven=HybridTime(max(present.proven, mark)))
        await one_round(purging)

    return (method(Purging.round, forget_old), *_nothing_is_stale(), *_young())


def _nothing_is_stale() -> Patches:
    def never(present: StoredObject, incoming: StoredObject, mark: HybridTime) -> None:
        return None

    return (function(ringmill.node.replica.purging.watermarks, stale, never),)


def _all_owners_prove() -> Patches:
    """Those that are up prove a watermark among themselves."""
    prove = Purging._prove

    async def prove_with_living(
        purging: Purging,
        document: Topology,
        owners: Sequence[NodeId],
        partitions: Sequence[PartitionId],
        mark: HybridTime,
    ) -> None:
        living = [node for node in owners if node == purging._node or purging._seems_up(node)]
        await prove(purging, document, living, partitions, mark)

    return (method(Purging._prove, prove_with_living), *_young())


def _proof_compares() -> Patches:
    """A watermark is kept without a comparison.  Nor are owners compared for another reason, and hints that
    are on their way to an owner say nothing either: each would tell of most that one lacks."""

    async def as_it_is(
        purging: Purging, attempt: str, peer: NodeId, rows: Mapping[PartitionId, Row], tokens: Any
    ) -> Any:
        return tokens

    return (method(Purging._compare, as_it_is), *without_comparing(), *_hints_hold_nothing(), *_young())


def _hints_hold_nothing() -> Patches:
    return (method(HintStore.partitions, lambda hints: set()),)


def _late_hints() -> Patches:
    slow = constant(ringmill.node.repair.hint_delivery, "FIRST_PAUSE_S", 10.0)
    return (slow, *_hints_hold_nothing(), *_young())


def _stale_is_refused() -> Patches:
    """Hints do not hold back a watermark either, and are slow: nearly nothing else brings an old version so
    late."""
    return (*_nothing_is_stale(), *_late_hints())


def _behind_own_clock() -> Patches:
    """An owner takes part in a proof of any watermark."""
    return (constant(ringmill.node.replica.purging.purge_serving, "BEHIND", -1e6), *_young())


def _steps_wait() -> Patches:
    """An owner goes by its clock as soon as the others say that theirs have moved alike."""
    return (
        function(
            ringmill.node.replica.purging.purge_serving,
            clock_complaint,
            lambda hybrid, after_s: "its clock has jumped" if hybrid.jumped_ms else "",
        ),
    )


def _kept_is_settled() -> Patches:
    """An owner that has kept an attempt waits to be told what came of it."""

    async def wait(kept: KeptAttempts, *asked: object) -> None:
        return

    return (method(KeptAttempts._settle, wait),)


def _fallbacks_vouch() -> Patches:
    """Owners that are all together prove a watermark, whatever the members beyond a split hold for them."""

    async def unasked(
        purging: Purging,
        attempt: str,
        owners: Sequence[NodeId],
        rows: Mapping[PartitionId, Row],
        tokens: Any,
        mark: HybridTime,
        document: Topology,
    ) -> Any:
        return tokens

    soon = constant(ringmill.simulator.subjects.deletes.tunables, "AGES_S", (0.5,))
    return (method(Purging._ask_vouched, unasked), soon)


def _sums_follow_forgetting() -> Patches:
    return (method(CopySums.drop, lambda sums, key, old: None),)


DELETE_ABLATIONS: Final[tuple[Ablation, ...]] = (
    Ablation(
        "age-alone",
        "age alone forgets no delete: there is a watermark that all owners have proven",
        _age_alone(),
        _of("pause", "crash", "split_one"),
        rules=("P1",),
    ),
    Ablation(
        "all-owners-prove",
        "an owner that is away holds back the watermark",
        _all_owners_prove(),
        _of("pause", "crash", "split_one"),
        rules=("P2",),
    ),
    Ablation(
        "proof-compares",
        "owners are compared between the note of a watermark and its proof",
        _proof_compares(),
        _of("crash", "loss", "split_one"),
        rules=("P2",),
    ),
    Ablation(
        "kept-is-settled",
        "an owner that has kept a watermark finds out what came of it",
        _kept_is_settled(),
        _of("crash", "loss", "split_one"),
        rules=("P2",),
    ),
    Ablation(
        "behind-own-clock",
        "an owner takes part in no proof of a watermark that is young by its own clock",
        _behind_own_clock(),
        _of("skewed_clock"),
        rules=("P2",),
    ),
    Ablation(
        "steps-wait",
        "after a step forwards of all clocks nothing is forgotten until the step is as old as what is",
        _steps_wait(),
        _of("host_clock_step", keys=64),
        rules=("P2",),
    ),
    Ablation(
        "stale-is-refused",
        "a version that was deleted and forgotten is refused",
        _stale_is_refused(),
        _of("flapping", "split_one"),
        rules=("P3",),
    ),
    Ablation(
        "fallbacks-vouch",
        "no member waits to hand on a write of a sloppy keyspace when a watermark is proven",
        _fallbacks_vouch(),
        SimulationOptions(
            ("sloppy", "deletes"), nodes=5, operations=30, faults=("split_halves",), core=0.0, load_s=2.0
        ),
        rules=("P2",),
    ),
    Ablation(
        "sums-follow-forgetting",
        "the sum of a copy changes when a delete is forgotten",
        _sums_follow_forgetting(),
        _of("crash", "restart"),
        rules=("P1",),
    ),
)
