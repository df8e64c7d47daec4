"""The description of a job that a client submits: code, input and output.

Pure.  It holds everything that the result depends on, so that equal specs give equal output bytes.

Layout: docs/formats/job.md.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from itertools import islice
from typing import Final, get_args

import msgpack

from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch
from ringmill.cluster.limits import MAX_REDUCERS, MAX_SPLIT_MIB, MAX_WEIGHT, MOST_ROUNDS
from ringmill.cluster.mapreduce.api.bad_records import BAD_RECORDS, MOST_BAD_RECORDS, bad_records_of
from ringmill.cluster.mapreduce.api.chains.stages import LinkOf
from ringmill.cluster.mapreduce.api.definition_checks import (
    check_quarantine,
    check_split_mib,
    check_task_memory,
)
from ringmill.cluster.mapreduce.api.described.description_fields import (
    SourceOf,
    read_links,
    read_noted,
    read_sources,
    typed_fields,
)
from ringmill.cluster.mapreduce.api.described.keyspace_ends import is_keyspace, levels_of
from ringmill.cluster.mapreduce.api.formats import OutputCompression
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition, Order
from ringmill.cluster.mapreduce.api.job_keyspaces import (
    Consistency,
    KeyspacePath,
)
from ringmill.cluster.mapreduce.file_urls import input_of, is_url
from ringmill.cluster.mapreduce.files.input_plan import source_key
from ringmill.cluster.mapreduce.files.inputs import SourcePaths
from ringmill.cluster.mapreduce.files.splits import InputFile
from ringmill.cluster.mapreduce.outputs import part_name

__all__ = ["MAX_SPEC_BYTES", "JobSpec"]

VERSION: Final = 7
_WITH_STATES: Final = 8  # of a chain with states and each of its links: a node that knows none refuses all
_WITH_JOINS: Final = 9  # of a join that former releases do not know, and of a chain with one
MAX_SPEC_BYTES: Final = 1 << 20
"""Of a job's description, encoded."""

