"""Deliver: bring the trail of a run to the audit backend, after everything else is done and kept.

The bundle is the trail; the backend has a copy.  So nothing here changes the bundle, and a backend that is slow, full
or gone never fails a run: what it did not take waits in the bundle.  The backend keeps the events, and the bundle as a
whole; where it has a transparency log, the proof that the bundle is in it is put beside the bundle.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Optional, Tuple
from urllib.parse import urlsplit

from agent_runtime import codes
from agent_runtime.gate import bundle
from agent_runtime.gate.pages.common import way_out
from agent_runtime.github import outputs
from agent_runtime.job.context import write_whole
from agent_runtime.model import names
from agent_runtime.text import escape
from aimgentix.delivery import Deliverer, drain, segment_paths
from aimgentix.settings import SettingError
from aimgentix.status import directory_status
from aimgentix.transport import DELIVERED, Transport, check_url

TRAIL_UNDELIVERED = codes.register(
    "TRAIL06",
    "the audit backend has no complete copy of the trail",
    "The bundle of the run is the trail, and nothing of it is lost. Fix AIMGENTIX_API_URL or AIMGENTIX_API_KEY as "
    "docs/TROUBLESHOOTING.md says, then deliver it again: python -I agent_runtime/__main__.py deliver audit-bundle",
)

BATCH_EVENTS = 500
REQUEST_SECONDS = 10.0
# How long the backend may wait for those who witness its log, and how long its answer may take then.
WITNESS_SECONDS = 10
BUNDLE_SECONDS = 25.0
# What a backend answers that knows of no bundles.
_NO_ARCHIVE = (404, 405, 501)


@dataclass(frozen=True)
class Delivery:
    """What became of the events of a run.

    Arguments:
        captured: events in the bundle.
        delivered: events that the backend has acknowledged.
        spooled: events that wait in the bundle.
        rejected: events that the backend refused; they are in the bundle too.
        problem: why not everything was delivered, or the empty text.
        addressed: whether AIMGENTIX_API_URL names a place to deliver to at all.
        bundle: what became of the bundle, in a few words.
        archived: whether the backend keeps the bundle, or keeps none.
        proof: whether its log has the bundle, and the proof lies beside the bundle.
    """

    captured: int
    delivered: int
    spooled: int
    rejected: int
    problem: str
    addressed: bool
    bundle: str
    archived: bool
    proof: bool

    def line(self) -> str:
        """The counts and the problem, for a log."""
        counts = (
            f"captured {self.captured}, delivered {self.delivered}, spooled {self.spooled}, rejected {self.rejected}"
        )
        said = f"audit events: {counts}{'; ' + self.problem if self.problem else ''}"
        return f"{said}; bundle: {self.bundle}" if self.addressed else said


def run_job(folder: Path, environ: Mapping[str, str], *, timeout: float, host: str = "") -> Delivery:
    """Deliver the journals of a bundle and say in the summary what became of them.

    Arguments:
        folder: the bundle.
        environ: AIMGENTIX_API_URL and AIMGENTIX_API_KEY; without an address nothing is sent.
        timeout: seconds that delivering may take in all.
        host: the only one that may be asked, with its port where it has one; empty for any.

    Raises:
        BadInput: `folder` holds no bundle (TRAIL07).
    """
    manifest = folder / names.MANIFEST_NAME
    try:
        manifest.open("rb").close()
    except OSError as problem:
        raise codes.BadInput(codes.BUNDLE_MISSING, f"{manifest}: {problem.strerror}") from None
    with tempfile.TemporaryDirectory() as scratch:
        # A copy, because delivering keeps notes beside the journals, and the bundle must stay what it is.
        transport, why = _transport(environ, host)
        if transport is not None:
            print("✅ AIMgentix audit client initialized", flush=True)
        deadline = time.monotonic() + timeout
        segments = []
        # What the agent's machines wrote comes last, from folders of its own, so that no name and no event's id in it
        # takes the place of what was written without team code.
        decided = [job for job in bundle.FOLDERS if job not in bundle.REPORTED_BY_AGENT]
        for number, jobs in enumerate((decided, *([job] for job in bundle.REPORTED_BY_AGENT))):
            journals = Path(scratch) / str(number)
            journals.mkdir()
            for job in jobs:
                for path in segment_paths(str(folder / job / names.JOURNAL_FOLDER)):
                    shutil.copyfile(path, str(journals / Path(path).name))
            if transport is not None:
                why = _drain(str(journals), transport, deadline) or why
            segments += directory_status(str(journals))
        kept, lacks = ("not delivered", False, False), "bundle"
        if transport is not None and not any(segment.waiting for segment in segments):
            kept = _archive(folder, Path(scratch) / "bundle.zip", transport)
            beside = folder.with_name(folder.name + names.ATTESTATION_SUFFIX)
            if kept[1] and beside.is_file():
                kept, lacks = _with_attestation(kept, beside, manifest, transport), "attestation"
            why = why or ("" if kept[1] else f"the backend did not take the {lacks}: {kept[0]}")
        delivery = Delivery(
            captured=sum(segment.captured for segment in segments),
            delivered=sum(segment.delivered for segment in segments),
            spooled=sum(segment.waiting for segment in segments),
            rejected=sum(segment.rejected for segment in segments),
            problem=why,
            addressed=transport is not None,
            bundle=kept[0],
            archived=kept[1],
            proof=kept[2],
        )
    advice = f"\n\n{way_out(TRAIL_UNDELIVERED)}" if why else ""
    outputs.write_outputs(environ, {"proof": str(delivery.proof).lower()})
    outputs.write_summary(environ, f"\n{escape.markdown_inline(delivery.line())}{advice}\n")
    return delivery


def _transport(environ: Mapping[str, str], host: str) -> Tuple[Optional[Transport], str]:
    """The way to the backend, or None and why there is none."""
    address = environ.get("AIMGENTIX_API_URL")
    if not address:
        return None, "no audit client is initialized: no backend is configured (AIMGENTIX_API_URL)"
    try:
        if host and urlsplit(check_url(address)).netloc.casefold() != host:
            # Whoever can change the variable would get the key; the configuration is reviewed.
            return (
                None,
                f"AIMGENTIX_API_URL is not at {host}, the audit_host of .github/agent-config.yml: nothing is sent",
            )
        return Transport(address, environ.get("AIMGENTIX_API_KEY") or None, REQUEST_SECONDS), ""
    except SettingError as problem:
        return None, str(problem)


def _drain(journals: str, transport: Transport, deadline: float) -> str:
    """Deliver until everything is dealt with or the time is over; return why it is not, or the empty text."""
    deliverer = Deliverer(transport, BATCH_EVENTS)
    try:
        reason = drain(deliverer, journals, deadline)
        if reason:
            return f"the backend did not take them: {reason}"
        return deliverer.rejection.detail if deliverer.rejection else ""
    finally:
        deliverer.close()


def _archive(folder: Path, packed: Path, transport: Transport) -> Tuple[str, bool, bool]:
    """Bring the bundle to the backend; return what to say of it, whether that is done, and whether there is a proof."""
    with zipfile.ZipFile(str(packed), "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(str(path), path.relative_to(folder).as_posix())
    digest = hashlib.sha256((folder / names.MANIFEST_NAME).read_bytes()).hexdigest()
    with packed.open("rb") as stream:
        result, said = transport.put_bundle(digest, stream, BUNDLE_SECONDS, WITNESS_SECONDS)
    if result.status in _NO_ARCHIVE:
        return "the backend keeps none", True, False
    if result.kind != DELIVERED:
        return str(result.detail), False, False
    proof = said.get("proof")
    if not isinstance(proof, str):
        return {"none": "kept"}.get(str(said.get("log")), "kept, and not in the log yet"), True, False
    write_whole(folder.with_name(folder.name + names.PROOF_SUFFIX), proof.encode("utf-8"))
    witnessed = "cosigned" if said.get("witnessed") is True else "not cosigned yet"
    return f"kept, and in the log, {witnessed}", True, True


def _with_attestation(
    kept: Tuple[str, bool, bool], beside: Path, manifest: Path, transport: Transport
) -> Tuple[str, bool, bool]:
    """Bring the attestation that lies beside a bundle to the backend; return what to say of both, as `_archive`."""
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    result = transport.put_attestations(digest, beside.read_bytes(), REQUEST_SECONDS)
    if result.status in _NO_ARCHIVE:
        return f"{kept[0]}; attestation: the backend keeps none", True, kept[2]
    taken = result.kind == DELIVERED
    return f"{kept[0]}; attestation: {'kept' if taken else result.detail}", taken, kept[2]
