"""What the gate's workflows mean, whoever writes template and `expected.yml` anew: a third statement, rule by rule.

`test_linter.py` holds every rendering to `expected.yml`; here that is held to what README.md and the threat model say.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from agent_runtime.local.linter import expected
from agent_runtime.local.linter.values import Value, expressions, read
from agent_runtime.local.settings.checks import CI_CHECK
from agent_runtime.model import names
from support.environment import REPOSITORY
from support.rendering import BROAD, configuration

UPDATE_FILE = "agent-update.yml"
# Whatever an answer can bring, with each plan.
EVERYTHING = {**BROAD["all of it"], "triggers": "manual+alert+schedule", "act_permissions": "contents,id-token"}

FENCE = "python -I -c \"import secrets; print('::stop-commands::' + secrets.token_hex(32))\"\n"
GATE = "python -I -S agent_runtime/__main__.py "
# What else may run in a job without team code; the last one runs a release's, and its job gets nothing.
OTHER_SCRIPTS = {"start": "python -I agent_runtime/__main__.py start", "Copier": "python -I -m pip install --quiet "}
OF_TEAM = ("./.github/actions/setup-agent", "./.github/actions/prepare-investigate", "./.github/actions/prepare-act")


def data(value: Value) -> Any:
    """A value without lines."""
    if value.fields is not None:
        return {key: data(item) for key, item in value.fields.items()}
    return [data(item) for item in value.items] if value.items is not None else value.text


class Job(NamedTuple):
    """One job of one rendering."""

    plan: str
    file: str
    id: str
    body: dict[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = self.body.get("steps", [])
        return steps

    @property
    def acts(self) -> bool:
        return any("agent_runner.py execute" in step.get("run", "") for step in self.steps)

    @property
    def runs_team_code(self) -> bool:
        return any("agent_runner.py" in step.get("run", "") for step in self.steps)

    @property
    def names(self) -> list[str]:
        return [step["name"] for step in self.steps]


def _workflows() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for plan in ("public", "private-team", "private-free"):  # Enterprise gets what a public repository gets
        given = {**EVERYTHING, "repository_plan": plan, "investigate_oidc": "no" if plan == "private-free" else "yes"}
        for file, value in expected.workflows(configuration(given)).items():
            yield plan, file, data(value)


WORKFLOWS = list(_workflows())
JOBS = [Job(plan, file, id, body) for plan, file, tree in WORKFLOWS for id, body in tree["jobs"].items()]
every_job = pytest.mark.parametrize("job", JOBS, ids=[f"{job.plan} {job.file} {job.id}" for job in JOBS])

READS = {"contents": "read", "actions": "read"}
SIGNS = {"id-token": "write", "attestations": "write"}
ACTS = {"contents": "write", "id-token": "write"}
# What a job's token may do beyond READS.
RIGHTS: dict[tuple[str, str], dict[str, str]] = {
    (names.WORKFLOW_FILE, "investigate"): {"id-token": "write"},
    (names.WORKFLOW_FILE, "ask"): {"issues": "write"},
    (names.WORKFLOW_FILE, "act"): ACTS,
    (names.WORKFLOW_FILE, "attest"): SIGNS,
    (names.ATTEST_FILE, "attest"): SIGNS,
    (names.APPROVAL_WORKFLOW_FILE, "approve"): {"issues": "read"},
    (names.APPROVAL_WORKFLOW_FILE, "claim"): {"issues": "read", "contents": "write"},
    (names.APPROVAL_WORKFLOW_FILE, "act"): {"issues": "read", **ACTS},
    (names.APPROVAL_WORKFLOW_FILE, "record"): {"issues": "write"},
    (UPDATE_FILE, "propose"): {"issues": "read"},
    (UPDATE_FILE, "report"): {"issues": "write"},
}


@pytest.mark.threat("T26", "T28", "T32")
def test_each_job_may_do_what_its_step_needs_and_no_more() -> None:
    assert len({(job.file, job.id) for job in JOBS}) == 22
    for job in JOBS:
        wanted = {**READS, **RIGHTS.get((job.file, job.id), {})}
        if job.file == UPDATE_FILE and job.id in ("find", "make"):
            wanted = {"contents": "read"}
        if job.plan == "private-free" and job.id == "investigate":
            del wanted["id-token"]
        assert job.body["permissions"] == wanted, job
    assert {str(tree["permissions"]) for _, _, tree in WORKFLOWS} == {"{}"}


@pytest.mark.threat("T1", "T4", "T5", "T27")
def test_what_decides_runs_isolated_and_what_is_the_teams_behind_a_fence() -> None:
    scripts: dict[tuple[str, str], list[str]] = {}
    for job in JOBS:
        scripts[job.file, job.id] = [step["run"] for step in job.steps if "run" in step]
    team = {each for found in scripts.values() for each in found if "agent_runner.py" in each}
    assert team == {f"{FENCE}python agent_runner.py {command}\n" for command in ("investigate", "execute")}
    making = scripts[UPDATE_FILE, "make"].pop()
    assert f"\n{GATE}update --to=" in making and "agent_runtime" not in making.replace(GATE, "")
    for where, found in scripts.items():
        for each in found:
            if each not in team and not each.startswith(tuple(OTHER_SCRIPTS.values())):
                assert re.fullmatch(re.escape(GATE) + r"[ \w./=\"$-]+", each), where
            assert "${{" not in each, where


@every_job
def test_a_job_is_bounded_starts_from_its_commit_and_hides_no_failure(job: Job) -> None:
    for_people = job.id.startswith("notify-") or (job.file == names.ATTEST_FILE)
    assert ("continue-on-error" in job.body) == for_people
    assert not {"env", "defaults", "services", "strategy"} & set(job.body)
    if "uses" in job.body:
        assert job.body["uses"] == f"./.github/workflows/{names.ATTEST_FILE}" and "secrets" not in job.body
        return
    assert 1 <= int(job.body["timeout-minutes"]) <= 360
    assert job.steps[0]["uses"] == "actions/checkout"
    assert job.steps[0]["with"] == {"ref": "${{ github.sha }}", "persist-credentials": "false"}
    assert not [step for step in job.steps if "continue-on-error" in step]
    # A cache is written by jobs that anybody can start; only what decides nothing might read one.
    assert job.body.get("cache-mode") == (None if job.id == "investigate" else "none")
    if not job.runs_team_code:
        assert not [step for step in job.steps if step.get("uses") in OF_TEAM], "nothing of the team's is installed"


@pytest.mark.threat("T5", "T6", "T30")
@pytest.mark.parametrize("job", [job for job in JOBS if job.acts], ids=lambda job: f"{job.plan} {job.id}")
def test_verify_is_done_and_kept_before_anything_of_the_teams_is_on_the_machine(job: Job) -> None:
    assert job.names == [
        "Check out this commit",
        "Set up the gate",
        "Verify",
        "Keep what Verify found",
        "Set up the agent",
        "Prepare to act",
        "Execute",
        "Keep the result and the journal",
    ]
    conditions = {step["name"]: step["if"] for step in job.steps if "if" in step}
    assert conditions == dict.fromkeys(("Keep what Verify found", "Keep the result and the journal"), "always()")
    assert job.steps[2]["run"].startswith(GATE + "authorize")
    assert ("--auto" in job.steps[2]["run"]) == (job.id == names.AUTO_JOB)


def _secrets(job: Job) -> Iterator[tuple[str, str]]:
    for step in job.steps:
        values = [str(value) for part in ("env", "with") for value in step.get(part, {}).values()]
        for body in itertools.chain.from_iterable(map(expressions, values)):
            yield from ((step["name"], found) for found in re.findall(r"\bsecrets\b\.?(\w*)", body))


READING = {"METRICS_TOKEN", "LOGS_TOKEN"}
ACTING = {"AGENT_ACT_TOKEN", "AGENT_OWN_KEY"}
BACKEND = {"AIMGENTIX_API_URL", "AIMGENTIX_API_KEY"}


@pytest.mark.threat("T26")
@every_job
def test_a_secret_is_in_the_one_step_that_needs_it_and_in_its_environment(job: Job) -> None:
    found, environment = set(_secrets(job)), job.body.get("environment", "")
    environment = environment["name"] if isinstance(environment, dict) else environment
    wanted: set[tuple[str, str]] = set()
    place = ""
    if job.acts:
        wanted = set(itertools.product(("Prepare to act", "Execute"), ACTING))
        place = names.AUTO_ENVIRONMENT if job.id == names.AUTO_JOB else names.ACT_ENVIRONMENT
    elif job.id == "investigate":
        wanted = set(itertools.product(("Prepare to investigate", "Investigate"), READING))
        place = names.INVESTIGATE_ENVIRONMENT
    elif job.id == "record":
        wanted = {("Deliver the trail to the audit backend", secret) for secret in BACKEND}
    elif job.id.startswith("notify-"):
        wanted, place = {(job.names[-1], names.NOTIFY_SECRET)}, names.NOTIFY_ENVIRONMENT
    elif job.id == "propose":
        wanted, place = {("Get a token of the App", names.UPDATE_SECRET)}, names.UPDATE_ENVIRONMENT
        assert job.body["runs-on"] == "ubuntu-latest", "no variable chooses who sees the App's key"
        (given,) = [step["with"] for step in job.steps if step.get("id") == "app"]
        assert {key: value for key, value in given.items() if key.startswith("permission-")} == {
            f"permission-{scope}": "write" for scope in ("contents", "pull-requests", "workflows")
        }
    elif job.id in ("approve", names.SECOND_JOB) and job.file == names.WORKFLOW_FILE:
        place = names.GATE_ENVIRONMENTS[job.id == names.SECOND_JOB]
    assert found == wanted
    has_none = job.plan == "private-free" and job.id != "propose"
    assert environment == ("" if has_none else place)


def test_no_token_is_where_code_of_a_release_or_a_teams_own_step_runs() -> None:
    for job in JOBS:
        for step in job.steps:
            if step["name"].startswith("Prepare to ") or (job.file, job.id) == (UPDATE_FILE, "make"):
                assert "github.token" not in str(step) and "GITHUB_TOKEN" not in str(step), job.id


# ----------------------------------------------------------------------------------------- what comes from which job


def _source(text: str) -> tuple[str, str]:
    """The job or step that an expression reads an output of, and the output."""
    found = re.fullmatch(r"\$\{\{ (?:needs|steps)\.([\w-]+)\.outputs\.([\w-]+) \}\}", text)
    return (found.group(1), found.group(2)) if found else ("", text)


@every_job
def test_outputs_are_of_the_step_that_made_them(job: Job) -> None:
    """An archive's id and digest are of one upload, and what the gate says is from a step that runs no team code."""
    by_id = {step["id"]: step for step in job.steps if "id" in step}
    for name, text in job.body.get("outputs", {}).items():
        step, output = _source(text)
        assert step in by_id, name
        if output.startswith("artifact-"):
            kind = output.partition("-")[2]
            assert by_id[step]["uses"] == "actions/upload-artifact" and name.endswith(f"_{kind}")
            assert _source(job.body["outputs"][name.rpartition("_")[0] + "_id"])[0] == step
        else:
            assert output == name
            ran = by_id[step]["run"]
            assert ran.startswith(GATE) or (name, "execute\n" in ran) == ("action_status", True) or job.id == "make"


