"""Capacity in files and in Kubernetes, trends, and the use case scale-resources on a real Prometheus server."""

from __future__ import annotations

import json
import math
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import certifi
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import ActionStatus
from agent_runtime.toolkit import metrics, scaling, waiting
from agent_runtime.toolkit.errors import (
    CATALOGUE_INVALID,
    FILE_UNUSABLE,
    METRICS_UNUSABLE,
    READ_REFUSED,
    TOKEN_REFUSED,
    OutcomeUnknown,
    ToolError,
)
from support import gitserver
from support.environment import require_tool
from support.toolkit import USE_CASES, load_agent

TOKEN = "token-for-tests"

# A number in a file


MANIFEST = """\
# Capacity of the shop.\r
apiVersion: autoscaling/v2
spec:
    minReplicas:   3   # never 1
    "maxReplicas": 10
    behaviour: {scaleDown: {seconds: 60}, größe: ü}
---x: kept
"""


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("spec.minReplicas", "minReplicas:   3 ", "minReplicas:   12 "),
        ("spec.maxReplicas", '"maxReplicas": 10', '"maxReplicas": 12'),
        ("spec.behaviour.scaleDown.seconds", "{seconds: 60}", "{seconds: 12}"),
    ],
)
def test_only_the_number_changes(key: str, old: str, new: str) -> None:
    changed = scaling.replace_number(MANIFEST.encode(), key, 12, "x.yml")
    assert changed.decode() == MANIFEST.replace(old, new)
    assert scaling.read_number(changed, key, "x.yml") == 12


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spec:\n",
        "spec: 3\n",
        "spec: {n: '3'}\n",
        "spec: {n: 3.5}\n",
        "spec: {n: -3}\n",
        "spec: {n: 0x3}\n",
        "spec: {n: 010}\n",
        "spec: {n: 00}\n",
        "spec: {n: [3]}\n",
        "spec: {n: 3, n: 4}\n",
        "a: &x 3\nspec: {n: *x}\n",
        "a: &x {n: 3}\nspec: *x\n",
        "spec: {n: 3}\n---\nspec: {n: 3}\n",
        "spec: {n: 3\n",
        "spec: {n: 3}\n\x00",
        "[" * 2000,
    ],
)
def test_what_is_not_a_plain_number_is_refused(text: str) -> None:
    for use in (scaling.read_number, lambda *given: scaling.replace_number(given[0], given[1], 4, given[2])):
        with pytest.raises(ToolError) as caught:
            use(text.encode(), "spec.n", "x.yml")
        assert caught.value.code == FILE_UNUSABLE
        assert "\n" not in caught.value.line()


names = st.text("abcdefgh", min_size=1, max_size=4)


@given(
    st.recursive(
        st.integers(0, 999_999),
        lambda inner: st.dictionaries(names, inner, min_size=1, max_size=4),
        max_leaves=12,
    ).filter(lambda found: isinstance(found, dict)),
    st.integers(0, 999_999),
    st.booleans(),
)
def test_every_number_of_a_file_can_be_changed_alone(found: dict[str, Any], number: int, flow: bool) -> None:
    text = yaml.safe_dump(found, default_flow_style=flow)
    key: list[str] = []
    place: Any = found
    while isinstance(place, dict):
        holder, name = place, next(reversed(place))
        key.append(name)
        place = place[name]
    holder[name] = number
    assert yaml.safe_load(scaling.replace_number(text.encode(), ".".join(key), number, "x")) == found


def test_a_file_in_git_is_changed_by_a_commit_that_says_why(tmp_path: Path) -> None:
    origin = gitserver.create(tmp_path)
    origin.commit({"scale.yml": "spec:\n  n: 2 # two\n"})
    target = scaling.GitFile(origin.address, "main", "scale.yml", "spec.n")
    before = target.look()
    assert (before.instances, before.version["commit"]) == (2, origin.head())
    change = target.set(4, instead_of=2, why="More\n\nBecause.")
    assert "from 2 to 4" in change.done
    assert change.undo == before.undo == "Set spec.n in scale.yml on main to 2 again."
    assert origin.show("scale.yml") == "spec:\n  n: 4 # two"
    assert gitserver.git(origin.bare, "log", "-1", "--format=%s", "main") == "More"
    assert target.look().version != before.version
    head = origin.head()
    with pytest.raises(ToolError, match="nothing was done: 4 instances are set, no longer 2"):
        target.set(6, instead_of=2, why="More")
    assert origin.head() == head


# A trend


def test_a_line_through_points_and_how_far_they_lie_from_it() -> None:
    points = [(0.0, 1.0), (3600.0, 2.0), (7200.0, 2.0)]
    found = metrics.trend(points)
    assert found is not None
    assert (found.per_hour, found.points) == (0.5, 3)
    assert found.now == pytest.approx(13 / 6, abs=1e-6)
    assert found.error == pytest.approx((1 / 6) ** 0.5, abs=1e-6)
    assert found.after(2) == pytest.approx(13 / 6 + 1, abs=1e-6)
    later = metrics.trend(points, at=10800)
    assert later is not None
    assert later.now == pytest.approx(13 / 6 + 0.5, abs=1e-6), "where the newest points are missing"


