"""Whole simulated runs, through real processes: what is executed, what is refused, and what the trail then says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from agent_runtime import codes
from agent_runtime.gate import bundle, consistency, offline
from agent_runtime.gate.bundle import RunOutcome
from agent_runtime.gate.environment import CHECKS
from agent_runtime.local.simulate.jobs import Job
from agent_runtime.model import documents, plan
from agent_runtime.model.documents import Decision, Report
from support import interpreter
from support.simulated import CONFIG, POLICY, Clone, make, outcome_of
from support.toolkit import Answers


def load(folder: Path) -> bundle.Parts:
    """What a bundle of a run behind environments holds."""
    return bundle.load(folder, by_comment=False)


@dataclasses.dataclass(frozen=True)
class Played:
    """A run that tests only read, with the repository that it left."""

    clone: Clone
    code: int
    said: str
    folder: Path


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Played]:
    """Play a run in a fresh repository; the same run is played once for all tests that read it."""

    @cache
    def play(*words: str, context: str = "{}", **variables: str) -> Played:
        clone = make(tmp_path_factory.mktemp("played") / "repository")
        return Played(clone, *clone.simulate(*words, context=context, **variables))

    return play


@pytest.mark.threat("T38")
def test_an_approved_plan_is_executed_once_and_the_trail_shows_who_approved(played: Callable[..., Played]) -> None:
    run = played("--approve")
    code, said, folder = run.code, run.said, run.folder
    assert code == 0, said
    assert run.clone.world == {"count": 2, "generation": 1, "token": "act-token"}
    assert outcome_of(folder) == "acted"
    assert json.loads((folder / "bundle.json").read_text())["approvers"][0]["login"] == "reviewer"
    assert said.count("AIMgentix audit journal opened") == 1 and "client initialized" not in said, "no backend is named"


def test_a_dry_run_checks_everything_and_executes_nothing(played: Callable[..., Played]) -> None:
    run = played("--approve", "--dry-run")
    clone, folder = run.clone, run.folder
    assert run.code == 0, run.said
    assert clone.world == {"count": 0, "generation": 1}
    assert outcome_of(folder) == "dry_run"
    made = [(event["check"], event["status"]) for event in load(folder).steps("verify", "gate_check")]
    assert made == [(check.code, "success") for check in CHECKS]
    assert "dry run" in (clone.root / "out" / "act" / "summary-Execute").read_text()


@pytest.mark.threat("T8")
def test_a_plan_that_was_sealed_as_a_dry_run_can_not_be_executed(played: Callable[..., Played]) -> None:
    """Whoever takes the word `dry_run` out of an approved dry run has another plan."""
    folder = played("--approve", "--dry-run").folder
    document = json.loads((folder / "seal" / "investigation-report.json").read_text())
    digests = set()
    for word in (True, False):
        document["plan"]["dry_run"] = word
        report = documents.decode(Report, json.dumps(document).encode(), "report")
        assert report.plan is not None
        digests.add(plan.digest(report.plan))
    assert len(digests) == 2


@pytest.mark.parametrize("word", ["yes", "1", "maybe", "true false"])
def test_a_switch_that_is_neither_on_nor_off_is_refused(clone: Clone, word: str) -> None:
    done = clone.call("investigate", "--resource", "checkout", DRY_RUN=word)
    assert (done.returncode, "INP011: DRY_RUN is " in done.stderr) == (2, True), done.stderr


def test_a_rejected_plan_is_not_executed_and_the_trail_shows_who_rejected_and_why(clone: Clone) -> None:
    code, said, folder = clone.simulate("--reject")
    assert code == 0, said
    assert clone.world["count"] == 0
    assert outcome_of(folder) == "rejected"
    manifest = json.loads((folder / "bundle.json").read_text())
    assert (manifest["rejected_by"], manifest["rejected_because"]) == ("reviewer", "not now")
    assert "rejected by: reviewer: not now" in clone.call("verify", str(folder)).stdout
    page = (folder.parents[1] / "summary-record").read_text()
    assert "| Rejected by | `reviewer` |" in page and "| In the reviewer's words | `not now` |" in page
    manifest["rejected_because"] = "looks fine"
    (folder / "bundle.json").write_text(json.dumps(manifest))
    done = clone.call("verify", str(folder))
    assert (done.returncode, "rejected_because looks fine" in done.stderr) == (6, True), done.stderr


def test_verify_says_why_a_run_was_refused(clone: Clone, played: Callable[..., Played]) -> None:
    said = clone.call("verify", str(played("--expire").folder)).stdout
    assert re.search(r"^reason: +GATE04: .*expired", said, re.MULTILINE), said
    said = clone.call("verify", str(played("--approve", AGENT_DISABLED="true").folder)).stdout
    assert re.search(r"^reason: +GATE10: AGENT_DISABLED is 'true'", said, re.MULTILINE), said
    assert "outcome:     refused" in said, "the kill switch is not a failed investigation"
    assert "reason:" not in clone.call("verify", str(played("--approve").folder)).stdout


def test_a_scenario_that_would_try_nothing_is_refused_before_anything_happens(clone: Clone) -> None:
    code, said, _ = clone.simulate("--busy")
    assert (code, clone.world["count"]) == (codes.EXIT_BAD_INPUT, 0)
    assert "INP006: the policy has no rate_limits, so --busy would try nothing" in said


@pytest.mark.threat("T7", "T8", "T15", "T18", "T19", "T20")
@pytest.mark.parametrize(
    ("scenario", "refusal", "outcome"),
    [
        ("--expire", codes.GATE_EXPIRED, "expired"),
        ("--tamper", codes.GATE_DIGEST, "refused"),
        ("--swap", codes.GATE_ARTIFACT, "refused"),
        ("--other-run", codes.GATE_RUN, "refused"),
        ("--self-approve", codes.GATE_APPROVAL, "refused"),
        ("--bypass", codes.GATE_APPROVAL, "refused"),
    ],
)
def test_what_was_not_exactly_approved_is_refused(
    played: Callable[..., Played], scenario: str, refusal: str, outcome: str
) -> None:
    run = played(scenario)
    assert run.code == codes.EXIT_REFUSED, run.said
    assert refusal in run.said
    assert "Traceback" not in run.said
    assert run.clone.world["count"] == 0
    manifest = json.loads((run.folder / "bundle.json").read_text())
    assert manifest["outcome"] == outcome


@pytest.mark.threat("T19")
def test_a_second_execution_is_refused(clone: Clone) -> None:
    code, said, _ = clone.simulate("--execute-twice")
    assert code == codes.EXIT_REFUSED, said
    assert codes.GATE_CLAIMED in said
    assert clone.world["count"] == 2


@pytest.mark.threat("T13")
def test_an_open_gate_stops_the_run_before_anybody_is_asked(clone: Clone) -> None:
    code, said, folder = clone.simulate("--open-gate")
    assert code == codes.EXIT_REFUSED, said
    assert codes.GATE_ENVIRONMENT in said
    assert "agent-approval" in said
    assert clone.world["count"] == 0
    assert not (folder.parents[2] / "approve").exists()
    assert outcome_of(folder) == "refused"


def test_nothing_to_do_opens_no_gate(clone: Clone) -> None:
    code, said, folder = clone.simulate("--approve", context='{"healthy": true}')
    assert code == 0, said
    assert not (folder.parents[2] / "approve").exists()
    assert outcome_of(folder) == "nothing_to_do"


def test_what_the_policy_denies_opens_no_gate(played: Callable[..., Played]) -> None:
    run = played("--approve", context='{"action": "delete_all"}')
    assert run.code == 0, run.said
    assert not (run.folder.parents[2] / "approve").exists()
    assert outcome_of(run.folder) == "denied"


@pytest.mark.threat("T39")
def test_an_action_that_raises_leaves_an_unknown_outcome(played: Callable[..., Played]) -> None:
    run = played("--approve", context='{"crash": true}')
    assert run.code == codes.EXIT_OUTCOME_UNKNOWN, run.said
    assert codes.OUTCOME_UNKNOWN in run.said
    assert outcome_of(run.folder) == "outcome_unknown"


def test_an_investigation_that_raises_proposes_nothing(played: Callable[..., Played]) -> None:
    run = played("--approve", context='{"raise": true}')
    folder = run.folder
    assert run.code == codes.EXIT_BAD_INPUT, run.said
    assert codes.INVESTIGATION_FAILED in run.said
    assert outcome_of(folder) == "investigation_failed"
    # What the agent said can't speak to the runner.
    log = (folder.parents[2] / "investigate" / "log-Investigate").read_text()
    commands = [line for line in log.splitlines() if line.lstrip().startswith("::")]
    assert commands == [], log


def test_the_kill_switch_stops_a_run(played: Callable[..., Played]) -> None:
    run = played("--approve", AGENT_DISABLED="true")
    assert run.code == codes.EXIT_REFUSED, run.said
    assert codes.GATE_DISABLED in run.said
    assert run.clone.world["count"] == 0


def test_nobody_to_ask_is_an_error_and_leaves_nothing(clone: Clone) -> None:
    before = sorted(path.name for path in clone.root.iterdir())
    done = clone.call("simulate", "--resource", "checkout")
    assert done.returncode == codes.EXIT_BAD_INPUT
    assert codes.USAGE in done.stderr
    assert sorted(path.name for path in clone.root.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--resource", "a\nb"), codes.RESOURCE_INVALID),
        (("--resource", "a\u202eb"), codes.RESOURCE_INVALID),
        ((), codes.RESOURCE_MISSING),
        (("--resource", "a", "--trace-id", "x\ny"), codes.TRACE_ID_INVALID),
        (("--resource", "a", "--context", "[1]"), codes.CONTEXT_INVALID),
        (("--resource", "a", "--trigger", "cron"), codes.TRIGGER_INVALID),
    ],
)
@pytest.mark.parametrize("command", ["investigate", "simulate"])
def test_bad_input_is_one_line_and_leaves_nothing(
    clone: Clone, command: str, arguments: tuple[str, ...], code: str
) -> None:
    before = sorted(path.name for path in clone.root.iterdir())
    done = clone.call(command, *arguments, *(["--approve"] if command == "simulate" else []))
    assert done.returncode == codes.EXIT_BAD_INPUT
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert code in done.stderr
    assert sorted(path.name for path in clone.root.iterdir()) == before


@pytest.mark.threat("T9")
def test_a_changed_world_is_refused(clone: Clone) -> None:
    agent = (clone.root / "agent_runner.py").read_text()
    # The world moves on between plan and action: every observation sees another generation.
    moved = agent.replace(
        'return {"generation": json.loads(WORLD.read_text())["generation"]}',
        'return {"generation": os.getpid()}',
    )
    assert moved != agent
    (clone.root / "agent_runner.py").write_text(moved)
    code, said, _ = clone.simulate("--approve")
    assert code == codes.EXIT_REFUSED, said
    assert codes.GATE_PRECONDITION in said
    assert "generation" in said
    assert clone.world["count"] == 0


def test_an_investigation_outside_a_workflow_seals_nothing(clone: Clone) -> None:
    done = clone.call("investigate", "--resource", "checkout")
    assert done.returncode == 0, done.stderr
    out = clone.root / "agent-run"
    assert sorted(path.name for path in out.iterdir()) == ["investigation.json", "journal"]
    assert json.loads((out / "investigation.json").read_text())["run"]["run_id"] == "local"
    assert done.stdout.splitlines()[-1] == "To see the page and to decide: python agent_runner.py simulate"


# ----------------------------------------------------------------------------------- what is given to a job, and taken


TERMINAL = {
    "METRICS_TOKEN": "m",
    "METRICS_URL": "https://metrics.example.com",
    "REGION": "eu-1",
    "AWS_SECRET_ACCESS_KEY": "a",
    "AIMGENTIX_API_KEY": "k",
    "GH_TOKEN": "g",
    "AGENT_DISABLED": "false",
}
# What every program gets, and what a runner sets in every step that runs team code.
MACHINE = ("PATH", "HOME", "LANG", "LC_", "TMPDIR", "TZ", "SSL_", "REQUESTS_", "PYTHON", "CI", "GITHUB_", "PWD")
RUNNER = {"TARGET_RESOURCE", "TRACE_ID", "ACTION_CONTEXT", "TRIGGER_SOURCE", "DRY_RUN", "AGENT_JOB"}
EXECUTE = {"APPROVED_DIGEST", "AGENT_PLAN_FILE", "AGENT_SESSION_POLICY_FILE"}


class TestVariables:
    """Team code gets what the answers and --secret-env name, in the job that they name, and nothing else."""

    def given(self, clone: Clone, job: str) -> set[str]:
        """The variables of a job that no runner sets."""
        return {name for name in clone.seen(job) - RUNNER - EXECUTE if not name.startswith(MACHINE)}

    @pytest.mark.threat("T26")
    def test_a_variable_of_the_terminal_reaches_no_job_that_does_not_name_it(self, clone: Clone) -> None:
        code, said, _ = clone.simulate("--approve", **TERMINAL)
        assert code == 0, said
        assert self.given(clone, "investigate") == set()
        assert self.given(clone, "act") == {"AGENT_ACT_TOKEN"}

    def test_the_answers_name_what_each_job_gets(self, clone: Clone) -> None:
        named = "investigate_secrets: [METRICS_TOKEN]\ninvestigate_variables: [METRICS_URL]\n"
        clone.config.write_text(CONFIG + named + "act_secrets: [GH_TOKEN, ABSENT]\nact_variables: [REGION]\n")
        code, said, bundle = clone.simulate("--approve", **TERMINAL)
        assert code == 0, said
        assert self.given(clone, "investigate") == {"METRICS_TOKEN", "METRICS_URL"}
        assert self.given(clone, "act") == {"GH_TOKEN", "REGION"}
        sealed = json.loads((bundle / "seal" / "investigation-report.json").read_text())["plan"]
        assert (sealed["variables"], sealed["secrets"]) == ({"REGION": "eu-1"}, ["GH_TOKEN", "ABSENT"])
        assert "On GitHub" not in said

    @pytest.mark.parametrize(
        ("plan", "place"),
        [
            ("public", "environment agent-{}"),
            ("private-team\napproval_gate: issue", "environment agent-{}"),
            ("private-free\napproval_gate: issue", "repository's secrets"),
        ],
        ids=["public", "private-team", "private-free"],
    )
    def test_what_is_named_for_one_simulation_reaches_its_job_and_says_where_it_goes_on_github(
        self, clone: Clone, plan: str, place: str
    ) -> None:
        clone.config.write_text(CONFIG.replace("public", plan))
        named = ("--secret-env", "investigate:METRICS_TOKEN", "--secret-env", "act:REGION")
        code, said, _ = clone.simulate("--approve", *named, **TERMINAL)
        assert code == 0, said
        assert self.given(clone, "investigate") == {"METRICS_TOKEN"}
        assert self.given(clone, "act") == {"AGENT_ACT_TOKEN", "REGION"}
        for name, job in (("METRICS_TOKEN", "investigate"), ("REGION", "act")):
            reported = (
                f"{name} goes to {job} here. On GitHub: add it to the answer {job}_secrets, and store it in the "
                f"{place.format(job)} (docs/SETUP_GUIDE.md)"
            )
            assert said.splitlines().count(reported) == 1, said

    @pytest.mark.parametrize(
        ("plan", "place"),
        [
            ("public", "environment agent-investigate: gh secret set PROMETHEUS_TOKEN --env agent-investigate"),
            ("private-free\napproval_gate: issue", "repository's secrets: gh secret set PROMETHEUS_TOKEN"),
        ],
        ids=["environments", "private-free"],
    )
    def test_what_is_missing_for_reading_is_named_with_its_place_on_github(
        self, clone: Clone, serve: Callable[[Answers], str], plan: str, place: str
    ) -> None:
        url = serve(lambda *_: (401, ""))
        agent = (clone.root / "agent_runner.py").read_text()
        reads = f'http.get("{url}", token=http.token("prometheus")).granted()'
        agent = agent.replace(
            '        environment("investigate")\n', f'        environment("investigate")\n        {reads}\n'
        )
        (clone.root / "agent_runner.py").write_text("from agent_runtime.toolkit import http\n" + agent)
        clone.config.write_text(CONFIG.replace("public", plan) + "investigate_secrets: [PROMETHEUS_TOKEN]\n")

        code, said, _ = clone.simulate("--approve", no_proxy="127.0.0.1")

        missing = (
            "PROMETHEUS_TOKEN is not set in this terminal, so investigate runs without it. On GitHub it is in the "
        )
        assert said.splitlines().count(missing + place) == 1, said
        refused = (
            f"TOOL17: {url}: HTTP 401 and no token was sent, because PROMETHEUS_TOKEN is empty in the job investigate"
        )
        assert code == codes.EXIT_BAD_INPUT and refused in said
        assert "agent-investigate" in said[said.index(refused) :] and "AGENT_ACT_TOKEN" not in said

    @pytest.mark.parametrize("word", ["METRICS_TOKEN", "seal:METRICS_TOKEN", "investigate:", "act:A-B", "act:A=b"])
    def test_what_names_no_job_of_the_team_is_refused(self, clone: Clone, word: str) -> None:
        done = clone.call("simulate", "--approve", "--resource", "checkout", "--secret-env", word)
        assert (done.returncode, done.stdout) == (codes.EXIT_BAD_INPUT, "")
        assert codes.USAGE in done.stderr and len(done.stderr.splitlines()) == 1


def test_what_was_denied_is_reported_with_its_reasons_the_page_and_what_to_do_next(
    played: Callable[..., Played],
) -> None:
    run = played("--approve", context='{"action": "delete_all"}')
    said, folder = run.said, run.folder
    reported = said[said.index("outcome: ") :].splitlines()
    page = folder.parents[2] / "seal" / "summary-seal"
    assert reported[0] == "outcome: denied"
    assert reported[-2:] == [f"page:    {page}", f"bundle:  {folder}"]
    reasons = [line[len("why:     ") :] for line in reported[1:-2]]
    assert reasons[-2] == "no allowing rule matches delete_all on checkout, and what is not allowed is denied"
    assert "change .github/agent-policies/bumper.yml" in reasons[-1]
    assert all(f"- `{reason}`" in page.read_text() for reason in reasons[:-1])


@pytest.mark.parametrize(
    ("words", "context", "code", "page"),
    [
        (("--expire",), "{}", codes.GATE_EXPIRED, "act/summary-Verify"),
        (("--self-approve",), "{}", codes.GATE_APPROVAL, "approve/summary-approve"),
        (("--approve",), '{"raise": true}', codes.INVESTIGATION_FAILED, "seal/summary-seal"),
        (("--approve",), '{"crash": true}', codes.OUTCOME_UNKNOWN, "act/summary-Execute"),
    ],
)
def test_what_was_refused_or_failed_is_reported_with_the_page_that_says_so(
    played: Callable[..., Played], words: tuple[str, ...], context: str, code: str, page: str
) -> None:
    run = played(*words, context=context)
    said, folder = run.said, run.folder
    reported = said[said.index("outcome: ") :].splitlines()
    why = next(line for line in reported if line.startswith("why: "))
    assert why.startswith(f"why:     {code}: ") and why.endswith(codes.describe(code).fix), said
    path = folder.parents[2] / page
    assert reported[-2] == f"page:    {path}" and code in path.read_text()


def test_what_a_job_leaves_running_ends_with_the_job(clone: Clone) -> None:
    """In a session of its own, with no parent left: the next job finds none of them."""
    agent = clone.root / "agent_runner.py"
    leaves = """
        left = (
            "import os, sys, time\\n"
            "if os.fork(): os._exit(0)\\n"
            "os.setsid()\\n"
            "if os.fork(): os._exit(0)\\n"
            "open(sys.argv[1], 'w').write(str(os.getpid()))\\n"
            "time.sleep(600)\\n"
        )
        sleeper = [sys.executable, "-c", left, str(ROOT / "left")]
        subprocess.Popen(sleeper, stdin=-3, stdout=-3, stderr=-3)
        while not (ROOT / "left").exists() or not (ROOT / "left").read_text():
            pass
        os.kill(int((ROOT / "left").read_text()), 0)
