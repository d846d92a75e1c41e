"""`policy check` says locally what a run would decide, rule by rule."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.gate.policy import evaluate
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.results import RiskLevel
from agent_runtime.text.formats import FORMATS
from support.environment import REPOSITORY

TEMPLATE = REPOSITORY / "template"
AGENT = f"""
import sys
sys.path.insert(0, {str(TEMPLATE)!r})
from agent_runtime import *

class Agent(AgentRunner):
    pass

raise SystemExit(Agent.main())
"""
CONFIG = """
schema_version: 1
agent: payments
name: Payments
repository: acme/payments
approvers: [bob]
approval_ttl_minutes: 60
repository_plan: public
auto_approval: true
"""
POLICY = b"""\
name: payments
version: 4
allowed_actions:
  - type: restart
    resources: ["payments-*"]
    conditions: [{parameter: error_rate, operator: greater_than, value: 0.05}]
    max_risk: medium
    requires_approval: false
    description: a restart is harmless
denied_actions:
  - {type: "*", resources: [payments-db], reason: databases are for people}
auto_approve:
  - {type: restart, resources: [payments-cache]}
rate_limits:
  - {type: "*", max: 2, per: 24h}
"""


@dataclass
class Clone:
    root: Path

    def check(self, *words: str, json_output: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `policy check` as a person would."""
        options = ["--json"] if json_output else []
        return subprocess.run(
            [sys.executable, "-B", "agent_runner.py", "policy", "check", *words, *options],
            cwd=self.root,
            env={**os.environ, "COLUMNS": "100"},
            capture_output=True,
            text=True,
            check=False,
        )

    def answer(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = self.check(*words)
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A repository with the policy above."""
    policies = tmp_path / ".github" / "agent-policies"
    policies.mkdir(parents=True)
    (policies / "payments.yml").write_bytes(POLICY)
    (tmp_path / ".github" / "agent-config.yml").write_text(CONFIG)
    (tmp_path / "agent_runner.py").write_text(AGENT)
    return Clone(tmp_path)


API = ("--action", "restart", "--resource", "payments-api")
FAILING = ("--parameters", '{"error_rate": 0.31}')


@pytest.mark.parametrize(
    ("words", "code", "decision"),
    [
        ((*API, *FAILING), 0, "review"),
        ((*API, *FAILING, "--reversible"), 0, "review"),
        (("--action", "restart", "--resource", "payments-cache", *FAILING, "--reversible"), 0, "auto"),
        (("--action", "restart", "--resource", "payments-cache", *FAILING), 0, "review"),
        ((*API, *FAILING, "--risk", "high"), 3, "denied"),
        (API, 3, "denied"),
        (("--action", "restart", "--resource", "payments-db", *FAILING), 3, "denied"),
        ((*API, "--parameters", '{"error_rate": 0.31, "path": ".github/x"}'), 3, "denied"),
    ],
)
def test_it_decides_as_a_run_does(clone: Clone, words: tuple[str, ...], code: int, decision: str) -> None:
    returned, reported = clone.answer(*words)
    assert (returned, reported["decision"]) == (code, decision)
    verdict = evaluate(
        parse_policy(POLICY, "p.yml"),
        action=reported["action"],
        resource=reported["resource"],
        parameters=reported["parameters"],
        risk_level=RiskLevel(reported["risk_level"]),
        reversible=reported["reversible"],
    )
    assert (decision, reported["matched_rules"]) == (verdict.decision, list(verdict.matched_rules))
    assert reported["reasons"][: len(verdict.reasons)] == list(verdict.reasons)


def test_the_page_for_people_shows_every_rule(clone: Clone) -> None:
    done = clone.check(*API, *FAILING, json_output=False)
    assert done.returncode == 0, done.stderr
    page = " ".join(done.stdout.split())
    assert "decision: review: a human may approve it" in page
    assert "decided by: allowed_actions[0]" in page
    assert "denied_actions[0] (* on payments-db): is about another resource than payments-api" in page
    assert "matches, up to risk medium [a restart is harmless]" in page
    assert "auto_approve[0] (restart on payments-cache): is about another resource than payments-api" in page
    assert "a human is asked: no rule of auto_approve matches" in page
    assert "rate_limits[0]: at most 2 in 24h; counted in a run, not here" in page
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_repository_without_the_job_says_that_a_human_is_asked(clone: Clone) -> None:
    config = clone.root / ".github" / "agent-config.yml"
    config.write_text(config.read_text().replace("auto_approval: true", "auto_approval: false"))
    code, reported = clone.answer("--action", "restart", "--resource", "payments-cache", *FAILING, "--reversible")
    assert (code, reported["decision"], reported["matched_rules"]) == (0, "review", ["allowed_actions[0]"])
    assert "a human is asked: auto_approval is false in .github/agent-config.yml" in reported["reasons"]


def test_another_file_can_be_tried_out(clone: Clone, tmp_path: Path) -> None:
    other = tmp_path / "stricter.yml"
    other.write_bytes(POLICY.replace(b"max_risk: medium", b"max_risk: low"))
    words = (*API, *FAILING, "--risk", "medium")
    assert clone.answer(*words)[0] == 0
    code, reported = clone.answer(*words, "--policy", "stricter.yml")
    assert (code, reported["policy"]["file"]) == (3, "stricter.yml")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), codes.USAGE),
        (("--action", "restart"), codes.USAGE),
        (("--action", "Restart!", "--resource", "a"), codes.USAGE),
        ((*API, "--risk", "none"), codes.USAGE),
        (("--action", "restart", "--resource", "a\nb"), codes.RESOURCE_INVALID),
        ((*API, "--parameters", "{"), codes.PARAMETERS_INVALID),
        ((*API, "--parameters", "[1]"), codes.PARAMETERS_INVALID),
        ((*API, "--parameters", '{"a": 1, "a": 2}'), codes.PARAMETERS_INVALID),
        ((*API, "--parameters", '{"a": NaN}'), codes.PARAMETERS_INVALID),
        ((*API, "--parameters", '{"a": "' + "x" * 65536 + '"}'), codes.PARAMETERS_INVALID),
        ((*API, "--policy", "nowhere.yml"), codes.POLICY_MISSING),
        ((*API, "--policy", "agent_runner.py"), codes.POLICY_INVALID),
    ],
)
def test_bad_input_is_one_line_with_a_code(clone: Clone, words: tuple[str, ...], code: str) -> None:
    done = clone.check(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert code in done.stderr


def test_a_policy_with_an_expression_is_one_line_that_says_what_to_write(clone: Clone) -> None:
    (clone.root / "old.yml").write_bytes(
        POLICY.replace(b"operator: greater_than, value: 0.05", b"operator: matches, value: '.*'")
    )
    done = clone.check(*API, *FAILING, "--policy", "old.yml")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "old.yml line 6: allowed_actions[0].conditions[0].operator matches is no longer known" in done.stderr
    assert all(name in done.stderr for name in FORMATS)


def test_a_reason_says_what_a_format_means(clone: Clone) -> None:
    (clone.root / "new.yml").write_bytes(POLICY.replace(b"greater_than, value: 0.05", b"format, value: git-commit"))
    code, answer = clone.answer(*API, "--parameters", '{"error_rate": "5f2b7c0"}', "--policy", "new.yml")
    assert code == 3
    assert (
        "allowed_actions[0] (restart on payments-*): does not match: it is not so that error_rate "
        "has the format git-commit (40 or 64 lower-case hexadecimal digits, 64 characters at most) "
        "[a restart is harmless]"
    ) in answer["reasons"]


def test_what_the_policy_says_can_not_move_a_cursor(clone: Clone) -> None:
    policy = clone.root / ".github" / "agent-policies" / "payments.yml"
    policy.write_bytes(POLICY.replace(b"databases are for people", b'"\\e[2Jgone"'))
    done = clone.check(*API, *FAILING, json_output=False)
    assert "\\u{1b}[2Jgone" in done.stdout and "\x1b" not in done.stdout


@pytest.mark.parametrize("use_case", sorted(path.parent.name for path in TEMPLATE.glob("use_cases/*/policy.yml")))
def test_the_use_cases_policies_can_be_asked(clone: Clone, use_case: str) -> None:
    shutil.copy(TEMPLATE / "use_cases" / use_case / "policy.yml", clone.root / "theirs.yml")
    code, reported = clone.answer("--action", "delete_all", "--resource", "x", "--policy", "theirs.yml")
    assert (code, reported["decision"]) == (3, "denied")
