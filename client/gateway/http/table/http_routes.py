"""All routes of the HTTP door: the one table that requests are matched against and OpenAPI is made of."""

from __future__ import annotations

from functools import cache
from typing import Final

from aiohttp import web

from ringmill.client.gateway.http.answers import cluster_answers as cluster
from ringmill.client.gateway.http.answers import job_answers as jobs
from ringmill.client.gateway.http.answers import keyspace_answers as keyspaces
from ringmill.client.gateway.http.answers import merging_answers as merging
from ringmill.client.gateway.http.answers import register_answers as registers
from ringmill.client.gateway.http.answers.batch_answers import run_batch
from ringmill.client.gateway.http.answers.job_submission import submit_job
from ringmill.client.gateway.http.answers.key_answers import delete_key, get_key, put_key, touch_key
from ringmill.client.gateway.http.answers.lease_answers import hold_lease
from ringmill.client.gateway.http.answers.part_answers import get_job_part, list_job_parts
from ringmill.client.gateway.http.answers.scan_answers import scan_keys
from ringmill.client.gateway.http.bodies import json_line
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.table import parameters as p
from ringmill.client.gateway.http.table import schemas as s
from ringmill.client.gateway.http.table.http_route import HttpRoute
from ringmill.client.gateway.http.table.openapi import openapi_document

__all__ = ["ROUTES", "openapi_text"]

_KEY: Final = "/v1/kv/{keyspace}/{key}"
_REGISTER: Final = "/v1/registers/{keyspace}/{key}"
_COUNTER: Final = "/v1/counters/{keyspace}/{key}"
_SET: Final = "/v1/sets/{keyspace}/{key}"
_MAP: Final = "/v1/maps/{keyspace}/{key}"
_KEYSPACE: Final = "/v1/keyspaces/{keyspace}"
_JOB: Final = "/v1/jobs/{job}"

_WRITE: Final = (p.KEY_B64, p.W, p.DURABILITY, p.TIMEOUT)
_READ: Final = (p.KEY_B64, p.R, p.TIMEOUT)
_CONDITION: Final = (p.IF_MATCH, p.IF_NONE_MATCH, p.IDEMPOTENCY_KEY)
_CAS: Final = (p.KEY_B64, p.TIMEOUT, p.EXPECT, p.EXPECT_B64, *_CONDITION)
_ELEMENT: Final = (p.ELEMENT, p.ELEMENT_B64)
_ENTRY: Final = (p.ENTRY, p.ENTRY_B64)
_WATCH: Final = (p.AFTER, p.LAST_EVENT_ID)
_SCAN: Final = (
    p.PREFIX, p.PREFIX_B64, p.START, p.END, p.LIMIT, p.KEYS_ONLY, p.CURSOR, p.R, p.TIMEOUT, p.FROM_NOW,
    *_WATCH,
)  # fmt: skip

_RECEIPT: Final = {200: ("The receipt.", s.RECEIPT)}
_ANY: Final = {200: ("The document of the same command of the command line.", s.OBJECT)}
_SHOWN_JOB: Final = {200: ("The state of the job.", s.JOB)}
_VALUES: Final = {
    200: ("The one value, or the sibling that was named.", {**s.BYTES, **s.ITEM, **s.MULTIPART, **s.EVENTS}),
    300: ("Several siblings, newest first.", {**s.ITEM, **s.MULTIPART}),
    304: ("The key still has the ETag of If-None-Match.", {}),
}

_KEYS: Final = (
    HttpRoute("GET", _KEY, "getKey", "keys", "Read a key, or watch it.", get_key,
              (*_READ, p.SIBLING, p.IF_NONE_MATCH, *_WATCH), answers=_VALUES, is_cached=True),
    HttpRoute("PUT", _KEY, "putKey", "keys", "Write a key.", put_key, (*_WRITE, p.TTL, *_CONDITION),
              s.BYTES, _RECEIPT),
    HttpRoute("DELETE", _KEY, "deleteKey", "keys", "Delete a key by writing a tombstone.", delete_key,
              (*_WRITE, *_CONDITION), answers=_RECEIPT),
    HttpRoute("POST", _KEY, "touchKey", "keys", "Give the value of a key another expiry.", touch_key,
              (*_WRITE, p.TTL, p.IDEMPOTENCY_KEY), answers=_RECEIPT),
    HttpRoute("GET", "/v1/kv/{keyspace}", "scanKeys", "keys", "Read all keys, or watch those of a prefix.",
              scan_keys, _SCAN, answers={200: ("A line for each key.", {**s.LINES, **s.EVENTS})}),
    HttpRoute("POST", "/v1/kv/{keyspace}:batch", "runBatch", "keys", "Read, write and delete many keys.",
              run_batch, (p.R, p.W, p.DURABILITY, p.TIMEOUT), s.BATCH,
              {200: ("An outcome for each operation.", s.OUTCOMES)}),
)  # fmt: skip

