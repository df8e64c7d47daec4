"""The table of error codes in the documentation is that of the classes that users meet."""

from errors_page import PAGE, with_table


def test_the_page_has_each_error_with_its_codes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text) == text, "run scripts/errors_page.py"
