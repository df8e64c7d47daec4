"""The output of a job that its caller gets as values.

Pure.  See: docs/guide.md, "Jobs from Python".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.formats import FileOutput
from ringmill.cluster.mapreduce.api.job_keyspaces import KvOutput
from ringmill.cluster.mapreduce.failures import Cause, shown

__all__ = ["CollectOutput", "Output", "refuse_too_much", "too_much"]

MOST_COLLECTED_MIB: Final = 4096


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


Output: TypeAlias = FileOutput | KvOutput | CollectOutput
"""Where the result of a job goes."""


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
