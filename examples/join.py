"""Join two tables: each order with the name of its customer, from csv files of both.

    ringmill job run examples/join.py:named_orders --output joined \\
        --input 'orders=orders/*.csv' --input customers=customers.csv

Customers have the columns customer and name, orders the columns order, customer and amount.  An order of an
unknown customer is kept, without a name; the counter "unknown customers" tells how many there were.

A table of customers of up to 10 MiB goes to every map task; larger ones are sorted with the orders.
"""

from collections.abc import Iterator

from ringmill import Context, FileInput, FileOutput, Source, join

Row = dict[str, str]


def named(
    customer: str, order: Row, known: Row | None, ctx: Context
) -> Iterator[tuple[str, tuple[str, int, str]]]:
    """The order with its customer, its amount in cents, and the name."""
    if known is None:
        ctx.count("unknown customers")
    cents = round(float(order["amount"]) * 100)
    yield order["order"], (customer, cents, known["name"] if known is not None else "")


named_orders = join(
    Source("orders", input=FileInput("csv")),
    Source("customers", input=FileInput("csv")),
    on="customer",
    how="left",
    result=named,
    output=FileOutput("jsonl"),
)
