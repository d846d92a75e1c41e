"""Trials of the codes of releases: who signed one, and whether it is revoked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent_runtime.local.update import problems
from support import engines, signatures, updates
from support.trials.lab import Attempt, Lab, trial


def _later(lab: Lab) -> tuple[Path, Path]:
    """A repository, and its template with one release more."""
    template = lab.rendered.parent / "template"
    later = updates.release_after(template, lab.place() / "template", lambda _: None)
    return updates.born(lab.rendered, lab.place(), template, later), later


def _check(root: Path, *words: str) -> Attempt:
    return lambda: updates.command(root, "update", "--check", *words)


@trial(problems.UNSIGNED)
def nobody_signed_the_release(lab: Lab) -> Iterator[Attempt]:
    root, later = _later(lab)
    key = signatures.key(lab.folder, "ann")
    signatures.allow(root, key)
    engines.commit_all(root, "Name the signer")
    yield _check(root)
    for tag in ("v1.0.0", "v1.1.0"):
        signatures.sign(later, tag, key, tag)
    yield _check(root)


@trial(problems.REVOKED)
def the_release_is_revoked(lab: Lab) -> Iterator[Attempt]:
    root, later = _later(lab)
    engines.release(later, "v1.1.1")
    signatures.list_releases(later, signatures.entry(later, "v1.1.1", "its gate can be bypassed"))
    yield _check(root)
    yield _check(root, "--to", "v1.1.0")


@trial(problems.NO_LIST)
def the_list_of_releases_is_broken(lab: Lab) -> Iterator[Attempt]:
    root, later = _later(lab)
    signatures.list_releases(later, "releases = 1\n")
    yield _check(root)
    signatures.list_releases(later, signatures.entry(later, "v1.1.0"))
    yield _check(root)
