"""The agent of service-restart before services that come back by half, that healed, or want a token of their own."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent_runtime import ActionStatus
from agent_runtime.toolkit import metrics, waiting
from agent_runtime.toolkit.errors import METRICS_UNUSABLE, ToolError
from use_cases.conftest import Answers, Example

Serve = Callable[[Answers], str]
QUERY = "requests[$window]"


class Cluster:
    """A service of several instances, seen through a Prometheus server that answers as that would."""

    def __init__(self, before: dict[str, float], after: dict[str, float]) -> None:
        self.started, self.after = before, after
        self.errors: Callable[[int], float | None] = lambda window: 0.0
        self.windows: list[int] = []
        self.tokens: list[str] = []
        self.wanted = ""

    def answer(self, method: str, path: str, bearer: str) -> tuple[int, Any]:
        """Answer one request."""
        if path == "/restart" and method == "POST":
            self.tokens.append(bearer)
            if self.wanted != bearer:
                return 401, {}
            self.started = self.after
            return 202, {}
        asked = re.search(r"requests\[(\d+)s\]", path)
        if asked:
            self.windows.append(int(asked[1]))
            errors = self.errors(self.windows[-1])
            return self.vector({} if errors is None else {"200": 1000 - errors, "500": errors}, "code")
        return self.vector(self.started, "instance") if "query=started" in path else (200, {})

    @staticmethod
    def vector(values: dict[str, float], label: str) -> tuple[int, Any]:
        """An answer of Prometheus."""
        result = [{"metric": {label: name}, "value": [0, str(value)]} for name, value in values.items()]
        return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}


@pytest.fixture
def service(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart_agent: ModuleType
) -> Callable[[Cluster], Any]:
    """Put a cluster into the catalogue, and return the agent."""

    def start(cluster: Cluster) -> Any:
        url = serve(cluster.answer)
        source = {"prometheus": url, "requests": QUERY, "started": "started", "fresh_seconds": 1}
        entry = {"metrics": source, "health": url + "/health", "restart": url + "/restart"}
        (tmp_path / "services.yml").write_text(json.dumps({"services": {"example": entry}}), encoding="utf-8")
        monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))
        monkeypatch.setattr(restart_agent, "RESTART_SECONDS", 0.2)
        return restart_agent.ServiceRestartAgent()

    monkeypatch.delenv("AGENT_ACT_TOKEN", raising=False)
    return start


# Every instance


@pytest.mark.parametrize(
    ("after", "missing"),
    [
        ({"a": 100.0}, "1 of 2 instances are there, without b"),
        ({"a": 100.0, "b": 2.0}, "still the process from before: b"),
        ({}, "or none answers: "),
    ],
)
def test_a_service_that_comes_back_by_half_is_a_failure_that_names_the_rest(
    service: Callable[[Cluster], Any], after: dict[str, float], missing: str
) -> None:
    done = service(Cluster({"a": 1.0, "b": 2.0}, after)).act("example", "restart_service", {"error_rate": 0.3})
    assert done.status is ActionStatus.FAILED
    assert missing in done.details["error"]
    assert done.changes == ("asked example to restart",), "not all of it restarted"
    assert done.verification["started_after"] is None


@pytest.mark.parametrize("after", [{"a": 100.0, "b": 100.0}, {"c": 100.0, "d": 100.0}, {"a": 9.0, "c": 9.0, "d": 9.0}])
def test_a_service_of_which_all_instances_come_back_is_a_success(
    service: Callable[[Cluster], Any], after: dict[str, float]
) -> None:
    done = service(Cluster({"a": 1.0, "b": 2.0}, after)).act("example", "restart_service", {"error_rate": 0.3})
    assert done.status is ActionStatus.SUCCESS, done
    assert done.verification["started_after"] == after


# Its own token


@pytest.mark.parametrize(
    ("secret", "sent", "status"),
    [
        ("mine", "mine", ActionStatus.SUCCESS),
        ('{"git":"other","restart":"mine"}', "mine", ActionStatus.SUCCESS),
        ('{"git": "other", "restart": "mine"}', "mine", ActionStatus.SUCCESS),
        ('{"git": "other"}', "", ActionStatus.FAILED),
    ],
)
def test_the_restart_gets_its_own_token_and_no_other(
    service: Callable[[Cluster], Any], secret: str, sent: str, status: ActionStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster({"a": 1.0}, {"a": 9.0})
    cluster.wanted = "mine"
    agent = service(cluster)
    monkeypatch.setenv("AGENT_ACT_TOKEN", secret)
    done = agent.act("example", "restart_service", {"error_rate": 0.3})
    assert (cluster.tokens, done.status) == ([sent], status)
    if not sent:
        assert "AGENT_ACT_TOKEN has no token for restart" in done.details["error"]
        assert "other" not in repr(done)


# What was before the restart


def test_what_failed_before_a_restart_asks_for_no_other(service: Callable[[Cluster], Any]) -> None:
    newest = time.time() - 60
    cluster = Cluster({"a": newest - 7200, "b": newest}, {})
    cluster.errors = lambda window: 300.0 if window > 100 else 0.0
    result = service(cluster).investigate("example")
    assert result.recommendation == "nothing to do"
    assert result.findings[0].evidence["since_restart"] == f"{datetime.fromtimestamp(newest, UTC):%FT%TZ}"
    assert 58 <= result.findings[0].evidence["window_seconds"] <= 60, "and nothing from before the start"

    cluster.errors = lambda window: 300.0  # still, and that is another matter
    proposed = service(cluster).investigate("example").proposed_action
    assert proposed.parameters["since_restart"] is not None
    assert proposed.parameters["error_rate"] == 0.3


def test_processes_that_run_for_long_are_measured_over_the_whole_window(service: Callable[[Cluster], Any]) -> None:
    cluster = Cluster({"a": time.time() - 3601, "b": time.time() - 90_000}, {})
    evidence = service(cluster).investigate("example").findings[0].evidence
    assert (evidence["window_seconds"], evidence["since_restart"], cluster.windows) == (3600, None, [3600])


def test_no_data_since_a_restart_is_no_request_and_no_data_at_all_is_an_error(
    service: Callable[[Cluster], Any],
) -> None:
    cluster = Cluster({"a": time.time() - 60}, {})
    cluster.errors = lambda window: 0.0 if window > 100 else None
    agent = service(cluster)
    assert agent.investigate("example").recommendation == "nothing to do: too few requests"
    cluster.errors = lambda window: None
    with pytest.raises(ToolError, match="has no data for"):
        agent.investigate("example")


class Runs(waiting.Clock):
    """A clock that moves by sleeping only, and tells what happens meanwhile."""

    def __init__(self, sleeps: Callable[[], None] = lambda: None) -> None:
        self.moment, self.slept, self.sleeps = time.time(), 0.0, sleeps

    def now(self) -> float:
        return self.moment

    wall = now

    def sleep(self, seconds: float) -> None:
        self.moment += seconds
        self.slept += seconds
        self.sleeps()


@pytest.mark.parametrize(("age", "slept", "window"), [(0, 60, 60), (50, 10, 60), (60, 0, 60), (61.5, 0, 61)])
def test_right_after_a_restart_the_server_is_given_time_to_see_the_new_process(
    serve: Serve, age: float, slept: float, window: int
) -> None:
    clock = Runs()
    cluster = Cluster({"a": clock.moment - age}, {})
    source = metrics.PrometheusServer(serve(cluster.answer), 3600, 60, clock, QUERY, "started")
    assert source.recent().window_seconds == pytest.approx(window, abs=1)
    assert clock.slept == pytest.approx(slept, abs=0.001)
    assert cluster.windows[0] <= max(age, 60), "nothing from before the start"


def test_a_start_time_that_is_not_in_seconds_is_named(serve: Serve) -> None:
    cluster = Cluster({"a": time.time() * 1000}, {})
    source = metrics.PrometheusServer(serve(cluster.answer), 3600, 60, Runs(), QUERY, "started")
    with pytest.raises(ToolError, match="start times are seconds since 1970") as caught:
        source.recent()
    assert caught.value.code == METRICS_UNUSABLE


@pytest.mark.parametrize("restarts", [False, True])
def test_the_own_endpoint_of_a_service_counts_since_a_restart_too(
    example: Callable[..., Example], restarts: bool
) -> None:
    running = example("--traffic", "0", "--error-rate", "0.5")
    for _ in range(30):
        running.get("/")

    def meanwhile() -> None:
        if restarts:
            running.post("/-/restart")
        for _ in range(40):  # more than before: the counter does not look as if it was reset
            running.get("/")

    clock = Runs(meanwhile)
    traffic = metrics.TextEndpoint(running.url + "/metrics", 20, 1, clock).recent()
    assert (traffic.requests, traffic.errors) == ((40, 0) if restarts else (40, 20))
    assert traffic.since_restart == (running.identity()["started"] if restarts else None)
