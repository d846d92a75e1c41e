"""Who owns a file: the team, the template, or both."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping

from agent_runtime.local.linter.actions import MANIFEST
from agent_runtime.local.update.files import File
from agent_runtime.model.config import CONFIG_PATH

ANSWERS_FILE = ".copier-answers.yml"
CODEOWNERS = ".github/CODEOWNERS"

TEAM, TEMPLATE, BOTH = "team", "template", "both"

# The team's files: an update neither changes them nor brings a deleted one back.  copier.yml says the same to Copier.
SEEDS = (
    ".github/agent-policies/",
    "agent_runner.py",
    "docs/RUNBOOK.md",
    "services.yml",
    "tests/conversation.json",
    "tests/example_service.py",
    "tests/policy.yml",
    "tests/test_agent.py",
)
# Those that the workflow needs: written where they are missing, and never again.
NEEDED = (
    ".github/actions/prepare-act/",
    ".github/actions/prepare-investigate/",
    "requirements-agent.in",
    "requirements-agent.lock",
)
# What the template renders and nobody edits; other rendered files, such as README.md, belong to both.
_RENDERED = (ANSWERS_FILE, CONFIG_PATH.as_posix(), ".github/workflows/")


class Owners:
    """The owners of the files of a rendering."""

    def __init__(self, rendered: Mapping[str, File]) -> None:
        try:
            manifest: Dict[str, Any] = json.loads(rendered[MANIFEST].data)
            self.folders: List[str] = [folder + "/" for folder in manifest["folders"]]
            self._files = set(manifest["files"])
        except (KeyError, ValueError, TypeError):  # an old template without one
            self.folders, self._files = ["agent_runtime/", "sdk/", "specs/"], set()
        self._rendered = set(rendered)

    def of(self, name: str) -> str:
        """The owner of the file at this path."""
        if is_below(name, SEEDS + NEEDED):
            return TEAM
        if name in self._files or name.startswith(tuple(self.folders)):
            return TEMPLATE
        return TEMPLATE if name in self._rendered and is_below(name, _RENDERED) else BOTH


def is_below(name: str, paths: Any) -> bool:
    """Whether a file is one of these, or in one of these folders, which end with a slash."""
    return any(name.startswith(path) if path.endswith("/") else name == path for path in paths)
