"""May this repository have a release: who signed its tag, and has it been revoked since?

Whose signature counts is said by the runtime that is here.  A release can't name its own signers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterator, List, Optional

from agent_runtime import codes
from agent_runtime.local.update import problems
from agent_runtime.local.update.files import File
from agent_runtime.local.update.git import GitFailed
from agent_runtime.local.update.template import Template, is_version, numbers

SIGNERS = "agent_runtime/allowed_signers"
LIST = "releases.toml"
_CHANGELOG = "CHANGELOG.md"

_ENTRY = re.compile(r'([a-z_]+) = "([^"\\]*)"\Z')
# A signature of another kind would be checked with the keys of whoever runs this.  (gpg.program is another name of
# gpg.openpgp.program; of the two the last one counts.)
_SSH_ALONE = (  # noqa: SIM905  as a person types it
    "-c gpg.format=ssh -c gpg.ssh.program=ssh-keygen -c gpg.openpgp.program=false -c gpg.x509.program=false"
).split()


def examine(source: Template, current: str, wanted: str, signers: Optional[File], work: Path) -> Iterator[str]:
    """Refuse a release that is revoked, or not signed by one of `signers`; yield what somebody should know.

    Arguments:
        current: the version that the repository records; what it rendered decides what an update merges. Empty where
            it records none.
        signers: the file of the repository's last commit.

    Raises:
        GateRefused: the release is refused.
        BadInput: the template has no such version, or its list can't be read.
    """
    is_upgrade = not current or source.resolve(wanted) != source.resolve(current)
    why = revoked(source, current) if current else ""
    if why:
        yield f"{current}, which is here, is revoked: {why}"
    why = revoked(source, wanted) if is_upgrade else ""
    if why:
        raise codes.GateRefused(problems.REVOKED, f"{wanted}: {why}")
    if signers is None:
        raise codes.GateRefused(problems.UNSIGNED, f"{SIGNERS} is missing here")
    lines = signers.data.splitlines()
    if all(not each.strip() or each.lstrip().startswith(b"#") for each in lines):
        yield f"{SIGNERS} names nobody: signatures of releases are not checked"
        return
    allowed = work / "allowed_signers"
    allowed.write_bytes(b"\n".join(lines) + b"\n")
    if is_upgrade and not is_version(wanted):
        raise codes.GateRefused(problems.UNSIGNED, f"{wanted} is not a version, and only a version's tag is signed")
    for version in dict.fromkeys((current, wanted)):
        if is_version(version):
            _require_signed(source, version, allowed)


def previous(source: Template, current: str) -> str:
    """The newest release before the recorded one that is not revoked.

    Raises:
        BadInput: there is none.
    """
    for version in source.before(current):
        if not revoked(source, version):
            return version
    raise codes.BadInput(problems.NO_VERSION, f"{source.source} has no release before {current} that is not revoked")


def notes(source: Template, current: str, version: str) -> str:
    """The upgrade notes: what a version's changelog says of what came after `current`."""
    try:
        return sections(source.ask("show", f"{source.resolve(version)}:{_CHANGELOG}"), current, version)
    except GitFailed:
        return ""  # this template has none


def sections(changelog: str, current: str, version: str) -> str:
    """The sections of a changelog about the versions after `current`, up to `version`."""
    kept: List[str] = []
    wanted = False
    for line in changelog.splitlines():
        if line.startswith("## "):
            named = numbers(line[3:].split(" ")[0].strip("[]"))
            wanted = bool(named) and numbers(current) < named <= numbers(version)
        if wanted:
            kept.append(line)
    return "\n".join(kept).strip()


def _require_signed(source: Template, version: str, allowed: Path) -> None:
    tag, file = f"refs/tags/{version}", f"gpg.ssh.allowedSignersFile={allowed}"
    try:
        named = source.ask(*_SSH_ALONE, "-c", file, "verify-tag", "--format=%(tag)", tag)
    except GitFailed as error:
        raise codes.GateRefused(problems.UNSIGNED, f"{version}: {error.message}") from None
    if named != version:  # a signed tag under another one's name
        raise codes.GateRefused(problems.UNSIGNED, f"{version}: what is signed is {named}")


def revoked(source: Template, version: str) -> str:
    """Why a version is revoked, by the list at the newest state of the template; empty where it is not.

    Raises:
        BadInput: the template has no such version, or its list can't be read.
    """
    try:
        text = source.ask("show", f"HEAD:{LIST}")
    except GitFailed:
        return ""  # this template keeps no list
    commit = source.resolve(version)
    for each in parse(text):
        named = commit == each.get("commit") or version.lstrip("v") == each.get("version", "").lstrip("v")
        if named and "revoked" in each:  # of several entries any counts, and so does one that gives no reason
            return each["revoked"] or f"{LIST} gives no reason"
    return ""


def parse(text: str) -> List[Dict[str, str]]:
    """The releases of a list: the part of TOML that it needs, which old versions of Python can't read by themselves.

    Raises:
        BadInput: naming the line.
    """
    found: List[Dict[str, str]] = []
    for number, each in enumerate(map(str.strip, text.splitlines()), 1):
        entry = _ENTRY.match(each)
        if each == "[[release]]":
            found.append({})
        elif entry and found:
            found[-1][entry.group(1)] = entry.group(2)
        elif each and not each.startswith("#"):
            raise codes.BadInput(problems.NO_LIST, f"{LIST}:{number}: {each}")
    return found
