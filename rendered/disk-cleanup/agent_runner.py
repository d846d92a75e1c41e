"""Looks at a folder that has a quota, and proposes to delete the oldest files when it holds more.

Over the quota: the oldest files that nobody changed for a week, as few as bring it back under the quota, each named
with its size, its time and its inode number.  Otherwise: nothing to do.
Deleted are exactly these files, each only if it is still the one that was approved.  Which folders there are is in
services.yml; how files are listed and deleted, in agent_runtime/toolkit/files.py.  It runs where the disk is: on
self-hosted runners, see docs/RUNBOOK.md.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional

from agent_runtime import (
    ActionResult,
    ActionStatus,
    AgentRunner,
    Finding,
    InvestigationResult,
    ProposedAction,
    RiskLevel,
    Severity,
)
from agent_runtime.toolkit import files, services
from agent_runtime.toolkit.errors import FOLDER_UNUSABLE, ToolError

ACTION = "delete_files"

OLDER_THAN_DAYS = 7  # a file that somebody changed later may still be in use; the policy has the same limit
MAX_FILES = 50  # in one plan: more is nothing that a reviewer can read
SHOWN = 20  # of the files that a plan can't name

SERVICES = Path(__file__).with_name("services.yml")


class DiskCleanupAgent(AgentRunner):
    """Proposes to delete old files of a folder over its quota; deletes exactly these, and measures again."""

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """List the folder, add up, and choose the oldest files."""
        place = catalogue().get(resource)
        with files.opened(place["folder"]) as folder:
            found = files.listing(folder)
        excess = found.used - place["quota_bytes"]
        seen = {"folder": place["folder"], "used": found.used, "quota": place["quota_bytes"], "files": len(found.files)}
        others = [Finding("What the trigger said, not verified", Severity.INFO, context)] if context else []
        if found.left_out:
            what = f"{len(found.left_out)} files or folders can't be named in a plan: delete them by hand if need be"
            others.append(Finding(what, Severity.LOW, {"left_out": list(found.left_out[:SHOWN])}))
        if excess <= 0:
            return InvestigationResult((Finding("The quota is kept", evidence=seen), *others), confidence=1.0)

        before = f"{datetime.now(timezone.utc) - timedelta(days=OLDER_THAN_DAYS):%Y-%m-%dT%H:%M:%S}"
        old = sorted((file for file in found.files if file.modified < before), key=lambda file: file.modified)
        chosen: List[files.File] = []
        while old and len(chosen) < MAX_FILES and sum(file.bytes for file in chosen) < excess:
            chosen.append(old.pop(0))
        over = Finding(f"The folder holds {excess} bytes more than its quota", Severity.MEDIUM, seen)
        if not chosen:
            none = Finding(f"No file that can be named is older than {OLDER_THAN_DAYS} days", Severity.HIGH)
            return InvestigationResult((over, none, *others), "nothing to do: no old files", RiskLevel.MEDIUM)
        freed = sum(file.bytes for file in chosen)
        if freed < excess:
            others.insert(0, Finding("Deleting these files is not enough: look for what fills it", Severity.HIGH))
        return InvestigationResult(
            findings=(over, *others),
            recommendation="delete old files",
            risk_level=RiskLevel.MEDIUM,
            confidence=0.9,
            proposed_action=ProposedAction(
                action=ACTION,
                parameters={
                    "folder": place["folder"],
                    "used": found.used,
                    "quota": place["quota_bytes"],
                    "files": [file.parameters() for file in chosen],
                },
                reason=f"{resource} holds {found.used} bytes, and its quota is {place['quota_bytes']}. "
                f"These {len(chosen)} files are the oldest; together they have {freed} bytes.",
                risk_level=RiskLevel.MEDIUM,
                reversible=False,
                rollback="Deleted files don't come back. Restore them from a backup, or have them made again.",
            ),
        )

    def observe(self, resource: str) -> Dict[str, Any]:
        """What must not change between plan and action: which folder it is.  Each file is looked at by `act()`."""
        place = catalogue().get(resource)
        with files.opened(place["folder"]) as folder:
            return {"folder": place["folder"], "identity": files.identity(folder)}

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """Delete the approved files, each if it is unchanged, and measure the folder again."""
        approved = context or {}
        if action != ACTION or not approved.get("files"):
            return ActionResult(ActionStatus.FAILED, details={"error": f"nothing was done: {action} is not known"})
        changes: List[str] = []
        left: Dict[str, str] = {}
        try:
            place = catalogue().get(resource)
            if approved["folder"] != place["folder"]:
                raise ToolError(FOLDER_UNUSABLE, f"services.yml names {place['folder']} for {resource} now")
            with files.opened(place["folder"]) as folder:
                for file in approved["files"]:
                    outcome, why = files.delete(folder, file)
                    if outcome == files.DELETED:
                        changes.append(f"deleted {file['path']}, {file['bytes']} bytes")
                    elif outcome == files.LEFT:
                        left[file["path"]] = why
                used = files.listing(folder).used
        except ToolError as problem:
            status = ActionStatus.PARTIAL if changes else ActionStatus.FAILED
            return ActionResult(status, tuple(changes), details={"error": problem.line()})

        seen = {"used_before": approved["used"], "used_after": used, "quota": place["quota_bytes"]}
        if left:
            first, why = next(iter(left.items()))
            error = f"{len(left)} of {len(approved['files'])} files are still there; {first}: {why}"
            status = ActionStatus.PARTIAL if changes else ActionStatus.FAILED
            return ActionResult(status, tuple(changes), seen, details={"error": error, "left": left})
        if not changes:
            return ActionResult(ActionStatus.ALREADY_DONE, (), seen)
        if used > place["quota_bytes"]:
            error = f"all files are deleted, and {used} bytes are still over the quota: look for what fills the folder"
            return ActionResult(ActionStatus.FAILED, tuple(changes), seen, details={"error": error})
        return ActionResult(ActionStatus.SUCCESS, tuple(changes), seen)


def catalogue() -> services.Catalogue[Dict[str, Any]]:
    """The folders that may be looked at, from services.yml."""
    return services.read(SERVICES, services.form({"folder": _folder, "quota_bytes": services.number(1, 2**50)}))


def _folder(node: services.Node) -> str:
    text = node.text()
    if not text.startswith("/") or os.path.normpath(text) != text or text == "/":
        raise node.wrong("must be an absolute path, without . and .. and a / at its end")
    return text


if __name__ == "__main__":
    raise SystemExit(DiskCleanupAgent.main())
