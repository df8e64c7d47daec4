"""The command line of a node: one clear error that names the flag and the value."""

from pathlib import Path

import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.node.config import parse_arguments


def _line(**flags: str) -> list[str]:
    given = {"id": "n1", "listen": "127.0.0.1:7101", "data": "data", **flags}
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]


def test_a_node_takes_its_token_from_a_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    assert parse_arguments(_line(token_file=str(token))).token == "secret"


def test_a_data_folder_becomes_absolute() -> None:
    assert Path(parse_arguments(_line()).data).is_absolute()


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("id", "N 1"),
        ("listen", "0.0.0.0:7101"),
        ("listen", "127.0.0.1:40000"),
        ("listen", "127.0.0.1"),
        ("listen", "127.999.1.1:7101"),
        ("slots", "65"),
        ("purge_after", "119"),
        ("token_file", "/no/such/file"),
        ("peer_transport", "udp"),
        ("client_transport", ""),
    ],
)
def test_a_bad_flag_is_named_with_its_value(flag: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=f"--{flag.replace('_', '-')}.*{value}"):
        parse_arguments(_line(**{flag: value}))


def test_a_delete_is_kept_for_longer_than_any_request_takes() -> None:
    assert parse_arguments(_line(purge_after="120")).purge_after_s == 120
    assert parse_arguments(_line(purge_after="off")).purge_after_s == 0
    with pytest.raises(InvalidArgument, match="off, or from 120 seconds to a year"):
        parse_arguments(_line(purge_after="nan"))
    assert parse_arguments(_line(purge_after="1", purge_after_least="1")).purge_after_s == 1


def test_a_token_that_others_can_write_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("planted\n")
    token.chmod(0o666)
    with pytest.raises(InvalidArgument, match=r"--token-file .*token' is not trusted: .* mode 0666"):
        parse_arguments(_line(token_file=str(token)))
