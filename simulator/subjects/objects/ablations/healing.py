"""Safeguards of damage and healing, and of comparing owners after a crash."""

from __future__ import annotations

from typing import Any, Final

import ringmill.client.routing.router
import ringmill.node.membership.room
from ringmill.client.routing.retries import Next, next_step
from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ports import Arrival
from ringmill.cluster.versions.object_codec import outline
from ringmill.node.membership.room import fence_copies
from ringmill.node.repair.anti_entropy import AntiEntropy
from ringmill.node.repair.healing import Healing
from ringmill.node.replica.comparing.copy_sums import CopySums
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.replica_messages import Apply, ApplyAnswer
from ringmill.node.replica.room import Replica
from ringmill.node.replica.serving import ReplicaServing
from ringmill.node.requests.forward import Forwarder
from ringmill.simulator.history import History, Operation
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method
from ringmill.simulator.subjects.objects.checkers import convergence
from ringmill.simulator.subjects.objects.rest import Rest

__all__ = ["HEALING", "without_comparing"]


def without_rounds() -> Patches:
    """Owners compare only what is owed, and the simulator does not wait until they have compared all."""
    one_round = AntiEntropy._round

    async def owed_only(anti_entropy: AntiEntropy, *, is_due: bool) -> None:
        anti_entropy._returned.clear()
        await one_round(anti_entropy, is_due=False)

    async def compared(rest: Rest) -> None:
        return

    return method(AntiEntropy._round, owed_only), method(Rest._wait_compared, compared)


def without_comparing() -> Patches:
    """Owners are never compared, and nobody asks for what only that would mend.

    For safeguards of hints: comparing finds what they are there to keep.
    """

    def may_be_forgotten(history: History, write: Operation) -> bool:
        node = write.dot.partition("#")[0]
        has_crashed = any(at >= write.invoked for at in history.crashed.get(node, ()))
        return has_crashed or node in (*history.lost, *history.damaged)

    return (
        *_never_owed(),
        method(HintStore._is_within_bounds, lambda hints, target, key, size: True),
        function(convergence, convergence._may_be_forgotten, may_be_forgotten),
    )


def _never_owed() -> Patches:
    return (method(AntiEntropy.want, lambda anti_entropy: None), *without_rounds())


def _compared_now_and_then() -> Patches:
    """A hint that is lost with its coordinator's disk is missed by nobody."""
    return without_rounds()


def _dropped_are_owed() -> Patches:
    """Hints over the bound are dropped, and nobody is told."""
    return (method(AntiEntropy.owe, lambda anti_entropy, partition, node: True), *without_rounds())


def _sums_follow_deletes() -> Patches:
    change = CopySums.change

    def change_values(sums: CopySums, key: bytes, old: bytes | None, new: bytes) -> None:
        if outline(new)[0]:
            change(sums, key, old, new)

    return (method(CopySums.change, change_values),)


def _damage_turns() -> Patches:
    """A coordinator that cannot read its own copy says so to its client, which gives up."""
    forward = Forwarder.forward

    def step(error: Any, *, is_write: bool) -> Next:
        return Next.GIVE_UP if isinstance(error, CorruptData) else next_step(error, is_write=is_write)

    async def forward_others(forwarder: Forwarder, *rest: Any, instead_of: Any = None) -> Any:
        if instead_of is not None:
            raise CorruptData("this owner cannot read its own copy")
        return await forward(forwarder, *rest)

    return (
        function(ringmill.client.routing.router, next_step, step),
        method(Forwarder.forward, forward_others),
    )


def _fenced_is_no_ack() -> Patches:
    """Nor are owners compared, which would bring in time what was acked and not taken."""
    apply = ReplicaServing.apply

    async def ack_anyhow(serving: ReplicaServing, arrival: Arrival) -> bytes:
        try:
            return await apply(serving, arrival)
        except CorruptData:
            asked = Apply.decode(arrival.body)
            route = await serving._routes.by_id(asked.keyspace, asked.key, asked.epoch, sender=arrival.sender)
            return ApplyAnswer(route.row.row_epoch, asked.durability, serving._clock.now()).encode()

    return (method(ReplicaServing.apply, ack_anyhow), *without_comparing())


def _fenced_keeps_hints() -> Patches:
    """Nor are owners compared after a crash, which would find what was struck off."""
    take = ReplicaServing._take

    async def take_anyhow(serving: ReplicaServing, *rest: Any) -> Any:
        outcome = await take(serving, *rest)
        is_fenced = isinstance(outcome, str) and outcome.startswith(CorruptData.code)
        return None if is_fenced else outcome

    return (method(ReplicaServing._take, take_anyhow), *without_comparing())


