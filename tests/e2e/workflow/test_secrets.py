"""Secrets that an agent meets, followed through a whole run: they appear nowhere in what the run leaves behind.

The agent of these tests is careless: it puts secrets into every text and value that it can return or raise.
"""

from __future__ import annotations

import gzip
import http.server
import json
import sqlite3
import string
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.bench.servers import Backend
from support.harness.engine import Run, approve_as
from support.runs import EVENTS
from support.world import World

CARELESS = '''\
"""An agent that says everything it knows."""
import json
import os
import sys
from pathlib import Path
from agent_runtime.agent import AgentRunner
from agent_runtime.agent import ActionResult, InvestigationResult, ProposedAction
from agent_runtime.results import ActionStatus, Finding, RiskLevel

PLANTED = json.loads(Path(__file__).with_name("planted.json").read_text())
WORDS = "; ".join(PLANTED["texts"])


class Careless(AgentRunner):
    def investigate(self, resource, context=None):
        if PLANTED["raise"]:
            raise RuntimeError("can't log in: " + WORDS)
        evidence = {"seen": PLANTED["texts"], "nested": [{"connection": WORDS, "password": PLANTED["plain"]}]}
        parameters = {"error_rate": 0.31, "requests": 200, **PLANTED["parameters"]}
        return InvestigationResult(
            findings=(Finding("found " + WORDS, evidence=evidence),),
            recommendation="restart, says " + WORDS,
            analysis="log:\\n" + "\\n".join(PLANTED["texts"]),
            proposed_action=ProposedAction("restart_service", parameters, "because " + WORDS, RiskLevel.LOW,
                                           True, "undo with " + WORDS),
        )

    def act(self, resource, action, context=None):
        mine = os.environ["AGENT_ACT_TOKEN"]
        if PLANTED["raise_in_act"]:
            raise OSError("POST failed with " + mine + " and " + WORDS)
        return ActionResult(
            ActionStatus.SUCCESS,
            changes=("logged in with " + mine, WORDS),
            verification={"header": "Bearer " + mine, "client_secret": PLANTED["plain"], "texts": PLANTED["texts"]},
            rollback="use " + WORDS,
            details={"token": mine, "said": WORDS},
        )


if __name__ == "__main__":
    sys.exit(Careless.main())
'''


class Wire:
    """Stands between the run and the backend, and keeps every body that passes, unpacked."""

    def __init__(self, backend: Backend) -> None:
        wire = self
        self.bodies: list[bytes] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                wire.bodies.append(gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw)
                kept = {name: self.headers[name] for name in ("Content-Type", "Content-Encoding") if self.headers[name]}
                request = urllib.request.Request(backend.url + self.path, raw, kept)
                with urllib.request.urlopen(request, timeout=20) as answer:
                    reported = answer.read()
                    self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reported)))
                self.end_headers()
                self.wfile.write(reported)

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


LETTERS = (string.ascii_letters + string.digits) * 2

# Written in parts, so that no scanner takes this file for a leak: what must not appear, and the text that it is in.
SECRETS = {
    "GitHub token": ("ghp" + "_" + LETTERS[:36], "remote said {}"),
    "AWS key": ("AKIA" + "QWERTYUIOPASDFGH", "key {} was used"),
    "Slack token": ("xoxb" + "-123456789012-" + LETTERS[:24], "posting with {}"),
    "JWT": ("eyJ" + LETTERS[:30] + "." + LETTERS[3:40] + "." + LETTERS[7:50], "Authorization: {}"),
    "password in a URL": ("Zq9-" + LETTERS[10:24], "postgres://app:{}@db.example/main"),
    "bearer token": ("m" + LETTERS[20:50], "Authorization: Bearer {}"),
    "password on a command line": ("hunter" + LETTERS[30:44], "mysql --password {} -h db"),
    "private key": (LETTERS[5:60], "-----BEGIN " + "PRIVATE KEY-----\n{}\n-----END " + "PRIVATE KEY-----"),
}
PLAIN = "correct-horse-battery"  # no pattern finds it; the key that it is under does


@pytest.fixture
def careless(world: World, tmp_path: Path) -> Iterator[tuple[World, Backend, Wire]]:
    """The careless agent, a backend, and the wire to it."""
    folder = tmp_path / "backend"
    folder.mkdir()
    (world.origin / "agent_runner.py").write_text(CARELESS, encoding="utf-8")
    backend = Backend(folder)
    with backend.start():
        wire = Wire(backend)
        world.repository.variables["AIMGENTIX_API_URL"] = wire.url
        yield world, backend, wire
        wire.close()


