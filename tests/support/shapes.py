"""JSON in the shapes of GitHub's REST description, https://docs.github.com/en/rest.

Tests hold these shapes to the description itself.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

CREATED = "2026-01-01T00:00:00Z"
API = "https://api.github.com"
NOT_FOUND = {"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"}

# Fields of a repository that hold an address below its own, and what is appended.
_REPOSITORY_URLS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
    "url": "",
}

_REPOSITORY_COUNTERS = (
    "forks",
    "forks_count",
    "network_count",
    "open_issues",
    "open_issues_count",
    "size",
    "stargazers_count",
    "subscribers_count",
    "watchers",
    "watchers_count",
)


def number(text: str) -> int:
    """Return an id that follows from a name, so that it stays the same while other things come and go."""
    return (
        1 + sum(ord(letter) * pow(131, place, 100_000_000) for place, letter in enumerate(text.lower())) % 100_000_000
    )


def user(login: str, kind: str = "User") -> dict[str, Any]:
    """Return a user as GitHub describes one; the id follows from the login."""
    escaped = quote(login, safe="")
    url = API + "/users/" + escaped
    return {
        "login": login,
        "id": number(login),
        "node_id": "U_" + login,
        "avatar_url": "https://avatars.githubusercontent.com/" + escaped,
        "gravatar_id": "",
        "url": url,
        "html_url": "https://github.com/" + escaped,
        "followers_url": url + "/followers",
        "following_url": url + "/following{/other_user}",
        "gists_url": url + "/gists{/gist_id}",
        "starred_url": url + "/starred{/owner}{/repo}",
        "subscriptions_url": url + "/subscriptions",
        "organizations_url": url + "/orgs",
        "repos_url": url + "/repos",
        "events_url": url + "/events{/privacy}",
        "received_events_url": url + "/received_events",
        "type": kind,
        "site_admin": False,
    }


def public_user(login: str, kind: str = "User") -> dict[str, Any]:
    """Return what GitHub shows everybody about a user."""
    return dict(
        user(login, kind),
        user_view_type="public",
        name=login,
        company=None,
        blog="",
        location=None,
        email=None,
        hireable=None,
        bio=None,
        public_repos=0,
        public_gists=0,
        followers=0,
        following=0,
        created_at=CREATED,
        updated_at=CREATED,
    )


def private_user(login: str, plan: str | None) -> dict[str, Any]:
    """Return what GitHub shows a user about itself."""
    return dict(
        public_user(login),
        user_view_type="private",
        private_gists=0,
        total_private_repos=0,
        owned_private_repos=0,
        disk_usage=0,
        collaborators=0,
        two_factor_authentication=True,
        plan={"name": plan or "free", "space": 1, "private_repos": 1, "collaborators": 0},
    )


def organization(login: str, plan: str | None) -> dict[str, Any]:
    """Return an organisation; its plan only where it is reported."""
    url = API + "/orgs/" + login
    answer = {
        "login": login,
        "id": number(login),
        "node_id": "O_" + login,
        "url": url,
        "repos_url": url + "/repos",
        "events_url": url + "/events",
        "hooks_url": url + "/hooks",
        "issues_url": url + "/issues",
        "members_url": url + "/members{/member}",
        "public_members_url": url + "/public_members{/member}",
        "avatar_url": "https://avatars.githubusercontent.com/" + login,
        "description": "",
        "has_organization_projects": True,
        "has_repository_projects": True,
        "public_repos": 1,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "html_url": "https://github.com/" + login,
        "type": "Organization",
        "created_at": CREATED,
        "updated_at": CREATED,
        "archived_at": None,
    }
    if plan:
        answer["plan"] = {"name": plan, "space": 1, "private_repos": 1}
    return answer


def team(owner: str, slug: str) -> dict[str, Any]:
    """Return a team as it stands among reviewers."""
    url = f"{API}/orgs/{owner}/teams/{slug}"
    return {
        "id": number(owner + "/" + slug),
        "node_id": "T_" + slug,
        "name": slug,
        "slug": slug,
        "description": "",
        "privacy": "closed",
        "notification_setting": "notifications_enabled",
        "permission": "pull",
        "type": "organization",
        "organization_id": number(owner),
        "url": url,
        "html_url": f"https://github.com/orgs/{owner}/teams/{slug}",
        "members_url": url + "/members{/member}",
        "repositories_url": url + "/repos",
        "parent": None,
    }


def team_full(owner: str, slug: str) -> dict[str, Any]:
    """Return a team as its own address gives it."""
    answer = dict(
        team(owner, slug),
        created_at=CREATED,
        updated_at=CREATED,
        members_count=2,
        repos_count=1,
        organization=dict(
            organization(owner, None),
            has_organization_projects=True,
        ),
    )
    return answer


def repository(
    full_name: str, default_branch: str, visibility: str, owner_type: str, *, administrator: bool
) -> dict[str, Any]:
    """Return a repository as its own address gives it."""
    owner, _, name = full_name.partition("/")
    url = f"{API}/repos/{full_name}"
    page = "https://github.com/" + full_name
    answer: dict[str, Any] = {key: url + rest for key, rest in _REPOSITORY_URLS.items()}
    answer.update(
        id=number(full_name),
        node_id="R_" + name,
        name=name,
        full_name=full_name,
        owner=user(owner, owner_type),
        private=visibility != "public",
        visibility=visibility,
        html_url=page,
        clone_url=page + ".git",
        git_url=f"git://github.com/{full_name}.git",
        ssh_url=f"git@github.com:{full_name}.git",
        svn_url=page,
        mirror_url=None,
        homepage=None,
        description=None,
        language="Python",
        license=None,
        fork=False,
        archived=False,
        disabled=False,
        default_branch=default_branch,
        has_issues=True,
        has_projects=False,
        has_wiki=False,
        has_pages=False,
        has_discussions=False,
        permissions={"admin": administrator, "maintain": administrator, "push": True, "triage": True, "pull": True},
        pushed_at=CREATED,
        created_at=CREATED,
        updated_at=CREATED,
    )
    for counter in _REPOSITORY_COUNTERS:
        answer[counter] = 0
    return answer


def environment(repository_name: str, name: str) -> dict[str, Any]:
    """Return an environment as GitHub creates it when a workflow names one that is not there: without protection."""
    return {
        "id": number(name),
        "node_id": "EN_" + name,
        "name": name,
        "url": f"{API}/repos/{repository_name}/environments/{name}",
        "html_url": f"https://github.com/{repository_name}/deployments/activity_log?environments_filter={name}",
        "created_at": CREATED,
        "updated_at": CREATED,
        "can_admins_bypass": True,
        "protection_rules": [],
        "deployment_branch_policy": None,
    }


def environment_summary(settings: dict[str, Any]) -> dict[str, Any]:
    """Return an environment as an approval record names it."""
    keys = ("id", "node_id", "name", "url", "html_url", "created_at", "updated_at")
    return {key: settings[key] for key in keys}


def protection_rules(
    reviewers: list[dict[str, Any]], *, prevent_self_review: bool, wait_timer: int, branches: bool
) -> list[dict[str, Any]]:
    """Return the rules of an environment; GitHub leaves out what is not set."""
    rules: list[dict[str, Any]] = []
    if branches:
        rules.append({"id": 1, "node_id": "GA_branch", "type": "branch_policy"})
    if reviewers:
        rules.append(
            {
                "id": 2,
                "node_id": "GA_reviewers",
                "type": "required_reviewers",
                "prevent_self_review": prevent_self_review,
                "reviewers": reviewers,
            }
        )
    if wait_timer:
        rules.append({"id": 3, "node_id": "GA_timer", "type": "wait_timer", "wait_timer": wait_timer})
    return rules


def branch_policy(pattern: str) -> dict[str, Any]:
    """Return a deployment branch policy; `tag:<pattern>` is that of a tag."""
    kind, colon, name = pattern.partition(":")
    return {
        "id": number(pattern),
        "node_id": f"GA_{number(pattern)}",
        "name": name if colon else pattern,
        "type": kind if colon else "branch",
    }


def artifact(
    repository_name: str, name: str, run_id: str, created: datetime, kept: timedelta = timedelta(days=90)
) -> dict[str, Any]:
    """Return an artifact of a run, made at `created` and kept for `kept`; its id follows from run and name."""
    moment = when(created)
    own = number(f"{run_id}/{name}")
    url = f"{API}/repos/{repository_name}/actions/artifacts/{own}"
    return {
        "id": own,
        "node_id": f"A_{own}",
        "name": name,
        "size_in_bytes": 0,
        "url": url,
        "archive_download_url": url + "/zip",
        "expired": False,
        "created_at": moment,
        "expires_at": when(created + kept),
        "updated_at": moment,
        "workflow_run": {
            "id": int(run_id),
            "repository_id": number(repository_name),
            "head_repository_id": number(repository_name),
            "head_branch": "main",
            "head_sha": "0" * 40,
        },
    }


def when(moment: datetime) -> str:
    """Return an aware datetime as GitHub writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def workflow_run(
    repository_name: str, run_id: int, *, run_number: int, title: str, event: str, file: str, actor: str, created: str
) -> dict[str, Any]:
    """Return a run that has just begun."""
    path = ".github/workflows/" + file
    url = f"{API}/repos/{repository_name}/actions/runs/{run_id}"
    source = repository(repository_name, "main", "public", "Organization", administrator=False)
    sha = "0" * 40
    nobody = {"name": actor, "email": actor + "@example.com"}
    return {
        "id": run_id,
        "node_id": f"WFR_{run_id}",
        "name": title,
        "display_title": title,
        "head_branch": "main",
        "head_sha": sha,
        "path": path,
        "run_number": run_number,
        "run_attempt": 1,
        "event": event,
        "status": "in_progress",
        "conclusion": None,
        "workflow_id": number(path),
        "check_suite_id": run_id,
        "check_suite_node_id": f"CS_{run_id}",
        "url": url,
        "html_url": f"https://github.com/{repository_name}/actions/runs/{run_id}",
        "pull_requests": [],
        "created_at": created,
        "updated_at": created,
        "run_started_at": created,
        "actor": user(actor),
        "triggering_actor": user(actor),
        "jobs_url": url + "/jobs",
        "logs_url": url + "/logs",
        "check_suite_url": f"{API}/repos/{repository_name}/check-suites/{run_id}",
        "artifacts_url": url + "/artifacts",
        "cancel_url": url + "/cancel",
        "rerun_url": url + "/rerun",
        "previous_attempt_url": None,
        "workflow_url": f"{API}/repos/{repository_name}/actions/workflows/{number(path)}",
        "head_commit": {
            "id": sha,
            "tree_id": sha,
            "message": "",
            "timestamp": created,
            "author": nobody,
            "committer": nobody,
        },
        "repository": source,
        "head_repository": source,
    }


