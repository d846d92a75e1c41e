"""What a bundle shows an auditor: whether it holds, since when nobody could have changed it, and who could.

What is said of the run comes from the bundle's own check (`gate/offline.py`); evidence from outside only says since
when the bundle is this one, and against whom that holds (`local/transparency.py`, `local/attestation.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

from agent_runtime import codes
from agent_runtime.gate import bundle, offline
from agent_runtime.gate.bundle import Parts, TrailProblem
from agent_runtime.local import attestation, transparency
from agent_runtime.local.attestation import Attested
from agent_runtime.local.codes import ATTESTATION_REFUTED, EVIDENCE_REFUTED, EVIDENCE_UNREADABLE
from agent_runtime.local.transparency import Evidence, Unproven
from agent_runtime.model import names
from agent_runtime.text.escape import visible

_GITHUB = "until then: whoever administers the repository (a forged workflow, or a forged bundle), or GitHub"
_AGENT = "at any time before the bundle was made: the agent's own machine, alone"
_NONE = (
    "whoever wrote all of it could write it anew; give --policy with a proof, --trusted-root with GitHub's attestation "
    "of it, or --digest as the run's summary shows it"
)
# Of GitHub's own signature, where there is none.
_INSTEAD = "what holds instead is a proof of the backend's log (--policy), or the digest that the run's summary shows"
_NOT_OFFERED = f"none exists: GitHub attests nothing in a repository where an issue is the gate; {_INSTEAD}"
_NOT_THERE = (
    "none is here. In public repositories and on Enterprise Cloud a run leaves the artifact audit-attestation; "
    f"elsewhere none exists, and {_INSTEAD}"
)
_NOT_CHECKED = "an attestation lies beside the bundle, and is not checked without --trusted-root"
_ANYBODY = "anybody who could write the whole bundle, before and after"
_Shown = TypeVar("_Shown")

# What a bundle shows, in the order of the page, and who could have falsified it before it was evidence.
PROPERTIES = {
    "whole": ("every file and every line of every journal is as it was when the run ended", _GITHUB),
    "approved": ("who approved or rejected, with the comment, is what GitHub's record said", _GITHUB),
    "same plan": ("what was approved is what was authorized and executed, by one digest", _GITHUB),
    "checked": ("every check passed before the effect, and the plan had not expired", _GITHUB),
    "effect": ("what act() did is what the result says", _AGENT),
}


@dataclass(frozen=True)
class Finding:
    """What was found of one bundle.

    Arguments:
        problems: what does not hold; then nothing that the bundle says counts.
        evidence: of a transparency log, or None; `unproven` says why there is none.
        attested: by GitHub, or None; `unattested` says why not.
    """

    folder: Path
    manifest: Dict[str, Any]
    parts: Parts
    digest: str
    problems: Tuple[TrailProblem, ...]
    evidence: Optional[Evidence]
    unproven: str
    attested: Optional[Attested] = None
    unattested: str = ""
    properties: List[Dict[str, Any]] = field(default_factory=list)

    @property
    def authentic(self) -> str:
        """One line: by whose word this is the original."""
        if self.problems and (self.evidence or self.attested):
            return "NOT AUTHENTICATED: the word for it is about bundle.json alone, and something else does not hold"
        if self.evidence is None:
            return f"AUTHENTICATED by GitHub, {self.github}" if self.attested else f"NOT AUTHENTICATED: {self.unproven}"
        cosigned = ", ".join(f"{name} at {_time(moment)}" for name, moment in sorted(self.evidence.cosigned.items()))
        who = f"cosigned by {cosigned}" if cosigned else "no witness: whoever has the log's key could write another one"
        return (
            f"AUTHENTICATED by the log {self.evidence.log}, entry {self.evidence.index}, taken at "
            f"{_time(self.evidence.logged_at)}, {self.delay}; {who}"
        )

    @property
    def github(self) -> str:
        """One line: what GitHub's own signature says."""
        if self.attested is None:
            return self.unattested
        found, where = self.attested, "in Sigstore's public logs" if self.attested.public else "by GitHub's clock"
        return (
            f"attested at {_time(found.signed_at)}, {where}: {names.ATTEST_FILE} of {found.repository} signed it on a "
            f"{found.runner} machine, at commit {found.commit} of {found.ref}, in {found.run}"
        )

    @property
    def delay(self) -> str:
        """How long after the run's own last word the log took the bundle: what was made in between is not found."""
        events = self.parts.events.get("record", [])
        if self.evidence is None or not events:
            return "and when the run ended is not known"
        ended = datetime.fromisoformat(events[-1]["timestamp"][:19] + "+00:00")
        seconds = int((self.evidence.logged_at - ended).total_seconds())
        if seconds < -transparency.CLOCK_SECONDS:
            return "BEFORE the run says that it ended: a clock is wrong, or the run's times are forged"
        days, rest = divmod(max(seconds, 0), 86_400)
        return f"{days} days after the run ended" if days else f"{rest} s after the run ended"

    @property
    def policy(self) -> str:
        """One line: the policy file that the plan was judged by."""
        if self.parts.policy_sha256 is None:
            return "not in this bundle"
        return f"seal/{names.POLICY_NAME}, as the plan was judged by it: sha256 {self.parts.policy_sha256}"

    def described(self) -> Dict[str, Any]:
        """The finding for programs."""
        evidence = self.evidence
        code, message = bundle.why(self.parts)
        said: Dict[str, Any] = {
            "bundle": self.digest,
            "holds": not self.problems,
            "problems": [{"code": each.code, "message": each.message} for each in self.problems],
            "authenticated": (evidence or self.attested) is not None and not self.problems,
            "authentic": self.authentic,
            "github": self.github,
            "subject": subject_of(self.manifest),
            **{name: self.manifest.get(name) for name in ("run", "run_number", "simulated", "outcome", "resource")},
            **{name: self.manifest.get(name) for name in ("plan_digest", "steps")},
            **{name: self.manifest.get(name) for name in ("approvers", "rejected_by", "rejected_because")},
            "policy": self.policy,
            "reason": {"code": code, "message": message} if code else None,
            "properties": self.properties,
        }
        if evidence is not None:
            said["evidence"] = {
                "log": evidence.log,
                "index": evidence.index,
                "size": evidence.size,
                "logged_at": _time(evidence.logged_at),
                "cosigned": {name: _time(moment) for name, moment in sorted(evidence.cosigned.items())},
            }
        if self.attested is not None:
            said["attestation"] = {**vars(self.attested), "signed_at": _time(self.attested.signed_at)}
        return said