def plant(world: World, **changes: object) -> None:
    """Set what the careless agent says."""
    texts = [text.format(secret) for secret, text in SECRETS.values()]
    planted = {"texts": texts, "plain": PLAIN, "parameters": {}, "raise": False, "raise_in_act": False, **changes}
    # As a file that the checkout brings; the agent itself is what reads it.
    (world.origin / "planted.json").write_text(json.dumps(planted), encoding="utf-8")
    world.commit("Plant secrets")


def left_behind(run: Run, backend: Backend, wire: Wire) -> dict[str, bytes]:
    """Everything that a run leaves behind, by where it is found."""
    found = {"the run's own log": run.log.encode(), "the backend's log": backend.output().encode()}
    for name, job in run.jobs.items():
        found[f"log of {name}"] = job.log.encode()
        found[f"summary of {name}"] = job.summary.encode()
        found[f"outputs of {name}"] = json.dumps([job.outputs, [step.outputs for step in job.steps]]).encode()
        found[f"commands of {name}"] = repr([step.commands for step in job.steps]).encode()
    for artifact in run.artifacts.latest():
        for path, data in artifact.files().items():
            found[f"artifact {artifact.name}/{path}"] = data
    for number, body in enumerate(wire.bodies):
        found[f"request {number} to the backend"] = body
    for file in filter(Path.is_file, backend.log.parent.rglob("*")):
        found[f"the backend's {file.name}"] = file.read_bytes()
    return found


def assert_nowhere(secrets: dict[str, str], found: dict[str, bytes]) -> None:
    """No secret is in any of it, as it is or as JSON would write it."""
    leaks = [
        f"{kind} in {place}"
        for place, data in found.items()
        for kind, secret in secrets.items()
        if secret.encode() in data or json.dumps(secret)[1:-1].encode() in data
    ]
    assert leaks == []


def planted_secrets(world: World) -> dict[str, str]:
    """What must not be found, by kind."""
    return {**{kind: secret for kind, (secret, _) in SECRETS.items()}, "under a key": PLAIN, "token": world.token}


@pytest.mark.threat("T33")
def test_what_a_careless_agent_returns(careless: tuple[World, Backend, Wire]) -> None:
    world, backend, wire = careless
    plant(world)

    run = world.start(reviewer=approve_as("bob"))

    assert run.jobs["record"].result == "success", run.log
    found = left_behind(run, backend, wire)
    assert_nowhere(planted_secrets(world), found)
    # It did run to its end, said what it had to say, and the wire and the database were looked at.
    report = json.loads(found["artifact investigation-report/investigation-report.json"])
    assert "[REDACTED]" in report["analysis"]
    assert report["findings"][0]["evidence"]["nested"][0]["password"] == "[REDACTED]"
    result = json.loads(found["artifact action-result/action-result.json"])
    assert (result["status"], result["steps"][0]["verification"]["client_secret"]) == ("success", "[REDACTED]")
    assert b"[REDACTED]" in found["summary of seal"]
    assert sum(body.count(b'"event_id"') for body in wire.bodies) >= EVENTS
    with sqlite3.connect(backend.log.parent / "audit.db") as file:
        assert file.execute("SELECT count(*) FROM events").fetchone() == (EVENTS,)


@pytest.mark.threat("T33")
@pytest.mark.parametrize(
    "how, outcome", [("raise", "investigation_failed"), ("raise_in_act", "outcome_unknown")], ids=["investigate", "act"]
)
def test_what_a_careless_agent_raises(careless: tuple[World, Backend, Wire], how: str, outcome: str) -> None:
    world, backend, wire = careless
    plant(world, **{how: True})

    run = world.start(reviewer=approve_as("bob"))

    found = left_behind(run, backend, wire)
    assert_nowhere(planted_secrets(world), found)
    assert json.loads(found["artifact audit-bundle/bundle.json"])["outcome"] == outcome
    assert "[REDACTED]" in run.jobs["act" if how == "raise_in_act" else "investigate"].log


@pytest.mark.threat("T33")
@pytest.mark.parametrize(
    "parameters", [{"note": "use " + SECRETS["AWS key"][0]}, {"db_password": PLAIN}], ids=["by its shape", "by its key"]
)
def test_a_secret_in_a_plan_asks_nobody(careless: tuple[World, Backend, Wire], parameters: dict[str, str]) -> None:
    world, backend, wire = careless
    plant(world, parameters=parameters)

    run = world.start(reviewer=approve_as("bob"))

    assert (run.jobs["investigate"].result, run.jobs["approve"].result) == ("failure", "skipped")
    assert "AGT004: proposed_action.parameters." in run.jobs["investigate"].log
    assert_nowhere(planted_secrets(world), left_behind(run, backend, wire))