def _healed_from_enough() -> Patches:
    """One other owner is enough, and the first that answers is taken.

    Owners are not compared either, which would find in time what was left out.
    """
    ask = Healing._ask

    async def ask_one(healing: Healing, *rest: Any) -> Any:
        return (await ask(healing, *rest))[:1]

    return (
        method(Healing._usual_sources, lambda healing, row, others: 1),
        method(Healing._ask, ask_one),
        *without_comparing(),
    )


def _healed_by_merging() -> Patches:
    """A range is called healed with what survived of it."""

    async def pull_nothing(healing: Healing, *rest: Any) -> None:
        return

    return (method(Healing._heal_copy, pull_nothing),)


def _seated_is_fenced() -> Patches:
    """A disk that takes the place of a lost one answers for all that it does not have."""

    async def fence_nothing(replica: Replica) -> None:
        return

    return (function(ringmill.node.membership.room, fence_copies, fence_nothing),)


_CRASHES: Final = SimulationOptions(nodes=3, keys=24, faults=("crash", "loss"))
_SPLITS: Final = SimulationOptions(nodes=3, keys=24, faults=("split_one", "loss"))
_LOST_DISKS: Final = SimulationOptions(keys=24, faults=("disk_lost", "split_one"), core=0.0)
_DELETES_IN_CRASHES: Final = SimulationOptions(
    nodes=3, keys=24, operations=200, mix=("deletes",), faults=("crash", "loss")
)
# Beside a healed core damage may heal before anything is written beside it.
_ROT: Final = SimulationOptions(nodes=3, keys=24, faults=("bit_flip",), core=0.0)
_ROT_IN_TROUBLE: Final = SimulationOptions(
    nodes=3, keys=24, faults=("bit_flip", "loss", "split_one", "crash"), core=0.0
)
_ROT_ON_A_BRIDGE: Final = SimulationOptions(
    nodes=3, keys=24, operations=400, sessions=24, faults=("bit_flip", "split_bridge"), core=0.0
)
_ROT_UNDER_LOAD: Final = SimulationOptions(
    nodes=3, keys=24, operations=400, sessions=24, faults=("bit_flip", "slow_link"), core=0.0
)
_REPLACED: Final = SimulationOptions(
    nodes=3, keys=24, operations=400, faults=("disk_replaced", "split_one", "loss"), core=0.0
)

HEALING: Final = (
    Ablation(
        "caught-up",
        "owners are compared after a start that may have lost hints",
        _never_owed(),
        _CRASHES,
        rules=("H8",),
    ),
    Ablation(
        "compared-now-and-then",
        "owners compare their copies now and then",
        _compared_now_and_then(),
        _LOST_DISKS,
        rules=("H10",),
    ),
    Ablation(
        "dropped-are-owed",
        "a partition of which a hint was dropped is compared with the hint's owner",
        _dropped_are_owed(),
        _SPLITS,
        rules=("H2",),
    ),
    Ablation(
        "sums-follow-deletes",
        "the sum of a copy changes with a delete as with a put",
        _sums_follow_deletes(),
        _DELETES_IN_CRASHES,
        rules=("H10",),
    ),
    Ablation(
        "damage-turns",
        "an owner that cannot read its own copy lets another coordinate",
        _damage_turns(),
        _ROT,
        rules=("H9",),
    ),
    Ablation(
        "fenced-is-no-ack",
        "an owner that may have lost a key acks no write of it",
        _fenced_is_no_ack(),
        _ROT_UNDER_LOAD,
        rules=("H5",),
    ),
    Ablation(
        "fenced-keeps-hints",
        "a hint stays until its target can take it",
        _fenced_keeps_hints(),
        _ROT_IN_TROUBLE,
        rules=("H5",),
    ),
    Ablation(
        "healed-from-enough",
        "a range is healed from N - W + 1 other owners",
        _healed_from_enough(),
        _ROT_ON_A_BRIDGE,
        rules=("H6",),
    ),
    Ablation(
        "healed-by-merging",
        "a range is healed when others' copies are merged in",
        _healed_by_merging(),
        _ROT,
        rules=("H6",),
    ),
    Ablation(
        "seated-is-fenced",
        "a disk that takes the place of a lost one answers for nothing before it is filled",
        _seated_is_fenced(),
        _REPLACED,
        rules=("T8",),
    ),
)
