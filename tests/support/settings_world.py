"""A rendered agent repository, and a GitHub on the loopback interface that knows it."""

from __future__ import annotations

import io
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_runtime.local import doctor, setup
from agent_runtime.local.settings.checks import CI_CHECK
from support import engines, interpreter
from support.github import FullGitHub

REPOSITORY = "acme/checkout-restart"
TOKEN = "ghp_" + "s3cret" * 6
WORKFLOW = "agent-investigate-act.yml"
ANSWERS = {
    "agent_name": "Checkout Restart",
    "github_repository": REPOSITORY,
    "approvers": "bob,acme/sre",
    "use_case": "blank",
}


def render(folder: Path, **changes: str) -> Path:
    """Render the repository of `ANSWERS`, or of others, below `folder`."""
    template = engines.clone_template(folder / "template")
    return engines.run_copier(template, folder / "agent", {**ANSWERS, **changes})


@dataclass(frozen=True)
class Clone:
    """Somebody with a clone and a token.

    Arguments:
        root: of the clone.
        github: what answers.
        url: where the API is found; by default at `github` itself.
    """

    root: Path
    github: FullGitHub
    url: str = ""

    def environ(self, **changes: str) -> dict[str, str]:
        """The variables that the commands read."""
        return {"GITHUB_API_URL": self.url or self.github.url, "GH_TOKEN": TOKEN, **changes}

    def setup(self, **options: Any) -> str:
        """Run setup and return what it prints; errors are raised."""
        out = io.StringIO()
        try:
            assert setup.run(self.root, options.pop("repository", None), self.environ(), out=out, **options) == 0
        finally:
            assert TOKEN not in out.getvalue()
        return out.getvalue()

    def doctor(self, **environ: str) -> dict[str, list[str]]:
        """Run doctor and return the problems of each check that is not in order."""
        out = io.StringIO()
        code = doctor.run(self.root, None, self.environ(**environ), as_json=True, out=out)
        assert TOKEN not in out.getvalue()
        document = json.loads(out.getvalue())
        assert code == (0 if document["closed"] else 3)
        found = {
            check["name"]: [each["problem"] for each in check["findings"] if each["state"] != "note"]
            for check in document["checks"]
        }
        assert document["closed"] is not any(found.values())
        return {name: problems for name, problems in found.items() if problems}

    def said_by_doctor(self) -> str:
        """What doctor says to a person, notes included, as one line."""
        out = io.StringIO()
        doctor.run(self.root, None, self.environ(), as_json=False, out=out)
        return " ".join(out.getvalue().split())

    def command(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run agent_runner.py as a person does."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GITHUB_", "GH_"))}
        return subprocess.run(
            [interpreter.python(), "-B", "agent_runner.py", *words],
            cwd=self.root,
            env={**clean, **self.environ(**environ)},
            capture_output=True,
            text=True,
            check=False,
        )


def fresh() -> FullGitHub:
    """GitHub after the first push: people and the workflow are there, and every setting is GitHub's default."""
    github = FullGitHub(REPOSITORY)
    github.token = TOKEN
    github.people = {"bob": "write", "alice": "admin", "mallory": "read"}
    github.teams = {"sre": True}
    github.workflows = {WORKFLOW: "active", "agent-report.yml": "active"}
    github.codeowners_errors = []
    return github


def close_by_hand(github: FullGitHub) -> None:
    """What docs/SETUP_GUIDE.md, step 3, has a person do in the browser."""
    github.token_permissions = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
    github.actions_permissions["sha_pinning_required"] = True
    source = {"ruleset_source_type": "Repository", "ruleset_source": REPOSITORY, "ruleset_id": 7}
    review = {
        "allowed_merge_methods": ["squash"],
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": True,
        "require_last_push_approval": True,
        "required_approving_review_count": 1,
        "required_review_thread_resolution": False,
    }
    checks = {
        "do_not_enforce_on_create": False,
        "strict_required_status_checks_policy": False,
        "required_status_checks": [{"context": CI_CHECK}],
    }
    github.rules = [
        {**source, "type": "pull_request", "parameters": review},
        {**source, "type": "required_status_checks", "parameters": checks},
        {**source, "type": "non_fast_forward"},
    ]


def writes(github: FullGitHub) -> list[str]:
    """What was asked of GitHub that may change something: method and the path's end."""
    return [
        f"{method} {path.partition('/environments/')[2] or path}" for method, path in github.requests if method != "GET"
    ]