_JOB_ID: Final = re.compile(r"[a-z0-9-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}|")
_TWO_NUMBERS: Final = re.compile(r"[0-9]+\.[0-9]+|")
_JOINS: Final = ("", "hash", "copartitioned")
_COMPRESSIONS: Final = ("zstd", "lz4", "none")
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job, as submitted.  `inputs` and `output` are absolute paths; inputs may be folders and globs.

    One input alone may be a keyspace (job_keyspaces.py).  Parts for `output_keyspace` are staged beside
    `output`, and nothing shows there.
    """

    job: str  # chosen by the client, [a-z0-9-]{1,64}
    module: str
    name: str  # the job object in the module
    bundle_sha256: str  # "" in a local run: the module is already imported
    inputs: tuple[str, ...]
    output: str
    input_format: str
    output_format: str
    reducers: int
    overwrite: bool = False
    seed: int = 0  # of ctx.rng
    params: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 64 * _MIB  # of one task's buffer
    compression: str = "zstd"  # of what travels between map and reduce
    task_memory_mib: int = 0  # of one task process with all that it starts; 0 for the worker's own limit
    order: str = "key"  # of the output: key, input, total (definition.Order)
    output_compression: str = "none"  # of part files: gzip, zstd
    split_bytes: int = 0  # size aimed at for splits; 0 for what follows from the input's size
    bad_records: int = 0  # that may be set aside; 0 when one fails the job
    weight: int = 1  # of its share of the slots, beside other jobs; no result depends on it
    consistency: str = ""  # of an input that is a keyspace: quorum, one, snapshot
    output_keyspace: str = ""  # where the output is put; empty for a folder
    sources: tuple[SourceOf, ...] = ()  # of a job of several inputs; those of each follow in `inputs`
    side: Mapping[str, str] = field(default_factory=dict)  # absolute paths of files that every task may read
    broadcast: tuple[str, ...] = ()  # of a join, the sources that may go to every map task
    broadcast_bytes: int = 0  # the most that such a source may have
    chain: tuple[LinkOf, ...] = ()  # of a chain, all its links; the fields here are those of the first
    noted: Mapping[str, tuple[InputFile, ...]] = field(default_factory=dict)
    """What planning found: the file of each `side`, those of the source that goes to every map task."""
    planned: str = ""  # by which coordinator: TERM.NUMBER, of its hidden folder; "" in a local run
    output_id: str = ""  # EPOCH.ORDINAL of the output's keyspace when the job was planned
    output_url: str = ""  # where a store is to have the output, whose parts are staged beside `output`
    collect_bytes: int = 0  # the most that the output may have, which its caller takes; 0 for a folder
    network: bool = False  # whether tasks may open connections
    keeps_states: bool = False
    """Whether reduce p reads, beside what the maps send, part p of the input (rule J30)."""
    has_states: bool = (
        False  # whether a link of its chain does; a node that knows none cannot import its module
    )
    join_by: str = ""
    """How rows of a join meet that are not given to every map task: hash, copartitioned; "" for a merge."""
    levels: tuple[str, ...] = ()  # of several inputs, the consistency of each; () where none is a keyspace

    def __post_init__(self) -> None:
        problems = [
            (not _JOB_ID.fullmatch(self.job), f"job id {self.job!r} must match [a-z0-9-]{{1,64}}"),
            (not _SHA256.fullmatch(self.bundle_sha256), "bundle_sha256 must be 64 hexadecimal digits"),
            (not _TWO_NUMBERS.fullmatch(self.planned), f"planned must be TERM.NUMBER, not {self.planned!r}"),
            (
                not _TWO_NUMBERS.fullmatch(self.output_id),
                f"output_id must be EPOCH.ORDINAL, not {self.output_id!r}",
            ),
            (
                not (self.module.isprintable() and self.name.isprintable()),
                f"module and name of a job are printable text, not {self.title!r:.200}",
            ),
            (not self.inputs, "a job needs at least one input"),
            (not self._has_sound_paths, "paths must be absolute"),
            (not self._has_sound_keyspaces, "consistency and output_keyspace are for keyspaces"),
            (
                not _is_plain(self.output),
                f"output {self.output!r} must name a folder by a path without . and .. in it",
            ),
            (
                not 0 <= self.reducers <= MAX_REDUCERS,
                f"reducers must be 0 to {MAX_REDUCERS}, not {self.reducers}",
            ),
            (
                self.is_map_only and (self.order != "input" or self.bad_records > 0),
                "reducers=0 is for a job of order='input' that sets no bad records aside",
            ),
            (self.compression not in _COMPRESSIONS, f"compression must be one of {', '.join(_COMPRESSIONS)}"),
            (
                not 0 <= self.split_bytes <= MAX_SPLIT_MIB * _MIB,
                f"split_bytes must be 0 to {MAX_SPLIT_MIB * _MIB}, not {self.split_bytes}",
            ),
            (
                not 0 <= self.bad_records <= MOST_BAD_RECORDS,
                f"bad_records must be 0 to {MOST_BAD_RECORDS}, not {self.bad_records}",
            ),
            (
                not 1 <= self.weight <= MAX_WEIGHT,
                f"weight must be 1 to {MAX_WEIGHT}, not {self.weight}",
            ),
            (
                self.bad_records > 0 and self.output_keyspace != "",
                "an output that is a keyspace has no place for bad records; on_bad_record must be 'fail'",
            ),
            (
                self.output_compression not in get_args(OutputCompression),
                f"output_compression must be one of {', '.join(get_args(OutputCompression))}",
            ),
            (self.order not in get_args(Order), f"order must be one of {', '.join(get_args(Order))}"),
            (any(not 1 <= each.most <= MOST_ROUNDS for each in self.chain), "a link without rounds"),
            (any(each.asks for each in self.chain[-1:]), "an iteration is never the last link"),
            (
                self.collect_bytes < 0 or (self.collect_bytes > 0 and self.output_format != "records"),
                "collect_bytes is for records",
            ),
            (not self._has_sound_sources, "sources do not say whose the inputs are"),
            (
                self.output_url != "" and not is_url(input_of("output", self.output_url)),
                f"output_url {self.output_url!r} is no URL",
            ),
            (not self._has_sound_states, "keeps_states is for records by key, in a chain that has states"),
            (self.join_by not in _JOINS or (self.join_by != "" and len(self.sources) != 2), "no such join"),
            (self.memory_bytes < 1, f"memory_bytes must be at least 1, not {self.memory_bytes}"),
        ]
        for is_wrong, message in problems:
            if is_wrong:
                raise InvalidArgument(message)
        check_task_memory(self.task_memory_mib)

    @property
    def _has_sound_sources(self) -> bool:
        counts = [each.inputs for each in self.sources]
        return not counts or (min(counts) > 0 and sum(counts) == len(self.inputs))

    @property
    def readings(self) -> tuple[SourcePaths, ...]:
        """The inputs by source; one without a name where the job has no sources."""
        if not self.sources:
            return (SourcePaths("", self.input_format, self.inputs),)
        left = iter(self.inputs)
        return tuple(
            SourcePaths(each.name, each.format, tuple(islice(left, each.inputs))) for each in self.sources
        )

    @property
    def file_readings(self) -> tuple[SourcePaths, ...]:
        """The same, with no paths where a source is a keyspace."""
        return tuple(
            each._replace(paths=()) if keyspace is not None else each
            for each, keyspace in zip(self.readings, self.keyspaces, strict=True)
        )

    @property
    def keyspaces(self) -> tuple[KeyspacePath | None, ...]:
        """By source the keyspace that is read; None where files are."""
        return tuple(KeyspacePath.of(each.paths[0]) if is_keyspace(each) else None for each in self.readings)

    @property
    def reads_keyspace(self) -> bool:
        """Whether a source is a keyspace."""
        return any(map(is_keyspace, self.readings))

    def level_of(self, source: int) -> str:
        """The consistency with which the keyspace of a source is read."""
        return self.levels[source] if self.levels else self.consistency

    def has_sure_numbers(self, source: int) -> bool:
        """Whether each attempt finds the same record under a number, as in a file (rule J19)."""
        return not is_keyspace(self.readings[source])

    @property
    def asked(self) -> JobSpec:
        """As it was submitted, before planning."""
        return replace(self, noted={}, planned="", output_id="")

    @property
    def staging(self) -> str:
        """What the name of the hidden folder ends with: no two that plan one job have the same folder."""
        return f"{self.job}.{self.planned}" if self.planned else self.job

    @property
    def broadcast_source(self) -> int | None:
        """The number of the source that goes to every map task; None when there is none."""
        names = [each.name for each in self.sources]
        return next((names.index(each) for each in self._broadcast_of(self.noted)), None)

    def _broadcast_of(self, noted: Container[str]) -> Iterator[str]:
        return (each for each in self.broadcast if source_key(each, self.side) in noted)

    @property
    def passes_on(self) -> bool:
        """Whether a reduce writes what the maps have rendered, and sees no records."""
        return self.would_pass_on(self.noted)

    def would_pass_on(self, noted: Container[str]) -> bool:
        """The same of this job with other files noted, by their names."""
        return self.order == "input" or any(True for _ in self._broadcast_of(noted))

    def format_of(self, source: int) -> str:
        """The format of a source by its number."""
        return self.sources[source].format if self.sources else self.input_format

    @property
    def partitions(self) -> int:
        """Of the output of a map: one for each reducer, and one more for records that are set aside."""
        return self.reducers + (self.bad_records > 0)

    def file_of(self, partition: int) -> str:
        """The file of the output that holds a partition."""
        if self._is_part(partition):
            return part_name(partition, self.output_compression)
        return BAD_RECORDS

    def compression_of(self, partition: int) -> str:
        """What the file of a partition is compressed with; bad records are there to be read."""
        return self.output_compression if self._is_part(partition) else "none"

    def _is_part(self, number: int) -> bool:
        return self.is_map_only or number < self.reducers

    @property
    def is_map_only(self) -> bool:
        """Whether each map task writes a part of the output, and nothing is sent (rule J6)."""
        return self.reducers == 0

    @property
    def reads_snapshot(self) -> bool:
        """Whether a keyspace is read as it was when the job was planned (rule J27)."""
        return "snapshot" in (self.consistency, *self.levels)

    @property
    def shown_output(self) -> str:
        """Where the result is, for people: a folder, a URL, or a keyspace."""
        if self.output_keyspace:
            return str(KeyspacePath(self.output_keyspace))
        return self.output_url or self.output

    @property
    def replaces(self) -> bool:
        """Whether the records take the place of what the output's keyspace holds (rule J25)."""
        return self.overwrite and self.output_keyspace != ""

    @property
    def _has_sound_paths(self) -> bool:
        """Inputs may be URLs that `input_of` does not refuse."""
        return all(path.startswith("/") for path in (self.output, *self.side.values())) and all(
            path.startswith("/") or is_url(input_of("input", path)) for path in self._input_paths
        )

    @property
    def _input_paths(self) -> tuple[str, ...]:
        """Of the inputs those that are files; a keyspace stands alone, in its source."""
        return tuple(path for each in self.readings if not is_keyspace(each) for path in each.paths)

    @property
    def _has_sound_states(self) -> bool:
        return not self.keeps_states or (self.input_format, self.order, self.has_states) == (
            "records", "key", True,
        )  # fmt: skip

    @property
    def _has_sound_keyspaces(self) -> bool:
        told = self.levels or ((self.consistency,) if not self.sources else ("",) * len(self.sources))
        if len(told) != len(self.readings) or (self.sources and self.consistency):
            return False
        for level, reading in zip(told, self.readings, strict=True):
            if level not in (get_args(Consistency) if is_keyspace(reading) else ("",)):
                return False
        return not self.output_keyspace or self.output_format == "kv"

    @property
    def title(self) -> str:
        """The name of the job for people: module:object."""
        return f"{self.module}:{self.name}"

    @classmethod
    def of(
        cls,
        definition: JobDefinition,
        *,
        job: str,
        module: str,
        name: str,
        bundle_sha256: str,
        inputs: tuple[str, ...] | Mapping[str, tuple[str, ...]],
        output: str,
        reducers: int | None = None,
        params: Mapping[str, str] | None = None,
        overwrite: bool = False,
        split_mib: int | None = None,
        side: Mapping[str, str] | None = None,
        on_bad_record: str | None = None,
        output_keyspace: str = "",
        weight: int = 1,
        collect_bytes: int = 0,
        output_url: str = "",
        network: bool = False,
        task_memory_mib: int | None = None,
    ) -> JobSpec:
        """The spec of one run of a definition; of one with sources, `inputs` are by their names.  The paths
        of `side` are absolute.  Raises InvalidArgument, also for an unknown parameter."""
        levels, sources = levels_of(definition, inputs), tuple[SourceOf, ...]()
        if isinstance(inputs, Mapping):
            each_of = [(each, inputs[each.name]) for each in definition.branches]
            sources = tuple(SourceOf(each.name, each.input.format, len(given)) for each, given in each_of)
            inputs = tuple(path for _, given in each_of for path in given)
        split_mib = definition.split_mib if split_mib is None else split_mib
        check_split_mib(split_mib)
        bad_records = bad_records_of(definition.on_bad_record if on_bad_record is None else on_bad_record)
        check_quarantine(bad_records, definition)
        join_by = definition.join_by(sets_aside=bad_records > 0)
        if is_copartitioned := join_by == "copartitioned":
            reducers = 0  # each map task has both sides, and writes a part
        return cls(
            job=job,
            module=module,
            name=name,
            bundle_sha256=bundle_sha256,
            inputs=inputs,
            output=output,
            input_format=definition.input.format,
            output_format="records" if collect_bytes else definition.output.format,
            output_compression="none" if collect_bytes else definition.output_compression,
            reducers=definition.reducers if reducers is None else reducers,
            overwrite=overwrite,
            params=_chosen(definition, params or {}),
            task_memory_mib=definition.task_memory_mib if task_memory_mib is None else task_memory_mib,
            order="input" if is_copartitioned else definition.order,
            split_bytes=split_mib * _MIB,
            sources=sources,
            side=dict(side or {}),
            broadcast=() if bad_records else definition.broadcast_names,  # bad rows would count in each task
            broadcast_bytes=definition.broadcast_bytes,
            bad_records=bad_records,
            consistency="" if sources else levels[0],
            output_keyspace=output_keyspace,
            weight=weight,
            collect_bytes=collect_bytes,
            output_url=output_url,
            network=network or definition.network,
            keeps_states=definition.update is not None,
            has_states=definition.update is not None,
            join_by=join_by,
            levels=levels if sources and any(levels) else (),
        )

    @property
    def _version(self) -> int:
        """The least that tells all of it, so that former releases run whatever they know."""
        if self.join_by or self.levels or any(_version_of(each.spec) == _WITH_JOINS for each in self.chain):
            return _WITH_JOINS
        return _WITH_STATES if self.has_states else VERSION

    def encode(self) -> bytes:
        """Version, then the fields by name, as msgpack.  Raises InvalidArgument above 1 MiB, and for half a
        surrogate pair."""
        values = asdict(self)
        values["noted"] = {name: list(map(astuple, files)) for name, files in self.noted.items()}
        version = self._version
        values = {name: values[name] for name in _FIELDS_OF[version]}
        try:
            data: bytes = msgpack.packb([version, values], unicode_errors="surrogateescape")
        except UnicodeEncodeError as error:
            raise InvalidArgument(
                f"a text of the job's description has a lone surrogate: {error.object!r:.100}"
            ) from error
        _check_size(data)
        return data

    @classmethod
    def decode(cls, data: bytes, *, is_link: bool = False) -> JobSpec:
        """Decode a spec, or that of a link of a chain.

        Raises ProtocolMismatch for another version or malformed bytes, InvalidArgument for bad values and
        above 1 MiB, before anything is made of it.
        """
        _check_size(data)
        try:
            version, values = msgpack.unpackb(data, unicode_errors="surrogateescape")
        except (ValueError, TypeError) as error:
            raise ProtocolMismatch(f"{len(data)} bytes are no job description: {error}") from error
        if version not in _FIELDS_OF:
            known = f"{min(_FIELDS_OF)} to {max(_FIELDS_OF)}"
            raise ProtocolMismatch(
                f"a job description of version {version}; this side knows versions {known}"
            )
        if not isinstance(values, dict) or set(values) != _FIELDS_OF[version]:
            raise ProtocolMismatch(f"a job description with other fields than version {version} has")
        values.setdefault("has_states", version == _WITH_STATES)
        values = {"keeps_states": False, "join_by": "", "levels": [], **values}
        values["levels"] = tuple(values["levels"]) if isinstance(values["levels"], list) else None
        values["inputs"] = tuple(values["inputs"]) if isinstance(values["inputs"], list) else None
        values["sources"] = read_sources(values["sources"])
        values["chain"] = read_links(values["chain"])
        if is_link and values["chain"]:
            raise ProtocolMismatch("a link of a chain of jobs is a chain itself")
        for each in values["chain"] or ():
            cls.decode(each.spec, is_link=True)
        values["broadcast"] = tuple(values["broadcast"]) if isinstance(values["broadcast"], list) else None
        values["noted"] = read_noted(values["noted"])
        return cls(**typed_fields(values))


