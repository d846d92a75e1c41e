"""agent-update.yml through the running workflow: a release becomes a pull request, an issue, or nothing."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from support import engines, gitserver, shapes, updates
from support.environment import REPOSITORY
from support.github import FullGitHub
from support.harness.engine import ActionsHost, Repository, Run
from support.harness.node import ActionsService
from support.world import NAME

DRIFT = ".github/workflows/agent-drift.yml"
UPDATE = ".github/workflows/agent-update.yml"
WORKFLOW = ".github/workflows/agent-investigate-act.yml"
PLAN = "agent_runtime/model/plan.py"
BRANCH = "agent-update/v1.1.0"
CHANGELOG = """\
# Changelog

## Unreleased

- Not out yet.

## [v1.1.0] - 2027-01-01

- Plans are sealed faster. @octocat fixes #1.

## v1.0.0 - 2026-12-01

- The first release.
"""
# What GitHub does with a push of workflow files by who may not.
PRE_RECEIVE = """\
#!/bin/sh
while read -r old new ref; do
    if [ "$WORKFLOWS" != write ] && git diff --name-only main "$new" | grep -q ^.github/workflows/; then
        echo "refusing to allow a GitHub App to create or update workflow without workflows permission" >&2
        exit 1
    fi
done
"""


def _neutral(template: Path) -> None:
    updates.append(template / PLAN, "\n# Release 1.1.0\n")
    updates.append(template / "README.md.jinja", "\nRelease 1.1.0\n")
    updates.replace(template / f"{WORKFLOW}.jinja", "      - name: Investigate\n", "      - name: Look around\n")


def _weaker(template: Path) -> None:
    _neutral(template)
    updates.replace(template / f"{WORKFLOW}.jinja", "    environment: agent-approval\n", "")


@dataclass
class Place:
    """A repository on GitHub, behind its template's newest release."""

    bare: Path
    github: FullGitHub
    repository: Repository
    actions: ActionsHost

    def schedule(self, **how: object) -> Run:
        return self.actions.schedule(UPDATE, **how)

    def allow_app(self) -> None:
        """Install an App that may push workflow files, as docs/SETUP_GUIDE.md says."""
        self.github.app_keys["Iv1.app"] = "-----KEY-----"
        self.github.protect("agent-update")
        self.repository.variables["AGENT_UPDATE_APP"] = "Iv1.app"
        self.repository.environment_secrets["agent-update"] = {"AGENT_UPDATE_KEY": "-----KEY-----"}

    def report_again(self, run: Run) -> Run:
        """Let the last job see what the one before made, as it will next week."""
        return self.actions.rerun(run, "report", triggering_actor="alice")

    def branches(self) -> list[str]:
        return gitserver.git(self.bare, "for-each-ref", "--format=%(refname:short)").split()

    def show(self, name: str) -> str:
        return gitserver.git(self.bare, "show", f"{BRANCH}:{name}")


