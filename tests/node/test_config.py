"""The command line of a node: one clear error that names the flag and the value."""

import json
import os
import time
from pathlib import Path

import pytest

from ringmill.client.cli.console.settings import NAMES, NODES_OWN
from ringmill.cluster.errors import InvalidArgument
from ringmill.node.config import parse_arguments, show_settings
from ringmill.node.configuration.node_settings import CONFIG, NODE_SETTINGS
from ringmill.node.lifecycle import _clock, _options, _warnings


def _line(**flags: str) -> list[str]:
    given = {"id": "n1", "listen": "127.0.0.1:7101", "data": "data", **flags}
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]


def test_a_node_takes_its_token_from_a_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o640)
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
        ("token_file", ""),
        ("data", ""),
        ("peer_transport", "udp"),
        ("client_transport", ""),
        ("frames_port", "40000"),
        ("metrics", "7101"),
        ("metrics", "40000"),
        ("metrics", "0.0.0.0:9101"),
        ("metrics", "port"),
        ("traces", "collector"),
        ("traces", "ftp://127.0.0.1/"),
        ("traces", "file:"),
        ("trace_one_in", "-1"),
        ("frames_port", "7101"),
        ("containment", "on"),
        ("advertise", "db1.example"),
        ("advertise", "0.0.0.0:7101"),
        ("advertise", "db1.example:70000"),
        ("seeds", "db1.example:7101,db2.example"),
    ],
)
def test_a_bad_flag_is_named_with_its_value(flag: str, value: str) -> None:
    last = value.rsplit(",", maxsplit=1)[-1]
    with pytest.raises(InvalidArgument, match=f"--{flag.replace('_', '-')}.*{last}"):
        parse_arguments(_line(**{flag: value}))


def test_a_node_is_known_by_the_address_that_it_advertises() -> None:
    plain, known = parse_arguments(_line()), parse_arguments(_line(advertise="db1.example:9001"))
    assert (plain.address, plain.bound) == ("127.0.0.1:7101", "127.0.0.1:7101")
    assert (known.address, known.bound) == ("db1.example:9001", "127.0.0.1:7101")
    assert parse_arguments(_line(seeds="db1.example:1, [::1]:2,db1.example:1")).seeds == (
        "db1.example:1",
        "[::1]:2",
    )


TLS = {"tls_cert": "n1.pem", "tls_key": "n1.key", "tls_ca": "ca.pem"}


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text("secret\n")
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize("address", ["0.0.0.0:7101", "[::]:7101"])
def test_all_addresses_of_a_host_go_with_one_to_be_known_by(address: str, token_file: str) -> None:
    known = _line(listen=address, advertise="db1.example:7101", token_file=token_file, **TLS)
    config = parse_arguments(known)
    assert (config.bound, config.proved) == (address, ("db1.example:7101",))
    with pytest.raises(InvalidArgument, match="must be a loopback"):
        parse_arguments(_line(listen=address, advertise="db1.example:7101"))


@pytest.mark.parametrize("address", ["10.0.0.7:7101", "db1.example:7101", "[fd00::7]:7101", "127.0.0.1:7101"])
def test_with_tls_and_a_token_a_node_may_leave_the_machine(address: str, token_file: str) -> None:
    config = parse_arguments(_line(listen=address, token_file=token_file, **TLS))
    assert (config.address, config.peer_transport) == (address, "tcp")
    assert config.tls is not None and config.tls.ca == "ca.pem"


@pytest.mark.parametrize("without", ["tls", "token_file"])
def test_without_either_it_stays(without: str, token_file: str) -> None:
    flags = {**TLS, "token_file": token_file}
    kept = {name: value for name, value in flags.items() if not name.startswith(without)}
    with pytest.raises(InvalidArgument, match=r"--listen '10.0.0.7:7101' must be a loopback") as refused:
        parse_arguments(_line(listen="10.0.0.7:7101", **kept))
    assert "needs TLS and a token: --tls-cert, --tls-key, --tls-ca and --token-file" in refused.value.hint


