"""Workflow execution protections: GitHub itself refuses whoever and whatever may not start the gate's workflows.

They come before everything that a run checks, and hold where an environment has no reviewers.  Pure, and built from
GitHub's documentation: nothing here was tried on GitHub itself.

Sources: https://docs.github.com/en/actions/how-tos/administer/control-workflow-execution and
https://docs.github.com/en/rest/actions/policies
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from agent_runtime.local.settings import github_plans
from agent_runtime.local.settings.model import Approver, Gate, Repository
from agent_runtime.model import names
from agent_runtime.text.escape import visible

Policy = Mapping[str, Any]

_ACTORS, _EVENTS = "restrict_actions_actors", "restrict_action_events"
# The roles maintain, write and admin, by the numbers that they have in rulesets.
_WHO_MAY_WRITE = tuple({"id": number, "type": "RepositoryRole"} for number in (2, 4, 5))


def is_offered(repository: Repository, answer: Optional[str]) -> bool:
    """Whether GitHub offers them here: for public repositories, and for private ones of Team and Enterprise."""
    if repository.visibility != "private" or github_plans.protection(repository, answer) in (
        github_plans.Protection.REVIEWERS,
    ):
        return True
    return repository.plan == "team" or (repository.plan is None and answer == github_plans.TEAM_ANSWER)


def wanted(seen: Gate, *, triggers: str, by_issue: bool) -> Tuple[Policy, ...]:
    """Return what there is to be, each as the body of the request that makes it.

    Arguments:
        triggers: the answer, such as `manual+alert`.
        by_issue: whether a comment by an approver starts the job that acts.
    """
    started_by = {"alert": "repository_dispatch", "schedule": "schedule"}
    events = ["workflow_dispatch", *(event for word, event in started_by.items() if word in triggers)]
    found = [
        _body(names.WORKFLOW_FILE, events, [*_WHO_MAY_WRITE, *_actors(seen.initiators)]),
        _body(names.REPORT_FILE, ["schedule", "workflow_dispatch"], _WHO_MAY_WRITE),
    ]
    if by_issue:
        found.append(_body(names.APPROVAL_WORKFLOW_FILE, ["issue_comment"], _actors(seen.approvers)))
    return tuple(found)


def _actors(named: Sequence[Approver]) -> List[Dict[str, Any]]:
    return [{"id": each.id, "type": each.kind} for each in named if each.id is not None]


def _body(file: str, events: Sequence[str], actors: Sequence[Mapping[str, Any]]) -> Policy:
    return {
        "name": f"gate: {file}",
        "enforcement": "active",
        "conditions": {"workflow_path": {"include": [".github/workflows/" + file], "exclude": []}},
        "rules": [
            {"type": _ACTORS, "parameters": {"allowed_actors": list(actors)}},
            {"type": _EVENTS, "parameters": {"allowed_events": list(events)}},
        ],
    }


def outstanding(seen: Gate, bodies: Sequence[Policy]) -> Iterator[Tuple[Policy, Optional[int]]]:
    """Yield each that is not there as it is to be, with the number of the one that has its name, or None."""
    own = {str(each.get("name")): each for each in _known(seen) if each.get("source_type") == "Repository"}
    for body in bodies:
        found = own.get(body["name"])
        if found is None or _meaning(found) != _meaning(body):
            yield body, None if found is None else found["id"]


def obstacles(seen: Gate, bodies: Sequence[Policy]) -> Iterator[str]:
    """Say which other protection keeps a workflow from an event that is to start it."""
    ours = {body["name"] for body in bodies}
    for body in bodies:
        (path,) = body["conditions"]["workflow_path"]["include"]
        for other in _known(seen):
            events = _listed(other, _EVENTS, "allowed_events")
            if other.get("name") in ours or other.get("enforcement") != "active" or events is None:
                continue
            lacking = sorted(set(_listed(body, _EVENTS, "allowed_events") or ()) - set(events))
            if lacking and _is_about(other, path):
                named = visible(str(other.get("name")), 60)
                yield f"the Actions policy '{named}' keeps {', '.join(lacking)} from starting {path}"


def _known(seen: Gate) -> Tuple[Policy, ...]:
    return seen.protections if isinstance(seen.protections, tuple) else ()


def _is_about(policy: Policy, path: str) -> bool:
    condition = (policy.get("conditions") or {}).get("workflow_path") or {"include": ["~ALL"], "exclude": []}

    def matches(patterns: Sequence[str]) -> bool:
        return any(pattern == "~ALL" or fnmatchcase(path, pattern) for pattern in patterns)

    return matches(condition.get("include") or ()) and not matches(condition.get("exclude") or ())


def _listed(policy: Policy, kind: str, key: str) -> Optional[List[Any]]:
    for rule in policy.get("rules") or ():
        if rule.get("type") == kind:
            return list((rule.get("parameters") or {}).get(key) or ())
    return None


def _meaning(policy: Policy) -> Tuple[Any, ...]:
    """What a policy does, without what GitHub adds and without an order."""
    paths = (policy.get("conditions") or {}).get("workflow_path") or {}
    actors = _listed(policy, _ACTORS, "allowed_actors")
    events = _listed(policy, _EVENTS, "allowed_events")
    return (
        policy.get("enforcement"),
        sorted(paths.get("include") or ()),
        sorted(paths.get("exclude") or ()),
        None if actors is None else sorted((str(each.get("type")), each.get("id")) for each in actors),
        None if events is None else sorted(events),
    )
