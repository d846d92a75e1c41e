"""The gate of a repository whose environments GitHub does not protect: an issue shows the plan, a comment approves it.

A comment and an issue can be edited, copied and forged by more people than an environment's review.  So nothing
in them is trusted: what is approved is found from the run that asked, and the issue must be, character by
character, what the runtime writes about it.  Everything here is a pure function of GitHub's JSON; each check refuses
with a code of its own, and what is missing or ambiguous refuses.

The order of the checks: `issue.py`.  One module, because each check relies on what the one before it found.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate.checks import refuse, show
from agent_runtime.gate.policy import asked_for
from agent_runtime.model import names
from agent_runtime.model.documents import Approvals, Approver, Plan, Run, is_hex64
from agent_runtime.model.inputs import LOGIN
from agent_runtime.model.plan import SHORT_DIGEST_LENGTH

_MAY_WRITE = ("write", "admin")
_TRIGGERS = ("workflow_dispatch", "repository_dispatch", "schedule")
_APPROVE = re.compile(rf"/approve ([0-9a-f]{{{SHORT_DIGEST_LENGTH},64}})")
# Whatever begins so rejects; what stands between this and the reason is left out of the reason.
_REJECT = re.compile(r"/reject\w*[\s:,.;*_\u2013\u2014-]*(.*)", re.IGNORECASE)
_FENCE = re.compile(r"(`{3,}|~{3,})")
_ORIGIN = re.compile(r"Run `([1-9][0-9]{0,18})`, artifact `([1-9][0-9]{0,18})` with SHA-256 `([0-9a-f]{64})`")


class UnauthorizedCommenter(codes.GateRefused):
    """Somebody without a say commented: refused, and not even answered."""


@dataclass(frozen=True)
class Origin:
    """Where the report behind an issue is.

    Arguments:
        artifact_sha256: of the archive.
    """

    run_id: str
    artifact_id: int
    artifact_sha256: str

    def line(self) -> str:
        """The one line of the issue that says so, in Markdown."""
        return f"Run `{self.run_id}`, artifact `{self.artifact_id}` with SHA-256 `{self.artifact_sha256}`"


def _field(value: Any, *keys: str) -> Any:
    """The value below `keys`, or None where something on the way is not an object or has no such key."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _same_login(one: object, other: object) -> bool:
    return isinstance(one, str) and isinstance(other, str) and bool(one) and one.casefold() == other.casefold()


def gate_problems(permissions: Mapping[str, str], initiators: Sequence[str]) -> Tuple[str, ...]:
    """Return what keeps an issue from being a gate; an empty tuple means that another human can approve in one.

    An approver without write access is harmless as long as another one can approve.  A team is a mistake in any case:
    nobody would count as its member.

    Arguments:
        permissions: of every approver on the repository, as GitHub names it; what is not a login needs none.
        initiators: logins of who started or re-ran the run; empty where there is no run yet.
    """
    teams = [name for name in permissions if not LOGIN.fullmatch(name)]
    problems = [f"{show(name)} is not a single person, and only persons can comment" for name in teams]
    people = [name for name in permissions if name not in teams]
    able = [login for login in people if permissions[login] in _MAY_WRITE]
    if any(not any(_same_login(login, initiator) for initiator in initiators) for login in able):
        return tuple(problems)
    problems += [
        f"{show(login)} has no write access (GitHub says: {show(permissions[login])})"
        for login in people
        if login not in able
    ]
    problems += [f"{show(login)} started this run" for login in able]
    return tuple(problems or ["nobody is named as approver"])


def check_possible(permissions: Mapping[str, str], run: Run) -> None:
    """Refuse to ask where no other human could approve.

    Arguments: as `gate_problems()`; the initiators are those of `run`.

    Raises:
        GateRefused: IGATE01, with everything that stands against it.
    """
    problems = gate_problems(permissions, (run.actor, run.triggering_actor))
    if problems:
        refuse(codes.ISSUE_GATE_IMPOSSIBLE, "; ".join(problems))


def check_enough(permissions: Mapping[str, str], run: Run, wanted: Approvals) -> None:
    """Refuse to ask where too few other humans could approve.

    Arguments: as `check_possible()`.

    Raises:
        GateRefused: IGATE01.
    """
    able = [
        login
        for login, permission in permissions.items()
        if permission in _MAY_WRITE
        and not any(_same_login(login, initiator) for initiator in (run.actor, run.triggering_actor))
        and (not wanted.approvers or any(_same_login(login, named) for named in wanted.approvers))
    ]
    if len(able) < wanted.count:
        refuse(
            codes.ISSUE_GATE_IMPOSSIBLE,
            f"the policy wants {asked_for(wanted.count, wanted.approvers or None)}, and of the approvers in "
            f".github/agent-config.yml who can write here and did not start this run, that leaves "
            f"{', '.join(show(login) for login in able) or 'nobody'}",
        )


