"""Which release does a repository come from that no longer says so?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from agent_runtime import codes
from agent_runtime.local import answers, check
from agent_runtime.local.linter.actions import MANIFEST, fingerprint
from agent_runtime.local.update import drift, problems, releases
from agent_runtime.local.update.files import File
from agent_runtime.local.update.git import GitFailed
from agent_runtime.local.update.template import Recorded, Template, is_version
from agent_runtime.model import config

# So many are rendered at most.
_RENDERED = 5


def find(source: Template, root: Path, ours: Mapping[str, File], known: Recorded) -> tuple[str, dict[str, File]]:
    """The version whose rendering is nearest to a repository, the newest of several, and that rendering.

    Raises:
        BadInput: none has anything in common with it, or one of the nearest can't be rendered.
    """
    digests = {name: fingerprint(file.data) for name, file in ours.items()}
    scores = {version: _common(source, version, digests) for version in _versions(source)}
    best = max(scores.values())
    if not best:
        raise codes.BadInput(problems.NO_VERSION, f"{source.source} has no version that resembles this repository")
    # What is rendered from answers, such as the workflows, decides between those that have the same files.
    likely = [version for version, score in scores.items() if score == best][:_RENDERED]
    renderings = {version: source.render(version, known) for version in likely}
    nearest = min(likely, key=lambda version: len(drift.compare(root, renderings[version])))
    return nearest, renderings[nearest]


def _versions(source: Template) -> Iterator[str]:
    """Every release, the newest first, tagged or listed; the newest state comes last."""
    tags = [tag for tag in source.ask("tag", "--list", "--sort=-version:refname").split() if is_version(tag)]
    commits = {source.resolve(tag) for tag in tags}
    yield from tags
    try:
        listed = releases.parse(source.ask("show", f"HEAD:{releases.LIST}"))
    except GitFailed:
        listed = []
    for commit in [each.get("commit", "") for each in reversed(listed)] + [source.resolve("HEAD")]:
        if commit and commit not in commits:
            commits.add(commit)
            yield commit


def _common(source: Template, version: str, digests: Mapping[str, str]) -> int:
    try:
        manifest = json.loads(source.ask("show", f"{source.resolve(version)}:template/{MANIFEST}"))
        return len(manifest["files"].items() & digests.items())
    except (codes.AgentError, ValueError, KeyError, AttributeError):  # without a manifest
        return 0


def known_answers(root: Path, given: Mapping[str, str]) -> dict[str, object]:
    """The answers that a repository gave, from its configuration where they are lost too.

    Raises:
        BadInput: the configuration can't be read, or it does not know what nobody gave.
    """
    try:
        known = yaml.safe_load((root / check.ANSWERS_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        known = None
    if isinstance(known, dict):
        return {name: value for name, value in known.items() if not str(name).startswith("_")}
    if "use_case" not in given:
        message = f"{check.ANSWERS_FILE} is lost, and only --data use_case=… can say what this repository began with"
        raise codes.BadInput(answers.MISSING, message)
    settings = config.load(root)
    found: dict[str, object] = {"advanced": "yes"}
    for question in answers.QUESTIONS:
        value = getattr(settings, check.CONFIGURED_AS.get(question, question), None)
        if isinstance(value, tuple):
            value = ", ".join(value)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        if value is not None and (question != "schedule_cron" or value):
            found[question] = str(value)
    return found
