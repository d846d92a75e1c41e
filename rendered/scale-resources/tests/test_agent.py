"""The agent against the example service: real processes that come and go, as a file in a real git repository says.

Thresholds are tested at, below and above.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

import agent_runner
from agent_runner import ScaleResourcesAgent
from agent_runtime import ActionStatus, ProposedAction
from agent_runtime.testing import evaluate, parse_policy
from agent_runtime.toolkit import waiting
from agent_runtime.toolkit.errors import ToolError

EXAMPLE = Path(__file__).with_name("example_service.py")
POLICIES = Path(agent_runner.__file__).resolve().parent / ".github" / "agent-policies"
TOKEN = "token-for-tests"


class Example:
    """A running example service with its repository, and a catalogue with both, in which tests can change entries."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, str(EXAMPLE), "serve", f"--folder={folder / 'example'}", f"--token={TOKEN}"]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        started = json.loads(self.process.stdout.readline())
        self.url: str = started["url"]
        self.repository = folder / "example" / "configuration.git"
        self.folder = folder
        file = {"repository": started["repository"], "branch": "main", "path": "autoscaling.yml"}
        self.entry: Dict[str, Any] = {
            "prometheus": self.url,
            "cpu": "example_cpu_share",
            "memory": "example_memory_share",
            "latency": "example_latency_seconds",
            "latency_limit_seconds": 0.5,
            "online": "example_instances",
            "window_seconds": 60,
            "minimum": 2,
            "maximum": 8,
            "step": 2,
            "cooldown_seconds": 0,
            "target": {"git": {**file, "key": "spec.instances"}},
            "trigger": self.url + "/-/apply",
        }
        self.write()

    def write(self, **changed: Any) -> None:
        """Write the catalogue, with some values changed; JSON is YAML too."""
        self.entry.update(changed)
        (self.folder / "services.yml").write_text(json.dumps({"services": {"example": self.entry}}), encoding="utf-8")

    def ask(self, path: str, value: Optional[Any] = None) -> Any:
        """GET, or POST with the token where there is a value, and return the answer's JSON."""
        data = None if value is None else json.dumps(value).encode()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=10) as answer:
            return json.loads(answer.read())

    def online(self) -> int:
        """How many instances live."""
        return len(self.ask("/instances")["pids"])

    def file(self) -> str:
        """The configuration on main."""
        command = ["git", f"--git-dir={self.repository}", "show", "main:autoscaling.yml"]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout

    def stop(self) -> None:
        """End the process and wait for it."""
        self.process.terminate()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Example]]:
    """Start the example service with command line options; the agent finds it, and a short deadline."""
    running: List[Example] = []
    monkeypatch.setattr(agent_runner, "SCALE_SECONDS", 60.0)
    monkeypatch.setattr(agent_runner, "SHRINK_SECONDS", 60.0)
    monkeypatch.setenv("AGENT_ACT_TOKEN", TOKEN)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))

    def started(*options: str) -> Example:
        running.append(Example(tmp_path, *options))
        return running[-1]

    yield started
    for example in running:
        example.stop()


def proposal() -> ProposedAction:
    """What the agent proposes when it looks now."""
    proposed = ScaleResourcesAgent().investigate("example").proposed_action
    assert proposed is not None
    return proposed


@pytest.mark.parametrize(
    ("demand", "maximum", "minimum", "recommendation", "to"),
    [
        (1.0, 8, 1, "nothing to do", None),
        (1.6, 8, 1, "nothing to do", None),  # 80 %: as much as the limit
        (1.62, 8, 1, "scale up", 4),
        (3.0, 3, 1, "scale up", 3),  # never over the maximum
        (3.0, 2, 1, "nothing to do: the maximum is reached", None),
        (1.62, 8, 5, "scale up", 5),  # at once to the minimum
        (0.4, 8, 1, "nothing to do", None),  # 20 %: as little as the limit
        (0.38, 8, 1, "scale down", 1),  # never under the minimum
        (0.38, 8, 2, "nothing to do: the minimum is reached", None),
    ],
)
def test_thresholds(
    start: Callable[..., Example], demand: float, maximum: int, minimum: int, recommendation: str, to: Optional[int]
) -> None:
    example = start(f"--demand={demand}")
    example.write(maximum=maximum, minimum=minimum)
    result = ScaleResourcesAgent().investigate("example")
    assert result.recommendation == recommendation
    assert (result.proposed_action.parameters["to"] if result.proposed_action else None) == to


def test_latency_over_its_limit_is_a_reason_too(start: Callable[..., Example]) -> None:
    example = start("--demand=1.0")  # 0.12 s
    example.write(latency_limit_seconds=0.16)
    assert ScaleResourcesAgent().investigate("example").recommendation == "nothing to do"
    example.write(latency_limit_seconds=0.14)
    assert proposal().parameters["busiest"] == "latency"


def test_the_forecast_is_reported_with_its_error_and_keeps_what_rises(start: Callable[..., Example]) -> None:
    example = start("--demand=0.1")
    example.write(minimum=1)
    flat = ScaleResourcesAgent().investigate("example")
    assert flat.recommendation == "scale down"
    assert flat.findings[0].evidence["per_hour"] == pytest.approx(0, abs=1e-3)
    assert flat.findings[0].evidence["residual_error"] == pytest.approx(0, abs=1e-6)
    assert "in 6 h" in flat.findings[0].message
    example.write(window_seconds=60)
    example.ask("/load", {"demand": 0.3})

    def rises() -> bool:
        said = ScaleResourcesAgent().investigate("example").recommendation
        return said.startswith("nothing to do: the forecast of cpu")

    assert waiting.until(rises, seconds=60, interval_seconds=0.1)