def subject_of(manifest: Dict[str, Any]) -> str:
    """Return what the transparency log calls the run of this bundle."""
    run = manifest.get("run")
    run = run if isinstance(run, dict) else {}
    return f"{run.get('repository')}/runs/{run.get('run_id')}/attempts/{run.get('run_attempt')}"


def bundles_in(path: Path) -> List[Path]:
    """Return the folder itself if it is a bundle, or else the bundles below it, in order."""
    found = sorted(each.parent for each in path.rglob(names.MANIFEST_NAME))
    if path in found or not found:
        return [path]  # what is wrong with it, its check says
    return found


def read_policy(path: Path) -> bytes:
    """Return the contents of a policy.

    Raises:
        BadInput: it can't be read, or is not a policy (TRAIL09).
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(transparency.MAX_BYTES)
        transparency.parse_policy(data)
    except OSError as problem:
        raise codes.BadInput(EVIDENCE_UNREADABLE, f"{path}: {problem.strerror}") from None
    except Unproven as problem:
        raise codes.BadInput(EVIDENCE_UNREADABLE, f"{path}: {visible(str(problem), 300)}") from None
    return data


def read_roots(path: Path) -> bytes:
    """Return the contents of a file with trusted roots.

    Raises:
        BadInput: it can't be read, or holds none (TRAIL09).
    """
    try:
        data = path.read_bytes()
        attestation.parse_roots(data)
    except OSError as problem:
        raise codes.BadInput(EVIDENCE_UNREADABLE, f"{path}: {problem.strerror}") from None
    except Unproven as problem:
        raise codes.BadInput(EVIDENCE_UNREADABLE, f"{path}: {visible(str(problem), 300)}") from None
    return data


def examine(
    folder: Path,
    policy: Optional[bytes] = None,
    *,
    now: datetime,
    proof: Optional[Path] = None,
    digest: Optional[str] = None,
    roots: Optional[bytes] = None,
    signed: Optional[Path] = None,
    repository: str = "",
) -> Finding:
    """Check one bundle, and what is there of evidence from outside.

    Arguments:
        policy: whose signatures are needed; without one no proof counts.
        proof: by default the file beside the bundle.
        digest: what the bundle's has to be, or None.
        roots: trusted roots of Sigstore; without one no attestation counts.
        signed: the attestation, by default the file beside the bundle.
        repository: which one has to have attested it; by default the one that the bundle names.

    Raises:
        BadInput: there is no bundle (TRAIL07), or its manifest is not one (TRAIL04).
    """
    manifest, found = offline.verify(folder)
    actual = hashlib.sha256((folder / names.MANIFEST_NAME).read_bytes()).hexdigest()
    if digest and digest != actual:
        found.insert(0, bundle.contradiction("bundle.json is not the one with this digest"))
    evidence: Optional[Evidence] = None
    attested: Optional[Attested] = None
    unproven = unattested = ""
    if policy is not None:
        in_log = partial(transparency.check, policy=policy, digest=actual, subject=subject_of(manifest), now=now)
        beside = folder.with_name(folder.name + names.PROOF_SUFFIX)
        evidence, unproven = _shown(proof or beside, in_log, "cryptography")
    if unproven:
        found.append(TrailProblem(EVIDENCE_REFUTED, unproven))
    path = signed or folder.with_name(folder.name + names.ATTESTATION_SUFFIX)
    if roots is not None:
        by_github = partial(attestation.check, roots=roots, digest=actual, manifest=manifest, repository=repository)
        attested, unattested = _shown(path, by_github, "sigstore")
    if unattested:
        found.append(TrailProblem(ATTESTATION_REFUTED, unattested))
    run = manifest.get("run")
    by_comment = isinstance(run, dict) and run.get("event") == "issue_comment"
    parts = bundle.load(folder, by_comment=by_comment)
    if roots is None:
        by_issue = by_comment or manifest.get("issue") is not None
        unattested = _NOT_CHECKED if path.is_file() else _NOT_OFFERED if by_issue else _NOT_THERE
    finding = Finding(folder, manifest, parts, actual, tuple(found), evidence, unproven or _NONE, attested, unattested)
    finding.properties.extend(_properties(finding))
    return finding


def _shown(path: Path, check: Callable[[bytes], _Shown], package: str) -> Tuple[Optional[_Shown], str]:
    """Return what the evidence in a file shows, or why it shows nothing; `package` is what checks it."""
    try:
        with path.open("rb") as stream:
            data = stream.read(transparency.MAX_BYTES + 1)
        return check(data), ""
    except OSError as problem:
        return None, f"{path} can't be read: {problem.strerror}"
    except Unproven as problem:
        return None, visible(str(problem), 500)
    except ImportError:
        raise codes.BadInput(EVIDENCE_UNREADABLE, f"the Python package {package} is not installed") from None


def _properties(finding: Finding) -> List[Dict[str, Any]]:
    evidence, attested = finding.evidence, finding.attested
    moments, parties = [], []
    if evidence is not None and evidence.since is not None:
        moments.append(evidence.since)
        parties.append(
            f"the operator of the log {evidence.log} together with {' and '.join(sorted(evidence.cosigned))}"
        )
    if attested is not None:
        moments.append(attested.signed_at)
        parties.append("GitHub together with Sigstore's public logs" if attested.public else "GitHub")
    if parties:
        since, against = _time(min(moments)), f"since then: {', and '.join(parties)}"
    elif evidence is not None:
        since, against = "never", f"the operator of the log {evidence.log}, who could have signed another history"
    else:
        since, against = "never", _ANYBODY
    return [
        {
            "property": name,
            "claim": claim,
            "holds": not finding.problems,
            "unchangeable_since": since,
            "would_have_to_conspire": [against, _until(before, attested)] if evidence or attested else [against],
        }
        for name, (claim, before) in PROPERTIES.items()
    ]


def _until(before: str, attested: Optional[Attested]) -> str:
    """Who could have falsified it before: an attestation names the commit in which a forged workflow would stand."""
    if attested is None or before is not _GITHUB:
        return before
    return f"until then: GitHub, or whoever forged the workflows in commit {attested.commit}, where it shows"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
