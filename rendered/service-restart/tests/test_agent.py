"""The agent against the example service: a real process that fails, restarts, and refuses.

Thresholds are tested at, below and above.  The example service spreads its failures evenly, so that shares are exact.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

import agent_runner
from agent_runner import ServiceRestartAgent
from agent_runtime import ActionStatus, ProposedAction, RiskLevel
from agent_runtime.testing import evaluate, parse_policy
from agent_runtime.toolkit import services
from agent_runtime.toolkit.errors import ToolError

EXAMPLE = Path(__file__).with_name("example_service.py")
POLICIES = Path(agent_runner.__file__).resolve().parent / ".github" / "agent-policies"
TOKEN = "token-for-tests"


class Example:
    """A running example service and a catalogue with it, in which tests can change addresses."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), "serve", "--token", TOKEN, *options], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.url: str = json.loads(self.process.stdout.readline())["url"]
        self.catalogue = folder / "services.yml"
        self.entry: Dict[str, Any] = {
            "metrics": {"url": self.url + "/metrics", "window_seconds": 0, "fresh_seconds": 1},
            "health": self.url + "/healthz",
            "restart": self.url + "/-/restart",
        }
        self.write()

    def write(self) -> None:
        """Write the catalogue; JSON is YAML too."""
        self.catalogue.write_text(json.dumps({"services": {"example": self.entry}}), encoding="utf-8")

    def requests(self, number: int) -> None:
        """Make so many requests, whatever becomes of them."""
        for _ in range(number):
            try:
                urllib.request.urlopen(self.url + "/").close()
            except urllib.error.HTTPError as answer:
                answer.close()

    def stop(self) -> None:
        """End the process and wait for it."""
        self.process.terminate()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Example]]:
    """Start example services with command line options; the agent finds them, and short deadlines."""
    running: List[Example] = []
    monkeypatch.setattr(agent_runner, "TRAFFIC_SECONDS", 60.0)
    monkeypatch.setenv("AGENT_ACT_TOKEN", TOKEN)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))

    def started(*options: str) -> Example:
        running.append(Example(tmp_path, *options))
        return running[-1]

    yield started
    for example in running:
        example.stop()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: List[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    held.append(listener.accept()[0])
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for connection in held:
            connection.close()


def proposal() -> ProposedAction:
    """What the agent proposes when it looks now."""
    proposed = ServiceRestartAgent().investigate("example").proposed_action
    assert proposed is not None
    return proposed


@pytest.mark.parametrize(
    ("error_rate", "requests", "recommendation", "risk"),
    [
        ("0", 100, "nothing to do", RiskLevel.LOW),
        ("0.05", 100, "nothing to do", RiskLevel.LOW),
        ("0.06", 100, "restart", RiskLevel.MEDIUM),
        ("0.10", 100, "restart", RiskLevel.MEDIUM),
        ("0.11", 100, "restart and investigate", RiskLevel.HIGH),
        ("1", agent_runner.MIN_REQUESTS, "restart and investigate", RiskLevel.HIGH),
        ("1", agent_runner.MIN_REQUESTS - 1, "nothing to do: too few requests", RiskLevel.LOW),
        ("1", 0, "nothing to do: too few requests", RiskLevel.LOW),
    ],
)
def test_thresholds(
    start: Callable[..., Example], error_rate: str, requests: int, recommendation: str, risk: RiskLevel
) -> None:
    example = start("--traffic", "0", "--error-rate", error_rate)
    example.requests(requests)
    result = ServiceRestartAgent().investigate("example")
    assert (result.recommendation, result.risk_level) == (recommendation, risk)
    assert (result.proposed_action is not None) == recommendation.startswith("restart")
    assert any("look for the cause" in finding.message for finding in result.findings) == (risk is RiskLevel.HIGH)


def test_a_restart_that_helps_is_a_success(start: Callable[..., Example]) -> None:
    example = start("--error-rate", "0.5", "--traffic", "100")
    example.requests(agent_runner.MIN_REQUESTS)
    before = ServiceRestartAgent().observe("example")
    time.sleep(1.1)  # it observes whole seconds
    result = ServiceRestartAgent().act("example", "restart_service", proposal().parameters)
    assert result.status is ActionStatus.SUCCESS, result
    assert result.verification["error_rate_before"] == pytest.approx(0.5, abs=0.05)
    assert result.verification["error_rate_after"] == 0
    assert ServiceRestartAgent().observe("example") != before, "the gate must see that the process is another one"


def test_a_healthy_service_whose_rate_did_not_fall_is_a_failure(start: Callable[..., Example]) -> None:
    example = start("--error-rate", "0.5", "--traffic", "100", "--sticky-failure")
    example.requests(agent_runner.MIN_REQUESTS)
    result = ServiceRestartAgent().act("example", "restart_service", proposal().parameters)
    assert result.status is ActionStatus.FAILED
    assert result.verification["healthy"] is True
    assert result.verification["error_rate_after"] == pytest.approx(0.5, abs=0.05)
    assert "look for the cause" in result.details["error"]


@pytest.mark.parametrize("traffic", ["0", "5"])
def test_a_few_requests_do_not_show_that_it_helped(
    start: Callable[..., Example], traffic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_runner, "TRAFFIC_SECONDS", 1.0)
    example = start("--error-rate", "1", "--traffic", traffic)
    example.requests(agent_runner.MIN_REQUESTS)
    result = ServiceRestartAgent().act("example", "restart_service", proposal().parameters)
    assert result.status is ActionStatus.FAILED
    assert result.changes == ("restarted example",)
    assert "too few" in result.details["error"]


def test_a_refused_restart_changes_nothing(start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch) -> None:
    example = start("--error-rate", "1")
    example.requests(agent_runner.MIN_REQUESTS)
    before = ServiceRestartAgent().observe("example")
    monkeypatch.setenv("AGENT_ACT_TOKEN", "another-token")
    result = ServiceRestartAgent().act("example", "restart_service", proposal().parameters)
    assert result.status is ActionStatus.FAILED
    assert "HTTP 401" in result.details["error"]
    assert result.changes == ()
    assert ServiceRestartAgent().observe("example") == before


def test_a_restart_that_never_answers_is_unknown(
    start: Callable[..., Example], silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_runner, "CALL_SECONDS", 1.0)
    example = start()
    example.entry["restart"] = silent
    example.write()
    result = ServiceRestartAgent().act("example", "restart_service", {})
    assert result.status is ActionStatus.UNKNOWN
    assert "may have taken effect" in result.details["error"]


def test_a_restart_that_is_promised_and_does_not_happen_is_a_failure(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_runner, "RESTART_SECONDS", 0.5)
    example = start()
    example.entry["restart"] = start().url + "/-/restart"  # restarts, but another one
    example.write()
    result = ServiceRestartAgent().act("example", "restart_service", {})
    assert result.status is ActionStatus.FAILED
    assert "still the process from before" in result.details["error"]


def test_a_service_that_is_down_is_an_error_and_not_nothing_to_do(start: Callable[..., Example]) -> None:
    example = start()
    example.stop()
    with pytest.raises(ToolError, match="connection refused"):
        ServiceRestartAgent().investigate("example")
    result = ServiceRestartAgent().act("example", "restart_service", {})
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())


