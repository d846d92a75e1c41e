"""From a real Alertmanager through the bridge to a run that a human approves; and nothing is lost on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from backend.bench.servers import reserve_port
from support.environment import REPOSITORY, require_tool
from support.harness.engine import approve_as
from support.runs import bundle
from support.world import NAME, WORKFLOW, World, wait_for

SECRET = "bridge-secret-of-the-test"
TOKEN = "ghp_" + "t0ken" * 7


@contextmanager
def running(command: list[str], log: Path, url: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that answers at `url`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return bool(opener.open(url, timeout=5).status == 200)
        except OSError:
            return False

    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={"PATH": os.environ["PATH"], **environ})
    try:
        wait_for(f"an answer at {url}", answers)
        yield process
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A real Alertmanager with the configuration of examples/; its address, and the port of the bridge it knows."""
    with reserve_port() as own, reserve_port() as other:
        yield from _alertmanager(tmp_path, own.getsockname()[1], other.getsockname()[1])


def _alertmanager(tmp_path: Path, port: int, bridge: int) -> Iterator[tuple[str, int]]:
    settings = yaml.safe_load((REPOSITORY / "examples" / "alertmanager.yml").read_text(encoding="utf-8"))
    settings["route"].update(group_wait="100ms", group_interval="1s", repeat_interval="1s")
    (webhook,) = settings["receivers"][1]["webhook_configs"]
    webhook["url"] = webhook["url"].replace("9095", str(bridge))
    (tmp_path / "secret").write_text(SECRET + "\n")
    webhook["http_config"]["authorization"]["credentials_file"] = str(tmp_path / "secret")
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(settings))
    command = [
        require_tool("prometheus-alertmanager"),
        f"--config.file={tmp_path / 'alertmanager.yml'}",
        f"--storage.path={tmp_path / 'storage'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    url = f"http://127.0.0.1:{port}"
    with running(command, tmp_path / "alertmanager.log", url + "/-/ready"):
        yield url, bridge


def fire(url: str, *names: str, begun: str = "2026-11-24T02:00:00Z", ended: str | None = None, **labels: str) -> None:
    """Send alerts to Alertmanager as Prometheus does."""
    end = {} if ended is None else {"endsAt": ended}
    alerts = [
        {
            "labels": {"alertname": "ErrorRate", "agent": "checkout-restart", "instance": name, **labels},
            "annotations": {"summary": f"31 % of the requests to {name} fail\nsince noon"},
            "startsAt": begun,
            **end,
        }
        for name in names
    ]
    request = urllib.request.Request(
        url + "/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert opener.open(request, timeout=10).status == 200


def instances(sent: dict[str, Any]) -> list[str]:
    """The instances that a dispatch names."""
    return sorted(alert["labels"]["instance"] for alert in sent["client_payload"]["alerts"])


def test_an_alert_becomes_a_run_even_when_github_refuses_at_first(
    world: World, alertmanager: tuple[str, int], tmp_path: Path
) -> None:
    url, port = alertmanager
    log = tmp_path / "bridge.log"
    command = [sys.executable, str(REPOSITORY / "examples" / "alertmanager_bridge.py")]
    command += ["--repo", NAME, "--listen", f"127.0.0.1:{port}"]
    secrets = {"ALERTMANAGER_BRIDGE_SECRET": SECRET, "GITHUB_TOKEN": TOKEN}
    world.github.token = "another token: GitHub does not know that of the bridge"
    with running(
        command, log, f"http://127.0.0.1:{port}/healthz", GITHUB_API_URL=world.github.url, **secrets
    ) as bridge:
        fire(url, "web-1", "web-2", "web-3", resource="example", severity="critical")
        wait_for("a refusal", lambda: "GitHub answers HTTP 401 (Bad credentials)" in log.read_text())
        assert world.github.dispatches == []
        world.github.token = TOKEN
        # Alertmanager may have sent the first one before it got the others: then it sends again.
        three = ["web-1", "web-2", "web-3"]
        wait_for("a dispatch of all", lambda: any(instances(sent) == three for sent in world.github.dispatches))
        bridge.terminate()
        assert bridge.wait(20) == 0
    world.github.token = None

    sent = next(sent for sent in world.github.dispatches if instances(sent) == three)
    assert len({each["client_payload"]["trace_id"] for each in world.github.dispatches}) == 1
    payload: dict[str, Any] = sent["client_payload"]
    schema = json.loads((REPOSITORY / "template" / "specs" / "alert.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(payload)
    assert (sent["event_type"], payload["resource"], payload["alert_severity"]) == (
        "alert-triggered",
        "example",
        "critical",
    )
    reported = log.read_text()
    assert f"dispatched: example ({payload['trace_id']})" in reported
    assert SECRET not in reported and TOKEN not in reported

    before = world.instance()
    run = world.actions.repository_dispatch(
        WORKFLOW, sent["event_type"], payload, actor="monitoring", reviewer=approve_as("bob")
    )

    assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("acted", []), run.log
    assert bundle(run)["trace_id"] == payload["trace_id"]
    assert world.instance() != before


def test_while_a_group_fires_it_is_one_incident(world: World, alertmanager: tuple[str, int], tmp_path: Path) -> None:
    """The first alert of a group ends before the second: nobody is asked again as if it were another matter."""
    url, port = alertmanager
    command = [sys.executable, str(REPOSITORY / "examples" / "alertmanager_bridge.py")]
    command += ["--repo", NAME, "--listen", f"127.0.0.1:{port}"]
    secrets = {"ALERTMANAGER_BRIDGE_SECRET": SECRET, "GITHUB_TOKEN": TOKEN}
    reported = world.github.dispatches
    with running(
        command, tmp_path / "bridge.log", f"http://127.0.0.1:{port}/healthz", GITHUB_API_URL=world.github.url, **secrets
    ):
        fire(url, "web-1", begun="2026-11-24T02:00:00Z", resource="example")
        fire(url, "web-2", begun="2026-11-24T03:00:00Z", resource="example")
        wait_for("both", lambda: [sent for sent in reported if instances(sent) == ["web-1", "web-2"]])
        fire(url, "web-1", begun="2026-11-24T02:00:00Z", ended="2026-11-24T04:00:00Z", resource="example")
        wait_for("the second alone", lambda: [sent for sent in reported if instances(sent) == ["web-2"]])
        assert len({sent["client_payload"]["trace_id"] for sent in reported}) == 1