def check_author(comment: Mapping[str, Any], approvers: Sequence[str], permission: str) -> None:
    """Refuse a comment whose author is not a human among the approvers with write access (threats T15, T32).

    Arguments:
        comment: GitHub's JSON.
        approvers: of the configuration at this commit.
        permission: the author's on the repository, as GitHub names it now.

    Raises:
        UnauthorizedCommenter: IGATE06, and the author has no say in this repository.
        GateRefused: IGATE06.
    """
    user = comment.get("user")
    login = _field(user, "login")
    if not isinstance(login, str) or not login:
        raise UnauthorizedCommenter(codes.COMMENT_AUTHOR, "GitHub does not name who commented (a deleted account?)")
    number = _field(user, "id")
    if _field(user, "type") != "User" or not isinstance(number, int) or isinstance(number, bool):
        raise UnauthorizedCommenter(
            codes.COMMENT_AUTHOR, f"{show(login)} is a {show(_field(user, 'type'))}, not a human"
        )
    named = any(_same_login(login, approver) for approver in approvers)
    if not named:
        kind = codes.GateRefused if permission in _MAY_WRITE else UnauthorizedCommenter
        raise kind(codes.COMMENT_AUTHOR, f"{show(login)} is not among the approvers")
    if permission not in _MAY_WRITE:
        refuse(codes.COMMENT_AUTHOR, f"{show(login)} has no write access any more (GitHub says: {permission})")


def check_may_approve(login: str, sealed: Plan) -> None:
    """Refuse an approver who started or re-ran the investigation (threat T15), or whom the plan does not name.

    Raises:
        GateRefused: IGATE06.
    """
    run, named = sealed.run, sealed.approvals.approvers
    for role, initiator in (("started", run.actor), ("re-ran", run.triggering_actor)):
        if _same_login(login, initiator):
            refuse(codes.COMMENT_AUTHOR, f"{show(login)} {role} run {show(run.run_id)}")
    if named and not any(_same_login(login, name) for name in named):
        refuse(codes.COMMENT_AUTHOR, f"the policy lets only {', '.join(named)} approve this plan, not {show(login)}")


def named_approver(comment: Mapping[str, Any], approvers: Sequence[str]) -> str:
    """Return the login of a comment's author, who is among the approvers; empty for anybody else."""
    login = _field(comment, "user", "login")
    return next((str(login) for approver in approvers if _same_login(login, approver)), "")


def approver_of(
    comment: Mapping[str, Any], approvers: Sequence[str], permission: str, sealed: Plan, digest: str
) -> Optional[Approver]:
    """Return who approved the plan with an earlier comment, by the same checks; None where it does not count."""
    try:
        check_author(comment, approvers, permission)
        check_comment(comment, str(comment.get("body")), digest)
        check_may_approve(comment["user"]["login"], sealed)
    except codes.GateRefused:
        return None
    author = comment["user"]
    return Approver(login=author["login"], id=author["id"], type=author["type"])


def check_issue(issue: Mapping[str, Any], number: int) -> None:
    """Refuse an issue that a job of this repository did not open to ask for an approval, or that is closed.

    Raises:
        GateRefused: IGATE02.
    """
    if issue.get("number") != number or issue.get("pull_request") is not None:
        refuse(codes.ISSUE_UNKNOWN, f"#{number} is not an issue")
    author, kind = _field(issue, "user", "login"), _field(issue, "user", "type")
    if author != names.JOBS_AUTHOR or kind != "Bot":
        refuse(codes.ISSUE_UNKNOWN, f"#{number} was opened by {show(author)}, not by {names.JOBS_AUTHOR}")
    labels = issue.get("labels")
    found = [_field(label, "name") for label in labels] if isinstance(labels, list) else []
    if names.GATE_LABEL not in found:
        refuse(codes.ISSUE_UNKNOWN, f"#{number} has no label {names.GATE_LABEL}")
    if issue.get("state") != "open":
        refuse(codes.ISSUE_UNKNOWN, f"#{number} is {show(issue.get('state'))}")