@given(st.lists(st.floats(0, 1), min_size=3, max_size=30), st.floats(-0.5, 0.5))
def test_the_line_is_the_one_of_the_standard_library(noise: list[float], slope: float) -> None:
    history = [(1.7e9 + 60 * number, slope * number / 60 + value) for number, value in enumerate(noise)]
    hours = [number / 60 for number in range(len(noise))]
    expected, intercept = statistics.linear_regression(hours, [value for _, value in history])
    found = metrics.trend(history)
    assert found is not None
    assert found.per_hour == pytest.approx(expected, abs=1e-4)
    assert found.now == pytest.approx(intercept + expected * hours[-1], abs=1e-4)


@pytest.mark.parametrize("history", [[], [(1, 1)], [(1, 1), (2, 2)], [(1, 1), (1, 2), (1, 3)]])
def test_too_few_points_are_no_trend(history: list[tuple[float, float]]) -> None:
    assert metrics.trend(history) is None


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(finite, finite), max_size=6))
def test_a_trend_is_finite_or_none(history: list[tuple[float, float]]) -> None:
    found = metrics.trend(history)
    assert found is None or all(map(math.isfinite, (found.per_hour, found.now, found.error)))


# What Prometheus answers where there is nothing to compute from


@pytest.mark.parametrize("past", ["NaN", "0.1"], ids=["never used", "used by day"])
def test_nobody_asks_at_night_and_the_service_is_made_smaller(cluster: Cluster, agent: ModuleType, past: str) -> None:
    cluster.bounds = (4, 4)
    cluster.cpu = 0.1
    cluster.values["latency"] = "NaN"
    cluster.histories["latency"] = [past] * 10
    result = agent.ScaleResourcesAgent().investigate("example")
    assert (result.recommendation, result.proposed_action.parameters["latency"]) == ("scale down", 0.0)
    (reported,) = [finding for finding in result.findings if "latency" in finding.message]
    assert "nobody asks for anything now" in reported.message
    assert reported.evidence["now"] is None


@pytest.mark.parametrize("name", ["cpu", "memory", "online"])
@pytest.mark.parametrize("value", ["NaN", "+Inf"])
def test_what_must_have_a_value_and_has_none_is_an_error_with_the_query(
    cluster: Cluster, agent: ModuleType, name: str, value: str
) -> None:
    cluster.values[name] = value
    with pytest.raises(
        ToolError, match=rf"{name}.* gives {float(value)}, not one number".replace("nan", "NaN")
    ) as caught:
        agent.ScaleResourcesAgent().investigate("example")
    assert caught.value.code == METRICS_UNUSABLE


@pytest.mark.parametrize("hole", ["NaN", "+Inf", "-Inf"])
@pytest.mark.parametrize(("cpu", "recommendation"), [(0.95, "scale up"), (0.1, "scale down")])
def test_a_hole_in_a_history_keeps_nobody_from_deciding(
    cluster: Cluster, agent: ModuleType, hole: str, cpu: float, recommendation: str
) -> None:
    cluster.bounds = (4, 4)
    cluster.cpu = cpu
    for name in ("cpu", "memory", "latency"):
        cluster.histories[name] = [*["0.1"] * 5, hole, *["0.1"] * 4]
    result = agent.ScaleResourcesAgent().investigate("example")
    assert result.recommendation == recommendation
    found = [finding.evidence for finding in result.findings if "points" in finding.evidence]
    assert [evidence["points"] for evidence in found] == [9, 9, 9]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("points", [0, 2])
def test_without_a_trend_capacity_is_added_and_never_taken(cluster: Cluster, agent: ModuleType, points: int) -> None:
    cluster.bounds = (4, 4)
    cluster.histories["cpu"] = ["0.1"] * points
    cluster.cpu = 0.95
    result = agent.ScaleResourcesAgent().investigate("example")
    assert result.recommendation == "scale up"
    assert "too few points" in next(finding.message for finding in result.findings if finding.message.startswith("cpu"))
    cluster.cpu = 0.1
    result = agent.ScaleResourcesAgent().investigate("example")
    assert result.recommendation == "nothing to do: too few points for a forecast of cpu"


# Kubernetes


def official(autoscaler: Any) -> Any:
    """An autoscaler as Kubernetes' own client understands it: what it does not know, or converts, differs."""
    from kubernetes import client

    api = client.ApiClient()
    try:
        model = api.deserialize(json.dumps(autoscaler), "V2HorizontalPodAutoscaler", "application/json")
    except ValueError:
        return None
    return api.sanitize_for_serialization(model)


