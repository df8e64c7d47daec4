"""Tables to join and links between pages, drawn from a seed; made once, then kept."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

__all__ = ["link_files", "order_tables"]

CUSTOMERS = 50_000
LINKS_A_PAGE = 8


def order_tables(folder: Path, orders: int, files: int = 8) -> tuple[list[Path], Path]:
    """Files of orders, and one of the customers who have placed them, as csv."""
    draw = random.Random(1)
    names = "".join(f"{number},name{number}\n" for number in range(CUSTOMERS))
    customers = _made(folder / "customers.csv", ["customer,name\n", names])
    paths = []
    for part in range(files):
        numbers = range(part * orders // files, (part + 1) * orders // files)
        rows = (f"{each},{draw.randrange(CUSTOMERS)},{draw.randrange(10**6)}\n" for each in numbers)
        paths.append(_made(folder / f"orders-{part}.csv", ["order,customer,cents\n", "".join(rows)]))
    return paths, customers


def link_files(folder: Path, pages: int, files: int = 8) -> list[Path]:
    """Files of lines `FROM TO`; each page has 8 links, more of them to pages with low numbers."""
    draw = random.Random(2)
    paths = []
    for part in range(files):
        lines = (
            f"p{page} p{int(pages * draw.random() ** 2)}\n"
            for page in range(part, pages, files)
            for _ in range(LINKS_A_PAGE)
        )
        paths.append(_made(folder / f"links-{part}.txt", lines))
    return paths


def _made(path: Path, texts: Iterable[str]) -> Path:
    text = "".join(texts)  # drawn in any case, as later files follow in the same sequence
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_suffix(".new")
        staged.write_text(text)
        staged.rename(path)
    return path
