"""What cannot be taken back is shown and asked for on stderr, whatever form the answer has."""

import io

import pytest

from ringmill.client.cli.console.consent import ask_to_type
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import InvalidArgument


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


REFUSAL = InvalidArgument("n1 is left as it is")


def ask(form: str, *, yes: bool = False) -> None:
    ask_to_type(
        Settings(output=form), ["all is lost"], word="n1", to="accept this loss", yes=yes, refusal=REFUSAL
    )


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("typed", ["n1\n", "yes\n", ""])
def test_nobody_types_a_word_without_knowing_what_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str, typed: str
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    if typed == "n1\n":
        ask(form)
    else:
        with pytest.raises(InvalidArgument, match="left as it is"):
            ask(form)
    out, err = capsys.readouterr()
    assert out == "", "the answer alone is on stdout"
    assert err.startswith("all is lost\nType n1 to accept this loss: ")
    assert err.endswith("\n") == (typed == "")


@pytest.mark.parametrize("nobody", [None, io.StringIO("n1\n")])
def test_where_nobody_can_be_asked_only_yes_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nobody: io.StringIO | None
) -> None:
    monkeypatch.setattr("sys.stdin", nobody)
    with pytest.raises(InvalidArgument):
        ask("json")
    ask("json", yes=True)
    assert capsys.readouterr() == ("", "")
    ask("table", yes=True)
    assert capsys.readouterr() == ("", "all is lost\n")
