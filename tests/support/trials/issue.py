"""Trials of the codes of a gate that is an issue, and of the settings of a repository on GitHub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from agent_runtime import codes
from agent_runtime.gate import issue_checks
from agent_runtime.gate.pages import review
from agent_runtime.local.codes import (
    APPROVER_UNUSABLE,
    GATE_STILL_OPEN,
    GITHUB_SILENT,
    PLAN_WITHOUT_GATE,
    REPOSITORY_UNKNOWN,
    RIGHTS_MISSING,
    SETTING_REFUSED,
    TOKEN_UNUSABLE,
)
from agent_runtime.model import plan
from support import examples, settings_world, shapes
from support.settings_world import REPOSITORY
from support.simulated import CONFIG, POLICY
from support.trials.lab import Attempt, Lab, both, trial

DIGEST = plan.digest(examples.sealed())
APPROVERS = ("bob", "carol")


def asked(**changes: Any) -> dict[str, Any]:
    """The issue of a run."""
    origin = issue_checks.Origin("4711", 17, "a" * 64).line()
    text = review.render_issue(
        examples.report(), digest=DIGEST, approvers=APPROVERS, origin=origin, run_url="https://github.com/acme/x"
    )
    author = shapes.user("github-actions[bot]", "Bot")
    return {**shapes.issue(REPOSITORY, 1, text, author, ["agent-approval"]), **changes}


def shown(found: dict[str, Any]) -> None:
    """Compare an issue with what the runtime wrote."""
    whole = asked()
    issue_checks.check_page(found, whole["title"], whole["body"])


def comment(body: str) -> dict[str, Any]:
    """A comment of bob's."""
    return shapes.issue_comment(REPOSITORY, 1, 9, body, shapes.user("bob", "User"))


def commented(body: str) -> None:
    """Judge a comment."""
    issue_checks.check_comment(comment(body), body, DIGEST)


def sealed_by(sha: str) -> None:
    """Judge a run that GitHub shows with this commit."""
    run = shapes.workflow_run(
        REPOSITORY,
        4711,
        run_number=1,
        title="checkout",
        event="workflow_dispatch",
        file="agent-investigate-act.yml",
        actor="alice",
        created=shapes.CREATED,
    )
    issue_checks.check_sealed_run(examples.sealed(), {**run, "head_sha": sha})


both(
    codes.ISSUE_UNKNOWN,
    lambda _: issue_checks.check_issue(asked(state="closed"), 1),
    lambda _: issue_checks.check_issue(asked(), 1),
)
both(codes.ISSUE_EDITED, lambda _: shown(asked(title="Approve?")), lambda _: shown(asked()))
both(codes.ISSUE_RUN, lambda _: sealed_by("0" * 40), lambda _: sealed_by(examples.SHA))
both(codes.COMMENT_UNUSABLE, lambda _: commented("looks good"), lambda _: commented(f"/approve {DIGEST[:12]}"))
both(
    codes.ISSUE_GATE_IMPOSSIBLE,
    lambda _: issue_checks.check_possible({"alice": "write"}, examples.run()),
    lambda _: issue_checks.check_possible({"alice": "write", "bob": "write"}, examples.run()),
)
both(
    codes.PLAN_REJECTED,
    lambda _: issue_checks.check_no_rejection([comment("/reject not now")], APPROVERS),
    lambda _: issue_checks.check_no_rejection([], APPROVERS),
)
both(
    codes.COMMENT_AUTHOR,
    lambda _: issue_checks.check_may_approve("alice", examples.sealed()),
    lambda _: issue_checks.check_may_approve("bob", examples.sealed()),
)


@trial(codes.APPROVAL_MISSING)
def a_second_approval_is_missing(lab: Lab) -> Iterator[Attempt]:
    clone = lab.clone()
    text = CONFIG.replace("public", "private-free").replace("[bob]", "[bob, carol]") + "approval_gate: issue\n"
    clone.config.write_text(text)
    (clone.root / ".github" / "agent-policies" / "bumper.yml").write_text(POLICY + "    approvals: 2\n")
    code, said, _ = clone.simulate("--approve", "bob", "--approve", "carol")
    yield lambda: said
    assert code == codes.EXIT_OK, said
    yield lambda: said.replace(f"{codes.APPROVAL_MISSING}: bob approved", "bob approved")


# Settings on GitHub.
def by_setup(
    code: str,
    spoil: Callable[[settings_world.Clone], object],
    fix: Callable[[settings_world.Clone], object],
    *words: str,
    **environ: str,
) -> None:
    """A trial of `setup` at a terminal; the first sees these words and variables."""

    @trial(code)
    def play(lab: Lab) -> Iterator[Attempt]:
        clone = lab.settings()
        spoil(clone)
        yield lambda: clone.command("setup", *words, **environ)
        fix(clone)
        yield lambda: clone.command("setup")


def nothing(clone: settings_world.Clone) -> None:
    """Leave it as it is."""


def plan_of(visibility: str, name: str) -> Callable[[settings_world.Clone], None]:
    """Move the repository to another plan."""
    return lambda clone: vars(clone.github).update(visibility=visibility, plan=name)


def administrator(is_one: bool) -> Callable[[settings_world.Clone], None]:
    """Take a token of somebody who is an administrator, or not."""
    return lambda clone: vars(clone.github).update(administrator=is_one)


by_setup(TOKEN_UNUSABLE, nothing, nothing, GH_TOKEN="")
by_setup(REPOSITORY_UNKNOWN, nothing, nothing, "--repo", "acme/another")
by_setup(APPROVER_UNUSABLE, nothing, nothing, "--reviewer", "nobody-of-this-name")
by_setup(PLAN_WITHOUT_GATE, plan_of("private", "free"), plan_of("public", "free"))
by_setup(RIGHTS_MISSING, administrator(False), administrator(True))
by_setup(
    GITHUB_SILENT,
    lambda clone: setattr(clone.github, "budget", 3),
    lambda clone: setattr(clone.github, "budget", None),
)


@trial(GATE_STILL_OPEN)
def another_branch_may_use_the_environment(lab: Lab) -> Iterator[Attempt]:
    clone = lab.settings()
    clone.setup()
    clone.github.branch_policies["agent-act"].append("dev")
    yield lambda: clone.command("setup")
    clone.setup(exact=True)
    yield lambda: clone.command("doctor")


@trial(SETTING_REFUSED)
def github_refuses_a_setting(lab: Lab) -> Iterator[Attempt]:
    clone = lab.settings()
    answer = vars(clone.github)
    answer["_put_environment"] = lambda *_: (500, {"message": "Server Error", "documentation_url": "", "status": "500"})
    yield lambda: clone.command("setup")
    del answer["_put_environment"]
    yield lambda: clone.command("setup")
