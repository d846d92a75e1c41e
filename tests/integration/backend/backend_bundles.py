"""Bundles for tests of the archive: whole ones, and what is none."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from typing import Any

from backend_client import Answer, Client

from support.zips import pack

ZIP = "application/zip"


def manifest_of(content: dict[str, bytes], **changed: Any) -> bytes:
    run = {"repository": "acme/shop", "run_id": "42", "run_attempt": 1}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    whole = {"files": digests, "run": run, "outcome": "acted", "resource": "service/shop", "trace_id": "t-1"}
    return json.dumps(whole | changed).encode()


def bundle(number: int = 0, **changed: Any) -> tuple[str, dict[str, bytes]]:
    """A small bundle: its digest and its files."""
    line = {"event": {"agent_instance_id": "shop-restarter", "number": number}}
    files = {"record/journal/1.jsonl": json.dumps(line).encode(), "seal/report.json": b"{}" * 5000}
    data = manifest_of(files, **changed)
    return hashlib.sha256(data).hexdigest(), {**files, "bundle.json": data}


def put(client: Client, digest: str, body: Any, wait: float = 0, **headers: str) -> Answer:
    return client.ask("PUT", f"/v1/bundles/{digest}?wait={wait}", body, **{"content_type": ZIP, **headers})


def attestation(digest: str, number: int = 0, **changed: Any) -> bytes:
    """What looks like an attestation of a bundle; nobody signed it."""
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": digest}}], **changed}
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    envelope = {"payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": str(number)}]}
    return json.dumps({"dsseEnvelope": envelope, "verificationMaterial": {}}).encode()


def with_entry(files: dict[str, bytes], name: str, mode: int = 0o100644) -> bytes:
    packed = io.BytesIO(pack(files))
    with zipfile.ZipFile(packed, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, b"x")
    return packed.getvalue()


def many(files: dict[str, bytes]) -> bytes:
    return pack({**files, **{f"x/{number}": b"" for number in range(20_000)}}, zipfile.ZIP_STORED)


HOSTILE = {
    "bundle-not-zip": [
        lambda files: b"no zip",
        lambda files: b"",
        lambda files: pack(files)[:-30],
        lambda files: pack(files)[:200] + b"\0" * 50 + pack(files)[250:],
        lambda files: pack(files, zipfile.ZIP_BZIP2),
    ],
    "bundle-bad-name": [
        lambda files: with_entry(files, "../../etc/cron.d/x"),
        lambda files: with_entry(files, "/etc/passwd"),
        lambda files: with_entry(files, "seal\\..\\x"),
        lambda files: with_entry(files, "seal/report.json/x"),
        lambda files: with_entry(files, "link", 0o120777),
        lambda files: with_entry(files, "device", 0o020666),
        lambda files: with_entry(files, "x" * 300),
        lambda files: with_entry(files, "tab\tname"),
    ],
    "bundle-incomplete": [
        lambda files: with_entry(files, "act/more.json"),
        lambda files: pack({name: data for name, data in files.items() if name != "seal/report.json"}),
        lambda files: pack({**files, "seal/report.json": b"other"}),
    ],
    "bundle-bad-manifest": [lambda files: pack({"seal/report.json": b""})],
    "bundle-other-digest": [lambda files: pack({**files, "bundle.json": files["bundle.json"] + b" "})],
    "bundle-too-large": [
        lambda files: pack({**files, "bomb": b"\0" * (64 * 1024 * 1024)}),
        many,
        lambda files: os.urandom(1024 * 1024 + 1),
    ],
}


def ten_gigabytes(client: Client) -> list[int]:
    """Send a bundle that says that it has 10 GB, and one that just goes on; return what is answered."""

    def endless() -> Iterator[bytes]:
        for _ in range(20):
            yield b"\0" * 1024 * 1024

    digest, _ = bundle()
    announced = put(client, digest, b"", content_length=str(10 * 2**30))
    assert announced.json["type"] == "urn:aimgentix:problem:bundle-too-large", announced
    try:
        return [announced.status, put(client, digest, endless(), transfer_encoding="chunked").status]
    except OSError:  # the backend had hung up while this was still sending
        return [announced.status, 413]
