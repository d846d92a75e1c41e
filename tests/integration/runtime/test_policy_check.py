"""`policy check` says locally what a run would decide, rule by rule; `policy test` tries the team's cases."""

from __future__ import annotations

import dataclasses
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
from agent_runtime.gate import session_policy
from agent_runtime.gate.policy import evaluate
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.local import policy_cases, policy_check
from agent_runtime.local.codes import CASES_INVALID, PARAMETERS_INVALID
from agent_runtime.model import documents
from agent_runtime.model.documents import Plan
from agent_runtime.model.plan import canonical
from agent_runtime.results import RiskLevel
from agent_runtime.text.formats import FORMATS
from support import examples, interpreter
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
        return self.run("check", *words, *(["--json"] if json_output else []))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [interpreter.python(), "-B", "agent_runner.py", "policy", *words],
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
        ((*API, "--parameters", "{"), PARAMETERS_INVALID),
        ((*API, "--parameters", "[1]"), PARAMETERS_INVALID),
        ((*API, "--parameters", '{"a": 1, "a": 2}'), PARAMETERS_INVALID),
        ((*API, "--parameters", '{"a": NaN}'), PARAMETERS_INVALID),
        ((*API, "--parameters", '{"a": "' + "x" * 65536 + '"}'), PARAMETERS_INVALID),
        ((*API, "--plan", "agent_runner.py"), codes.USAGE),
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


CLEANUP = b"""\
name: payments
version: 1
allowed_actions:
  - type: delete_files
    conditions:
      - {parameter: "sum(files[].bytes)", operator: at_most, value: 1000}
      - {parameter: "age(files[].modified)", operator: at_least, value: 7d}
"""
SEALED = "2026-11-30T12:00:00Z"
A_WEEK_BEFORE = "2026-11-23T12:00:00Z"
FILES = {"files": [{"bytes": 400, "modified": "2026-01-01T00:00:00Z"}, {"bytes": 500, "modified": A_WEEK_BEFORE}]}


def a_plan(**changes: Any) -> Plan:
    step = examples.step(action="delete_files", parameters={**FILES, **changes})
    return examples.sealed(step, resource="cache", issued_at=SEALED, expires_at="2026-11-30T13:00:00Z")


@pytest.fixture
def cleanup(clone: Clone) -> Clone:
    """A repository whose policy asks about lists of objects."""
    (clone.root / ".github/agent-policies/payments.yml").write_bytes(CLEANUP)
    return clone


def test_a_plan_is_judged_as_when_it_was_sealed(cleanup: Clone) -> None:
    report, found = examples.report(plan=a_plan()), examples.investigation(*a_plan().steps, resource="cache")
    written = {
        "plan.json": canonical(a_plan()),
        "report.json": documents.encode(report),
        "investigation.json": documents.encode(dataclasses.replace(found, measured_at=SEALED)),
    }
    for name, document in written.items():
        (cleanup.root / name).write_bytes(document)
        code, reported = cleanup.answer("--plan", name)
        assert (code, reported["decision"], reported["sealed_at"]) == (0, "review", SEALED)
        assert reported["steps"][0]["parameters"] == FILES
    page = cleanup.check("--plan", "plan.json", json_output=False)
    assert page.returncode == 0, page.stderr
    assert "plan:        plan.json, 1 step(s) on cache, as of 2026-11-30T12:00:00Z" in page.stdout
    (cleanup.root / "more.json").write_bytes(canonical(a_plan(files=[{"bytes": 1001, "modified": A_WEEK_BEFORE}])))
    code, reported = cleanup.answer("--plan", "more.json")
    assert (code, reported["decision"]) == (3, "denied")
    assert "it is not so that sum(files[].bytes) at most 1000" in reported["reasons"][0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "INP006: --plan plan.json: No such file or directory"),
        (b"{", "RPT003: plan.json: "),
        (b"[1]", "RPT004: plan.json: "),
        (b"5", "RPT003: plan.json: "),
        (b"{}", "RPT004: plan.json: "),
        (documents.encode(examples.report(plan=None, status="denied")), "RPT006: plan.json: the report has no plan"),
        (documents.encode(examples.investigation(steps=())), "RPT006: plan.json proposes nothing"),
    ],
)
def test_a_plan_that_is_none_is_one_line(
    clone: Clone, content: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone.root)
    if content is not None:
        Path("plan.json").write_bytes(content)
    with pytest.raises(codes.BadInput) as caught:
        policy_check.run_plan(clone.root, plan_file=Path("plan.json"), policy_file=None, as_json=False, out=sys.stdout)
    assert caught.value.line().startswith(message) and "\n" not in caught.value.line()


CUT = b"""\
session_policies:
  restart:
    - {Effect: Allow, Action: "ecs:UpdateService", Resource: "arn:aws:ecs:eu-west-1:1:service/{resource}/{error_rate}"}
"""