def _check_size(data: bytes) -> None:
    if len(data) > MAX_SPEC_BYTES:
        raise InvalidArgument(f"the job's description has {len(data)} bytes; {MAX_SPEC_BYTES} are allowed")


_FIELDS: Final = frozenset(each.name for each in fields(JobSpec))
_FIELDS_OF: Final = {
    VERSION: _FIELDS - {"keeps_states", "has_states", "join_by", "levels"},
    _WITH_STATES: _FIELDS - {"has_states", "join_by", "levels"},
    _WITH_JOINS: _FIELDS,
}
"""The fields of a description by its version."""


def _version_of(data: bytes) -> object:
    """Of an encoded description: the first of two elements of an array."""
    return data[1] if len(data) > 1 else None


def _chosen(definition: JobDefinition, params: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a run.  Raises InvalidArgument for one that the job has not, and for a text that its
    tasks would get as another one: two escaped bytes are a character there."""
    unknown = sorted(set(params) - set(definition.params))
    if unknown:
        known = ", ".join(sorted(definition.params)) or "none"
        raise InvalidArgument(f"the job has no parameter {', '.join(unknown)}; it has {known}")
    chosen = {**definition.params, **params}
    for name, value in chosen.items():
        if not isinstance(value, str):
            raise InvalidArgument(f"parameter {name} is {type(value).__name__} {value!r:.80}, not a str")
        try:
            arrives = value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == value
        except UnicodeEncodeError:
            arrives = False
        if not arrives:
            raise InvalidArgument(f"parameter {name} has surrogates that are no single bytes: {value!r:.100}")
    return chosen


def _is_plain(path: str) -> bool:
    """Whether the hidden folder beside it lies where its parent says (outputs.staging_folder)."""
    return path.strip("/") != "" and not {"", ".", ".."} & set(path.strip("/").split("/"))
