"""The bridge from Alertmanager to an agent: what it sends, what it refuses, and that it never says "done" too early."""

from __future__ import annotations

import http.client
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_runtime.model import inputs
from examples import alertmanager_bridge as bridge
from support.environment import REPOSITORY, require_tool
from support.github import FullGitHub

SECRET = "a-secret-of-24-characters"
TOKEN = "ghp_" + "t0ken" * 7
REPO = "acme/checkout-restart"
PROGRAM = REPOSITORY / "examples" / "alertmanager_bridge.py"
SCHEMA = json.loads((REPOSITORY / "template" / "specs" / "alert.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def alert(resource: str | None = "checkout", status: str = "firing", **labels: str) -> dict[str, Any]:
    named = {} if resource is None else {"resource": resource}
    return {
        "status": status,
        "labels": {"alertname": "ErrorRate", **named, **labels},
        "annotations": {"summary": "31 % fail"},
        "startsAt": "2026-11-24T02:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com/graph",
        "fingerprint": "1a30ba71cca2921f",
    }


def webhook(*alerts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    values = {
        "version": "4",
        "groupKey": '{}/{agent="x"}:{alertname="ErrorRate"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "agent",
        "groupLabels": {"alertname": "ErrorRate"},
        "commonLabels": {"alertname": "ErrorRate"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com",
        "alerts": list(alerts),
    }
    return {**values, **changes}


def payloads(
    *alerts: dict[str, Any], incidents: bridge.Incidents | None = None, **changes: Any
) -> list[dict[str, Any]]:
    whole = bridge.read_webhook(json.dumps(webhook(*alerts, **changes)).encode())
    return bridge.group(whole, ("resource", "service", "job"), incidents or bridge.Incidents()).payloads


# ------------------------------------------------------------------------------------------------------- what it sends


def test_a_group_is_one_payload_for_each_resource_that_fires() -> None:
    found = payloads(alert(), alert(), alert("cart"), alert("quiet", status="resolved"), alert(None, service="pay"))
    assert [(each["resource"], len(each["alerts"])) for each in found] == [("checkout", 2), ("cart", 1), ("pay", 1)]
    assert len({each["trace_id"] for each in found}) == 3


def test_the_worst_severity_counts() -> None:
    (payload,) = payloads(alert(severity="warning"), alert(severity="critical"), alert(severity="# approved"))
    assert payload["alert_severity"] == "critical"
    assert payloads(alert())[0]["alert_severity"] == "unknown"


def test_the_trace_id_is_that_of_the_incident() -> None:
    (first,) = payloads(alert())
    later = {**alert(instance="web-9"), "startsAt": "2026-11-24T03:00:00Z"}
    assert payloads(later, alert())[0]["trace_id"] == first["trace_id"], "another alert joins the group"
    assert payloads(later)[0]["trace_id"] != first["trace_id"], "it is over, and begins again"
    assert payloads(alert(), groupKey="another")[0]["trace_id"] != first["trace_id"]


def at(instance: str, hour: int = 2, status: str = "firing") -> dict[str, Any]:
    """An alert of one instance that began at an hour."""
    return {**alert(status=status, instance=instance), "startsAt": f"2026-11-24T{hour:02}:00:00Z"}


def test_an_incident_keeps_its_identity_while_the_group_fires() -> None:
    incidents = bridge.Incidents()

    def reported(*alerts: dict[str, Any], **changes: Any) -> str:
        (payload,) = payloads(*alerts, incidents=incidents, **changes)
        return str(payload["trace_id"])

    first = reported(at("a", 2), at("b", 3))
    assert reported(at("a", 2), at("b", 3)) == first, "it is said again"
    assert reported(at("b", 3)) == first, "the earlier one ends"
    assert reported(at("b", 3), at("c", 5)) == first, "one joins"
    assert reported(at("c", 5)) == first, "none is left of those that began it"
    assert reported(at("c", 5, "resolved"), at("d", 6)) == first, "one ends as another begins"
    other = reported(at("d", 6), groupKey="another")
    assert other != first
    assert reported(at("d", 7)) != first, "it was over, and began again"
    assert reported(at("d", 6), at("e", 9), groupKey="another") == other


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "MAX_INCIDENTS", 3)
    incidents = bridge.Incidents()
    first = payloads(at("a", 2), at("b", 3), incidents=incidents, groupKey="kept")[0]["trace_id"]
    for number in range(9):
        payloads(at("a", 2), incidents=incidents, groupKey=f"{number}")
        assert payloads(at("b", 3), incidents=incidents, groupKey="kept")[0]["trace_id"] == first, "heard of just now"
    for number in range(3):
        payloads(at("a", 2), incidents=incidents, groupKey=f"{number}")
    assert payloads(at("b", 3), incidents=incidents, groupKey="kept")[0]["trace_id"] != first


def test_what_is_too_much_is_left_out_and_counted() -> None:
    long = {**alert(), "annotations": {f"note{number}": "ü" * 2000 for number in range(5)}}
    (payload,) = payloads(*[long] * 60, truncatedAlerts=7)
    assert len(payload["alerts"]) == 1, "one alert is always shown"
    assert payload["alerts_left_out"] == 66
    (payload,) = payloads(*[{**alert(), "annotations": {"note": "ü" * 2000}}] * 60, truncatedAlerts=7)
    assert 1 < len(payload["alerts"]) < 50
    assert payload["alerts_left_out"] == 67 - len(payload["alerts"])
    assert len(json.dumps(payload)) < 64_000
    (payload,) = payloads(alert(), groupLabels={f"label{number}": "ü" * 2000 for number in range(50)})
    assert len(json.dumps(payload)) < 64_000 and payload["resource"] == "checkout"


TEXTS = st.text(max_size=8) | st.sampled_from(["checkout", "critical", "a\x00b", "\ud800", "", "x" * 9000, "a b"])
LABELS = st.dictionaries(st.sampled_from(["resource", "severity", "alertname"]) | TEXTS, TEXTS, max_size=4)
ALERTS = st.fixed_dictionaries(
    {"status": st.sampled_from(["firing", "resolved"]), "labels": LABELS, "annotations": LABELS},
    optional={"startsAt": TEXTS},
)


@settings(max_examples=150)
@given(st.lists(ALERTS, max_size=4), LABELS, TEXTS)
def test_any_webhook_becomes_payloads_that_the_agent_takes(
    alerts: list[dict[str, Any]], labels: dict[str, str], text: str
) -> None:
    for payload in payloads(*alerts, groupLabels=labels, receiver=text, externalURL=text):
        assert VALIDATOR.is_valid(payload), list(VALIDATOR.iter_errors(payload))
        assert inputs.alert(payload) is payload
        assert len(json.dumps(payload)) < 64_000


# ----------------------------------------------------------------------------------------------------------- answering


@dataclass
class RunningBridge:
    """A bridge that serves in this process."""

    port: int
    waits: list[float]

    def post(
        self, body: Any, *, path: str = "/alerts", secret: str | None = SECRET, **headers: str
    ) -> tuple[int, dict[str, str]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("POST", path, data, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, dict(answer.headers)


@contextmanager
def serving(api_url: str) -> Iterator[RunningBridge]:
    waits: list[float] = []
    made = bridge.Bridge(bridge.GitHub(REPO, TOKEN, api_url, pause=waits.append), SECRET)
    server = bridge.make_server(made, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield RunningBridge(int(server.server_address[1]), waits)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def github() -> Iterator[FullGitHub]:
    with FullGitHub(REPO) as serving_github:
        serving_github.token = TOKEN
        yield serving_github


@contextmanager
def scripted(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[str]]]:
    """A GitHub that gives these answers, the last one forever; its address and the paths that were asked."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = answers[min(len(seen), len(answers) - 1)]
            seen.append(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
        server.shutdown()


def test_what_fires_is_dispatched_and_what_is_resolved_is_not(github: FullGitHub) -> None:
    with serving(github.url) as running:
        assert running.post(webhook(alert(), alert("cart")))[0] == 200
        assert running.post(webhook(alert(status="resolved"), status="resolved"))[0] == 200
    assert [each["client_payload"]["resource"] for each in github.dispatches] == ["checkout", "cart"]


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", SECRET[:-1], "ü"])
def test_without_the_secret_nothing_is_dispatched(github: FullGitHub, secret: str | None) -> None:
    with serving(github.url) as running:
        if secret == "ü":
            assert running.post(webhook(alert()), secret=None, Authorization="Bearer \xfc")[0] == 401
        else:
            assert running.post(webhook(alert()), secret=secret)[0] == 401
    assert github.requests == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"[]", {}, 400),
        ({"version": "3", "alerts": []}, {}, 400),
        ({"version": "4", "alerts": {}}, {}, 400),
        ({"version": "4", "alerts": [1]}, {}, 400),
        ({"version": "4", "alerts": [{"labels": []}]}, {}, 400),
        (b"", {"Content-Length": "4194305"}, 413),
        (b"", {"Content-Length": "-1"}, 411),
        (b"0\r\n\r\n", {"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_what_is_not_a_webhook_is_refused(github: FullGitHub, body: Any, headers: dict[str, str], status: int) -> None:
    with serving(github.url) as running:
        assert running.post(body, **headers)[0] == status
        assert running.post(webhook(alert()), path="/elsewhere")[0] == 404
    assert github.requests == []


def test_an_alert_that_names_no_resource_is_a_failure_that_somebody_sees(
    github: FullGitHub, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(github.url) as running:
        assert running.post(webhook(alert(), alert(None, alertname="Lost\n"), alert("a b")))[0] == 422
    assert len(github.dispatches) == 1
    assert "Lost\\n, ErrorRate: no label resource, service, job names a resource" in caplog.text


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_what_github_refuses_is_tried_again_by_alertmanager(status: int, caplog: pytest.LogCaptureFixture) -> None:
    said = json.dumps({"message": f"no {TOKEN}\n"}).encode()
    with scripted((status, {}, said)) as (url, seen), serving(url) as running:
        answer, headers = running.post(webhook(alert()))
    assert (answer, len(seen), running.waits) == (503, 1, [])
    assert int(headers["Retry-After"]) >= 30
    assert f"GitHub answers HTTP {status} (no ***\\n)" in caplog.text
    assert TOKEN not in caplog.text and SECRET not in caplog.text


def test_passing_faults_and_limits_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    soon = str(int(time.time()) + 3)
    answers = [
        (502, {}, b""),
        (429, {"Retry-After": "2"}, b""),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": soon}, b""),
        (204, {}, b""),
    ]
    with scripted(*answers) as (url, seen), serving(url) as running:
        assert running.post(webhook(alert()))[0] == 200
    assert len(seen) == 4 and seen[0] == f"/repos/{REPO}/dispatches"
    assert running.waits[:2] == [1.0, 2.0] and 0 <= running.waits[2] <= 3


@pytest.mark.parametrize(
    "answer",
    [(429, {"Retry-After": "3600"}, b""), (403, {}, b'{"message": "You have exceeded a secondary rate limit"}')],
)
def test_a_wait_that_is_too_long_is_left_to_alertmanager(answer: tuple[int, dict[str, str], bytes]) -> None:
    with scripted(answer) as (url, seen), serving(url) as running:
        status, headers = running.post(webhook(alert()))
    assert (status, len(seen), running.waits) == (503, 1, [])
    assert int(headers["Retry-After"]) >= 60


def test_a_redirect_does_not_get_the_token(github: FullGitHub) -> None:
    with scripted((302, {"Location": github.url}, b"")) as (url, _), serving(url) as running:
        assert running.post(webhook(alert()))[0] == 503
    assert github.requests == []


def test_when_one_of_a_group_fails_the_whole_is_sent_again() -> None:
    with scripted((204, {}, b""), (422, {}, b""), (204, {}, b"")) as (url, seen), serving(url) as running:
        both = webhook(alert(), alert("cart"))
        assert running.post(both)[0] == 503
        assert running.post(both)[0] == 200
    assert len(seen) == 4


# ------------------------------------------------------------------------------------------------------------ starting


@pytest.mark.parametrize(
    ("arguments", "changes", "reported"),
    [
        (["--repo", "checkout"], {}, "--repo OWNER/NAME"),
        (["--listen", "9095"], {}, "HOST:PORT"),
        (["--lisen", "x"], {}, "--lisen"),
        ([], {"ALERTMANAGER_BRIDGE_SECRET": "short"}, "ALERTMANAGER_BRIDGE_SECRET"),
        ([], {"GITHUB_TOKEN": ""}, "GITHUB_TOKEN"),
        ([], {"GITHUB_API_URL": "http://api.github.com"}, "https://"),
        (["--listen", "203.0.113.1:1"], {}, "can't listen"),
    ],
)
def test_what_can_not_be_used_is_one_line(arguments: list[str], changes: dict[str, str], reported: str) -> None:
    environ = {"PATH": os.environ["PATH"], "ALERTMANAGER_BRIDGE_SECRET": SECRET, "GITHUB_TOKEN": TOKEN, **changes}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--repo", REPO, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and reported in done.stderr and done.stderr.count("\n") == 1
    assert TOKEN not in done.stderr


def test_alertmanager_takes_its_part_of_the_example() -> None:
    done = subprocess.run(
        [require_tool("amtool"), "check-config", str(REPOSITORY / "examples" / "alertmanager.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
