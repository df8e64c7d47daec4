"""Find lines: each line of the input that a regular expression matches, with its file and byte offset.

    ringmill job run examples/grep.py:grep --input 'logs/*.log' --output found

The pattern is the job's parameter `pattern`, "error" unless it is set.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from ringmill import Context, FileInput, FileOutput, job


def matching_lines(offset: int, line: str, ctx: Context) -> Iterator[tuple[tuple[str, int], str]]:
    if compiled(ctx.params["pattern"]).search(line):
        ctx.count("matches")
        yield (ctx.path, offset), line


@lru_cache(maxsize=1)
def compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


grep = job(
    map=matching_lines,
    input=FileInput(format="lines"),
    output=FileOutput(format="jsonl"),
    order="input",
    params={"pattern": "error"},
)