@pytest.fixture(scope="module")
def releases(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Templates with one release more, by what it does to the gate."""
    found = {}
    for name, edit in (("neutral", _neutral), ("weaker", _weaker)):
        later = tmp_path_factory.mktemp(name) / "gated-agents"

        def release(folder: Path, edit: object = edit) -> None:
            edit(folder)  # type: ignore[operator]
            (folder.parent / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")

        found[name] = updates.release_after(template, later, release)
    return found


@pytest.fixture
def place(
    request: pytest.FixtureRequest,
    service: ActionsService,
    template: Path,
    releases: dict[str, Path],
    project: Path,
    locked_python: Path,
    tmp_path: Path,
) -> Iterator[Place]:
    """A repository that finds a release; the neutral one, unless the test names another."""
    later = releases[getattr(request, "param", "neutral")]
    work = updates.born(project, tmp_path / "work", template, later)
    bare = tmp_path / "served" / f"{NAME}.git"
    gitserver.git(tmp_path, "clone", "--quiet", "--bare", str(work), str(bare))
    gitserver.git(bare, "config", "http.receivepack", "true")
    hook = bare / "hooks" / "pre-receive"
    hook.write_text(PRE_RECEIVE, encoding="utf-8")
    hook.chmod(0o755)
    with FullGitHub(NAME) as github:

        def allowed(token: str) -> dict[str, str] | None:
            granted = github.grants.get(token, {})
            return {"WORKFLOWS": granted.get("workflows", "")} if granted.get("contents") == "write" else None

        def note(method: str, path: str) -> None:
            listed = gitserver.git(bare, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
            github.references.update(line.split(" ") for line in listed)  # type: ignore[misc]

        with gitserver.serve(gitserver.Origin(bare, work), allowed, tmp_path / "served") as server:
            server.after = note
            address = server.url.partition("/acme")[0]
            repository = Repository(bare, NAME, github, server=address)
            actions = ActionsHost(
                service,
                repository,
                locked_python,
                tmp_path / "runs",
                pythons=[Path(sys.prefix).resolve()],
                reachable=[later],
            )
            yield Place(bare, github, repository, actions)


# Accepted by name, when somebody starts the run.
NAMED = (f"CON04@{WORKFLOW}:jobs.approve.environment", f"new:CON04@{WORKFLOW}:jobs.approve")
CON04 = {"version": "v1.1.0", "accept": " ".join(NAMED)}


def results(run: Run) -> dict[str, str]:
    return {name: job.result for name, job in run.jobs.items()}


def open_pull(place: Place, number: int, branch: str, **user: str) -> None:
    """Let a pull request be open: an App's, or a person's."""
    body = {"title": "Update", "body": "", "head": branch, "base": "main"}
    pull = shapes.pull_request(NAME, number, body)
    pull["user"].update(user)
    place.github.pulls.append(pull)


def test_with_an_app_a_release_becomes_one_pull_request(place: Place) -> None:
    place.allow_app()
    open_pull(place, 11, "agent-update/v1.0.9")
    open_pull(place, 12, "agent-update/v1.0.10", login="alice", type="User")
    open_pull(place, 13, "agent-update/v1.10.0")
    open_pull(place, 14, "dependabot/v1.0.0")

    place.repository.variables["AGENT_RUNNER"] = "maintenance"

    run = place.schedule()

    assert run.result == "success", run.log
    assert results(run) == {"find": "success", "make": "success", "propose": "success", "report": "skipped"}
    machines = {name: job.labels for name, job in run.jobs.items() if job.result == "success"}
    assert machines == {"find": ("maintenance",), "make": ("maintenance",), "propose": ("ubuntu-latest",)}
    pull, *others = place.github.pulls
    assert {each["number"]: each["state"] for each in others} == {11: "closed", 12: "open", 13: "open", 14: "open"}
    assert pull["body"].endswith("\nReplaces #11.\n") and "closed: #11\n" in run.log
    assert pull["title"] == "Update from the template: v1.0.0 to v1.1.0"
    assert (pull["head"]["ref"], pull["base"]["ref"]) == (BRANCH, "main")
    body = pull["body"]
    order = ("## The gate", "finds nothing that is weaker", "## Upgrade notes", "## Drift", "None: ", "## The vendored")
    assert [body.index(text) for text in order] == sorted(body.index(text) for text in order)
    assert "```text\n## [v1.1.0] - 2027-01-01\n\n- Plans are sealed faster. @octocat fixes #1.\n```" in body
    assert "Not out yet" not in body and "The first release" not in body
    manifest = hashlib.sha256((place.show("agent_runtime/manifest.json") + "\n").encode()).hexdigest()
    assert f"| `{manifest}` |" in body
    assert "2 change, 2 of them are as in the release" in body
    assert place.show(PLAN).endswith("# Release 1.1.0")
    assert "name: Look around" in place.show(WORKFLOW)
    log = gitserver.git(place.bare, "log", "--format=%an %s", f"main..{BRANCH}")
    assert log == "github-actions[bot] Update from the template: v1.0.0 to v1.1.0"
    assert place.github.issues == {}

    again = place.schedule()

    assert results(again) == {"find": "success", **dict.fromkeys(("make", "propose", "report"), "skipped")}
    assert "nothing: v1.1.0 is proposed already" in again.log
    assert place.github.pulls == [pull, *others]


def test_the_weekly_comparison_with_the_template_finds_an_edit(place: Place, tmp_path: Path) -> None:
    fresh = place.actions.schedule(DRIFT)
    assert fresh.result == "success", fresh.log
    assert "drift: none from v1.0.0" in fresh.log

    work = tmp_path / "work"
    updates.append(work / UPDATE, "# Ours\n")
    torn = (".github/workflows/ci.yml", "Makefile", "requirements-agent.lock")
    for name in torn:
        updates.append(work / name, "<<<<<<< before updating\n")
    engines.commit_all(work, "Edit")
    gitserver.git(place.bare, "fetch", "--quiet", str(work), "main:main")
    edited = place.actions.schedule(DRIFT)
    assert edited.result == "failure"
    assert f"edited   {UPDATE}" in edited.log
    assert [name for name in torn if f"CHK007: {name}:" not in edited.log] == []


def test_only_the_job_that_runs_no_code_of_the_release_gets_the_apps_key(service: ActionsService) -> None:
    text = (REPOSITORY / "template" / UPDATE).read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    jobs = workflow["jobs"]
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "find": {"contents": "read"},
        "make": {"contents": "read"},
        "propose": {"contents": "read", "actions": "read", "issues": "read"},
        "report": {"contents": "read", "actions": "read", "issues": "write"},
    }
    assert [name for name, job in jobs.items() if "environment" in job or "secrets." in str(job)] == ["propose"]
    assert "token" not in str(jobs["make"])
    assert [name for name, job in jobs.items() if " update --" in str(job) or "copier" in str(job)] == ["make"]


def test_without_an_app_one_issue_has_the_commands_and_is_updated(place: Place) -> None:
    run = place.schedule()

    assert run.result == "success", run.log
    assert results(run)["propose"] == "skipped"
    issue = place.github.issues[1]
    assert issue["title"] == "Update from the template: v1.0.0 to v1.1.0"
    assert [label["name"] for label in issue["labels"]] == ["agent-update"]
    assert "git switch --create agent-update/v1.1.0\npython agent_runner.py update --to v1.1.0\n" in issue["body"]
    assert (place.github.pulls, place.branches()) == ([], ["main"])
    assert place.github.deployments == []

    issue["title"], issue["body"] = "Update from the template: v0.9.0 to v1.0.0", "of last month"
    place.report_again(run)
    assert list(place.github.issues) == [1]
    assert issue["title"] == "Update from the template: v1.0.0 to v1.1.0"
    assert "v1.1.0" in issue["body"]

    issue["state"] = "closed"
    assert "left: somebody closed issue #1 about this release" in place.report_again(run).log
    assert list(place.github.issues) == [1]


@pytest.mark.parametrize("place", ["weaker"], indirect=True)
def test_what_weakens_the_gate_waits_for_somebody_who_accepts_it_by_name(place: Place) -> None:
    place.allow_app()

    run = place.schedule()

    assert results(run) == {"find": "success", "make": "success", "propose": "skipped", "report": "success"}, run.log
    assert (place.github.pulls, place.branches()) == ([], ["main"])
    body = place.github.issues[1]["body"]
    assert "`UPD12: nobody accepted 2 of the differences`" in body
    assert f'gh workflow run agent-update.yml -f version=v1.1.0 -f accept="{" ".join(NAMED)}"' in body
    typed = " \\\n".join(f"  --accept {name}" for name in NAMED)
    assert f"python agent_runner.py update --to v1.1.0 \\\n{typed}\n" in body

    # The machine that ran the release's code keeps another patch than it made.
    accepted = place.actions.dispatch(UPDATE, CON04, actor="alice", hooks={"propose": lambda run: swap(run, b"broken")})
    assert "error: UPD21: git: " in accepted.log
    place.actions.rerun(accepted, "propose", triggering_actor="mallory", hooks={"propose": other_codes})
    assert f"error: UPD12: nobody accepted {NAMED[0]} when this run was started" in accepted.log
    assert accepted.result == "failure"
    assert (place.github.pulls, place.branches()) == ([], ["main"])

    place.actions.rerun(accepted, "propose", triggering_actor="alice", hooks={"propose": restore})

    assert accepted.result == "success", accepted.log
    (pull,) = place.github.pulls
    first = "## The gate\n\n**1 difference to decide about.** `alice` accepted those below when starting the run;"
    assert pull["body"].startswith(first)
    assert "| **`CON04`** | `.github/workflows/agent-investigate-act.yml:" in pull["body"]
    assert pull["body"].endswith("\nCloses #1.\n")


def swap(run: Run, patch: bytes) -> None:
    """Let the job `make` have kept this patch."""
    files = {"update.patch": patch, "report.json": b"{}"}
    kept = run.artifacts.upload("swapped", run.attempt, list(files.items()), 1)
    run.jobs["make"].outputs.update(update_id=str(kept.id), update_digest=kept.digest)


def restore(run: Run) -> None:
    """Let it have kept what it made."""
    run.inputs.update(CON04)
    kept = run.artifacts.named("agent-update")
    run.jobs["make"].outputs.update(update_id=str(kept.id), update_digest=kept.digest)


def other_codes(run: Run) -> None:
    """Its own patch, which nobody accepted."""
    restore(run)
    run.inputs["accept"] = f"CON04 CON05@{WORKFLOW}:jobs.approve.environment"