def job(repository_name: str, run_id: int, name: str, status: str, created: str) -> dict[str, Any]:
    """Return a job of a run that has not ended."""
    own = number(f"{run_id}/{name}")
    return {
        "id": own,
        "run_id": run_id,
        "run_url": f"{API}/repos/{repository_name}/actions/runs/{run_id}",
        "run_attempt": 1,
        "node_id": f"CR_{own}",
        "head_sha": "0" * 40,
        "url": f"{API}/repos/{repository_name}/actions/jobs/{own}",
        "html_url": f"https://github.com/{repository_name}/actions/runs/{run_id}/job/{own}",
        "status": status,
        "conclusion": None,
        "created_at": created,
        "started_at": created,
        "completed_at": None,
        "name": name,
        "steps": [],
        "check_run_url": f"{API}/repos/{repository_name}/check-runs/{own}",
        "labels": ["ubuntu-latest"],
        "runner_id": None,
        "runner_name": None,
        "runner_group_id": None,
        "runner_group_name": None,
        "workflow_name": "Agent Runtime - Investigate & Act",
        "head_branch": "main",
    }


# What a job that ended says of its runner when it never had one: skipped, or cancelled while it waited.
WITHOUT_A_RUNNER = {"runner_id": 0, "runner_name": "", "runner_group_id": 0, "runner_group_name": ""}


