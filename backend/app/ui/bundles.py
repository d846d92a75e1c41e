"""What pages show of a run's bundle. A bundle is somebody's upload: what is read of it is bounded and compared."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_PLAN_BYTES = 1024 * 1024
_MAX_REPORT_BYTES = 4 * 1024 * 1024
_REPORT = "seal/investigation-report.json"
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)


@dataclass(frozen=True)
class PlanView:
    """A plan, from a bundle.

    Attributes:
        text: its JSON, indented.
        is_sealed: whether its SHA-256 is the digest that was sealed and approved.
    """

    text: str
    is_sealed: bool


def read_plan(file: BinaryIO, digest: str) -> PlanView | None:
    """Return the plan that is in the file of a bundle, if there is one that can be read; close the file.

    Args:
        digest: what the run's events say was sealed.
    """
    try:
        with file, zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith("/plan.json"):
                    data = _read(archive, name, MAX_PLAN_BYTES)
                    return _view(json.loads(data), hashlib.sha256(data).hexdigest() == digest)
            plan = json.loads(_read(archive, _REPORT, _MAX_REPORT_BYTES)).get("plan")
    except (*_BROKEN, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(plan, dict):
        return None
    # As RFC 8785 has it for a plan without fractions: where the digest is the one, there is no doubt.
    canonical = json.dumps(plan, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    return _view(plan, hashlib.sha256(canonical).hexdigest() == digest)


def _view(plan: Any, is_sealed: bool) -> PlanView:
    return PlanView(json.dumps(plan, ensure_ascii=False, indent=2), is_sealed)


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{name} is too large")
    return data
