"""The agent against the example service and a real git repository: rolled back, refused, in conflict, and lied to.

Thresholds are tested at, below and above.  The example service spreads its failures evenly, so that shares are exact.
One module, because it is the team's one file of tests.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

import agent_runner
from agent_runner import ConfigRollbackAgent
from agent_runtime import ActionResult, ActionStatus, ProposedAction
from agent_runtime.testing import evaluate, parse_policy
from agent_runtime.toolkit.errors import ToolError

EXAMPLE = Path(__file__).with_name("example_service.py")
POLICIES = Path(agent_runner.__file__).resolve().parent / ".github" / "agent-policies"
TOKEN = "token-for-tests"


class Example:
    """A running example service with its repository, and a catalogue with both, in which tests can change addresses."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, str(EXAMPLE), "serve", f"--folder={folder / 'example'}", f"--token={TOKEN}"]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        started = json.loads(self.process.stdout.readline())
        self.url: str = started["url"]
        self.repository = folder / "example" / "configuration.git"
        self.folder = folder
        self.entry: Dict[str, Any] = {
            "repository": started["repository"],
            "branch": "main",
            "path": "service.json",
            "flags": "flags.json",
            "log": self.url + "/log",
            "metrics": {"url": self.url + "/metrics"},
            "health": self.url + "/healthz",
            "restart": self.url + "/-/restart",
        }
        self.write()

    def write(self) -> None:
        """Write the catalogue; JSON is YAML too."""
        (self.folder / "services.yml").write_text(json.dumps({"services": {"example": self.entry}}), encoding="utf-8")

    def ask(self, path: str, value: Optional[Any] = None) -> Any:
        """GET, or POST with the token where there is a value, and return the answer's JSON."""
        data = None if value is None else json.dumps(value).encode()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=10) as answer:
            return json.loads(answer.read())

    def deploy(self, connections: int, requests: int = 0) -> None:
        """Change the configuration, as a deployment would, and make so many requests afterwards."""
        before = self.ask("/healthz")["started"]
        self.ask("/deploy", {"connections": connections})
        while self.ask("/healthz")["started"] == before:
            time.sleep(0.02)
        self.work(requests)

    def work(self, requests: int) -> None:
        """Make so many requests."""
        for _ in range(requests):
            try:
                urllib.request.urlopen(self.url + "/", timeout=10).close()
            except urllib.error.HTTPError as answer:
                answer.close()

    def git(self, *arguments: str, data: Optional[str] = None) -> str:
        """Run git in the service's repository and return what it prints."""
        who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
        command = ["git", f"--git-dir={self.repository}", *who, *arguments]
        done = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True, text=True)
        return done.stdout.strip()

    def commit(self, files: Dict[str, str], message: str) -> str:
        """Commit these files on top of main, without a deployment, and return the commit."""
        present = self.git("ls-tree", "main").splitlines()
        kept = [line for line in present if line.split("\t")[1] not in files]
        made = [f"100644 blob {self.git('hash-object', '-w', '--stdin', data=files[name])}\t{name}" for name in files]
        tree = self.git("mktree", data="\n".join([*kept, *made]) + "\n")
        commit = self.git("commit-tree", tree, "-p", "main", "-m", message)
        self.git("update-ref", "refs/heads/main", commit)
        return commit

    def restart(self) -> None:
        """Let it read its configuration anew."""
        before = self.ask("/healthz")["started"]
        self.ask("/-/restart", {})
        while self.ask("/healthz")["started"] == before:
            time.sleep(0.02)

    def connections(self) -> int:
        """What the configuration on main says now."""
        found = json.loads(self.git("show", "main:service.json"))["connections"]
        assert isinstance(found, int)
        return found

    def stop(self) -> None:
        """End the process and wait for it."""
        self.process.terminate()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Example]]:
    """Start the example service with command line options; the agent finds it, and short deadlines."""
    running: List[Example] = []
    monkeypatch.setattr(agent_runner, "RESTART_SECONDS", 60.0)
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


def proposals() -> Tuple[ProposedAction, ...]:
    """What the agent proposes when it looks now: to roll back, then to restart."""
    proposed = ConfigRollbackAgent().investigate("example").actions
    assert [step.action for step in proposed] == ["rollback_config", "restart_service"]
    return proposed


