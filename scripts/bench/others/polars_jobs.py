"""The jobs as one would write them for polars: expressions on columns, without Python for each row."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import polars as pl

from others.measured import Work, run_job

NAME, WORD = pl.col("name"), pl.col("word")


def lines(files: list[str]) -> pl.LazyFrame:
    return pl.scan_csv(files, separator="\x01", quote_char=None, has_header=False, new_columns=["line"])


def write(frame: pl.LazyFrame, output: str) -> None:
    frame.sink_csv(output, separator="\t", include_header=False, quote_style="never")


def words(files: list[str], output: str) -> None:
    split = (
        lines(files).select(pl.col("line").str.to_lowercase().str.split(" ").alias("word")).explode("word")
    )
    write(split.filter(WORD != "").group_by("word").agg(pl.len()).sort("word"), output)


def grep(files: list[str], output: str) -> None:
    write(lines(files).filter(pl.col("line").str.contains("ing", literal=True)), output)


def sort(files: list[str], output: str) -> None:
    write(lines(files).sort("line"), output)


def index(files: list[str], output: str) -> None:
    names = [Path(file).name for file in files]
    texts = pl.LazyFrame({"name": names, "text": [Path(file).read_text() for file in files]})
    split = texts.select("name", pl.col("text").str.replace_all("\n", " ").str.split(" ").alias("word"))
    pairs = split.explode("word").filter(WORD != "").unique()
    listed = pairs.sort("word", "name").group_by("word", maintain_order=True).agg(NAME)
    quoted = NAME.list.eval('"' + pl.element() + '"').list.join(",")
    write(listed.select("word", "[" + quoted + "]"), output)


def join(files: list[str], output: str) -> None:
    *orders, customers = files
    known = pl.scan_csv(customers, infer_schema=False)
    both = pl.scan_csv(orders, infer_schema=False).join(known, on="customer")
    told = pl.col("customer") + " " + NAME + " " + pl.col("cents")
    write(both.select("order", told.alias("told")), output)


TABLE: dict[str, Work] = {
    **dict.fromkeys(("words_function", "words_record", "words_batch", "words_columns"), words),
    **dict.fromkeys(("grep_record", "grep_batch"), grep),
    **dict.fromkeys(("sort_record", "sort_batch"), sort),
    "index_record": index,
    **dict.fromkeys(("join_broadcast", "join_hash", "join_merge"), join),
}

if __name__ == "__main__":
    run_job(TABLE)
