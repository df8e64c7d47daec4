"""The drawings of who may import whom are those of the layers that lint checks."""

from layers_page import PAGE, with_drawings


def test_the_page_draws_the_layers_that_lint_checks() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_drawings(text) == text, "run scripts/layers_page.py"