class Cluster:
    """The part of an API server that holds one autoscaler, and the metrics of what it scales.

    Arguments:
        stuck: whether the instances stay as many as they are.
        fails: HTTP status of the next change, for one that is refused.
        further: how many instances there are after the next change, instead of as many as it asks for.
        delay_seconds: until they are.
        raced: whether somebody else is faster with a change.
        resets_to: the `minReplicas` that an operator sets again after each change.
        reading: the token that Prometheus wants.
        notes: what Prometheus says of each query.
        values, histories: what Prometheus answers, by the name of the query.
    """

    def __init__(self) -> None:
        self.catalogue = Path()
        self.entry: dict[str, Any] = {}
        self.stuck = False
        self.fails = 0
        self.raced = False
        self.cpu = 0.9
        self.further: int | None = None
        self.delay_seconds = 0.0
        self._next: int | None = None
        self._changes_at = 0.0
        self.values: dict[str, str] = {}
        self.histories: dict[str, list[str]] = {}
        self.requests: list[tuple[str, str]] = []
        self.resets_to: int | None = None
        self.reading = ""
        self.notes: list[str] = []
        self.autoscaler: dict[str, Any] = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "checkout", "namespace": "shop", "uid": "4f1c", "resourceVersion": "1"},
            "spec": {
                "minReplicas": 2,
                "maxReplicas": 4,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
                    }
                ],
            },
            "status": {
                "currentReplicas": 4,
                "desiredReplicas": 4,
                "lastScaleTime": "2026-11-24T02:00:00+00:00",
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        }
        assert official(self.autoscaler) == self.autoscaler
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def describe(self, **changed: Any) -> None:
        """Write the catalogue, with some values changed."""
        self.entry.update(changed)
        self.catalogue.write_text(json.dumps({"services": {"example": self.entry}}), encoding="utf-8")

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Speak HTTPS from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake belongs to the connection's thread: one that fails must not end the server's loop.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = self.url.replace("http:", "https:")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def bounds(self) -> tuple[int, int]:
        """`minReplicas` and `maxReplicas`."""
        return self.autoscaler["spec"]["minReplicas"], self.autoscaler["spec"]["maxReplicas"]

    @bounds.setter
    def bounds(self, bounds: tuple[int, int]) -> None:
        self.autoscaler["spec"] |= {"minReplicas": bounds[0], "maxReplicas": bounds[1]}

    @property
    def replicas(self) -> int:
        """How many instances there are."""
        number: int = self.autoscaler["status"].get("currentReplicas", 0)
        return number

    @replicas.setter
    def replicas(self, number: int) -> None:
        self.autoscaler["status"] |= {"currentReplicas": number, "desiredReplicas": number}

    def settle(self) -> None:
        """Let the instances come or go, if it is time."""
        if self._next is not None and time.monotonic() >= self._changes_at:
            self.replicas, self._next = self._next, None

    def patch(self, kind: str | None, body: bytes) -> tuple[int, Any]:
        """Change the autoscaler as an API server does: merge, check against the schema, compare the version."""
        if kind != "application/merge-patch+json":
            return 415, {}
        if self.fails:
            return self.fails, {}
        if self.raced:
            self.autoscaler["metadata"]["resourceVersion"] = "99"
        patch = json.loads(body)
        merged = merge(self.autoscaler, patch)
        if merged["metadata"]["resourceVersion"] != self.autoscaler["metadata"]["resourceVersion"]:
            return 409, {}
        if official(merged) != merged or merged["spec"]["minReplicas"] > merged["spec"]["maxReplicas"]:
            return 422, {}
        merged["metadata"]["resourceVersion"] = str(int(merged["metadata"]["resourceVersion"]) + 1)
        if not self.stuck:
            low = merged["spec"]["minReplicas"]
            now = low if self.cpu < 0.2 else max(low, merged["status"]["currentReplicas"])
            self._next = now if self.further is None else self.further
            self._changes_at = time.monotonic() + self.delay_seconds
        self.autoscaler = merged
        self.settle()
        if self.resets_to is not None:
            self.autoscaler = merge(merged, {"spec": {"minReplicas": self.resets_to}})
        return 200, self.autoscaler

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                cluster.settle()
                asked = parse_qs(urlsplit(self.path).query).get("query", [""])[0]
                name = next((name for name in ("online", "cpu", "memory", "latency") if name in asked), "")
                value = str(cluster.replicas) if name == "online" else str(cluster.cpu)
                if path.startswith("/api/v1/") and cluster.reading not in ("", self._bearer()):
                    self._answer(401, {"status": "error", "error": f"who is {self._bearer()}?"})
                elif path == "/api/v1/query":
                    found: Any = [{"metric": {}, "value": [0, cluster.values.get(name, value)]}]
                    data = {"resultType": "vector", "result": found}
                    self._answer(200, {"status": "success", "data": data, "infos": cluster.notes})
                elif path == "/api/v1/query_range":
                    past = list(enumerate(cluster.histories.get(name, [value] * 10)))
                    found = [{"metric": {}, "values": [[60 * number, one] for number, one in past]}] if past else []
                    self._answer(200, {"status": "success", "data": {"resultType": "matrix", "result": found}})
                else:
                    self._api("GET", b"")

            def _bearer(self) -> str:
                return self.headers.get("Authorization", "").partition("Bearer ")[2]

            def do_PATCH(self) -> None:
                self._api("PATCH", self.rfile.read(int(self.headers["Content-Length"])))

            def _api(self, method: str, body: bytes) -> None:
                cluster.requests.append((method, self.path))
                if self.path != "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/checkout":
                    self._answer(404, {})
                elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    self._answer(401, {})
                elif method == "GET":
                    self._answer(200, cluster.autoscaler)
                else:
                    self._answer(*cluster.patch(self.headers.get("Content-Type"), body))

            def _answer(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def merge(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """An API server, and a catalogue by which the agent finds it."""
    running = Cluster()
    running.catalogue = tmp_path / "services.yml"
    running.entry = {
        "prometheus": running.url,
        "cpu": "cpu",
        "memory": "memory",
        "latency": "latency",
        "latency_limit_seconds": 2,
        "online": "online",
        "window_seconds": 600,
        "minimum": 2,
        "maximum": 10,
        "step": 2,
        "cooldown_seconds": 60,
        "target": {"kubernetes": {"api": running.url, "namespace": "shop", "name": "checkout"}},
    }
    running.describe()
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))
    monkeypatch.setenv("AGENT_ACT_TOKEN", json.dumps({"kubernetes": TOKEN}))
    yield running
    running.close()


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the use case, with a short deadline."""
    module = load_agent("scale-resources")
    monkeypatch.setattr(module, "SCALE_SECONDS", 0.5)
    monkeypatch.setattr(module, "SHRINK_SECONDS", 0.5)
    return module


def approved(agent: ModuleType) -> Any:
    proposed = agent.ScaleResourcesAgent().investigate("example").proposed_action
    assert proposed is not None
    return proposed


@pytest.mark.parametrize(
    ("cpu", "before", "after", "online", "undo"),
    [
        (0.9, (2, 4), (6, 6), 6, "Set minReplicas 2 and maxReplicas 4 of shop/checkout again."),
        (0.9, (2, 9), (6, 9), 6, "Set minReplicas 2 and maxReplicas 9 of shop/checkout again."),
        (0.1, (4, 9), (2, 9), 2, "Set minReplicas 4 and maxReplicas 9 of shop/checkout again."),
    ],
    ids=["up, over the maximum", "up", "down"],
)
def test_an_autoscaler_is_changed_and_what_it_scales_comes_online(
    cluster: Cluster,
    agent: ModuleType,
    cpu: float,
    before: tuple[int, int],
    after: tuple[int, int],
    online: int,
    undo: str,
) -> None:
    cluster.cpu = cpu
    cluster.bounds = before
    untouched = {name: cluster.autoscaler["spec"][name] for name in ("scaleTargetRef", "metrics")}
    observed = agent.ScaleResourcesAgent().observe("example")
    proposed = approved(agent)
    result = agent.ScaleResourcesAgent().act("example", proposed.action, proposed.parameters)
    assert result.status is ActionStatus.SUCCESS, result
    assert cluster.autoscaler["spec"] == {"minReplicas": after[0], "maxReplicas": after[1], **untouched}
    assert result.verification["online_after"] == online
    assert agent.ScaleResourcesAgent().observe("example") != observed
    reported = f"set minReplicas of shop/checkout from {before[0]} to {after[0]}"
    if after[1] != before[1]:
        reported += f", and maxReplicas from {before[1]} to {after[1]}"
    assert result.changes[0] == reported
    assert result.rollback == proposed.rollback == undo
    cluster.bounds = before  # by hand, as the result says
    assert agent.ScaleResourcesAgent().observe("example")["minReplicas"] == before[0]


def test_on_the_way_down_the_minimum_is_never_raised(cluster: Cluster, agent: ModuleType) -> None:
    cluster.cpu = 0.1
    cluster.bounds = (2, 10)
    cluster.replicas = 6
    result = agent.ScaleResourcesAgent().investigate("example")
    assert result.recommendation == "nothing to do: the autoscaler may go down to 2 by itself"
    parameters = {"from": 6, "to": 4, "load": 0.1}
    acted = agent.ScaleResourcesAgent().act("example", "scale_down", parameters)
    assert (acted.status, acted.changes, acted.rollback) == (ActionStatus.FAILED, (), None)
    assert "minReplicas of shop/checkout is 2, so Kubernetes may go down to 4 by itself" in acted.details["error"]
    assert cluster.bounds == (2, 10)


def test_the_reason_is_what_was_decided_by(cluster: Cluster, agent: ModuleType) -> None:
    cluster.bounds = (4, 9)
    cluster.cpu = 0.1
    cluster.values.update(cpu="0.05", memory="0.1", latency="0.6")
    down = approved(agent)
    assert down.reason == "cpu is at 5.0%, memory at 10.0% of its limit, both less than 20%; 4 instances become 2."
    assert (down.parameters["busiest"], down.parameters["load"], down.parameters["latency"]) == ("memory", 0.1, 0.6)
    cluster.values.update(latency="0.9")
    up = approved(agent)
    assert up.reason == "latency, the busiest, is at 90.0% of its limit, more than 80%; 4 instances become 6."
    assert (up.parameters["busiest"], up.parameters["load"]) == ("latency", 0.9)


@pytest.mark.parametrize(
    ("instances", "minimum", "maximum", "to"), [(1, 5, 10, 5), (1, 2, 10, 3), (4, 5, 10, 6), (1, 5, 5, 5)]
)
def test_whatever_is_below_the_minimum_goes_there_at_once(
    cluster: Cluster, agent: ModuleType, instances: int, minimum: int, maximum: int, to: int
) -> None:
    cluster.describe(minimum=minimum, maximum=maximum)
    cluster.bounds, cluster.replicas = (1, 10), instances
    assert approved(agent).parameters["to"] == to


def test_a_minimum_over_the_maximum_is_refused(cluster: Cluster, agent: ModuleType) -> None:
    cluster.describe(minimum=8, maximum=2)
    with pytest.raises(
        ToolError, match=r"services\.example\.minimum must be at most maximum: 8 is more than 2"
    ) as caught:
        agent.ScaleResourcesAgent().investigate("example")
    assert caught.value.code == CATALOGUE_INVALID


def test_a_minimum_that_is_not_reached_yet_is_what_is_set(cluster: Cluster, agent: ModuleType) -> None:
    cluster.bounds = (6, 10)
    result = agent.ScaleResourcesAgent().investigate("example")
    assert result.recommendation == "nothing to do: the last change is not online yet"


@pytest.mark.parametrize(("cpu", "further"), [(0.9, 7), (0.1, 3)], ids=["up", "down"])
def test_an_autoscaler_that_goes_further_by_itself_is_a_success(
    cluster: Cluster, agent: ModuleType, cpu: float, further: int
) -> None:
    cluster.cpu = cpu
    cluster.bounds, cluster.replicas = (6, 9), 6
    if cpu > 0.5:
        cluster.bounds, cluster.replicas = (2, 9), 4
    proposed = approved(agent)
    cluster.further = further
    result = agent.ScaleResourcesAgent().act("example", proposed.action, proposed.parameters)
    assert result.status is ActionStatus.SUCCESS, result
    assert result.changes[1] == f"{further} instances of example are online"


def test_fewer_than_the_minimum_is_not_a_success_on_the_way_down(cluster: Cluster, agent: ModuleType) -> None:
    cluster.cpu = 0.1
    cluster.bounds, cluster.replicas = (6, 9), 6
    proposed = approved(agent)
    cluster.further = 0
    result = agent.ScaleResourcesAgent().act("example", proposed.action, proposed.parameters)
    assert result.status is ActionStatus.FAILED
    assert "4 are set; 0 are online" in result.details["error"]


def test_there_is_more_time_on_the_way_down(
    cluster: Cluster, agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = load_agent("scale-resources")
    # Kubernetes looks back over 300 s before it takes instances away, and the job `act` ends after 30 minutes.
    assert 2 * 300 <= fresh.SHRINK_SECONDS <= 20 * 60
    cluster.cpu = 0.1
    cluster.bounds = (4, 9)
    monkeypatch.setattr(agent, "SCALE_SECONDS", 0.0)
    monkeypatch.setattr(agent, "SHRINK_SECONDS", 60.0)
    proposed = approved(agent)
    cluster.delay_seconds = 1.5
    result = agent.ScaleResourcesAgent().act("example", proposed.action, proposed.parameters)
    assert result.status is ActionStatus.SUCCESS, result


def test_the_same_address_and_body_as_the_official_client(cluster: Cluster) -> None:
    from kubernetes import client

    target = scaling.Autoscaler(cluster.url, "shop", "checkout")
    target.set(6, instead_of=4, why="More")
    ours, cluster.requests = cluster.requests, []
    settings = client.Configuration(host=cluster.url, api_key={"authorization": f"Bearer {TOKEN}"})
    theirs = client.AutoscalingV2Api(client.ApiClient(settings))
    found = theirs.read_namespaced_horizontal_pod_autoscaler("checkout", "shop")
    assert found.status is not None
    assert (found.spec.min_replicas, found.spec.max_replicas, found.status.current_replicas) == (6, 6, 6)
    theirs.patch_namespaced_horizontal_pod_autoscaler(
        "checkout", "shop", {"spec": {"maxReplicas": 8}}, _content_type="application/merge-patch+json"
    )
    assert ours == cluster.requests


def test_a_private_authority_is_trusted_where_the_runner_names_it(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def openssl(*arguments: object) -> None:
        subprocess.run([require_tool("openssl"), *map(str, arguments)], check=True, capture_output=True)

    authority, key, request, signed = (tmp_path / name for name in ("ca.pem", "ca.key", "k8s.csr", "k8s.pem"))
    extensions = tmp_path / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n", encoding="utf-8")
    new = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *new, "-subj", "/CN=cluster", "-keyout", key, "-out", authority)
    openssl("req", *new, "-subj", "/CN=api", "-keyout", tmp_path / "k8s.key", "-out", request)
    openssl(
        *("x509", "-req", "-in", request, "-CA", authority, "-CAkey", key, "-CAcreateserial"),
        *("-extfile", extensions, "-out", signed),
    )
    cluster.encrypt(signed, tmp_path / "k8s.key")
    target = scaling.Autoscaler(cluster.url, "shop", "checkout")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    for use in (target.look, lambda: target.set(6, instead_of=4, why="More")):
        with pytest.raises(ToolError, match="certificate verify failed") as caught:
            use()
        assert not isinstance(caught.value, OutcomeUnknown)
    assert cluster.requests == []
    both = tmp_path / "authorities.pem"
    both.write_bytes(Path(certifi.where()).read_bytes() + authority.read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(both))
    assert target.look().instances == 4
    target.set(6, instead_of=4, why="More")
    assert cluster.bounds == (6, 6)


def test_the_schema_notices_what_it_does_not_know(cluster: Cluster) -> None:
    for spec in ({"minReplica": 3}, {"minReplicas": "three"}):
        assert cluster.patch(scaling.MERGE_PATCH, json.dumps({"spec": spec}).encode())[0] == 422


@pytest.mark.parametrize(
    ("break_it", "ended", "said"),
    [
        (lambda cluster: setattr(cluster, "stuck", True), ActionStatus.FAILED, "6 are set; 4 are online"),
        (lambda cluster: setattr(cluster, "fails", 403), ActionStatus.FAILED, "HTTP 403"),
        (
            lambda cluster: setattr(cluster, "raced", True),
            ActionStatus.FAILED,
            "TOOL13: nothing was done: somebody else changed the autoscaler shop/checkout meanwhile (HTTP 409); start",
        ),
        (lambda cluster: setattr(cluster, "fails", 422), ActionStatus.FAILED, "TOOL16: PATCH"),
        (lambda cluster: setattr(cluster, "fails", 500), ActionStatus.UNKNOWN, "may have taken effect"),
        (
            lambda cluster: cluster.autoscaler["status"].update(currentReplicas=5),
            ActionStatus.FAILED,
            "5 instances are set, no longer 4",
        ),
    ],
    ids=["stuck", "forbidden", "conflict", "invalid", "lost", "changed"],
)
def test_what_did_not_happen_is_not_a_success(
    cluster: Cluster, agent: ModuleType, break_it: Callable[[Cluster], None], ended: ActionStatus, said: str
) -> None:
    proposed = approved(agent)
    break_it(cluster)
    result = agent.ScaleResourcesAgent().act("example", proposed.action, proposed.parameters)
    assert result.status is ended
    assert said in result.details["error"]


@pytest.mark.parametrize(
    ("secret", "code", "said"),
    [
        (
            "",
            READ_REFUSED,
            "HTTP 401 and no token was sent, because KUBERNETES_TOKEN is empty; it wants one with the verb get on",
        ),
        (
            "another",
            TOKEN_REFUSED,
            "which needs the verbs get and patch on horizontalpodautoscalers in the namespace shop",
        ),
    ],
)
def test_who_may_not_read_an_autoscaler_learns_what_it_takes(
    cluster: Cluster, agent: ModuleType, monkeypatch: pytest.MonkeyPatch, secret: str, code: str, said: str
) -> None:
    monkeypatch.setenv("AGENT_ACT_TOKEN", secret)
    with pytest.raises(ToolError, match=said) as caught:
        agent.ScaleResourcesAgent().investigate("example")
    assert caught.value.code == code


# What the API leaves out, what is off, and what is broken


def test_no_instance_is_a_number_that_the_api_leaves_out(cluster: Cluster, agent: ModuleType) -> None:
    cluster.autoscaler["spec"]["minReplicas"] = 0
    del cluster.autoscaler["status"]["currentReplicas"]
    cluster.values["online"] = "0"
    assert official(cluster.autoscaler) == cluster.autoscaler, "as the API writes it"
    assert scaling.Autoscaler(cluster.url, "shop", "checkout").look().instances == 0
    cluster.autoscaler["status"]["currentReplicas"] = "4"
    with pytest.raises(ToolError, match="currentReplicas is not a whole number"):
        scaling.Autoscaler(cluster.url, "shop", "checkout").look()


def test_where_autoscaling_is_off_nothing_is_proposed_and_nothing_set(cluster: Cluster, agent: ModuleType) -> None:
    proposed = approved(agent)
    cluster.autoscaler["status"] = {
        "desiredReplicas": 0,
        "conditions": [
            {"type": "AbleToScale", "status": "True"},
            {"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"},
        ],
    }
    cluster.values["online"] = "0"
    assert official(cluster.autoscaler) == cluster.autoscaler, "as the API writes it"
    result = agent.ScaleResourcesAgent().investigate("example")
    assert result.proposed_action is None
    assert result.recommendation.startswith("nothing to do: autoscaling is off")
    done = agent.ScaleResourcesAgent().act("example", proposed.action, proposed.parameters)
    assert (done.status, done.changes) == (ActionStatus.FAILED, ())
    assert "nothing was done: autoscaling is off" in done.details["error"]
    assert cluster.bounds == (2, 4)


def test_what_does_not_come_online_after_the_cool_down_is_reported_and_blocks_no_more_capacity(
    cluster: Cluster, agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "SCALE_SECONDS", 300.0)
    cluster.bounds, cluster.values["online"] = (4, 8), "3"
    broken = "1 of 4 instances are not online"

    def changed(seconds_ago: float) -> Any:
        cluster.autoscaler["status"]["lastScaleTime"] = metrics.shown_time(time.time() - seconds_ago)
        return agent.ScaleResourcesAgent().investigate("example")

    for cooldown, seconds_ago in ((60, 100), (3600, 3000)):
        cluster.describe(cooldown_seconds=cooldown)
        assert changed(seconds_ago).recommendation == "nothing to do: the last change is not online yet"
    result = changed(7 * 86400)
    assert result.recommendation == "scale up"
    assert result.findings[0].message.startswith(broken)
    assert broken in result.proposed_action.reason
    cluster.cpu = 0.1
    assert changed(7 * 86400).recommendation == f"nothing to do: {broken}"
    cluster.values["online"] = "5"
    assert changed(7 * 86400).recommendation == "nothing to do: the last change is not online yet"


def test_what_somebody_set_again_meanwhile_is_reported_as_that(cluster: Cluster, agent: ModuleType) -> None:
    proposed = approved(agent)
    for online, further in (("4", None), ("6", 6)):
        cluster.bounds, cluster.replicas = (2, 4), 4
        cluster.further = further
        before = cluster.values.get("online")
        cluster.resets_to = 2
        cluster.values["online"] = online
        done = agent.ScaleResourcesAgent().act("example", proposed.action, proposed.parameters)
        assert done.status is ActionStatus.FAILED, f"although {online} are online (before: {before})"
        assert (
            "6 were set, and now it is 2: somebody, or an operator such as KEDA, set it again" in done.details["error"]
        )
        assert f"{online} are online" in done.details["error"]


@pytest.mark.parametrize("online", ["2.5", "3.5", "0.25"])
def test_half_an_instance_is_refused(cluster: Cluster, agent: ModuleType, online: str) -> None:
    cluster.values["online"] = online
    with pytest.raises(ToolError, match=f"online gives {online}, no whole number of instances") as caught:
        agent.ScaleResourcesAgent().investigate("example")
    assert caught.value.code == METRICS_UNUSABLE


@pytest.mark.parametrize(("now", "past"), [("9", "9"), ("1.5", "9"), ("12", "0.1")])
@pytest.mark.parametrize("name", ["cpu", "memory"])
def test_percent_is_not_a_share(cluster: Cluster, agent: ModuleType, name: str, now: str, past: str) -> None:
    cluster.values[name], cluster.histories[name] = now, [past] * 10
    with pytest.raises(ToolError, match=rf"{name} gives \d+ now or in its history, which is not a share") as caught:
        agent.ScaleResourcesAgent().investigate("example")
    assert caught.value.code == METRICS_UNUSABLE


def test_a_burst_is_a_share_and_a_latency_may_be_far_over_its_limit(cluster: Cluster, agent: ModuleType) -> None:
    cluster.values.update(cpu="1.4", latency="90")
    assert approved(agent).parameters["busiest"] == "latency"


def test_a_prometheus_that_wants_a_token_gets_the_one_that_the_catalogue_names(
    cluster: Cluster, agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.reading = "s3cret-for-reading"
    with pytest.raises(ToolError, match="HTTP 401 without a token"):
        agent.ScaleResourcesAgent().investigate("example")
    cluster.describe(token="PROMETHEUS_TOKEN")
    monkeypatch.setenv("PROMETHEUS_TOKEN", "s3cret-but-wrong")
    with pytest.raises(ToolError, match="HTTP 401 with the token of PROMETHEUS_TOKEN") as caught:
        agent.ScaleResourcesAgent().investigate("example")
    assert "s3cret" not in caught.value.line()
    monkeypatch.setenv("PROMETHEUS_TOKEN", "s3cret-for-reading")
    assert agent.ScaleResourcesAgent().act("example", "scale_up", approved(agent).parameters).status is (
        ActionStatus.SUCCESS
    )


def test_what_the_server_notes_of_a_query_is_shown(cluster: Cluster, agent: ModuleType) -> None:
    cluster.notes = ["PromQL info: metric might not be a counter"]
    findings = agent.ScaleResourcesAgent().investigate("example").findings
    assert [one.evidence["notes"] for one in findings if "points" in one.evidence] == [cluster.notes] * 3


def test_an_answer_that_is_not_an_autoscaler_is_one_clear_error(cluster: Cluster) -> None:
    target = scaling.Autoscaler(cluster.url, "shop", "gone")
    with pytest.raises(ToolError, match="HTTP 404 without an autoscaler") as caught:
        target.look()
    assert not isinstance(caught.value, OutcomeUnknown)


# Prometheus


@pytest.fixture
def scraped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The example service under load, a Prometheus server that scrapes it, and a catalogue by which the agent works."""
    program = require_tool("prometheus")
    example = USE_CASES / "scale-resources" / "example_service.py"
    command = [sys.executable, str(example), "serve", f"--folder={tmp_path / 'x'}", f"--token={TOKEN}", "--demand=1.9"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.PIPE) as service, (tmp_path / "log").open("wb") as log:
        assert service.stdout is not None
        started = json.loads(service.stdout.readline())
        settings = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": [{"job_name": "x", "static_configs": [{"targets": [started["url"][len("http://") :]]}]}],
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        options = [f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        options += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        prometheus = subprocess.Popen([program, *options], stderr=log)
        file = {"repository": started["repository"], "branch": "main", "path": "autoscaling.yml"}
        entry = {
            "prometheus": server,
            "cpu": "max(example_cpu_share)",
            "memory": "max(example_memory_share)",
            "latency": "max(example_latency_seconds)",
            "latency_limit_seconds": 0.5,
            "online": "max(example_instances)",
            "window_seconds": 2,
            "minimum": 2,
            "maximum": 8,
            "step": 2,
            "cooldown_seconds": 0,
            "target": {"git": {**file, "key": "spec.instances"}},
            "trigger": started["url"] + "/-/apply",
        }
        (tmp_path / "services.yml").write_text(json.dumps({"services": {"example": entry}}), encoding="utf-8")
        monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))
        monkeypatch.setenv("AGENT_ACT_TOKEN", TOKEN)
        try:
            yield server
        finally:
            prometheus.terminate()
            prometheus.wait(10)
            service.terminate()


