"""The jobs that a series draws: the six jobs, each in its styles, as scripts/bench measures them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["SHAPES", "JobShape", "shapes_of"]

STYLES: Final = Path(__file__).resolve().parents[2] / "bench" / "styles"


@dataclass(frozen=True, slots=True)
class JobShape:
    """A job in one style.  `needs`: a package that tasks of it import; `object`: its name in the module where
    that is another one; `reducers`: None for the job's own."""

    name: str
    module: str
    needs: str = ""
    object: str = ""
    reducers: int | None = None

    @property
    def target(self) -> str:
        return f"{STYLES / self.module}:{self.object or self.name}"

    @property
    def has_shuffle(self) -> bool:
        """Whether its maps leave something for reduces."""
        return self.reducers != 0

    @property
    def job(self) -> str:
        """Which of the six it is."""
        return self.name.partition("_")[0]


SHAPES: Final = (
    JobShape("words_function", "job_styles.py"),
    JobShape("words_record", "job_styles.py"),
    JobShape("words_batch", "job_styles.py"),
    JobShape("words_columns", "column_styles.py", needs="pyarrow"),
    JobShape("grep_record", "job_styles.py"),
    JobShape("grep_batch", "job_styles.py"),
    JobShape("grep_maps", "job_styles.py", object="grep_batch", reducers=0),
    JobShape("index_record", "shaped_jobs.py"),
    JobShape("sort_record", "job_styles.py"),
    JobShape("sort_batch", "job_styles.py"),
    JobShape("join_broadcast", "shaped_jobs.py"),
    JobShape("join_hash", "shaped_jobs.py"),
    JobShape("join_merge", "shaped_jobs.py"),
    JobShape("pagerank", "shaped_jobs.py"),
    JobShape("pagerank_in_place", "shaped_jobs.py"),
)


def shapes_of(names: Sequence[str]) -> list[JobShape]:
    """The shapes of these names; a name may also be that of one of the six jobs, and none stands for all.

    Those whose package is missing are left out.  Raises ValueError for a name that nothing has.
    """
    if unknown := [each for each in names if not any(each in (one.name, one.job) for one in SHAPES)]:
        raise ValueError(f"there is no job {unknown[0]!r}; there are {', '.join(one.name for one in SHAPES)}")
    wanted = [one for one in SHAPES if not names or one.name in names or one.job in names]
    return [one for one in wanted if not one.needs or find_spec(one.needs)]