@every_job
def test_what_a_step_gets_of_another_job_is_whole(job: Job) -> None:
    needs = job.body.get("needs", [])
    needs = [needs] if isinstance(needs, str) else needs
    for step in job.steps:
        given = {name: _source(value) for name, value in step.get("env", {}).items() if "needs." in value}
        for name, (of, output) in given.items():
            if name == "NEEDS":
                continue
            result = of == "" and output == "${{ needs.investigate.result }}"
            assert result or of in needs, name
            if name.endswith(("_ID", "_DIGEST")) and name not in ("TRACE_ID", "APPROVED_DIGEST"):
                stem = name.rpartition("_")[0]
                assert output == name.lower() and given[f"{stem}_ID"][0] == given[f"{stem}_DIGEST"][0] == of
        sealing = "approve" if job.file == names.APPROVAL_WORKFLOW_FILE else "seal"
        assert given.get("APPROVED_DIGEST", (sealing, "plan_digest")) == (sealing, "plan_digest")


@pytest.mark.threat("T37")
def test_each_job_of_the_gate_says_to_record_how_its_journal_ends_and_what_it_kept() -> None:
    acted = {"verify_head", "action_status", *_kept("authorization"), *_kept("result")}
    wanted = {
        "investigate": _kept("investigation"),
        "ask": {"journal_head", "issue", *_kept("request")},
        "approve": {"journal_head", *_kept("receipt")},
        names.SECOND_JOB: {"journal_head", *_kept("receipt")},
        "claim": {"journal_head", *_kept("claim")},
        "act": acted,
        names.AUTO_JOB: acted,
    }
    for job in JOBS:
        assert set(job.body.get("outputs", ())) >= wanted.get(job.id, set()), job
        if job.id == "seal":
            assert set(job.body["outputs"]) >= {
                "journal_head",
                "plan_digest",
                "decision",
                "approvals",
                *_kept("report"),
            }