def test_the_agent_decides_and_acts_by_what_prometheus_saw(
    scraped: str, agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "SCALE_SECONDS", 60.0)
    runner = agent.ScaleResourcesAgent()
    result = waiting.until(lambda: runner.investigate("example"), seconds=60, interval_seconds=0.2)
    assert result is not None
    assert (result.recommendation, result.proposed_action.parameters["cpu"]) == ("scale up", 0.95)
    done = runner.act("example", result.proposed_action.action, result.proposed_action.parameters)
    assert done.status is ActionStatus.SUCCESS, done
    assert metrics.value(scraped, "max(example_instances)") == 4
    assert runner.investigate("example").recommendation == "nothing to do"
    # Real gaps: in the first half of the time this divides by 0.
    until = metrics.number(scraped, "time()").at
    cpu = f"max(example_cpu_share) / (vector(time()) > bool {until - 1:.3f})"
    holes = metrics.history(scraped, cpu, until=until, seconds=2)
    assert 0 < len(holes) < 60
    assert all(until - 1 < moment <= until and math.isfinite(value) for moment, value in holes)
    nothing = "0 * max(example_latency_seconds) / 0"
    assert metrics.value_or_none(scraped, nothing) is None
    assert metrics.value_or_none(scraped, "(no_such_metric or vector(NaN)) / 0.5") is None
    assert metrics.history(scraped, nothing, until=time.time(), seconds=2) == []
    assert metrics.history(scraped, "no_such_metric", until=time.time(), seconds=2) == []
    with pytest.raises(ToolError, match=r"0 \* max\(example_latency_seconds\) / 0 gives NaN"):
        metrics.value(scraped, nothing)
    with pytest.raises(ToolError, match="has no data for no_such_metric"):
        metrics.value(scraped, "no_such_metric")
    with pytest.raises(ToolError, match=r"gives \d+ series"):
        metrics.value(scraped, '{__name__=~"example_.*"}')