def proposal() -> ProposedAction:
    """The rollback that it proposes."""
    return proposals()[0]


def carry_out(steps: Tuple[ProposedAction, ...]) -> List[ActionResult]:
    """Do one step after the other, as the runtime does, until one does not succeed."""
    done: List[ActionResult] = []
    for step in steps:
        done.append(ConfigRollbackAgent().act("example", step.action, step.parameters))
        if done[-1].status is not ActionStatus.SUCCESS:
            break
    return done


def decision(proposed: ProposedAction, resource: str = "example", **changed: Any) -> str:
    """What the policy says to this, with other parameters where they are given."""
    (file,) = POLICIES.glob("*.yml")
    verdict = evaluate(
        parse_policy(file.read_bytes(), file.name),
        action=proposed.action,
        resource=resource,
        parameters=dict(proposed.parameters, **changed),
        risk_level=proposed.risk_level,
    )
    return verdict.decision


@pytest.mark.parametrize(
    ("limit", "requests", "recommendation"),
    [
        (0.4, 50, "nothing to do"),  # 40 % are errors: as many as the limit
        (0.41, 50, "nothing to do"),
        (0.39, 50, "roll back"),
        (0.05, agent_runner.MIN_LINES, "roll back"),
        (0.05, agent_runner.MIN_LINES - 1, "nothing to do: too few lines"),
        (0.05, 0, "nothing to do: too few lines"),
    ],
)
def test_thresholds(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch, limit: float, requests: int, recommendation: str
) -> None:
    monkeypatch.setattr(agent_runner, "ERRORS_ABOVE", limit)
    example = start("--traffic=0")
    example.deploy(connections=6, requests=requests)
    result = ConfigRollbackAgent().investigate("example")
    assert result.recommendation == recommendation
    assert bool(result.actions) == (recommendation == "roll back")


