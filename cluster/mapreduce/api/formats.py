"""What files a job reads and writes, how records lie in them, and the output that its caller takes as values.

Pure.  See: docs/formats/job.md, "Records" and "Output"; docs/guide.md, "Jobs from Python".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.failures import Cause, shown

__all__ = [
    "CollectOutput",
    "FileInput",
    "FileOutput",
    "InputFormat",
    "OutputCompression",
    "OutputFormat",
    "refuse_too_much",
    "too_much",
]

InputFormat: TypeAlias = Literal[
    "lines", "jsonl", "csv", "bytes", "raw", "file", "parquet", "arrow", "records"
]
OutputFormat: TypeAlias = Literal["tsv", "jsonl", "bytes", "lines", "records", "csv", "parquet"]
OutputCompression: TypeAlias = Literal["none", "gzip", "zstd"]

TABLES: Final = ("csv", "parquet")
MOST_COLLECTED_MIB: Final = 4096


@dataclass(frozen=True, slots=True)
class FileInput:
    """Records from files.

    lines: (byte offset, line as str), split on LF only, one trailing CR dropped, UTF-8 with bytes that are
    not UTF-8 as surrogate escapes.  bytes: the same lines as bytes.  raw: the same with the CR.  jsonl:
    (offset, parsed line), blank lines skipped.  csv: (line number, row as list[str], or dict[str, str] by the
    header, as map declares).  file: (path, whole content as str or bytes, as map declares).  Files ending in
    .gz, .bz2, .xz, .zst or .lz4 are unpacked while they are read, as a whole; other binary files are refused
    in all formats but `file`.

    records: key and value as a job with FileOutput("records") has written them, of the types that map
    declares.

    parquet, arrow: pyarrow.RecordBatch for map_batch, of `columns` or of all; csv gives them too if map_batch
    takes them, with all columns as text.
    """

    format: InputFormat = "lines"
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("input format", self.format, get_args(InputFormat))
        if isinstance(self.columns, str) or not all(isinstance(each, str) for each in self.columns):
            raise InvalidArgument(f"columns must be names, not {shown(self.columns, 100)}")


@dataclass(frozen=True, slots=True)
class FileOutput:
    """A folder of part-00000, part-00001, ... and _SUCCESS.

    tsv: key TAB value, one record a line, as text.  jsonl: {"key": ..., "value": ...} a line.  bytes: the
    values alone, one after the other, nothing between them.  lines: the values alone, each with an LF; the
    keys where values are None.  records: binary, with their types, for FileInput("records").  With a
    compression the files are part-00000.gz, or .zst.

    csv: a line each of the columns of key and value, under a header where `columns` names them.  parquet:
    the same columns with types, by pyarrow, which compresses them in the file.  A tuple is a column for each
    element, a dataclass one for each field.
    """

    format: OutputFormat = "tsv"
    compression: OutputCompression = "none"
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("output compression", self.compression, get_args(OutputCompression))
        one_of("output format", self.format, get_args(OutputFormat))
        if isinstance(self.columns, str) or not all(isinstance(each, str) and each for each in self.columns):
            raise InvalidArgument(f"columns must be names, not {shown(self.columns, 100)}")
        if self.columns and self.format not in TABLES:
            raise InvalidArgument(f"columns are for {' and '.join(TABLES)}, not for {self.format}")


@dataclass(frozen=True, slots=True)
class CollectOutput:
    """The records of a job go to whoever runs it, as pairs of key and value with their types.

    `max_mib` bounds them, in MiB of their binary form (docs/formats/job.md, "Typed records"): a job that
    gives more fails.
    """

    max_mib: int = 64

    def __post_init__(self) -> None:
        if type(self.max_mib) is not int or not 1 <= self.max_mib <= MOST_COLLECTED_MIB:
            raise InvalidArgument(
                f"max_mib must be 1 to {MOST_COLLECTED_MIB}, not {shown(self.max_mib, 40)}",
                hint="larger results belong into a folder, which read_result reads record by record",
            )

    @property
    def format(self) -> Literal["records"]:
        return "records"

    @property
    def max_bytes(self) -> int:
        return self.max_mib << 20


def too_much(most_bytes: int) -> str:
    """What to say of an output that is above the bound."""
    return (
        f"the job gives more than {most_bytes >> 20} MiB of records, the most that its caller takes "
        "(CollectOutput(max_mib=...)); an output folder takes any"
    )


def refuse_too_much(size: int, most_bytes: int) -> None:
    """Raises JobFailed for an output of that size; a bound of 0 is none."""
    if most_bytes and size > most_bytes:
        raise JobFailed(too_much(most_bytes), detail={"cause": str(Cause.USER_ERROR)})


def one_of(what: str, given: str, options: tuple[str, ...]) -> None:
    """Raises InvalidArgument for a text that is none of the options."""
    if given not in options:
        raise InvalidArgument(f"{what} {given!r} is unknown; there are {', '.join(options)}")
