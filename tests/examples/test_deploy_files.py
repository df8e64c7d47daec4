"""The files in examples/deploy name settings that nodes have, and what they point at is there.

The manifests were checked against the schemas of Kubernetes with kubernetes-validate; that is done again here
where it is installed.  No image is built.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # of distributed

from ringmill.client.cli.console.settings import NAMES
from ringmill.node.config import parse_arguments
from ringmill.node.configuration.node_settings import CONFIG, NODE_SETTINGS
from ringmill.node.services.server import LIVENESS, READINESS, STARTUP
from tests.client.observing.typed_commands import check_commands

DEPLOY = Path(__file__).parent.parent.parent / "examples" / "deploy"
ROOT = DEPLOY.parent.parent
FILES = (
    "systemd/ringmill@.service",
    "containers/Containerfile",
    "containers/compose.yaml",
    "kubernetes/ringmill.yaml",
)
FLAGS = {setting.name for setting in NODE_SETTINGS} | {CONFIG}
VARIABLES = {setting.variable for setting in NODE_SETTINGS} | {"RINGMILL_TOKEN_FILE", "RINGMILL_TLS_CA"}
"""The last two are for commands that somebody types in a container."""
LEAST_STOP_S = 5  # a node ends within it


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "containers/compose.yaml").read_text())


def manifests() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes/ringmill.yaml").read_text())}


@pytest.mark.parametrize("name", FILES)
def test_each_setting_is_one_of_a_node(name: str) -> None:
    text = (DEPLOY / name).read_text()
    variables = set(re.findall(r"\bRINGMILL_[A-Z_]+", text))
    line = next((line for line in text.splitlines() if line.startswith("ExecStart=")), "")
    flags = {found.replace("-", "_") for found in re.findall(r"--([a-z-]+)", line)}
    assert variables | flags and variables <= VARIABLES and flags <= FLAGS


def containers_settings() -> dict[str, dict[str, str]]:
    """The environment of each node, as its container has it."""
    image = dict(re.findall(r"(RINGMILL_[A-Z_]+)=(\S+)", (DEPLOY / "containers/Containerfile").read_text()))
    nodes = {name: {**image, **one["environment"]} for name, one in compose()["services"].items()}
    pod = manifests()["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]["env"]
    raw = {one["name"]: one.get("value", "ringmill-1") for one in pod}
    own = {name: value.replace("$(RINGMILL_ID)", raw["RINGMILL_ID"]) for name, value in raw.items()}
    return {**nodes, "ringmill-1": {**image, **own}}


@pytest.mark.parametrize("node", ["n1", "n2", "n3", "ringmill-1"])
def test_a_node_starts_with_the_environment_of_its_container(
    node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = containers_settings()[node]
    assert environment["RINGMILL_ID"] == node
    assert (
        environment["RINGMILL_ADVERTISE"].startswith(node) and node in environment["RINGMILL_NODE_TLS_CERT"]
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("/etc/ringmill", str(tmp_path)))
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o600)
    config = parse_arguments([])
    assert config.address == environment["RINGMILL_ADVERTISE"] and config.tls is not None


def test_each_container_has_the_key_of_its_own_node_alone() -> None:
    """Who has another node's key can pose as that one, and tasks of jobs read what the node's user can."""
    for name, one in compose()["services"].items():
        secrets = [mount for mount in one["volumes"] if ":/etc/ringmill" in mount]
        assert secrets == [f"./secrets/{name}:/etc/ringmill:ro"]
    pod = manifests()["StatefulSet"]["spec"]["template"]["spec"]
    whole = {one["name"] for one in pod["volumes"] if "secret" in one and "items" not in one["secret"]}
    assert whole and not whole & {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    named = {item["key"] for one in pod["volumes"] for item in one.get("secret", {}).get("items", ())}
    assert named == {"ca.pem", "ca.crl"}


@pytest.mark.parametrize("token", [("token",), ()])
def test_a_pods_own_secrets_are_copied_again_when_its_init_container_runs_again(
    token: tuple[str, ...],
) -> None:
    """The copies have modes of the Secret: nobody but root may write them.  A pod that joins has no token."""
    (init,) = manifests()["StatefulSet"]["spec"]["template"]["spec"]["initContainers"]
    with TemporaryDirectory() as top:  # pytest's own folders are closed to another user
        secret, own = Path(top, "secret"), Path(top, "own")
        for folder in (secret, own):
            folder.mkdir()
        for folder, mode in ((Path(top), 0o755), (secret, 0o755), (own, 0o777)):
            folder.chmod(mode)
        for name in (*token, *(f"ringmill-{at}.{kind}" for at in (0, 1) for kind in ("pem", "key"))):
            (secret / name).write_text("secret\n")
            (secret / name).chmod(0o444)
        line = [
            part.replace("/run/ringmill", str(secret)).replace("/etc/ringmill", str(own))
            for part in init["command"]
        ]
        for _ in range(2):
            done = subprocess.run(
                line, env={"PATH": os.environ["PATH"], "RINGMILL_ID": "ringmill-1"}, timeout=20,
                capture_output=True, text=True, check=False, user=None if os.geteuid() else 65534,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        assert sorted(each.name for each in own.iterdir()) == ["ringmill-1.key", "ringmill-1.pem", *token]
        assert not any(each.stat().st_mode & 0o077 for each in own.iterdir())


@pytest.mark.parametrize("name", ["containers/compose.yaml", "kubernetes/ringmill.yaml", "systemd/README.md"])
def test_a_layout_names_the_list_of_revocations(name: str) -> None:
    """Without it `ringmill ca revoke` has no effect until all nodes are started anew."""
    assert re.search(
        r"(?:RINGMILL_TLS_CRL\W+(?:value: )?|tls-crl = \")/[\w/]+/ca\.crl", (DEPLOY / name).read_text()
    )


def test_the_image_asks_for_no_file_that_a_layout_may_not_have() -> None:
    """A node does not start without the list that it is told of, and images are made anew by themselves."""
    assert "TLS_CRL" not in (DEPLOY / "containers/Containerfile").read_text()
    assert all(one["environment"]["RINGMILL_TLS_CRL"] for one in compose()["services"].values())


def test_the_services_of_compose_have_what_they_mount() -> None:
    found = compose()
    image = (DEPLOY / "containers/Containerfile").read_text()
    assert set(found["volumes"]) == set(found["services"])
    for one in found["services"].values():
        assert (DEPLOY / "containers" / one["build"]["context"] / one["build"]["dockerfile"]).is_file()
        assert float(one["stop_grace_period"].rstrip("s")) > LEAST_STOP_S
    assert "--only-binary :all:" in image and re.search(r"^USER 10001", image, re.MULTILINE)
    for copied in re.findall(r"^COPY (?!--from)(\S+) ", image, re.MULTILINE):
        assert (ROOT / copied).exists()


def test_the_manifests_of_kubernetes_go_together() -> None:
    found = manifests()
    assert set(found) == {"Service", "PodDisruptionBudget", "StatefulSet"}
    sets, service = found["StatefulSet"]["spec"], found["Service"]
    labels = sets["template"]["metadata"]["labels"]
    budget = found["PodDisruptionBudget"]["spec"]
    assert (
        labels
        == service["spec"]["selector"]
        == sets["selector"]["matchLabels"]
        == budget["selector"]["matchLabels"]
    )
    assert sets["serviceName"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None"
    assert budget["maxUnavailable"] == 1
    pod = sets["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > LEAST_STOP_S and pod["securityContext"]["runAsNonRoot"]
    volumes = {one["name"] for one in pod["volumes"]} | {
        one["metadata"]["name"] for one in sets["volumeClaimTemplates"]
    }
    mounted = [mount for one in (*pod["initContainers"], *pod["containers"]) for mount in one["volumeMounts"]]
    assert {mount["name"] for mount in mounted} == volumes
    node = pod["containers"][0]
    probes = {
        name: node[f"{name}Probe"]["exec"]["command"][-1] for name in ("startup", "liveness", "readiness")
    }
    assert probes == {"startup": STARTUP, "liveness": LIVENESS, "readiness": READINESS}
    ports = {port["name"]: port["containerPort"] for port in node["ports"]}
    assert ports == {"grpc": 7101} and service["spec"]["ports"][0]["targetPort"] == "grpc"


@pytest.mark.skipif(find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed")
def test_the_manifests_are_what_the_schemas_of_kubernetes_allow() -> None:
    import kubernetes_validate  # type: ignore[import-not-found]

    for manifest in manifests().values():
        kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_the_gateways_unit_types_a_command_that_exists_and_goes_with_its_node() -> None:
    text = (DEPLOY / "systemd/ringmill-gateway@.service").read_text()
    (line,) = re.findall(r"^ExecStart=/opt/ringmill/bin/(.*)$", text, re.MULTILINE)
    check_commands(line)
    node = "ringmill@%i.service"
    assert all(f"\n{told}={node}\n" in text for told in ("PartOf", "After", "WantedBy"))
    assert set(re.findall(r"\bRINGMILL_([A-Z_]+)", text)) <= {name.upper() for name in NAMES}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", ["ringmill@.service", "ringmill-gateway@.service"])
def test_systemd_takes_the_unit(tmp_path: Path, name: str) -> None:
    text = (DEPLOY / "systemd" / name).read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop is not None and int(stop[1]) > LEAST_STOP_S
    unit = tmp_path / name
    unit.write_text(text.replace("/opt/ringmill/bin/ringmill", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and str(unit) not in done.stderr, done.stderr


READMES = ("systemd", "containers", "kubernetes")


def test_members_are_changed_from_a_pod_by_whole_commands() -> None:
    """A pod has no local cluster, and no terminal at which somebody can be asked."""
    text = (DEPLOY / "kubernetes/README.md").read_text().replace("\\\n", " ")
    typed = re.findall(r"kubectl exec \S+ -- (ringmill cluster .*)", text)
    assert [line.split()[2] for line in typed] == ["form", "add", "remove"]
    for line in typed:
        check_commands(line)
        assert "cluster form" in line or ("--endpoints ringmill-0.ringmill:7101" in line and "--yes" in line)


@pytest.mark.parametrize("name", READMES)
def test_a_node_that_joins_keeps_its_token_where_it_can_write(name: str) -> None:
    """`/etc/ringmill` is read-only for all of them."""
    text = (DEPLOY / name / "README.md").read_text()
    places = re.findall(r"(?:token-file|NODE_TOKEN_FILE)\W+(?:value: )?(/[\w/]+)", text)
    assert places and "rj1_" in text
    assert all(place.startswith("/var/lib/ringmill/") for place in places)


@pytest.mark.parametrize("name", READMES)
def test_a_readme_has_a_folder_for_what_jobs_write(name: str) -> None:
    assert "/srv/ringmill" in (DEPLOY / name / "README.md").read_text()
    assert "below the state folder or" not in (DEPLOY / "systemd/ringmill@.service").read_text()


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of the image, by itself or by a folder that it is in."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and line[0] != "#"]
    parts = path.split("/")
    ways = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(
        fnmatch.fnmatchcase(way.rpartition("/")[2], pattern[3:]) if pattern[:3] == "**/" else way == pattern
        for way in ways
        for pattern in patterns
    )


def test_an_image_is_built_without_what_the_readmes_make_and_with_what_is_installed() -> None:
    made = {".git/config", ".venv/bin/python", ".ringmill/default/token", "build/x", "token", "n1.log"}
    for name in (*READMES, "../../docs"):
        for page in (DEPLOY / name).resolve().glob("*.md"):
            text = page.read_text()
            made |= {f"{folder}/n1.key" for folder in re.findall(r"--dir ([\w.]+)", text)}
            made |= {f"{folder}/token" for folder in re.findall(r"^mkdir (\w+) ", text, re.MULTILINE)}
            made |= set(re.findall(r"base64 > ([\w.]+)", text))
            made |= {f"{folder}/n1/CONTROL" for folder in re.findall(r"--data (\w+)/", text)}
    assert {"ca/n1.key", "secrets/token", "token", "data/n1/CONTROL"} <= made
    for path in made:
        assert ignored(path), path
        assert path.startswith(("build/", ".git/")) or ignored(f"examples/deploy/containers/{path}"), path
    packages = ("client", "cluster", "node", "proto", "ringmill", "simulator")
    sources = [path for package in packages for path in (ROOT / package).rglob("*") if path.is_file()]
    kept = [
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "constraints.txt",
        *re.findall(
            r"^COPY (?!--from)([\w/.]+/\S+) ", (DEPLOY / "containers/Containerfile").read_text(), re.MULTILINE
        ),
    ]
    kept += [str(path.relative_to(ROOT)) for path in sources if "__pycache__" not in path.parts]
    assert not [path for path in kept if ignored(path)]