def test_a_change_that_does_no_harm_is_left_alone(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.deploy(connections=12, requests=agent_runner.MIN_LINES)
    result = ConfigRollbackAgent().investigate("example")
    assert (result.recommendation, result.actions) == ("nothing to do", ())


def test_the_first_version_has_nothing_to_go_back_to(start: Callable[..., Example]) -> None:
    start()
    assert ConfigRollbackAgent().investigate("example").recommendation == "nothing to do: no previous version"


def test_both_versions_and_what_differs_are_named(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    good = example.git("rev-parse", "main")
    example.deploy(connections=6, requests=50)
    result = ConfigRollbackAgent().investigate("example")
    roll_back, restart = result.actions
    parameters = roll_back.parameters
    assert restart.parameters["version"] == good
    assert (parameters["commit"], parameters["previous"]) == (example.git("rev-parse", "main"), good)
    assert parameters["difference"] == "1 file, +1 -1"
    undone = [line for line in parameters["diff"] if line[:1] in "+-"]
    assert undone == ["--- a/service.json", "+++ b/service.json", '-  "connections": 6,', '+  "connections": 10,'], (
        "what will change, not what was changed"
    )
    change = result.findings[1].evidence
    assert [line.strip() for line in change["lines"]] == ['-  "connections": 10,', '+  "connections": 6,']
    assert result.findings[0].evidence["messages"] == ["no connection left in the pool"]


def test_a_rollback_that_helps_is_a_success(start: Callable[..., Example]) -> None:
    example = start("--traffic=100")
    example.deploy(connections=6, requests=50)
    bad = example.git("rev-parse", "main")
    before = ConfigRollbackAgent().observe("example")
    steps = proposals()
    result, restarted = carry_out(steps)
    assert (result.status, restarted.status) == (ActionStatus.SUCCESS, ActionStatus.SUCCESS), restarted
    assert restarted.verification["error_rate_before"] == pytest.approx(0.4, abs=0.05)
    assert restarted.verification["error_rate_after"] == 0
    assert example.connections() == 10
    assert example.git("rev-parse", "main^") == bad, "history is added to, never overwritten"
    assert example.ask("/healthz")["configuration"] == result.verification["restored_by"]
    after = ConfigRollbackAgent().observe("example")
    differs = {key for key in before if before[key] != after[key]}
    assert differs == set(steps[0].changes), "the gate must see that the configuration is another one, and expect it"


def test_a_rollback_that_does_not_help_is_a_failure(start: Callable[..., Example]) -> None:
    example = start("--traffic=100", "--sticky-failure")
    example.deploy(connections=6, requests=50)
    rolled_back, result = carry_out(proposals())
    assert result.status is ActionStatus.FAILED
    assert result.verification["healthy"] is True
    assert "the configuration is not the cause" in result.details["error"]
    assert rolled_back.rollback


def test_a_restart_that_is_refused_is_reported_with_what_was_done_before(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    steps = proposals()
    monkeypatch.setenv("AGENT_ACT_TOKEN", '{"restart": "another-token"}')
    rolled_back, result = carry_out(steps)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert "HTTP 401" in result.details["error"]
    assert len(rolled_back.changes) == 1
    assert "restored the version" in rolled_back.changes[0]
    assert example.connections() == 10


def test_a_configuration_that_was_changed_between_the_steps_is_not_put_into_production(
    start: Callable[..., Example],
) -> None:
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    roll_back, restart = proposals()
    before = example.ask("/healthz")["started"]
    assert carry_out((roll_back,))[0].status is ActionStatus.SUCCESS
    example.commit({"service.json": '{"connections": 3}\n'}, "Somebody changes it meanwhile")
    (result,) = carry_out((restart,))
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert f"does not hold the version of {restart.parameters['version']}" in result.details["error"]
    assert example.ask("/healthz")["started"] == before


def test_a_restart_that_is_promised_and_does_not_happen_is_a_failure(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_runner, "RESTART_SECONDS", 0.5)
    example = start("--deaf", "--traffic=0")
    example.commit({"service.json": '{"connections": 6}\n'}, "Change without a deployment")
    parameters = {"version": example.git("rev-parse", "main"), "error_rate": 0.5}
    result = ConfigRollbackAgent().act("example", "restart_service", parameters)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ("asked example to restart",))
    assert "not restarted within 0.5 s: still the process from before: process" in result.details["error"]


def test_the_agent_never_takes_its_own_rollback_back(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = start("--traffic=0", "--sticky-failure")
    example.deploy(connections=6, requests=50)
    steps = proposals()
    parameters = steps[0].parameters
    monkeypatch.setenv("AGENT_ACT_TOKEN", '{"restart": "another-token"}')
    time.sleep(1.1)  # times of commits are whole seconds: that of the rollback comes after the start
    assert [result.status for result in carry_out(steps)] == [ActionStatus.SUCCESS, ActionStatus.FAILED]

    example.work(50)  # still with the bad configuration
    result = ConfigRollbackAgent().investigate("example")
    assert (result.recommendation, result.actions) == ("nothing to do: rolled back already", ())
    assert "the service was not restarted since: do it by hand" in result.findings[0].message
    assert parameters["commit"][:12] in result.findings[0].message

    example.restart()
    example.work(50)
    result = ConfigRollbackAgent().investigate("example")
    assert (result.recommendation, result.actions) == ("nothing to do: rolled back already", ())
    assert "look for another cause" in result.findings[0].message
    assert result.findings[0].evidence["error_rate"] == 0.4


def test_what_was_rolled_back_and_is_deployed_again_can_be_rolled_back_again(start: Callable[..., Example]) -> None:
    example = start("--traffic=100")
    example.deploy(connections=6, requests=50)
    assert [result.status for result in carry_out(proposals())] == [ActionStatus.SUCCESS] * 2
    example.deploy(connections=6, requests=50)
    assert proposal().parameters["commit"] == example.git("rev-parse", "main")


def test_a_change_that_the_service_does_not_run_yet_is_not_judged(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    time.sleep(1.1)  # times of commits are whole seconds
    example.commit({"service.json": '{"connections": 12}\n'}, "Fix it")
    example.work(50)
    result = ConfigRollbackAgent().investigate("example")
    assert (result.recommendation, result.actions) == ("nothing to do: not deployed yet", ())
    example.restart()
    example.work(50)
    assert ConfigRollbackAgent().investigate("example").recommendation == "nothing to do"


def test_a_change_that_is_dated_in_the_future_is_reported(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = start("--traffic=0")
    monkeypatch.setenv("GIT_COMMITTER_DATE", f"@{int(time.time()) + 3600} +0000")
    example.commit({"service.json": '{"connections": 6}\n'}, "With a wrong clock")
    example.restart()
    example.work(50)
    result = ConfigRollbackAgent().investigate("example")
    assert (result.recommendation, result.actions) == ("nothing to do: not known to be deployed", ())
    assert "dated in the future" in result.findings[0].message


def test_errors_are_counted_since_the_deployment_and_not_since_the_commit(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.commit({"service.json": '{"connections": 9}\n'}, "Deployed later")
    example.work(100)  # without an error, by the version before
    example.restart()
    example.work(20)
    result = ConfigRollbackAgent().investigate("example")
    counted = [(step.parameters["lines"], step.parameters["error_rate"]) for step in result.actions]
    assert counted == [(20, 0.1)] * 2, "2 of 20 lines are errors, and 2 of 120 since the commit"
    assert "since example was last started" in result.findings[0].message


def test_nobody_claims_that_a_change_was_deployed_because_it_was_committed_before(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    monkeypatch.setenv("GIT_COMMITTER_DATE", f"@{int(time.time()) - 7200} +0000")
    example.commit({"service.json": '{"connections": 7}\n'}, "Made two hours ago, pushed now")
    result = ConfigRollbackAgent().investigate("example")
    said = [
        finding.message for finding in result.findings if "git does not record when it was pushed" in finding.message
    ]
    assert "so it may not be what runs" in said[0]
    assert re.match(r"The change was committed 1[0-9]{2} minutes before example was last started", said[0])
    assert result.actions
    assert "started with the change" not in repr(result)


def test_a_commit_with_files_of_others_is_reported_denied_and_undone_only_as_approved(
    start: Callable[..., Example],
) -> None:
    example = start("--traffic=0")
    example.commit({"service.json": '{"connections": 6}\n', "payments.json": "{}\n"}, "Change two things")
    example.restart()
    example.work(50)
    head = example.git("rev-parse", "main")
    result = ConfigRollbackAgent().investigate("example")
    proposed = result.actions[0]
    touched = {name: proposed.parameters[name] for name in ("files", "file_count", "files_outside")}
    assert touched == {"files": ["payments.json", "service.json"], "file_count": 2, "files_outside": 1}
    assert proposed.reason.endswith("Undoing the commit also changes 1 file(s) outside service.json: payments.json.")
    assert {"outside": ["payments.json"]} in [finding.evidence for finding in result.findings]
    assert decision(proposed) == "denied"

    for files in (["service.json"], ["other.json", *touched["files"]]):
        refused = ConfigRollbackAgent().act("example", "rollback_config", dict(proposed.parameters, files=files))
        assert (refused.status, refused.changes) == (ActionStatus.FAILED, ())
        assert "are not the approved ones" in refused.details["error"]
        assert example.git("rev-parse", "main") == head


def test_of_a_merge_all_that_it_brought_is_named(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    good = example.git("rev-parse", "main")
    example.commit({"service.json": '{"connections": 6}\n'}, "On a branch")
    example.commit({"payments.json": "{}\n"}, "Something else on it")
    merge = ["commit-tree", "main^{tree}", "-p", good, "-p", "main", "-m", "Merge it"]
    example.git("update-ref", "refs/heads/main", example.git(*merge))
    example.restart()
    example.work(50)
    assert proposal().parameters["files"] == ["payments.json", "service.json"]
    assert decision(proposal()) == "denied"


def test_more_files_than_a_plan_names_are_denied_and_never_undone(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_runner, "MAX_FILES", 1)
    example = start("--traffic=0")
    example.commit({"service.json": '{"connections": 6}\n', "payments.json": "{}\n"}, "Change two things")
    example.restart()
    example.work(50)
    parameters = proposal().parameters
    assert (parameters["files"], parameters["file_count"]) == (["payments.json"], 2)
    result = ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())


def test_a_log_that_fails_after_the_restart_is_reported(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    steps = proposals()
    example.entry["log"] = example.url + "/gone"
    example.write()
    _, result = carry_out(steps)
    assert result.status is ActionStatus.FAILED
    assert f"not shown that it helped: {example.url}/gone: HTTP 404" in result.details["error"]


def test_too_few_lines_after_the_restart_are_no_success(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_runner, "TRAFFIC_SECONDS", 0.5)
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    _, result = carry_out(proposals())
    assert result.status is ActionStatus.FAILED
    assert "not shown that it helped: 0 lines are too few" in result.details["error"]


def test_a_conflict_is_reported_and_changes_nothing(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.commit({"service.json": '{"connections": 6}\n', "other.json": '{"a": 1}\n'}, "Change two files")
    example.commit({"other.json": '{"a": 2}\n'}, "Change one of them again")
    head = example.git("rev-parse", "main")
    parameters = {"commit": example.git("rev-parse", "main^"), "previous": example.git("rev-parse", "main~2")}
    result = ConfigRollbackAgent().act("example", "rollback_config", dict(parameters, error_rate=0.5))
    assert result.status is ActionStatus.FAILED
    assert "in conflict in 'other.json'" in result.details["error"]
    assert (result.changes, example.git("rev-parse", "main")) == ((), head)


def test_another_change_after_the_approval_is_never_undone(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    parameters = proposal().parameters
    head = example.commit({"service.json": '{"connections": 8}\n'}, "Somebody fixes it")
    result = ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert "the configuration changed after the approval" in result.details["error"]
    assert example.git("rev-parse", "main") == head


def test_what_is_down_is_an_error_and_not_nothing_to_do(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    parameters = proposal().parameters
    example.stop()
    with pytest.raises(ToolError, match="connection refused"):
        ConfigRollbackAgent().investigate("example")
    result = ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())


def test_a_repository_that_is_gone_is_an_error(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.entry["repository"] = f"file://{example.folder}/gone.git"
    example.write()
    with pytest.raises(ToolError, match="git clone: "):
        ConfigRollbackAgent().investigate("example")


def test_feature_flags_that_changed_since_are_named_and_advised_against(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    assert ConfigRollbackAgent().investigate("example").safe_to_proceed is True
    time.sleep(1.1)  # times of commits are whole seconds
    example.commit({"flags.json": '{"new-checkout": true}\n'}, "Switch it on")
    result = ConfigRollbackAgent().investigate("example")
    assert result.safe_to_proceed is False
    assert {"on": ["new-checkout"]} in [finding.evidence for finding in result.findings]


def test_a_file_of_feature_flags_that_is_not_there_is_reported(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.deploy(connections=6, requests=50)
    example.entry["flags"] = "gone.json"
    example.write()
    messages = [finding.message for finding in ConfigRollbackAgent().investigate("example").findings]
    assert "The file of feature flags, gone.json, is not on the branch" in messages
    assert not [message for message in messages if "flags are on" in message]


def test_only_services_of_the_catalogue_and_known_actions(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    head = example.git("rev-parse", "main")
    with pytest.raises(ToolError, match=r"not in services\.yml"):
        ConfigRollbackAgent().investigate("payments")
    assert ConfigRollbackAgent().act("payments", "rollback_config", {}).status is ActionStatus.FAILED
    assert ConfigRollbackAgent().act("example", "delete_config", {}).status is ActionStatus.FAILED
    assert example.git("rev-parse", "main") == head


def test_the_policy_lets_a_reviewer_decide_on_what_the_agent_proposes(start: Callable[..., Example]) -> None:
    example = start("--traffic=0")
    example.deploy(connections=9, requests=50)
    proposed = proposal()
    assert proposed.parameters["files"] == ["service.json"]
    assert decision(proposed) == "review"
    assert decision(proposed, error_rate=0.05) == "denied"
    assert decision(proposed, lines=agent_runner.MIN_LINES - 1) == "denied"
    assert decision(proposed, commit="main") == "denied"
    assert decision(proposed, files_outside=1) == "denied"
    assert decision(proposed, file_count=agent_runner.MAX_FILES) == "review"
    assert decision(proposed, file_count=agent_runner.MAX_FILES + 1) == "denied"
    assert decision(proposed, "firewall") == "denied"
    restart = proposals()[1]
    assert decision(restart) == "review"
    assert decision(restart, error_rate=0.05) == "denied"
    assert decision(restart, version="main") == "denied"
    assert decision(restart, "another") == "denied"


def test_the_catalogue_can_be_read() -> None:
    assert agent_runner.catalogue().services