def _kept(name: str) -> set[str]:
    return {f"{name}_id", f"{name}_digest"}


@pytest.mark.threat("T14", "T38")
def test_nothing_is_sealed_for_another_run_than_the_one_that_was_asked_for() -> None:
    """A run that may not start runs no team code; a failed investigation and a dry run are sealed as what they are."""
    for job in JOBS:
        if job.file == names.WORKFLOW_FILE and job.id in ("investigate", "seal"):
            by_name = {step["name"]: step for step in job.steps}
            if job.id == "investigate":
                assert job.names.index("Start") < job.names.index("Prepare to investigate")
                for name in ("Prepare to investigate", "Investigate"):
                    assert by_name[name]["if"] == "steps.start.outputs.state == 'go'"
            else:
                given = by_name["Seal the plan"]["env"]
                assert given["INVESTIGATE_RESULT"] == "${{ needs.investigate.result }}"
                assert given["DRY_RUN"] == "${{ inputs.dry_run }}"


@pytest.mark.threat("T17", "T34", "T37")
def test_record_looks_at_every_job_that_could_have_done_something() -> None:
    for plan, file, tree in WORKFLOWS:
        if "record" in tree["jobs"]:
            others = {id for id in tree["jobs"] if id not in ("record", "attest") and not id.startswith("notify-")}
            assert set(tree["jobs"]["record"]["needs"]) == others, (plan, file)
            steps = {step["name"]: step.get("if") for step in tree["jobs"]["record"]["steps"]}
            assert "Keep the bundle" in steps and steps["Keep the bundle"] == "always()"