_REGISTERS: Final = (
    HttpRoute("GET", _REGISTER, "getRegister", "registers", "Read a register.", registers.get_register,
              (p.KEY_B64, p.TIMEOUT), answers={200: ("Its value.", {**s.BYTES, **s.REGISTER})}),
    HttpRoute("PUT", _REGISTER, "setRegister", "registers", "Set a register if it holds what is expected.",
              registers.set_register, _CAS, s.BYTES, {200: ("The version that this made.", s.VERSION)}),
    HttpRoute("DELETE", _REGISTER, "deleteRegister", "registers",
              "Delete a register if it holds what is expected.",
              registers.delete_register, _CAS, answers={200: ("The version that this made.", s.VERSION)}),
    HttpRoute("POST", _REGISTER, "addToRegister", "registers", "Add to the number in a register.",
              registers.add_to_register, (p.KEY_B64, p.AMOUNT, p.TIMEOUT, p.IDEMPOTENCY_KEY),
              answers={200: ("The number that it led to.", s.SUM)}),
    HttpRoute("POST", "/v1/leases/{keyspace}/{key}", "holdLease", "registers", "Hold a lease.", hold_lease,
              (p.KEY_B64, p.OWNER, p.DURATION, p.WAIT),
              answers={200: ("Events as long as it is held.", s.EVENTS)}),
)  # fmt: skip

_MERGING: Final = (
    HttpRoute("GET", _COUNTER, "getCounter", "merging", "Read a counter.", merging.get_counter, _READ,
              answers={200: ("The count.", s.COUNT)}),
    HttpRoute("POST", _COUNTER, "addToCounter", "merging", "Add to a counter.", merging.add_to_counter,
              (*_WRITE, p.AMOUNT), answers=_RECEIPT),
    HttpRoute("GET", _SET, "getSet", "merging", "Read a set.", merging.get_set, _READ,
              answers={200: ("Its elements.", s.SET)}),
    HttpRoute("PUT", _SET, "addToSet", "merging", "Add an element to a set.", merging.add_to_set,
              (*_WRITE, p.TTL, *_ELEMENT), answers=_RECEIPT),
    HttpRoute("DELETE", _SET, "removeFromSet", "merging", "Remove an element from a set, or delete the set.",
              merging.remove_from_set, (*_WRITE, *_ELEMENT), answers=_RECEIPT),
    HttpRoute("GET", _MAP, "getMap", "merging", "Read a map.", merging.get_map, _READ,
              answers={200: ("Its entries.", s.MAP)}),
    HttpRoute("PUT", _MAP, "putMapEntry", "merging", "Set an entry of a map.", merging.put_map_entry,
              (*_WRITE, p.TTL, *_ENTRY), s.BYTES, _RECEIPT),
    HttpRoute("DELETE", _MAP, "removeFromMap", "merging", "Remove an entry from a map, or delete the map.",
              merging.remove_from_map, (*_WRITE, *_ENTRY), answers=_RECEIPT),
)  # fmt: skip

_KEYSPACES: Final = (
    HttpRoute("GET", "/v1/keyspaces", "listKeyspaces", "keyspaces", "List the keyspaces.",
              keyspaces.list_keyspace_settings, (p.TIMEOUT,), answers={200: ("All of them.", s.KEYSPACES)}),
    HttpRoute("GET", _KEYSPACE, "getKeyspace", "keyspaces", "Show a keyspace.", keyspaces.get_keyspace,
              (p.TIMEOUT,), answers={200: ("Its settings.", s.KEYSPACE)}),
    HttpRoute("PUT", _KEYSPACE, "createKeyspace", "keyspaces", "Make a keyspace.", keyspaces.create_keyspace,
              (p.TIMEOUT,), s.CREATED,
              {200: ("It was there with these settings.", s.KEYSPACE), 201: ("It was made.", s.KEYSPACE)}),
    HttpRoute("PATCH", _KEYSPACE, "alterKeyspace", "keyspaces", "Change a keyspace.",
              keyspaces.alter_keyspace, (p.TIMEOUT,), s.ALTERED, {200: ("Its settings now.", s.KEYSPACE)}),
    HttpRoute("DELETE", _KEYSPACE, "dropKeyspace", "keyspaces", "Take a keyspace away.",
              keyspaces.drop_keyspace, (p.TIMEOUT,),
              answers={200: ("The epoch in which it is gone.", s.DROPPED)}),
)  # fmt: skip