def test_a_broken_dependency_is_named_and_advised_against(start: Callable[..., Example]) -> None:
    example = start("--error-rate", "1", "--traffic", "0")
    example.entry["dependencies"] = {"fine": example.url + "/healthz", "database": example.url + "/gone"}
    example.write()
    example.requests(agent_runner.MIN_REQUESTS)
    result = ServiceRestartAgent().investigate("example")
    assert result.safe_to_proceed is False
    assert "database" in result.analysis
    assert "fine" not in result.analysis


def test_what_the_trigger_said_is_shown_and_not_followed(start: Callable[..., Example]) -> None:
    example = start("--traffic", "0")
    example.requests(agent_runner.MIN_REQUESTS)
    result = ServiceRestartAgent().investigate("example", {"restart_above": 0, "url": "http://elsewhere.invalid"})
    assert result.proposed_action is None
    assert result.findings[-1].evidence["url"] == "http://elsewhere.invalid"


def test_only_services_of_the_catalogue_can_be_touched(start: Callable[..., Example]) -> None:
    start()
    with pytest.raises(ToolError, match=r"not in services\.yml"):
        ServiceRestartAgent().investigate("payments")
    assert ServiceRestartAgent().act("payments", "restart_service", {}).status is ActionStatus.FAILED


def test_other_actions_are_not_done(start: Callable[..., Example]) -> None:
    start()
    before = ServiceRestartAgent().observe("example")
    assert ServiceRestartAgent().act("example", "delete_service", {}).status is ActionStatus.FAILED
    assert ServiceRestartAgent().observe("example") == before


def test_the_policy_lets_a_reviewer_decide_on_what_the_agent_proposes(start: Callable[..., Example]) -> None:
    (file,) = POLICIES.glob("*.yml")
    policy = parse_policy(file.read_bytes(), file.name)
    example = start("--error-rate", "0.06", "--traffic", "0")
    example.requests(100)
    proposed = proposal()

    def decision(resource: str, **changed: Any) -> str:
        parameters = dict(proposed.parameters, **changed)
        verdict = evaluate(
            policy,
            action=proposed.action,
            resource=resource,
            parameters=parameters,
            risk_level=proposed.risk_level,
        )
        return verdict.decision

    assert decision("example") == "review"
    assert decision("example", error_rate=0.05) == "denied"
    assert decision("example", requests=agent_runner.MIN_REQUESTS - 1) == "denied"
    assert decision("orders-db") == "denied"


def test_the_catalogue_can_be_read() -> None:
    assert services.load(agent_runner.SERVICES).services