# -------------------------------------------------------------------------------- those that are the same everywhere


@pytest.mark.threat("T10", "T24")
def test_what_watches_the_gate_reads_looks_at_each_pull_request_and_fails() -> None:
    folder = REPOSITORY / "template" / ".github" / "workflows"
    found = {path.name: data(read(path.read_bytes())) for path in folder.glob("*.yml")}
    del found[UPDATE_FILE]
    assert set(found) == {"agent-drift.yml", names.REPORT_FILE, "ci.yml"}
    for name, tree in found.items():
        (job,) = tree["jobs"].values()
        assert tree["permissions"] == {} and set(job["permissions"].values()) == {"read"}, name
        assert not {"if", "continue-on-error", "env"} & set(job) and 1 <= int(job["timeout-minutes"]) <= 60, name
        assert not [step for step in job["steps"] if "continue-on-error" in step], name
        # A step that runs although another failed is a look more; any other condition could leave one out.
        assert {step.get("if", "${{ !cancelled() }}") for step in job["steps"]} == {"${{ !cancelled() }}"}, name
        assert job["steps"][0]["with"] == {"persist-credentials": "false"}, name
        assert "secrets." not in str(tree), name
    for name in ("agent-drift.yml", "ci.yml"):
        assert found[name]["on"]["pull_request"] == "", name
        assert found[name]["on"]["push"] == {"branches": ["main", "master"]}, name
    assert "schedule" in found["agent-drift.yml"]["on"] and "schedule" in found[names.REPORT_FILE]["on"]
    jobs = {name: next(iter(tree["jobs"].values())) for name, tree in found.items()}
    drift, report, ci = (jobs[name] for name in ("agent-drift.yml", names.REPORT_FILE, "ci.yml"))
    assert [step["run"] for step in drift["steps"][-2:]] == [GATE + "drift", GATE + "check"]
    assert report["steps"][-1]["run"] == GATE + 'report --days "$DAYS"'
    assert (ci["name"], ci["steps"][-1]["run"]) == (CI_CHECK, "make check lint test")