def read_origin(issue: Mapping[str, Any]) -> Origin:
    """Return where the issue says that its report is.

    Raises:
        GateRefused: IGATE03; it does not say it.
    """
    found = _ORIGIN.findall(str(issue.get("body") or ""))
    if not found:
        refuse(codes.ISSUE_EDITED, "the issue does not say which report it shows")
    # The runtime's own line is the last; the agent's words come before it.
    run_id, artifact_id, artifact_sha256 = found[-1]
    return Origin(run_id, int(artifact_id), artifact_sha256)


def check_page(issue: Mapping[str, Any], title: str, body: str) -> None:
    """Refuse an issue that is not, character by character, what the runtime writes about the sealed plan (threat T3).

    Raises:
        GateRefused: IGATE03.
    """
    for name, expected in (("title", title), ("text", body)):
        found = str(issue.get({"title": "title", "text": "body"}[name]) or "")
        if found != expected:
            refuse(codes.ISSUE_EDITED, f"the {name} of the issue {_first_difference(found, expected)}")


def _first_difference(found: str, expected: str) -> str:
    pairs = zip(found.split("\n"), expected.split("\n"))
    for number, (one, other) in enumerate(pairs, 1):
        if one != other:
            return f"differs in line {number}: '{show(one)}' instead of '{show(other)}'"
    return f"has {len(found)} characters instead of {len(expected)}"


def check_origin(
    run: Mapping[str, Any], artifact: Mapping[str, Any], origin: Origin, *, repository: str, branch: str
) -> None:
    """Refuse a report that is not an artifact of a run of this repository's own workflow on its default branch.

    Threats T7, T10, T21: an artifact of another run, a run of an edited workflow on a branch.

    Arguments:
        run, artifact: GitHub's JSON of what `origin` names.
        branch: the default branch.

    Raises:
        GateRefused: IGATE04 for the run, GATE01 for the artifact.
    """
    facts: Dict[str, Tuple[object, object]] = {
        "id": (str(run.get("id")), origin.run_id),
        "repository": (_field(run, "repository", "full_name"), repository),
        "workflow": (str(run.get("path") or "").partition("@")[0], names.INVESTIGATE_WORKFLOW),
        "branch": (run.get("head_branch"), branch),
        "source": (_field(run, "head_repository", "full_name"), repository),
    }
    _compare(codes.ISSUE_RUN, f"run {origin.run_id}", facts)
    if run.get("event") not in _TRIGGERS:
        refuse(codes.ISSUE_RUN, f"run {origin.run_id} was started by {show(run.get('event'))}")
    parts: Dict[str, Tuple[object, object]] = {
        "id": (artifact.get("id"), origin.artifact_id),
        "name": (artifact.get("name"), names.REPORT_ARTIFACT),
        "run": (_field(artifact, "workflow_run", "id"), run.get("id")),
        "digest": (artifact.get("digest"), "sha256:" + origin.artifact_sha256),
    }
    _compare(codes.GATE_ARTIFACT, f"artifact {origin.artifact_id}", parts)
    if artifact.get("expired") is not False:
        refuse(codes.GATE_ARTIFACT, f"artifact {origin.artifact_id} has expired")


def _compare(code: str, what: str, facts: Mapping[str, Tuple[object, object]]) -> None:
    """Refuse at the first fact whose two values, the found and the expected one, differ."""
    for name, (found, expected) in facts.items():
        if found != expected:
            refuse(code, f"the {name} of {what} is {show(found)}, not {show(expected)}")


def check_sealed_run(sealed: Plan, run: Mapping[str, Any]) -> None:
    """Refuse a plan that does not say what GitHub says of its run, or whose run was started again since (threat T19).

    Raises:
        GateRefused: IGATE04.
    """
    known = {
        "run_id": str(run.get("id")),
        "run_attempt": run.get("run_attempt"),
        "repository": _field(run, "repository", "full_name"),
        "sha": run.get("head_sha"),
        "ref": f"refs/heads/{run.get('head_branch')}",
        "actor": _field(run, "actor", "login"),
        "triggering_actor": _field(run, "triggering_actor", "login"),
        "event": run.get("event"),
    }
    for name, value in known.items():
        if getattr(sealed.run, name) != value:
            refuse(
                codes.ISSUE_RUN,
                f"the plan says {name} {show(getattr(sealed.run, name))}, GitHub says {show(value)}",
            )


def check_commit(sealed: Plan, current: Run, branch: str) -> None:
    """Refuse unless this run is the first attempt of one on the default branch, at the plan's commit (T10, T19, T21).

    Raises:
        GateRefused: GATE03.
    """
    facts: Dict[str, Tuple[object, object]] = {
        "repository": (current.repository, sealed.run.repository),
        "ref": (current.ref, "refs/heads/" + branch),
        "run_attempt": (current.run_attempt, 1),
        "event": (current.event, "issue_comment"),
    }
    if current.sha != sealed.run.sha:
        refuse(
            codes.GATE_RUN,
            f"the repository moved on since the plan was made: this run is at commit {show(current.sha)}, the "
            f"plan at {show(sealed.run.sha)}",
        )
    _compare(codes.GATE_RUN, "this run", facts)