def on_a_runner(started: str) -> dict[str, Any]:
    """Return what a job says from the moment at which a runner took it."""
    first = {"name": "Set up job", "status": "completed", "conclusion": "success", "number": 1}
    return {
        "runner_id": 21,
        "runner_name": "GitHub Actions 21",
        "runner_group_id": 2,
        "runner_group_name": "GitHub Actions",
        "steps": [{**first, "started_at": started, "completed_at": started}],
    }


def label(repository_name: str, name: str) -> dict[str, Any]:
    """Return a label."""
    return {
        "id": number(name),
        "node_id": "LA_" + name,
        "url": f"{API}/repos/{repository_name}/labels/{name}",
        "name": name,
        "description": "",
        "color": "d4c5f9",
        "default": False,
    }


def issue(
    repository_name: str, position: int, text: tuple[str, str], author: dict[str, Any], labels: list[str]
) -> dict[str, Any]:
    """Return an issue that is open; `text` is its title and its body."""
    title, body = text
    url = f"{API}/repos/{repository_name}/issues/{position}"
    return {
        "id": 1000 + position,
        "node_id": f"I_{position}",
        "url": url,
        "repository_url": f"{API}/repos/{repository_name}",
        "labels_url": url + "/labels{/name}",
        "comments_url": url + "/comments",
        "events_url": url + "/events",
        "html_url": f"https://github.com/{repository_name}/issues/{position}",
        "number": position,
        "state": "open",
        "state_reason": None,
        "title": title,
        "body": body,
        "user": author,
        "labels": [label(repository_name, name) for name in labels],
        "assignee": None,
        "assignees": [],
        "milestone": None,
        "locked": False,
        "comments": 0,
        "closed_at": None,
        "created_at": CREATED,
        "updated_at": CREATED,
        "author_association": "NONE",
    }


