"""The table of who may ask what has a row for all that a client can ask, and for nothing else (rule F8)."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf.descriptor import ServiceDescriptor
from grpc_reflection.v1alpha import reflection

from ringmill.cluster.access.roles import ADMIN, JOBS, NOBODY, READ, ROLES, WRITE
from ringmill.cluster.adapters.network.frame_transport import CLIENT_PREFIX
from ringmill.cluster.wire import stubs
from ringmill.node.calls_to_self import CallsToSelf
from ringmill.node.service_tables import service_tables
from ringmill.node.services import server
from ringmill.node.services.access.guarded_tables import row_name
from ringmill.node.services.access.method_roles import METHOD_ROLES, role_needed
from ringmill.simulator.world.services import PROCESS
from tests.node.repair.healing_world import HealingWorld, run

ROOT = Path(__file__).resolve().parents[3]
STREAMS = {"Kv/Session", "Peer/Link"}  # of frames: each operation is looked at


def declared() -> set[str]:
    """All methods of proto/."""
    modules = [getattr(stubs, name) for name in dir(stubs) if name.endswith("_pb2")]
    services: list[ServiceDescriptor] = [
        each for module in modules for each in module.DESCRIPTOR.services_by_name.values()
    ]
    return {row_name(service.full_name, each.name) for service in services for each in service.methods}


def test_every_method_that_a_node_serves_has_a_row_and_each_row_has_a_method() -> None:
    async def story(world: HealingWorld) -> None:
        node = world["n1"]
        served = {
            row_name(service.name, name)
            for service in service_tables(node, PROCESS)
            for name in service.methods
        }
        transport = node.core.transport
        assert isinstance(transport, CallsToSelf)
        frames = {*transport._handlers, *transport._batch_handlers}
        of_clients = {name for name in frames if name.startswith(CLIENT_PREFIX)}
        assert of_clients and frames - of_clients, "the others are between nodes, and no client reaches them"
        assert served | of_clients == set(METHOD_ROLES)
        assert declared() - STREAMS == served

    run(story)


def test_every_service_that_reflection_names_is_looked_at() -> None:
    beside = {"grpc.health.v1.Health", reflection.SERVICE_NAME}  # they tell nothing of what is stored
    names = {name.rpartition(".")[2] for name in server._SERVICE_NAMES if name not in beside}
    assert names == {row.partition("/")[0] for row in (*METHOD_ROLES, *STREAMS) if "/" in row}


def test_what_a_role_opens() -> None:
    """A method that is moved to a lower role is moved here, too."""
    by_role = {
        role: {row for row, need in METHOD_ROLES.items() if need.role == role} for role in (NOBODY, *ROLES)
    }
    assert by_role[NOBODY] == {"Topology/Identify", "Topology/Get", "Membership/Status", "Members/Join"}
    assert by_role[WRITE] == {
        *("kv.put", "kv.delete", "kv.touch", "kv.cas", "kv.incr"),
        *("Kv/Put", "Kv/Delete", "Kv/Touch", "Registers/Cas", "Registers/Incr"),
    }
    assert by_role[JOBS] == {row for row in METHOD_ROLES if row.startswith("Jobs/")}
    assert by_role[ADMIN] == {
        *("Topology/Init", "Keyspaces/Create", "Keyspaces/Alter", "Keyspaces/Drop", "Members/Change"),
        *("Members/SteerMoves", "Members/ReplaceDisk", "Members/Recover", "Repair/Run", "Repair/Heal"),
        *("Auth/Issue", "Auth/Revoke", "Auth/Require", "Auth/List"),
        *("Backup/Look", "Backup/Pin", "Backup/HashTable", "Backup/ReadTable", "Backup/Unpin"),
        *("Backup/BringObjects", "Backup/BringRegisters"),
    }
    assert by_role[READ] == set(METHOD_ROLES).difference(
        *(by_role[role] for role in (NOBODY, WRITE, JOBS, ADMIN))
    )
    closed = {row for row, need in METHOD_ROLES.items() if not need.is_open}
    assert closed == {row for row in METHOD_ROLES if row.startswith(("Jobs/", "Auth/", "Backup/"))}


def test_a_method_that_was_forgotten_is_for_admins_with_a_token() -> None:
    assert role_needed("Kv/New") == (ADMIN, False)


def test_what_needs_a_token_at_once_is_what_pages_and_help_say() -> None:
    closed = {row.partition("/")[0] for row, need in METHOD_ROLES.items() if not need.is_open}
    assert closed == {"Jobs", "Auth", "Backup"}
    for place in ("docs/operations.md", "docs/security.md", "client/cli/auth/auth_verbs.py"):
        text = " ".join((ROOT / place).read_text(encoding="utf-8").split())
        found = re.search(r"(without any token may do all but|No request but those about) ([^.|]*)", text)
        assert found is not None, place
        assert all(each in found[2] for each in ("jobs", "tokens", "backups")), place
