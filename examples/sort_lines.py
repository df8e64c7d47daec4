"""Sort lines by their bytes, as `LC_ALL=C sort` does: the parts one after the other are the sorted input.

    ringmill job run examples/sort_lines.py:sort_lines --input 'logs/*.log' --output sorted
    cat sorted/part-*

Lines travel and are sorted as lists: a line has no key, no pair and no call of its own.
"""

from ringmill import FileInput, FileOutput, job


def lines_as_they_are(lines: list[bytes]) -> list[bytes]:
    return lines


sort_lines = job(
    map_batch=lines_as_they_are,
    order="total",
    input=FileInput(format="raw"),
    output=FileOutput(format="lines"),
)