def issue_comment(repository_name: str, position: int, id: int, body: str, author: dict[str, Any]) -> dict[str, Any]:
    """Return a comment on an issue."""
    base = f"{API}/repos/{repository_name}/issues"
    return {
        "id": id,
        "node_id": f"IC_{id}",
        "url": f"{base}/comments/{id}",
        "html_url": f"https://github.com/{repository_name}/issues/{position}#issuecomment-{id}",
        "issue_url": f"{base}/{position}",
        "body": body,
        "user": author,
        "created_at": CREATED,
        "updated_at": CREATED,
        "author_association": "NONE",
    }


def pull_request(repository_name: str, position: int, body: dict[str, Any]) -> dict[str, Any]:
    """Return what the runtime reads of a pull request that is open, and what tests look at; not all that GitHub has."""
    return {
        "number": position,
        "state": "open",
        "html_url": f"https://github.com/{repository_name}/pull/{position}",
        "title": body["title"],
        "body": body["body"],
        "draft": body.get("draft", False),
        "user": user("an-app[bot]", "Bot"),
        "head": {"ref": body["head"]},
        "base": {"ref": body["base"]},
    }


def git_reference(repository_name: str, reference: str, sha: str) -> dict[str, Any]:
    """Return a git reference to a commit."""
    url = f"{API}/repos/{repository_name}/git"
    return {
        "ref": reference,
        "node_id": "REF_" + reference,
        "url": f"{url}/{reference}",
        "object": {"type": "commit", "sha": sha, "url": f"{url}/commits/{sha}"},
    }


def secret(name: str) -> dict[str, Any]:
    """Return a secret: its name and no value."""
    return {"name": name, "created_at": CREATED, "updated_at": CREATED}


def variable(name: str, value: str) -> dict[str, Any]:
    """Return a variable."""
    return {"name": name, "value": value, "created_at": CREATED, "updated_at": CREATED}


def workflow(repository_name: str, file: str, state: str) -> dict[str, Any]:
    """Return a workflow."""
    path = ".github/workflows/" + file
    page = f"https://github.com/{repository_name}"
    return {
        "id": number(path),
        "node_id": f"W_{number(path)}",
        "name": file,
        "path": path,
        "state": state,
        "created_at": CREATED,
        "updated_at": CREATED,
        "url": f"{API}/repos/{repository_name}/actions/workflows/{number(path)}",
        "html_url": f"{page}/blob/main/{path}",
        "badge_url": f"{page}/workflows/{file}/badge.svg",
    }


def commit(repository_name: str, login: str, date: str) -> dict[str, Any]:
    """Return a commit that somebody wrote and committed."""
    sha = "c" * 40
    url = f"{API}/repos/{repository_name}"
    person = {"name": login, "email": login + "@example.com", "date": date}
    return {
        "sha": sha,
        "node_id": "C_" + sha,
        "url": f"{url}/commits/{sha}",
        "html_url": f"https://github.com/{repository_name}/commit/{sha}",
        "comments_url": f"{url}/commits/{sha}/comments",
        "commit": {
            "url": f"{url}/git/commits/{sha}",
            "author": person,
            "committer": person,
            "message": "Change the schedule",
            "tree": {"sha": sha, "url": f"{url}/git/trees/{sha}"},
            "comment_count": 0,
            "verification": {
                "verified": False,
                "reason": "unsigned",
                "payload": None,
                "signature": None,
                "verified_at": None,
            },
        },
        "author": user(login),
        "committer": user(login),
        "parents": [],
    }


def actions_policy(repository_name: str, id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Return an Actions policy, as GitHub's documentation shows one; its description has none yet."""
    return {
        "id": id,
        "target": "actions",
        "source_type": "Repository",
        "source": repository_name,
        "node_id": f"RUL_{id}",
        "created_at": CREATED,
        "updated_at": CREATED,
        **body,
    }
