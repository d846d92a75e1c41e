"""Write `rendered/`: for each use case what a team gets, for one combination of answers.

So a pull request that changes the template shows what it changes for teams. A folder has the files whose content
differs from the template's file of the same path; what is copied as it is, such as the runtime and locks, is in
`template/` already. `FILES.txt` lists every file of the repository with its owner.

Usage: python tools/rendered.py --write | --check
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import copier
from plumbum import local

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "template")]  # so that it runs as a file too

from agent_runtime.local.linter.actions import MANIFEST  # noqa: E402  the path above comes first
from agent_runtime.local.update import files, owners  # noqa: E402
from tools import manifest  # noqa: E402

FOLDER = ROOT / "rendered"
LIST = "FILES.txt"
# What rendering reads.
PARTS = ("copier.yml", "rules.jinja", "template")
# The lines of the answers file that say from where the template came.
ORIGIN = (b"_commit:", b"_src_path:")

# Together they give every question an answer other than its default, and every plan, trigger and license its turn.
COMBINATIONS: dict[str, dict[str, str]] = {
    # What most teams begin with: an environment is the gate.
    "service-restart": {"agent_name": "Checkout Restart", "github_repository": "acme/checkout-restart"},
    # An issue is the gate, nothing has an environment, and messages are sent.
    "config-rollback": {
        "agent_name": "Config Rollback",
        "description": "Undoes a change of the configuration that did harm",
        "github_repository": "acme/config-rollback",
        "approvers": "octocat, hubot",
        "triggers": "manual+alert+schedule",
        "schedule_cron": "*/30 6-18 * * MON-FRI",
        "act_permissions": "contents, pull-requests",
        "repository_plan": "private-free",
        "license": "Proprietary",
        "advanced": "yes",
        "notify": "yes",
    },
    # An environment is the gate, some actions need no asking, variables are sealed, a backend keeps the trail.
    "scale-resources": {
        "agent_name": "Scale Resources",
        "github_repository": "acme/scale-resources",
        "approvers": "acme/sre",
        "triggers": "manual+schedule",
        "approval_ttl_minutes": "240",
        "auto_approval": "yes",
        "repository_plan": "private-enterprise",
        "license": "Apache-2.0",
        "advanced": "yes",
        "investigate_secrets": "METRICS_TOKEN",
        "investigate_variables": "METRICS_URL",
        "act_variables": "CLUSTER, REGION",
        "audit_host": "audit.example.com",
    },
    # An issue is the gate beside environments that hold secrets; a container, own runners, a login to a cloud.
    "security-response": {
        "agent_name": "Security Response",
        "github_repository": "acme/security-response",
        "approvers": "acme/security",
        "repository_plan": "private-team",
        "advanced": "yes",
        "investigate_oidc": "yes",
        "investigate_container": "ghcr.io/acme/agent:1.2@sha256:" + "0123456789abcdef" * 4,
        "act_secrets": "AGENT_ACT_TOKEN, KEYS_TOKEN",
        "investigate_runner": "self-hosted, readers",
        "act_runner": "self-hosted, actors",
        "gate_runner": "ubuntu-24.04",
        "ephemeral_runners": "yes",
        "act_timeout_minutes": "45",
    },
    # A model looks for the cause: a newer Python, and a key to ask it with.
    "incident-response": {
        "agent_name": "Incident Response",
        "github_repository": "acme/incident-response",
        "approvers": "acme/sre",
        "triggers": "manual+alert",
    },
    # Where the disk is: self-hosted runners that live on, one for each role, and no secret.
    "disk-cleanup": {
        "agent_name": "Disk Cleanup",
        "github_repository": "acme/disk-cleanup",
        "triggers": "manual+schedule",
        "advanced": "yes",
        "act_secrets": "",
        "investigate_runner": "self-hosted, cache-read",
        "act_runner": "self-hosted, cache-write",
    },
    # The least: a person starts it, and the agent is still to be written.
    "blank": {
        "agent_name": "Blank Agent",
        "agent_slug": "blank",
        "github_repository": "acme/blank",
        "triggers": "manual",
        "advanced": "yes",
        "act_secrets": "",
        "agent_python": "3.10",
        "toolkit": "http",
    },
}


def copy_template(target: Path) -> Path:
    """Copy what rendering reads, uncommitted work included, with a fresh manifest; without git, so no version."""
    for name in manifest.tracked(ROOT):
        if name.startswith(PARTS):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    (target / "template" / MANIFEST).write_text(manifest.build(target), encoding="utf-8", newline="\n")
    return target


def render(template: Path, use_case: str) -> dict[str, bytes]:
    """What `rendered/` has for a use case, by path."""
    target = template.parent / use_case
    given = {"use_case": use_case, **COMBINATIONS[use_case]}
    with local.env(PATH=""):  # else Copier starts git for every file, which takes as long as all the rest
        # A person's own defaults change nothing.
        copier.run_copy(str(template), target, given, settings=copier.Settings(), defaults=True, quiet=True)
    made, source = files.below(target), files.below(template / "template")
    kept = {
        f"{use_case}/{name}": file.data
        for name, file in made.items()
        if file != source.get(name) and not name.endswith(".lock")
    }
    answers = f"{use_case}/{owners.ANSWERS_FILE}"
    kept[answers] = b"".join(line for line in kept[answers].splitlines(keepends=True) if not line.startswith(ORIGIN))
    owner = owners.Owners(made)
    listed = "".join(f"{owner.of(name):<8}  {name}\n" for name in sorted(made))
    return {**kept, f"{use_case}/{LIST}": listed.encode()}


def render_all() -> dict[str, bytes]:
    """What `rendered/` has, by path; each use case in a process of its own."""
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(len(COMBINATIONS)) as pool:
        template = copy_template(Path(folder) / "template")
        return {name: data for kept in pool.map(partial(render, template), COMBINATIONS) for name, data in kept.items()}


def differing(rendered: dict[str, bytes]) -> Iterable[str]:
    """The committed files that are missing, differ, or are there no longer."""
    committed = {name: (FOLDER / name).read_bytes() for name in manifest.tracked(FOLDER) if "/" in name}
    return sorted(name for name in {*rendered, *committed} if rendered.get(name) != committed.get(name))


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "--write", action="store_true", help="write the files, and delete those that are no longer rendered"
    )
    mode.add_argument("--check", action="store_true", help="exit 1 where one is stale")
    options = parser.parse_args()
    rendered = render_all()
    stale = differing(rendered)
    for name in stale:
        path = FOLDER / name
        if options.check:
            print(f"{path.relative_to(ROOT)} is stale: run python tools/rendered.py --write", file=sys.stderr)
        elif name in rendered:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rendered[name])
        else:
            path.unlink()
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