def test_soon_after_a_change_nothing_is_proposed(start: Callable[..., Example]) -> None:
    example = start("--demand=1.9")
    example.write(cooldown_seconds=3600)
    assert ScaleResourcesAgent().investigate("example").recommendation == "nothing to do: the last change is too recent"


def test_while_a_change_is_not_online_nothing_is_proposed(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_runner, "SCALE_SECONDS", 0.5)
    example = start("--demand=1.9", "--stuck")
    parameters = proposal().parameters
    assert ScaleResourcesAgent().act("example", "scale_up", parameters).status is ActionStatus.FAILED
    monkeypatch.setattr(agent_runner, "SCALE_SECONDS", 300.0)  # so long it may take to come online
    assert ScaleResourcesAgent().investigate("example").recommendation.endswith("the last change is not online yet")
    assert example.online() == 2


@pytest.mark.parametrize(("demand", "action", "instances"), [("1.9", "scale_up", 4), ("0.1", "scale_down", 1)])
def test_what_was_approved_is_set_and_comes_online(
    start: Callable[..., Example], demand: str, action: str, instances: int
) -> None:
    example = start(f"--demand={demand}")
    example.write(minimum=1)
    before, file = ScaleResourcesAgent().observe("example"), example.file()
    result = ScaleResourcesAgent().act("example", action, proposal().parameters)
    assert result.status is ActionStatus.SUCCESS, result
    assert (result.verification["online_before"], result.verification["online_after"]) == (2, instances)
    assert example.online() == instances
    assert example.file() == file.replace("instances: 2", f"instances: {instances}"), "nothing but the number changed"
    assert ScaleResourcesAgent().observe("example") != before, "the gate must see that another number is set"


def test_capacity_that_is_promised_and_does_not_come_is_a_failure(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_runner, "SCALE_SECONDS", 0.5)
    start("--demand=1.9", "--stuck")
    result = ScaleResourcesAgent().act("example", "scale_up", proposal().parameters)
    assert result.status is ActionStatus.FAILED
    assert "4 are set; 2 are online" in result.details["error"]
    assert result.rollback == "Set spec.instances in autoscaling.yml on main to 2 again."


def test_a_trigger_that_is_refused_is_reported_with_what_was_set_before(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = start("--demand=1.9")
    parameters = proposal().parameters
    monkeypatch.setenv("AGENT_ACT_TOKEN", '{"trigger": "another-token"}')
    result = ScaleResourcesAgent().act("example", "scale_up", parameters)
    assert result.status is ActionStatus.FAILED
    assert "HTTP 401" in result.details["error"]
    assert len(result.changes) == 1
    assert "instances: 4" in example.file()
    assert example.online() == 2


def test_another_number_than_the_approved_one_is_never_changed(start: Callable[..., Example]) -> None:
    example = start("--demand=1.9")
    parameters = dict(proposal().parameters, **{"from": 3})
    result = ScaleResourcesAgent().act("example", "scale_up", parameters)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert "instances: 2" in example.file()


def test_what_is_down_is_an_error_and_not_nothing_to_do(start: Callable[..., Example]) -> None:
    example = start("--demand=1.9")
    parameters = proposal().parameters
    example.stop()
    with pytest.raises(ToolError, match="connection refused"):
        ScaleResourcesAgent().investigate("example")
    result = ScaleResourcesAgent().act("example", "scale_up", parameters)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert "instances: 2" in example.file()


def test_only_services_of_the_catalogue_and_known_actions(start: Callable[..., Example]) -> None:
    example = start()
    with pytest.raises(ToolError, match=r"not in services\.yml"):
        ScaleResourcesAgent().investigate("payments")
    parameters = {"from": 2, "to": 4, "load": 0.9}
    assert ScaleResourcesAgent().act("payments", "scale_up", parameters).status is ActionStatus.FAILED
    assert ScaleResourcesAgent().act("example", "delete_service", parameters).status is ActionStatus.FAILED
    assert "instances: 2" in example.file()


@pytest.mark.parametrize(
    ("demand", "denied"),
    [
        ("1.9", {"load": 0.8}),
        ("1.9", {"to": 11}),
        ("0.1", {"cpu": 0.2}),
        ("0.1", {"memory": 0.2}),
        ("0.1", {"to": 1}),
    ],
)
def test_the_policy_lets_a_reviewer_decide_on_what_the_agent_proposes(
    start: Callable[..., Example], demand: str, denied: Dict[str, Any]
) -> None:
    (file,) = POLICIES.glob("*.yml")
    policy = parse_policy(file.read_bytes(), file.name)
    example = start(f"--demand={demand}")
    example.write(minimum=1, step=1)
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

    assert decision("example", to=max(2, proposed.parameters["to"])) == "review"
    assert decision("example", **denied) == "denied"
    assert decision("orders-db") == "denied"


def test_the_catalogue_can_be_read() -> None:
    assert agent_runner.catalogue().services
