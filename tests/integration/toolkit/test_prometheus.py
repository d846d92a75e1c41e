"""The agent against a real Prometheus server that scrapes real services."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from agent_runtime import ActionStatus
from agent_runtime.toolkit import metrics, waiting
from agent_runtime.toolkit.errors import METRICS_UNUSABLE, ToolError
from backend.bench.servers import reserve_port
from support.environment import REPOSITORY, require_tool
from support.toolkit import Example, launch

SCRAPE_INTERVAL = "200ms"
WINDOW_SECONDS = 2
FRESH_SECONDS = 2
SETTLE_SECONDS = 60.0  # at most, until the window holds nothing from before a change


@dataclass
class World:
    """A Prometheus server and the services it scrapes, by their job."""

    url: str
    services: dict[str, Example]

    def source(self, job: str, requests: str | None = None) -> metrics.PrometheusServer:
        return metrics.PrometheusServer(
            url=self.url,
            requests=requests or self.query(job),
            started_query=f'process_start_time_seconds{{job="{job}"}}',
            window_seconds=WINDOW_SECONDS,
            fresh_seconds=FRESH_SECONDS,
        )

    def query(self, job: str) -> str:
        return f'sum by (code) (increase(http_requests_total{{job="{job}"}}[$window]))'

    def fail(self, job: str, rate: float) -> None:
        """From now on let this share of requests fail, and wait until the window holds nothing else."""
        assert self.services[job].post("/chaos", {"error_rate": rate})[0] == 200
        assert waiting.until(lambda: self.shows(job, rate), seconds=SETTLE_SECONDS, interval_seconds=0.1)

    def shows(self, job: str, rate: float) -> bool:
        """Whether the server counts requests, and this share of them as errors."""
        seen = self.source(job).recent().error_rate
        return seen is not None and abs(seen - rate) < 0.01


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Start services and a Prometheus server with the configuration of `examples/`, which then scrapes faster."""
    program = require_tool("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    running = {"example": launch("--traffic", "100"), "lying": launch("--traffic", "100", "--sticky-failure")}
    settings = yaml.safe_load((REPOSITORY / "examples" / "prometheus.yml").read_text(encoding="utf-8"))
    settings["global"]["scrape_interval"] = SCRAPE_INTERVAL
    settings["global"]["scrape_timeout"] = SCRAPE_INTERVAL
    (job,) = settings["scrape_configs"]
    assert job["job_name"] == "example"
    settings["scrape_configs"] = [
        {**job, "job_name": name, "static_configs": [{"targets": [service.url[len("http://") :]]}]}
        for name, service in running.items()
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    keeper = reserve_port()
    port = keeper.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    server = subprocess.Popen(command, stderr=(folder / "log").open("wb"))
    try:
        found = World(url, running)
        sources = [found.source(job) for job in running]
        ready = waiting.until(
            lambda: all(one.recent().requests > 0 for one in sources), seconds=60, interval_seconds=0.1
        )
        assert ready, (folder / "log").read_text(encoding="utf-8")
        yield found
    finally:
        server.terminate()
        server.wait(10)
        keeper.close()
        for service in running.values():
            service.stop()


@pytest.fixture
def catalogue(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the agent find the services of the world."""

    def entry(job: str) -> dict[str, Any]:
        source, url = world.source(job), world.services[job].url
        return {
            "metrics": {
                "prometheus": source.url,
                "requests": source.requests,
                "started": source.started_query,
                "window_seconds": source.window_seconds,
                "fresh_seconds": source.fresh_seconds,
            },
            "health": url + "/healthz",
            "restart": url + "/-/restart",
        }

    services = {job: entry(job) for job in world.services}
    (tmp_path / "services.yml").write_text(json.dumps({"services": services}), encoding="utf-8")
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))


@pytest.mark.usefixtures("catalogue")
def test_the_agent_decides_and_acts_by_what_the_server_saw(world: World, restart_agent: ModuleType) -> None:
    agent = restart_agent.ServiceRestartAgent()
    for rate, recommendation in ((0.0, "nothing to do"), (0.03, "nothing to do"), (0.08, "restart")):
        world.fail("example", rate)
        assert agent.investigate("example").recommendation == recommendation, rate

    world.fail("example", 0.3)
    result = agent.investigate("example")
    assert result.recommendation == "restart and investigate"
    assert result.proposed_action is not None
    assert result.proposed_action.parameters["error_rate"] == pytest.approx(0.3, abs=0.03)
    observed = agent.observe("example")

    done = agent.act("example", result.proposed_action.action, result.proposed_action.parameters)
    assert done.status is ActionStatus.SUCCESS, done
    assert done.verification["error_rate_after"] == 0
    # Somebody else who acts on the old plan now would be refused: the world is another one.
    assert agent.observe("example") != observed
    assert set(done.verification["started_after"].values()) == {world.services["example"].identity()["started"]}


@pytest.mark.usefixtures("catalogue")
def test_a_service_that_lies_about_its_health_is_found_out(world: World, restart_agent: ModuleType) -> None:
    world.fail("lying", 0.4)
    agent = restart_agent.ServiceRestartAgent()
    proposed = agent.investigate("lying").proposed_action
    assert proposed is not None
    done = agent.act("lying", proposed.action, proposed.parameters)
    assert done.status is ActionStatus.FAILED
    assert done.verification["healthy"] is True
    assert done.verification["error_rate_after"] == pytest.approx(0.4, abs=0.05)


def test_what_failed_before_a_restart_is_not_counted(world: World) -> None:
    world.fail("example", 0.5)
    source = replace(world.source("example"), window_seconds=3600)
    assert source.recent().errors > 0
    before = source.started()
    world.services["example"].post("/-/restart")
    assert waiting.until(lambda: source.restarted_since(before), seconds=60)
    traffic = source.recent()
    assert (traffic.errors, traffic.since_restart) == (0, world.services["example"].identity()["started"])
    assert traffic.requests > 0


def test_both_sources_measure_the_same(world: World) -> None:
    world.fail("lying", 0.2)
    direct = metrics.TextEndpoint(world.services["lying"].url + "/metrics", WINDOW_SECONDS, 1).recent()
    through = world.source("lying").recent()
    assert direct.error_rate == pytest.approx(0.2, abs=0.02)
    assert through.error_rate == pytest.approx(0.2, abs=0.02)
    assert min(through.requests, direct.requests) > 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sum by (code) (increase(no_such_metric[$window]))", "has no data for"),
        ("sum by (code) (increase(http_requests_total[$window])", "bad_data"),
        ("http_requests_total[$window]", "a matrix, not a vector or scalar"),
        ('"text $window"', "a string, not a vector or scalar"),
        ('label_replace(vector(0) / vector(0), "code", "200", "", "") # $window', "NaN"),
        ("sum(increase(http_requests_total[$window]))", "none of the labels code"),
        ("scalar(vector(1)) # $window", "none of the labels code"),
    ],
)
def test_a_query_that_gives_no_count_is_one_clear_error(world: World, query: str, message: str) -> None:
    with pytest.raises(ToolError, match=message) as caught:
        world.source("example", query).recent()
    assert caught.value.code == METRICS_UNUSABLE
    assert "\n" not in caught.value.line()