def find_comment(comments: Sequence[Mapping[str, Any]], number: int) -> Mapping[str, Any]:
    """Return the comment that started this run, as it is now.

    Raises:
        UnauthorizedCommenter: IGATE05; it is gone, so that nobody knows whose it was.
    """
    for comment in comments:
        if comment.get("id") == number:
            return comment
    raise UnauthorizedCommenter(codes.COMMENT_UNUSABLE, f"comment {number} is not there any more")


def rejection(comments: Sequence[Mapping[str, Any]], approvers: Sequence[str]) -> Optional[Tuple[str, str]]:
    """Return login and reason of the first approver who rejected, or None.

    An approval is read strictly and a rejection generously, because overlooking a rejection executes what somebody
    refused.  Any line outside of quotes and code that begins so rejects, beside whatever else the comment says:
    `/Reject: why`, `- /reject`, `**/rejected**`, also after invisible characters and in compatibility forms.  An edited
    rejection counts as well: who can edit the comments of others must not be able to take one back.
    """
    for comment in comments:
        login = _field(comment, "user", "login")
        if any(_same_login(login, approver) for approver in approvers):
            for line in _own_lines(str(comment.get("body") or "")):
                found = _REJECT.match(line)
                if found:
                    return str(login), found.group(1).rstrip()
    return None


def _own_lines(text: str) -> Iterator[str]:
    """The lines of a comment without quotes, fenced code and what comes before a word, in compatible form (NFKC)."""
    fence = ""
    for line in text.splitlines():
        bare = unicodedata.normalize("NFKC", line).lstrip()
        mark = _FENCE.match(bare)
        if mark and (not fence or mark.group(1).startswith(fence)):
            fence = "" if fence else mark.group(1)
        elif not fence and not bare.startswith(">"):
            # Whitespace, what has no glyph, and the marks of lists and emphasis.
            start = next(
                (
                    at
                    for at, sign in enumerate(bare)
                    if unicodedata.category(sign)[0] not in "ZC" and sign not in "-*+_\\"
                ),
                len(bare),
            )
            yield bare[start:]


def check_no_rejection(comments: Sequence[Mapping[str, Any]], approvers: Sequence[str]) -> None:
    """Refuse what any approver rejected, whoever approved it before or after.

    Raises:
        GateRefused: IGATE07.
    """
    found = rejection(comments, approvers)
    if found:
        login, why = found
        refuse(codes.PLAN_REJECTED, f"{show(login)} rejected it{': ' + show(why) if why else ''}")


def _first_line(comment: Mapping[str, Any]) -> str:
    return str(comment.get("body") or "").replace("\r\n", "\n").split("\n", 1)[0].rstrip(" \t")


def check_comment(comment: Mapping[str, Any], posted: str, digest: str) -> None:
    """Refuse a comment that was edited, does not approve, or names another plan than this one (threats T8, T16).

    GitHub's times have whole seconds, so an edit within the first is seen by the text alone.

    Arguments:
        comment: GitHub's JSON, now.
        posted: its text when it was posted, as GitHub's event has it.
        digest: of the plan, 64 hexadecimal digits.

    Raises:
        GateRefused: IGATE05, or GATE02 for another plan.
    """
    app = comment.get("performed_via_github_app")
    if app is not None:  # a token that somebody gave to a program approves nothing
        refuse(codes.COMMENT_UNUSABLE, f"the app {show(_field(app, 'slug'))} wrote it in a person's name")
    created, updated = comment.get("created_at"), comment.get("updated_at")
    if not isinstance(created, str) or created != updated or comment.get("body") != posted:
        refuse(codes.COMMENT_UNUSABLE, "it was edited, and edited comments don't count")
    first = _first_line(comment)
    found = _APPROVE.fullmatch(first)
    if not found:
        refuse(
            codes.COMMENT_UNUSABLE,
            f"its first line is '{show(first)}', not /approve and {SHORT_DIGEST_LENGTH} to 64 lower-case "
            "hexadecimal digits",
        )
    given = found.group(1)
    if not is_hex64(digest) or not hmac.compare_digest(digest[: len(given)], given):
        refuse(codes.GATE_DIGEST, f"the comment approves the plan {given}, this issue's plan is {digest}")
