"""What ``deploy/`` has is what it says: files of their kinds, with options that the program knows and names that fit together."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from trio_oplog._cli import main
from trio_oplog.collector import create_app, open_store

pytestmark = pytest.mark.once

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
UNIT = DEPLOY / "trio-oplog-collector.service"
SOCKET = UNIT.with_suffix(".socket")


def options_of(arguments: Sequence[str]) -> dict[str, Any]:
    """What ``trio-oplog collect`` makes of its arguments.  Nothing is run."""
    assert arguments[0] == "collect"
    with main.make_context("trio-oplog", list(arguments)) as context:
        assert isinstance(main, click.Group)
        name, command, rest = main.resolve_command(context, list(arguments))
        assert command is not None
        with command.make_context(name, rest, parent=context) as inner:
            return inner.params


def paths() -> set[str]:
    """The routes of a collector outside of its endpoint."""
    return {route.path for route in create_app(open_store("sqlite:///none"), "secret").routes}  # type: ignore[attr-defined]


def test_the_unit_starts_a_collector() -> None:
    text = UNIT.read_text()
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    program, *arguments = shlex.split(start)
    assert program.endswith("/trio-oplog")
    options = options_of(arguments)
    folder = re.findall(r"^StateDirectory=(.*)$", text, re.MULTILINE)[0]
    assert options["url"].startswith(f"sqlite:////var/lib/{folder}/")
    credentials = dict(each.split(":", 1) for each in re.findall(r"^LoadCredential=(.*)$", text, re.MULTILINE))
    used = {str(options[name]).removeprefix("${CREDENTIALS_DIRECTORY}/") for name in ("secret_file", "tokens")}
    assert used == set(credentials)
    assert f"Requires={SOCKET.name}" in text.splitlines()
    assert f"ListenStream={options['listen']}" in SOCKET.read_text().splitlines()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_knows_every_line_of_the_units(tmp_path: Path) -> None:
    # Where the program is does not count here, only that there is one.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/trio-oplog/bin/trio-oplog", shutil.which("true") or "/bin/true"))
    shutil.copy(SOCKET, tmp_path)
    command = ["systemd-analyze", "verify", "--man=no", str(unit), str(tmp_path / SOCKET.name)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert [line for line in done.stderr.splitlines() if UNIT.stem in line] == []


def test_compose_is_a_compose_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_of_compose_fit_together() -> None:
    services = COMPOSE["services"]
    collectors = [service for name, service in services.items() if name.startswith("collector")]
    assert len(collectors) == 2
    for collector in collectors:
        options = options_of(collector["command"])
        assert options["url"] == "postgresql://oplog@postgres/oplog"
        mounted = {f"/run/secrets/{secret}" for secret in collector["secrets"]}
        assert {str(options["secret_file"]), str(options["tokens"]), collector["environment"]["PGPASSFILE"]} == mounted
        assert set(collector["secrets"]) <= set(COMPOSE["secrets"])
        assert set(collector["depends_on"]) <= set(services)
        (path,) = re.findall(r"8088(/\w+)", " ".join(collector["healthcheck"]["test"]))
        assert path in paths()
    assert {volume.partition(":")[0] for volume in services["postgres"]["volumes"]} <= set(COMPOSE["volumes"])
    caddy = (DEPLOY / "Caddyfile").read_text()
    port = options_of(collectors[0]["command"])["listen"].rpartition(":")[2]
    (upstreams,) = re.findall(r"reverse_proxy (.*) {", caddy)
    assert upstreams.split() == [f"{name}:{port}" for name in services["caddy"]["depends_on"]]
    (path,) = re.findall(r"health_uri (\S+)", caddy)
    assert path in paths()


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")
def test_caddy_takes_its_file(tmp_path: Path) -> None:  # pragma: no cover -- not on every machine
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")]
    environment = {"SITE": "oplog.example.org", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run(command, check=True, env=environment, timeout=60)


@pytest.mark.parametrize("resource", KUBERNETES, ids=lambda resource: str(resource["kind"]))
def test_kubernetes_knows_every_field_of_the_manifest(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, "1.34", strict=True)


def test_the_parts_of_the_manifest_fit_together() -> None:
    deployment, service, budget = KUBERNETES
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
    ):
        assert selector == labels
    options = options_of(container["args"])
    (port,) = container["ports"]
    assert options["listen"] == f"0.0.0.0:{port['containerPort']}"
    (mount,) = container["volumeMounts"]
    assert {options["secret_file"].parent, options["tokens"].parent} == {Path(mount["mountPath"])}
    assert [volume["name"] for volume in pod["volumes"]] == [mount["name"]]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in paths()
        assert container[probe]["httpGet"]["port"] == port["name"] == service["spec"]["ports"][0]["targetPort"]


def test_the_image_starts_a_collector_that_others_can_reach() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    (command,) = [yaml.safe_load(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    assert options_of(command)["listen"] == "0.0.0.0:8088"
