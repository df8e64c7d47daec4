"""Join two tables: each order with the name of its customer, from csv files of both.

    ringmill job run examples/join.py:join --input customers.csv --input 'orders/*.csv' --output joined

Customers have the columns customer and name, orders the columns order, customer and amount.  An order of an
unknown customer is kept, without a name; the counter "unknown customers" tells how many there were.
"""

from collections.abc import Iterable, Iterator

from ringmill import Context, FileInput, FileOutput, job

CUSTOMER, ORDER = 0, 1
Row = tuple[int, str, int]
"""From which table; the customer's name or the order; the amount in cents."""


def row_of(line: int, row: dict[str, str]) -> Iterator[tuple[str, Row]]:
    """The columns tell from which table a row is."""
    if "name" in row:
        yield row["customer"], (CUSTOMER, row["name"], 0)
    else:
        yield row["customer"], (ORDER, row["order"], round(float(row["amount"]) * 100))


def joined(customer: str, rows: Iterable[Row], ctx: Context) -> Iterator[tuple[str, tuple[str, int, str]]]:
    """Sorted, the customer comes before its orders."""
    name = ""
    for table, text, cents in sorted(rows):
        if table == CUSTOMER:
            name = text
            continue
        if not name:
            ctx.count("unknown customers")
        yield text, (customer, cents, name)


join = job(
    map=row_of,
    reduce=joined,
    input=FileInput(format="csv"),
    output=FileOutput(format="jsonl"),
)
