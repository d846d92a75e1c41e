"""The agent of service-restart before services that come back by half, that healed, or want a token of their own."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent_runtime import ActionStatus
from agent_runtime.toolkit import metrics, services, waiting
from agent_runtime.toolkit.errors import METRICS_UNUSABLE, ToolError
from support.toolkit import Answers, Example

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
        self.clock: Callable[[], float] = time.time
        self.notes: list[str] = []

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

    def vector(self, values: dict[str, float], label: str) -> tuple[int, Any]:
        """An answer of Prometheus."""
        at = self.clock()
        result = [{"metric": {label: name}, "value": [at, str(value)]} for name, value in values.items()]
        return 200, {"status": "success", "data": {"resultType": "vector", "result": result}, "infos": self.notes}


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


NEW = time.time() + 3600  # later than any call of these tests


@pytest.mark.parametrize(
    ("after", "missing"),
    [
        ({"a": NEW}, "1 of 2 instances are there, without b"),
        ({"a": NEW, "b": 2.0}, "still the process from before: b"),
        ({"a": NEW, "b": 100.0}, "still the process from before: b"),
        ({"a": NEW, "b": 2.01}, "still the process from before: b"),
        ({"b": 1.0, "a": 2.0}, "still the process from before: a, b"),
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


@pytest.mark.parametrize("after", [{"a": NEW, "b": NEW}, {"c": NEW, "d": NEW}, {"a": NEW, "c": NEW, "d": NEW}])
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
    cluster = Cluster({"a": 1.0}, {"a": NEW})
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
    cluster.clock = lambda: newest + 60
    cluster.errors = lambda window: 300.0 if window > 100 else 0.0
    result = service(cluster).investigate("example")
    assert result.recommendation == "nothing to do"
    assert result.findings[0].evidence["since_restart"] == f"{datetime.fromtimestamp(newest, UTC):%FT%TZ}"
    assert (result.findings[0].evidence["window_seconds"], cluster.windows) == (60, [60]), "nothing from before it"

    cluster.errors = lambda window: 300.0  # still, and that is another matter
    proposed = service(cluster).investigate("example").proposed_action
    assert proposed.parameters["since_restart"] is not None
    assert proposed.parameters["error_rate"] == 0.3


def test_processes_that_run_for_long_are_measured_over_the_whole_window(service: Callable[[Cluster], Any]) -> None:
    cluster = Cluster({"a": time.time() - 3601, "b": time.time() - 90_000}, {})
    evidence = service(cluster).investigate("example").findings[0].evidence
    assert (evidence["window_seconds"], evidence["since_restart"], cluster.windows) == (3600, None, [3600])


def test_what_the_server_notes_of_a_query_stands_in_the_evidence(service: Callable[[Cluster], Any]) -> None:
    cluster = Cluster({"a": time.time() - 90_000}, {})
    cluster.notes = ["PromQL info: metric might not be a counter"]
    assert service(cluster).investigate("example").findings[0].evidence["notes"] == cluster.notes


def test_no_data_since_a_restart_is_not_a_request_and_no_data_at_all_is_an_error(
    service: Callable[[Cluster], Any],
) -> None:
    cluster = Cluster({"a": time.time() - 60}, {})
    cluster.errors = lambda window: 0.0 if window > 100 else None
    agent = service(cluster)
    assert agent.investigate("example").recommendation == "nothing to do: too few requests"
    cluster.errors = lambda window: None
    with pytest.raises(ToolError, match="has no data for"):
        agent.investigate("example")


def watched(url: str, clock: waiting.Clock) -> metrics.PrometheusServer:
    """A source with the usual times of the catalogue."""
    return metrics.PrometheusServer(url, 3600, 60, clock, requests=QUERY, started_query="started")


class Runs(waiting.Clock):
    """A clock that moves by sleeping only, and reports what happens meanwhile."""

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
    cluster.clock = clock.now
    assert watched(serve(cluster.answer), clock).recent().window_seconds == window
    assert clock.slept == pytest.approx(slept, abs=0.001)
    assert cluster.windows == [window], "nothing from before the start"


@pytest.mark.parametrize("ahead", [-200, 0, 200])
def test_the_time_is_that_of_the_server_and_not_that_of_the_runner(serve: Serve, ahead: float) -> None:
    clock = Runs()
    cluster = Cluster({"a": clock.moment - ahead - 90}, {})
    cluster.clock = lambda: clock.moment - ahead
    cluster.errors = lambda window: 500.0 if window > 90 else 0.0
    source = watched(serve(cluster.answer), clock)
    traffic = source.recent()
    assert (traffic.errors, traffic.window_seconds, cluster.windows) == (0, 90, [90])
    before = source.started()
    cluster.started = {"a": clock.moment - ahead - 80}  # another one, and older than the call
    with pytest.raises(ToolError, match="still the process from before: a"):
        source.restarted_since(before)
    cluster.started = {"a": clock.moment - ahead + 1}
    assert source.restarted_since(before) == cluster.started


def test_a_start_time_that_is_not_in_seconds_is_named(serve: Serve) -> None:
    cluster = Cluster({"a": time.time() * 1000}, {})
    with pytest.raises(ToolError, match="start times are seconds since 1970") as caught:
        watched(serve(cluster.answer), Runs()).recent()
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


# Several processes behind one address, and start times that drift


class Workers:
    """Processes behind one address that answer in an order, each with counters of its own; restarts do nothing."""

    def __init__(self, *ages: float) -> None:
        now = time.time()
        self.started = [now - age for age in ages]
        self.served = [1000.0 * age for age in ages]
        self.order = [0]
        self.drift = 0.0
        self.asked = 0

    def answer(self, method: str, path: str, bearer: str) -> tuple[int, Any]:
        """Answer one request."""
        if path != "/metrics":
            return 202, {}
        worker = self.order[min(self.asked, len(self.order) - 1)]
        self.asked += 1
        self.started[worker] -= self.drift
        served = self.served[worker]
        return 200, (
            f'http_requests_total{{code="200"}} {served * 0.9}\nhttp_requests_total{{code="500"}} {served * 0.1}\n'
            f"process_start_time_seconds {self.started[worker]:.6f}\n"
        )


@pytest.mark.parametrize(("age", "requests", "seconds"), [(1800, 1_800_000, 1800), (7200, 0, 30), (10, 0, 30)])
def test_an_endpoint_without_history_shows_the_last_hour_where_it_can(
    serve: Serve, age: float, requests: float, seconds: float
) -> None:
    url = serve(Workers(age).answer)
    catalogue = f"services: {{shop: {{metrics: {{url: {url}/metrics}}, health: {url}, restart: {url}}}}}"
    source = services.parse(catalogue.encode(), "services.yml").get("shop").metrics
    traffic = replace(source, clock=Runs()).recent()
    assert source.window_seconds == 3600, "by default"
    assert traffic.window_seconds == pytest.approx(seconds, abs=2)
    assert (traffic.requests, traffic.errors) == pytest.approx((requests, requests / 10))


@pytest.mark.parametrize("order", [[1, 0], [0, 1]])
def test_what_another_process_counted_is_not_an_increase(serve: Serve, order: list[int]) -> None:
    """Nobody made a request; the difference of the two counters looks like thousands, or like a restart."""
    workers = Workers(9000, 3000)
    source = metrics.TextEndpoint(serve(workers.answer) + "/metrics", 1, 1, Runs())
    workers.order = order
    with pytest.raises(ToolError, match="several processes answer in turns") as caught:
        source.recent()
    assert caught.value.code == METRICS_UNUSABLE
    workers.asked = 0
    with pytest.raises(ToolError, match="several processes answer in turns"):
        source.fresh(at_least=1, wait_seconds=5)
    workers.order = [0]
    assert source.recent().requests == 0


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_restart_that_never_happened_is_not_a_success_because_another_process_answers(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart_agent: ModuleType, order: list[int]
) -> None:
    workers = Workers(9000, 3000)
    workers.order = order
    url = serve(workers.answer)
    entry = {"metrics": {"url": url + "/metrics"}, "health": url + "/health", "restart": url + "/restart"}
    (tmp_path / "services.yml").write_text(json.dumps({"services": {"example": entry}}), encoding="utf-8")
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))
    monkeypatch.setattr(restart_agent, "RESTART_SECONDS", 0.2)
    done = restart_agent.ServiceRestartAgent().act("example", "restart_service", {"error_rate": 0.3})
    assert done.status is ActionStatus.FAILED
    assert "still the process from before: process" in done.details["error"]
    assert done.changes == ("asked example to restart",)


def test_a_start_time_that_drifts_is_neither_a_restart_nor_another_world(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart_agent: ModuleType
) -> None:
    workers = Workers(86400)
    workers.started, workers.drift = [1_790_000_000.3], 0.01
    url = serve(workers.answer)
    entry = {"metrics": {"url": url + "/metrics"}, "health": url + "/health", "restart": url + "/restart"}
    (tmp_path / "services.yml").write_text(json.dumps({"services": {"example": entry}}), encoding="utf-8")
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))
    source = metrics.TextEndpoint(url + "/metrics", 1, 1, Runs())
    before = source.started()
    with pytest.raises(ToolError, match="still the process from before"):
        source.restarted_since(before)
    assert source.recent().since_restart is None
    agent = restart_agent.ServiceRestartAgent()
    assert agent.observe("example") == agent.observe("example")


# A Prometheus that wants a token


@pytest.mark.parametrize("kind", ["prometheus", "url"])
def test_metrics_are_read_with_the_token_that_the_catalogue_names(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart_agent: ModuleType, kind: str
) -> None:
    cluster, workers = Cluster({"a": 1.0}, {}), Workers(9000)
    seen: list[str] = []

    def answer(method: str, path: str, bearer: str) -> tuple[int, Any]:
        if not path.startswith(("/api", "/metrics")):
            return 200, {}
        seen.append(bearer)
        if bearer != "s3cret-for-reading":
            return 401, {"status": "error", "errorType": "unauthorized", "error": f"who is {bearer}?"}
        return (cluster if kind == "prometheus" else workers).answer(method, path, bearer)

    url = serve(answer)
    source = (
        {"prometheus": url, "requests": QUERY, "started": "started"}
        if kind == "prometheus"
        else {
            "url": url + "/metrics",
            "window_seconds": 0,
        }
    )
    entry = {"metrics": {**source, "token": "PROMETHEUS_TOKEN"}, "health": url + "/h", "restart": url + "/r"}
    (tmp_path / "services.yml").write_text(json.dumps({"services": {"example": entry}}), encoding="utf-8")
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))
    monkeypatch.setenv("AGENT_ACT_TOKEN", "another-token")
    agent = restart_agent.ServiceRestartAgent()
    for secret, reported in (
        ("", "HTTP 401 and no token was sent, because PROMETHEUS_TOKEN is empty"),
        ("s3cret-but-wrong", "HTTP 401 with the token of PROMETHEUS_TOKEN"),
    ):
        monkeypatch.setenv("PROMETHEUS_TOKEN", secret)
        with pytest.raises(ToolError) as caught:
            agent.investigate("example")
        assert caught.value.message.endswith(reported)
        assert "s3cret" not in caught.value.line()
    monkeypatch.setenv("PROMETHEUS_TOKEN", "s3cret-for-reading")
    assert agent.investigate("example").findings
    assert set(seen) == {"", "s3cret-but-wrong", "s3cret-for-reading"}, "and never the token to act with"