_JOBS: Final = (
    HttpRoute("GET", "/v1/jobs", "listJobs", "jobs", "List the jobs.", jobs.list_all_jobs,
              answers={200: ("The jobs, newest first.", s.JOBS)}),
    HttpRoute("POST", "/v1/jobs", "submitJob", "jobs", "Submit a job.", submit_job, (p.JOB_KEY,),
              s.SUBMISSION, {202: ("The cluster has taken it.", s.TAKEN)}),
    HttpRoute("GET", _JOB, "getJob", "jobs", "Show a job, or follow it.", jobs.get_job,
              answers={200: ("The state of the job.", {**s.JOB, **s.EVENTS})}),
    HttpRoute("DELETE", _JOB, "killJob", "jobs", "Stop a job.", jobs.kill_job, answers=_SHOWN_JOB),
    HttpRoute("POST", f"{_JOB}:pause", "pauseJob", "jobs", "Pause a job.", jobs.pause_job,
              answers=_SHOWN_JOB),
    HttpRoute("POST", f"{_JOB}:resume", "resumeJob", "jobs", "Let a paused job go on.", jobs.resume_job,
              answers=_SHOWN_JOB),
    HttpRoute("GET", f"{_JOB}/events", "followJob", "jobs", "Follow a job.", jobs.follow_job,
              answers={200: ("An event at every change.", s.EVENTS)}),
    HttpRoute("GET", f"{_JOB}/output", "listJobParts", "jobs", "The part files of its output.",
              list_job_parts, answers={200: ("All of them.", s.PARTS)}),
    HttpRoute("GET", f"{_JOB}/output/{{part}}", "getJobPart", "jobs", "One part file.", get_job_part,
              (p.UNPACKED,), answers={200: ("Its bytes.", s.BYTES)}),
    HttpRoute("GET", f"{_JOB}/logs", "getJobLogs", "jobs", "What the attempts printed.", jobs.get_job_logs,
              (p.TASK,), answers={200: ("The output of each attempt.", s.LOGS)}),
)  # fmt: skip

_CLUSTER: Final = (
    HttpRoute("GET", "/v1/cluster", "getCluster", "cluster", "The state of the cluster.", cluster.get_status,
              (p.TIMEOUT,), answers={200: ("The state of each member.", s.STATUS)}),
    HttpRoute("GET", "/v1/ring", "getRing", "cluster", "Who owns what.", cluster.get_ring, (p.TIMEOUT,),
              answers=_ANY),
    HttpRoute("GET", "/v1/hot", "getHot", "cluster", "The keys with the most requests.", cluster.get_hot,
              (p.TIMEOUT,), answers=_ANY),
    HttpRoute("GET", "/v1/locate/{keyspace}/{key}", "locateKey", "cluster", "Where a key is.",
              cluster.locate_key, (p.KEY_B64, p.TIMEOUT), answers=_ANY),
    HttpRoute("GET", "/v1/explain/{keyspace}/{key}", "explainKey", "cluster", "How a read of a key goes.",
              cluster.explain_key, _READ, answers=_ANY),
)  # fmt: skip


async def _get_openapi(call: HttpCall) -> web.StreamResponse:
    """This document."""
    return web.Response(body=openapi_text(), content_type="application/json")


_GATEWAY: Final = (
    HttpRoute("GET", "/healthz", "isAlive", "gateway", "Whether the gateway runs.", cluster.get_alive,
              answers={200: ("It does.", s.HEALTH)}, needs_cluster=False),
    HttpRoute("GET", "/readyz", "isReady", "gateway", "Whether the cluster can be asked.", cluster.get_ready,
              (p.TIMEOUT,), answers={200: ("It can.", s.HEALTH)}),
    HttpRoute("GET", "/v1/openapi.json", "getOpenapi", "gateway", "This document.", _get_openapi,
              answers={200: ("An OpenAPI 3.1 document.", s.OBJECT)}, needs_cluster=False),
)  # fmt: skip

ROUTES: Final[tuple[HttpRoute, ...]] = (
    *_KEYS, *_REGISTERS, *_MERGING, *_KEYSPACES, *_JOBS, *_CLUSTER, *_GATEWAY,
)  # fmt: skip


@cache
def openapi_text() -> bytes:
    """The OpenAPI document as it is served."""
    return json_line(openapi_document(ROUTES))