@pytest.mark.parametrize(
    "address", ["0.0.0.0:7101", "[::]:7101", "0:7101", "10.0.0:7101", "10.0.0.7", "a b:1"]
)
def test_an_address_that_nobody_can_dial_is_refused(address: str, token_file: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a host:port that nodes and clients can dial"):
        parse_arguments(_line(listen=address, token_file=token_file, **TLS))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"tls_cert": "n1.pem"}, "--tls-key, --tls-ca missing"),
        ({"tls_crl": "ca.crl"}, "--tls-cert, --tls-key, --tls-ca missing"),
        ({"tls_clients": "certificate"}, "--tls-cert, --tls-key, --tls-ca missing"),
        ({**TLS, "peer_transport": "grpc"}, "--peer-transport grpc: with TLS nodes talk over tcp"),
    ],
)
def test_flags_of_tls_that_do_not_go_together_are_named(flags: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        parse_arguments(_line(**flags))


def test_a_delete_is_kept_for_longer_than_any_request_takes() -> None:
    assert parse_arguments(_line(purge_after="120")).purge_after_s == 120
    assert parse_arguments(_line(purge_after="off")).purge_after_s == 0
    with pytest.raises(InvalidArgument, match="off, or from 120 seconds to a year"):
        parse_arguments(_line(purge_after="nan"))
    assert parse_arguments(_line(purge_after="1", purge_after_least="1")).purge_after_s == 1


def test_a_clock_is_wrong_by_what_the_file_of_its_node_says_and_steps_with_it(tmp_path: Path) -> None:
    config = parse_arguments(_line(clock_shifts=str(tmp_path)))
    assert "WRONG CLOCK" in next(_warnings(config, _options(config).worker.containment))
    clock = _clock(config)
    shift = tmp_path / "n1"

    def ahead_s() -> float:
        return round((clock.wall() - time.time()) / 60) * 60.0

    assert ahead_s() == 0
    for text, is_now in [
        ("7200", 7200.0),
        ("", 7200.0),
        ("nan", 7200.0),
        ("-inf", 7200.0),
        ("-60.0", -60.0),
        ("0", 0.0),
    ]:
        shift.write_text(text)
        assert ahead_s() == is_now
    (tmp_path / "n2").write_text("7200")
    assert ahead_s() == 0, "that of another node"


@pytest.mark.parametrize("text", ["", "\n", "two words", "one\ntwo", "x" * 1025])
def test_a_file_without_a_token_leaves_no_node_open_to_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(InvalidArgument, match=r"--token-file .*token' holds no token"):
        parse_arguments(_line(token_file=str(tmp_path / "token")))


def test_a_node_does_not_take_the_token_of_a_client(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"rm1_{'a' * 16}_{'b' * 64}\n")
    token.chmod(0o600)
    with pytest.raises(InvalidArgument, match=r"holds the token of a client") as refused:
        parse_arguments(_line(token_file=str(token)))
    assert "b" * 64 not in str(refused.value)


@pytest.mark.parametrize("mode", [0o666, 0o644])
def test_a_token_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    token = tmp_path / "token"
    token.write_text("known to all\n")
    token.chmod(mode)
    with pytest.raises(InvalidArgument, match=rf"--token-file .*token' is not trusted: .* mode {mode:04o}"):
        parse_arguments(_line(token_file=str(token)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other groups")
@pytest.mark.parametrize("mode", [0o620, 0o640])
def test_a_token_that_another_group_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    token = tmp_path / "token"
    token.write_text("known to some\n")
    token.chmod(mode)
    os.chown(token, -1, 65534)
    with pytest.raises(InvalidArgument, match=rf"is not trusted: .* gid 65534, mode {mode:04o}"):
        parse_arguments(_line(token_file=str(token)))


def test_containment_comes_from_the_flag_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_arguments(_line()).containment == "auto"
    assert parse_arguments(_line(containment="require")).containment == "require"
    monkeypatch.setenv("RINGMILL_CONTAINMENT", "off")
    assert parse_arguments(_line()).containment == "off"
    monkeypatch.setenv("RINGMILL_CONTAINMENT", "of")
    with pytest.raises(InvalidArgument, match="RINGMILL_CONTAINMENT 'of': auto, require or off"):
        parse_arguments(_line())


def _file(folder: Path, *lines: str) -> list[str]:
    """The flags of a node with this file and nothing else; only its user may write it."""
    path = folder / "node.toml"
    path.write_text("\n".join(['id = "n1"', 'listen = "127.0.0.1:7101"', 'data = "data"', *lines]))
    path.chmod(0o600)
    return ["--config", str(path)]


def test_a_file_has_what_flags_have_with_dashes_or_underscores(tmp_path: Path) -> None:
    line = _file(tmp_path, "slots = 3", "scrub-every = 60", "hint_age = 1.5", "gate = false", 'zone = "east"')
    found = parse_arguments(line)
    assert (found.id, found.address, found.slots, found.zone) == ("n1", "127.0.0.1:7101", 3, "east")
    assert (found.scrub_every_s, found.hint_age_s, found.gate) == (60, 1.5, False)
    assert parse_arguments(_file(tmp_path, 'purge-after = "off"')).purge_after_s == 0


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = _file(tmp_path, "slots = 3")
    assert parse_arguments(line).slots == 3
    monkeypatch.setenv("RINGMILL_SLOTS", "4")
    assert parse_arguments(line).slots == 4
    assert parse_arguments([*line, "--slots", "5"]).slots == 5
    monkeypatch.setenv("RINGMILL_SLOTS", "many")
    with pytest.raises(InvalidArgument, match="RINGMILL_SLOTS 'many': not a whole number"):
        parse_arguments(line)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("slot = 3", "line 4: slot is not a setting of a node; did you mean slots"),
        ('slots = "3"', r"slots \(.*line 4\) is '3', text: it must be a whole number, from 0 to 64"),
        ("slots = 65", r"slots \(.*line 4\) 65: from 0 to 64"),
        ("slots = true", "is 'True', true or false"),
        ("zone = 3", "zone .* is '3', a whole number: it must be text"),
        ('gate = "maybe"', "gate .*line 4.* 'maybe': off or on"),
        ('peer-transport = "udp"', "peer-transport .*'udp': grpc, tcp or unix"),
        ("[storage]\nslots = 3", r"line 4: \[storage\] is a section"),
        ("hint-age = 1\nhint_age = 2", "line 5: hint_age stands there twice"),
        ("slots = 3x", "is not valid TOML: .*line 4"),
        ('config = "other.toml"', "config is not a setting"),
    ],
)
def test_a_bad_line_of_a_file_is_named_with_its_file(tmp_path: Path, text: str, told: str) -> None:
    line = _file(tmp_path, text)
    with pytest.raises(InvalidArgument, match=rf"(?s){told}") as raised:
        parse_arguments(line)
    assert str(tmp_path / "node.toml") in str(raised.value)


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    line = _file(tmp_path)
    (tmp_path / "node.toml").chmod(0o666)
    with pytest.raises(InvalidArgument, match=r"node\.toml' is not trusted: .* every user"):
        parse_arguments(line)
    with pytest.raises(InvalidArgument, match=r"--config .*none\.toml"):
        parse_arguments(["--config", str(tmp_path / "none.toml")])


def test_what_is_missing_is_named_with_all_places_where_it_can_stand() -> None:
    with pytest.raises(InvalidArgument, match="--listen and --data: missing") as raised:
        parse_arguments(["--id", "n1"])
    assert "--config" in raised.value.hint and "RINGMILL_LISTEN and RINGMILL_DATA" in raised.value.hint


def test_the_settings_are_shown_with_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _file(tmp_path, "slots = 3")
    monkeypatch.setenv("RINGMILL_ZONE", "east")
    show_settings([*line, "--hint-age", "5", "--origin"])
    rows = [row.split("\t") for row in capsys.readouterr().out.splitlines()]
    assert ["slots", "3", f"slots ({tmp_path}/node.toml, line 4)"] in rows
    assert ["zone", "east", "RINGMILL_ZONE"] in rows and ["hint-age", "5", "--hint-age"] in rows
    assert ["gate", "on", "default"] in rows and len(rows) == len(
        [s for s in NODE_SETTINGS if not s.is_hidden]
    )
    show_settings([*line, "-o", "json"])
    assert json.loads(capsys.readouterr().out)["slots"] == 3
    with pytest.raises(InvalidArgument, match=r"127\.0\.0\.1:40000"):
        show_settings([*line, "--listen", "127.0.0.1:40000"])


def test_a_command_knows_the_variables_that_are_of_nodes() -> None:
    variables = {setting.variable for setting in NODE_SETTINGS}
    assert {f"RINGMILL_{name.upper()}" for name in NODES_OWN} == variables | {f"RINGMILL_{CONFIG.upper()}"}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_command_takes_from_the_environment_changes_no_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"RINGMILL_{name.upper()}", "/absent/or:7101")
    assert parse_arguments(_file(tmp_path)) == parse_arguments(_line())


def test_what_nodes_of_a_machine_have_together_is_its_cores_unless_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    def together(*lines: str) -> int:
        return _options(parse_arguments(_file(tmp_path, *lines))).worker.machine.slots

    assert together("slots = 1") == 2
    assert together("slots = 6") == 6, "one node may use what it was given"
    assert together("slots = 1", "host_slots = 32") == 32
    assert together("slots = 6", "host-slots = 3") == 3
