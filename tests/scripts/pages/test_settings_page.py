"""The table of settings in the documentation is the one that nodes read."""

from settings_page import PAGE, with_table


def test_the_page_has_each_setting_as_the_node_takes_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text) == text, "run scripts/settings_page.py"