def test_it_shows_what_the_credential_of_a_plan_is_cut_down_to(clone: Clone) -> None:
    (clone.root / ".github/agent-policies/payments.yml").write_bytes(POLICY + CUT)
    at_two = ("--parameters", '{"error_rate": 2.0}')
    made = session_policy.of_plan(
        parse_policy(POLICY + CUT, "p.yml").session_policies,
        "payments-api",
        [examples.step(action="restart", parameters={"error_rate": 2})],
    )
    page = clone.check(*API, *at_two, json_output=False).stdout
    assert f"what the credential may do, {len(made)} of the 2048 characters that AWS takes:\n{{\n" in page
    assert "service/payments-api/2" in page, "2.0 is sealed as 2"
    step = examples.step(action="restart", parameters={"error_rate": 2})
    found = dataclasses.replace(examples.investigation(step, resource="payments-api"), measured_at=SEALED)
    (clone.root / "investigation.json").write_bytes(documents.encode(found))
    assert clone.answer("--plan", "investigation.json")[1]["session_policy"] == json.loads(made)
    assert clone.answer(*API)[1]["session_policy"] is None, "what is denied gets none"
    refused = clone.check(*API, *FAILING)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: POL007: the parameter error_rate is not a plain text or a whole number")


CASES = f"""\
cases:
  - action: delete_files
    resource: cache
    parameters: {json.dumps(FILES)}
    at: "2026-11-30T12:00:00Z"
    decision: review
  - description: "a day\\e[2J too early"
    action: delete_files
    resource: cache
    parameters: {json.dumps(FILES)}
    at: "2026-11-29T12:00:00Z"
    decision: DECISION
"""


def test_the_cases_of_the_team_are_tried(cleanup: Clone) -> None:
    (cleanup.root / "tests").mkdir()
    cases = cleanup.root / "tests" / "policy.yml"
    cases.write_text(CASES.replace("DECISION", "denied"))
    done = cleanup.run("test")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[::2] == [
        "ok: delete_files on cache",
        "policy: 2 of 2 cases are as expected",
    ]
    cases.write_text(CASES.replace("DECISION", "review"))
    done = cleanup.run("test")
    assert (done.returncode, "\x1b" in done.stdout) == (2, False)
    assert "POL005: tests/policy.yml line 7: a day\\u{1b}[2J too early: the case says review, the policy denied: " in (
        done.stdout
    )
    assert done.stdout.endswith("policy: 1 of 2 cases are as expected\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "line 1: write one key, cases, with a list"),
        ("cases: {}", "line 1: write one key, cases, with a list"),
        ("cases: []\nmore: 1", "line 1: write one key, cases, with a list"),
        ("cases: [a]", "line 1: a case has no action: add it"),
        ("cases:\n- {action: a, resource: b}", "line 2: a case has no decision: add it"),
        ("cases:\n- {action: A, resource: b, decision: review}", "line 2: the proposed action 'A' is not"),
        ("cases:\n- {action: a, resource: 5, decision: review}", "line 2: no resource was named"),
        ("cases:\n- {action: a, resource: b, decision: no way}", "line 2: decision is one of denied, review, auto"),
        ("cases:\n- {action: a, resource: b, decision: [auto]}", "line 2: decision is one of denied, review, auto"),
        ("cases:\n- {action: a, resource: b, decision: auto, risk: tiny}", "line 2: 'tiny' is not a valid RiskLevel"),
        ("cases:\n- {action: a, resource: b, decision: auto, risk: []}", "line 2: "),
        ("cases:\n- {action: a, resource: b, decision: auto, at: noon}", "line 2: not a time of the form 2026-11-22T"),
        ("cases:\n- {action: a, resource: b, decision: auto, at: 2026-11-30}", "line 2: 2026-11-30 without quotes"),
        ("cases:\n- {action: a, resource: b, decision: auto, parameters: [1]}", "line 2: parameters are keys and val"),
        ("cases:\n- {action: a, resource: b, decision: auto, reversible: 1}", "line 2: reversible is true or false"),
        ("cases:\n- {action: a, resource: b, decision: auto, decided_by: x}", "line 2: decided_by is a list of rules"),
        ("cases:\n- {action: a, resource: b, decision: auto, when: x}", "line 2: a case has the unknown key when: use"),
    ],
)
def test_a_mistake_in_the_cases_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "policy.yml").write_text(text)
    with pytest.raises(codes.BadInput) as caught:
        policy_cases.read(tmp_path / "policy.yml", "tests/policy.yml")
    assert (caught.value.code, "\n" in caught.value.line()) == (CASES_INVALID, False)
    assert caught.value.message.startswith("tests/policy.yml " + message)


def test_without_cases_it_says_so(clone: Clone) -> None:
    done = clone.run("test")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: POL006: tests/policy.yml: No such file or directory")