"""
    asks = """
        try:
            os.kill(int((ROOT / "left").read_text()), 0)
            raise AssertionError("it runs on")
        except ProcessLookupError:
            pass
"""
    text = agent.read_text()
    for place, added in (("investigate", leaves), ("act", asks)):
        here = f'        environment("{place}")\n'
        assert text.count(here) == 1
        text = text.replace(here, here + added)
    agent.write_text(text)
    code, said, _ = clone.simulate("--approve")
    assert (code, clone.world["count"]) == (0, 2), said


def test_a_step_that_ends_leaves_the_other_children_of_its_program_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            assert Job(tmp_path / "job").run("step", ["-c", ""], {})
            assert other.poll() is None
        finally:
            other.kill()


# ------------------------------------------------------------------------------------------- the question at a terminal


def at_a_terminal(clone: Clone, *answers: str) -> tuple[int, str]:
    """Simulate at a pseudo-terminal, give these answers one after the other, and hang up after the last."""
    ours, theirs = pty.openpty()
    words = ["agent_runner.py", "simulate", "--resource", "checkout", "--out", "out"]
    left = list(answers)
    said = b""
    with subprocess.Popen(
        [interpreter.python(), *words],
        cwd=clone.root,
        env=clone.environ(AGENT_ACT_TOKEN="act-token"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        asked = turned = 0
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            said += part
            while said.count(b" -- ") > turned:
                turned += 1
                os.write(ours, b"\n")
            while said.count(b"[y/N] ") > asked:
                asked += 1
                os.write(ours, left.pop(0).encode())
    os.close(ours)
    assert left == [], said.decode()
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("answers", "outcome", "count"),
    [
        (("yes\n",), "acted", 2),
        (("\n",), "rejected", 0),
        (("yse\n", "approve\n", "Y\n"), "acted", 2),
        (("nope\n", "no\n"), "rejected", 0),
        (("ye\n", "\x04"), "rejected", 0),
    ],
)
def test_the_question_is_asked_again_until_it_is_answered(
    clone: Clone, answers: tuple[str, ...], outcome: str, count: int
) -> None:
    code, said = at_a_terminal(clone, *answers)
    assert (code, clone.world["count"]) == (0, count), said
    typos = len([answer for answer in answers[:-1] if answer.endswith("\n")])
    assert said.count("Answer y or n.") == typos
    assert f"outcome: {outcome}" in said
    question = "Approve exactly this: bump on checkout, plan "
    assert said.index("because") < said.index(question), "the page is shown before the question"
    assert said.count(question) == typos + 1, "and one line of it again, each time"
    assert "Review deployments" not in said and "https://" not in said


LIMITED = POLICY + "rate_limits: [{type: bump, max: 2, per: 24h}]\n"


@pytest.mark.threat("T25")
def test_a_rate_limit_that_is_reached_denies_and_shows_when(clone: Clone) -> None:
    (clone.root / ".github" / "agent-policies" / "bumper.yml").write_text(LIMITED)
    code, said, folder = clone.simulate("--busy")
    assert code == 0, said
    assert not (folder.parents[2] / "approve").exists()
    report = json.loads((folder / "seal" / "investigation-report.json").read_text())
    assert "rate_limits[0] (bump on *): 2 of 2 in the last 24h, next possible at " in report["policy_reasons"][-1]
    assert (outcome_of(folder), clone.world["count"]) == ("denied", 0)
    code, said, folder = clone.simulate("--approve")
    assert (code, outcome_of(folder), clone.world["count"]) == (0, "acted", 2), said


class TestWithoutAsking:
    """The policy decides alone, in a job of its own, where the answer `auto_approval` allows it (T23)."""

    REVERSIBLE = '{"reversible": true}'

    @pytest.fixture
    def clone(self, clone: Clone) -> Clone:
        """The same repository with a rule of auto_approve."""
        policies = clone.root / ".github" / "agent-policies" / "bumper.yml"
        policies.write_text(POLICY + "    requires_approval: false\nauto_approve: [{type: bump}]\n")
        (clone.root / ".github" / "agent-config.yml").write_text(CONFIG + "auto_approval: true\n")
        return clone

    def test_it_is_executed_without_a_reviewer_and_the_trail_says_so(self, clone: Clone) -> None:
        code, said, folder = clone.simulate("--approve", context=self.REVERSIBLE)
        assert code == 0, said
        assert clone.world == {"count": 2, "generation": 1, "token": "act-token"}
        assert not (folder.parents[2] / "approve").exists()
        assert outcome_of(folder) == "acted"
        manifest = json.loads((folder / "bundle.json").read_text())
        assert (manifest["approvers"], manifest["rejected_by"]) == ([], None)
        assert json.loads((folder / "verify" / "authorization.json").read_text())["approvers"] == []
        page = (folder.parents[2] / "seal" / "summary-seal").read_text()
        assert page.startswith("# Without asking: `bump` on `checkout`") and "Approve" not in page.splitlines()[0]
        record = (folder.parents[1] / "summary-record").read_text()
        assert "without asking" in record and "was approved" not in record

    @pytest.mark.parametrize(
        ("scenario", "refusal", "count"),
        [
            ("--expire", codes.GATE_EXPIRED, 0),
            ("--tamper", codes.GATE_DIGEST, 0),
            ("--swap", codes.GATE_ARTIFACT, 0),
            ("--other-run", codes.GATE_RUN, 0),
            ("--execute-twice", codes.GATE_CLAIMED, 2),
        ],
    )
    def test_everything_else_is_checked_as_behind_the_gate(
        self, clone: Clone, scenario: str, refusal: str, count: int
    ) -> None:
        code, said, _ = clone.simulate(scenario, context=self.REVERSIBLE)
        assert code == codes.EXIT_REFUSED, said
        assert refusal in said
        assert clone.world["count"] == count

    @pytest.mark.threat("T23")
    def test_t23_a_plan_that_needs_an_approval_never_runs_there(self, clone: Clone) -> None:
        code, said, folder = clone.simulate("--without-asking")
        assert code == codes.EXIT_REFUSED, said
        assert codes.GATE_POLICY in said and "this job executes auto only" in said
        assert clone.world["count"] == 0
        assert json.loads((folder / "bundle.json").read_text())["outcome"] == "refused"

    def test_what_can_not_be_undone_is_asked(self, clone: Clone) -> None:
        code, said, folder = clone.simulate("--reject")
        assert (code, outcome_of(folder), clone.world["count"]) == (0, "rejected", 0), said
        report = json.loads((folder / "seal" / "investigation-report.json").read_text())
        assert report["policy_reasons"][-1] == "a human is asked: the agent does not say that it can be undone"

    def test_without_the_answer_a_human_is_asked_and_sees_why(self, clone: Clone) -> None:
        (clone.root / ".github" / "agent-config.yml").write_text(CONFIG)
        code, said, folder = clone.simulate("--reject", context=self.REVERSIBLE)
        assert (code, outcome_of(folder), clone.world["count"]) == (0, "rejected", 0), said
        report = json.loads((folder / "seal" / "investigation-report.json").read_text())
        assert report["policy_reasons"][-1] == "a human is asked: auto_approval is false in .github/agent-config.yml"
        assert report["plan"]["policy"] == {
            "digest": report["plan"]["policy"]["digest"],
            "decision": "review",
            "matched_rules": ["allowed_actions[0]"],
        }

    def test_without_the_answer_the_job_refuses_whatever_was_sealed(self, clone: Clone) -> None:
        (clone.root / ".github" / "agent-config.yml").write_text(CONFIG)
        code, said, _ = clone.simulate("--without-asking", context=self.REVERSIBLE)
        assert code == codes.EXIT_REFUSED, said
        assert "auto_approval is false" in said
        assert clone.world["count"] == 0

    def test_a_bundle_holds_only_with_the_decision_that_was_sealed(self, clone: Clone) -> None:
        """An action without a receipt is whole for a plan sealed `auto` and for no other, and the other way round."""
        unasked = load(clone.simulate("--approve", context=self.REVERSIBLE)[2])
        approved = load(clone.simulate("--approve")[2])
        assert problems(unasked) == [] == problems(approved)
        assert "0 approval receipts, the plan needs 1" in problems(with_decision(unasked, Decision.REVIEW))
        assert "verify: the check GATE07 did not pass" in problems(with_decision(unasked, Decision.REVIEW))
        found = problems(with_decision(approved, Decision.AUTO))
        assert "a plan that was sealed to act without asking was handled by the job act" in found
        assert "somebody approved a plan that nobody was asked about" in found
        assert problems(dataclasses.replace(approved, receipts=())) != []


def problems(parts: bundle.Parts) -> list[str]:
    found = consistency.check(parts, RunOutcome.ACTED, expected_heads={}, expected_digest=None)
    return [problem.message for problem in found if " is of plan " not in problem.message]


def with_decision(parts: bundle.Parts, decision: Decision) -> bundle.Parts:
    assert parts.report and parts.report.plan
    stamp = dataclasses.replace(parts.report.plan.policy, decision=decision)
    plan = dataclasses.replace(parts.report.plan, policy=stamp)
    return dataclasses.replace(parts, report=dataclasses.replace(parts.report, plan=plan))


@pytest.fixture(scope="module")
def acted(played: Callable[..., Played]) -> Path:
    """The bundle of a run that acted; tests change a copy."""
    run = played("--approve")
    assert run.code == 0, run.said
    return run.folder


class TestBundle:
    """An auditor's view: whatever is changed in a bundle afterwards is found."""

    @pytest.fixture
    def folder(self, acted: Path, tmp_path: Path) -> Path:
        """The bundle of a run that acted, to be changed."""
        return shutil.copytree(acted, tmp_path / "audit-bundle")

    def test_the_command_line_shows_the_verdict(self, clone: Clone, folder: Path) -> None:
        done = clone.call("verify", str(folder))
        assert done.returncode == 0
        assert "reviewer" in done.stdout
        assert "authentic:   NOT AUTHENTICATED: " in done.stdout
        known = hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
        compared = clone.call("verify", str(folder), "--digest", known).stdout
        assert "authentic:   as far as you trust" in compared and "NOT AUTHENTICATED" not in compared
        again = clone.call("verify", str(folder), "--digest", "0" * 64)
        assert again.returncode == codes.EXIT_TRAIL_INCOMPLETE
        assert codes.TRAIL_MISMATCH in again.stderr

    @pytest.mark.threat("T36")
    def test_a_whole_forgery_is_found_by_the_digest_alone(self, clone: Clone, folder: Path) -> None:
        """Whoever can make a bundle anew, digests and all, is caught only by what somebody kept elsewhere."""
        kept = hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
        forged = clone.simulate("--approve", "ciso")[2]
        assert "ciso" in (found := clone.call("verify", str(forged))).stdout and found.returncode == 0
        found = clone.call("verify", str(forged), "--digest", kept)
        assert found.returncode == codes.EXIT_TRAIL_INCOMPLETE and codes.TRAIL_MISMATCH in found.stderr

    @pytest.mark.parametrize("digest", ["", "9a40", "0" * 63, "0" * 65, "g" * 64, "DIGEST"])
    def test_what_is_not_a_digest_is_refused_instead_of_compared(self, clone: Clone, folder: Path, digest: str) -> None:
        done = clone.call("verify", str(folder), "--digest", digest)
        assert (done.returncode, codes.USAGE in done.stderr) == (codes.EXIT_BAD_INPUT, True)

    @pytest.mark.parametrize(
        "name",
        [
            "investigate/investigation.json",
            "seal/investigation-report.json",
            "approve/approval-receipt.json",
            "verify/authorization.json",
            "act/action-result.json",
        ],
    )
    def test_a_changed_document_is_found(self, folder: Path, name: str) -> None:
        path = folder / name
        before = path.read_bytes()
        path.write_bytes(before.replace(b"acme", b"evil"))
        assert path.read_bytes() != before
        assert offline.verify(folder)[1] != []

    @pytest.mark.threat("T36")
    def test_every_single_file_counts(self, folder: Path) -> None:
        for path in [path for path in folder.rglob("*") if path.is_file() and path.name != "bundle.json"]:
            whole = path.read_bytes()
            path.write_bytes(whole[:-1])
            assert offline.verify(folder)[1] != [], path
            path.unlink()
            assert offline.verify(folder)[1] != [], path
            path.write_bytes(whole)
        assert offline.verify(folder)[1] == []

    def test_an_added_file_is_found(self, folder: Path) -> None:
        (folder / "act" / "note.txt").write_text("all was well")
        assert [problem.code for problem in offline.verify(folder)[1]] == [codes.TRAIL_MISMATCH]

    @pytest.mark.threat("T36")
    def test_a_forged_manifest_does_not_hide_a_removed_event(self, folder: Path) -> None:
        (journal,) = (folder / "act" / "journal").glob("*.jsonl")
        lines = journal.read_bytes().splitlines(keepends=True)
        assert len(lines) >= 3
        journal.write_bytes(b"".join(lines[:1] + lines[2:]))
        manifest = json.loads((folder / "bundle.json").read_text())
        manifest["files"] = bundle.file_digests(folder)
        (folder / "bundle.json").write_text(json.dumps(manifest))
        assert codes.TRAIL_BROKEN in {problem.code for problem in offline.verify(folder)[1]}

    @pytest.mark.threat("T36")
    def test_a_forged_manifest_does_not_hide_a_cut_journal(self, folder: Path) -> None:
        (journal,) = (folder / "act" / "journal").glob("*.jsonl")
        journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
        manifest = json.loads((folder / "bundle.json").read_text())
        manifest["files"] = bundle.file_digests(folder)
        (folder / "bundle.json").write_text(json.dumps(manifest))
        found = {problem.code for problem in offline.verify(folder)[1]}
        assert codes.TRAIL_TRUNCATED in found

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"files": 1}', b"\xff"])
    def test_no_bundle_is_a_clear_error(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bundle.json").write_bytes(content)
        with pytest.raises(codes.BadInput) as refused:
            offline.verify(tmp_path)
        assert refused.value.code == codes.TRAIL_MISMATCH


def test_an_alert_is_played_as_github_sends_it(clone: Clone) -> None:
    alert = ("--trigger", "alert", "--trace-id", "alert-9")
    code, said, folder = clone.simulate("--approve", *alert, context='{"alert_severity": "critical"}')
    assert code == 0, said
    assert outcome_of(folder) == "acted"
    assert json.loads((folder / "bundle.json").read_text())["trace_id"] == "alert-9"

    code, said, folder = clone.simulate("--approve", *alert, context='{"alert_severity": 5}')
    assert code == codes.EXIT_BAD_INPUT
    assert "INP010: client_payload.alert_severity is a number, not a text" in said
    assert not (folder.parents[2] / "investigate" / "log-Investigate").exists()
    assert outcome_of(folder) == "investigation_failed"
    assert clone.world["count"] == 2


class TestTwoApprovals:
    """A policy that asks for two of bob, carol and dave."""

    @pytest.fixture(autouse=True)
    def policy(self, clone: Clone) -> None:
        path = clone.root / ".github" / "agent-policies" / "bumper.yml"
        path.write_text(POLICY + "    approvals: 2\n    approvers: [bob, carol, dave]\n")

    @pytest.mark.parametrize(
        ("arguments", "logins"),
        [(["--approve"], ["bob", "carol"]), (["--approve", "dave", "--approve", "Bob"], ["dave", "Bob"])],
    )
    def test_two_people_approve(self, clone: Clone, arguments: list[str], logins: list[str]) -> None:
        code, said, folder = clone.simulate(*arguments)
        assert (code, clone.world["count"], outcome_of(folder)) == (0, 2, "acted"), said
        manifest = json.loads((folder / "bundle.json").read_text())
        assert [each["login"] for each in manifest["approvers"]] == logins
        assert "one more approval is needed" in (clone.root / "out" / "approve" / "summary-approve").read_text()

    @pytest.mark.parametrize(
        ("logins", "message"),
        [
            (["bob", "bob"], "bob approved twice"),
            (["bob", "BOB"], "BOB approved twice"),
            (["bob", "initiator"], "initiator approved a run that initiator started"),
            (["mallory", "bob"], "mallory approved, and the policy lets only bob, carol, dave approve"),
            (["bob"], "approve-second: nobody approved; nothing is executed"),
        ],
    )
    def test_otherwise_nothing_is_executed(self, clone: Clone, logins: list[str], message: str) -> None:
        code, said, folder = clone.simulate(*(word for login in logins for word in ("--approve", login)))
        assert (code, clone.world["count"]) == (codes.EXIT_REFUSED, 0), said
        assert message in said and not (clone.root / "out" / "act").exists()
        assert outcome_of(folder) == "approval_failed"

    def test_what_is_no_login_is_refused(self, clone: Clone) -> None:
        code, said, _ = clone.simulate("--approve", "acme/sre")
        assert (code, clone.world["count"]) == (codes.EXIT_BAD_INPUT, 0) and "not a login: 'acme/sre'" in said
