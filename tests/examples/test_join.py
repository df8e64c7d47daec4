"""The join against looking each customer up in a dict."""

from __future__ import annotations

from pathlib import Path

from examples.join import named_orders
from ringmill import run_local
from tests.examples.records import records_of


def test_each_order_has_the_name_of_its_customer(tmp_path: Path) -> None:
    names = {f"c{number}": f"name {number}" for number in range(50)}
    orders = [(f"o{number}", f"c{number * 7 % 60}", number / 100) for number in range(300)]
    customers = "customer,name\n" + "".join(f"{key},{name}\n" for key, name in names.items())
    (tmp_path / "customers.csv").write_text(customers)
    rows = "".join(f"{order},{customer},{amount:.2f}\n" for order, customer, amount in orders)
    (tmp_path / "orders.csv").write_text("order,customer,amount\n" + rows)
    inputs = {"customers": str(tmp_path / "customers.csv"), "orders": str(tmp_path / "orders.csv")}
    result = run_local(named_orders, inputs, str(tmp_path / "out"))
    expected = {
        order: [customer, round(amount * 100), names.get(customer, "")] for order, customer, amount in orders
    }
    assert dict(records_of(tmp_path / "out")) == expected
    assert result.counters["unknown customers"] == sum(customer not in names for _, customer, _ in orders)
