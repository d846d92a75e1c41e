"""The archive: what it takes is a whole bundle, once, durably, and in the log; everything else leaves nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app.log.checkpoint import parse_proof
from app.log.policy import read_policy
from app.log.verify import check_checkpoint, check_inclusion
from backend_client import Answer, Client, command
from backend_log import Parties, parties
from bench.servers import Backend

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


def pack(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def put(client: Client, digest: str, body: Any, wait: float = 0, **headers: str) -> Answer:
    return client.ask("PUT", f"/v1/bundles/{digest}?wait={wait}", body, **{"content_type": ZIP, **headers})


def kept_files(backend: Backend) -> list[str]:
    folder = Path(backend.database_url.removeprefix("sqlite:///") + ".bundles")
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    settings = {"AIMGENTIX_MAX_BUNDLE_BYTES": str(1024 * 1024)}
    with Backend(tmp_path_factory.mktemp("archive"), None, settings).start() as running:
        yield running


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Parties]:
    with parties(tmp_path / "keys") as made:
        yield made


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_bundle_is_kept_logged_and_cosigned(
    request: pytest.FixtureRequest, start: Any, both: Parties, tmp_path: Path, store: str
) -> None:
    url = request.getfixturevalue("postgres").new_database() if store == "postgres" else None
    folder = tmp_path / "bundles"
    with both.witnessing():
        running: Backend = start(url, **both.settings, AIMGENTIX_ARCHIVE=str(folder))
        client = Client(running.port)
        digest, files = bundle()
        first = put(client, digest, pack(files), wait=20)
        assert (first.status, first.json["status"], first.json["log"]) == (201, "stored", "logged"), first
        assert first.json["subject"] == "acme/shop/runs/42/attempts/1"
        assert first.json["witnessed"] is True
        again = put(client, digest, pack(files, zipfile.ZIP_STORED))
        assert (again.status, again.json["status"]) == (200, "duplicate"), "however it is packed, it is the same"
        assert parse_proof(again.json["proof"].encode()).index == parse_proof(first.json["proof"].encode()).index

        listed = client.get("/v1/bundles?repository=acme/shop&agent=shop-restarter").json["bundles"]
        assert [(one["digest"], one["run_id"], one["outcome"]) for one in listed] == [(digest, 42, "acted")]
        assert client.get("/v1/bundles?repository=acme/other").json["bundles"] == []
        got = client.get(f"/v1/bundles/{digest}")
        with zipfile.ZipFile(io.BytesIO(got.body)) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == files
        (read,) = client.events("/v1/traces/aimgentix-archive/events")
        assert (read["resource"], read["metadata"]["step"]) == (f"bundle/{digest}", "read")

    proof = parse_proof(first.json["proof"].encode())
    signed = check_checkpoint(proof.checkpoint, read_policy(both.policy), 2**33)
    assert proof.extra is not None and digest.encode() in proof.extra and list(signed.witnesses) == ["w1"]
    check_inclusion(proof, signed.checkpoint, proof.extra)


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


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_bundle_is_refused_by_its_own_code_and_leaves_nothing(backend: Backend, kind: str) -> None:
    client = Client(backend.port)
    digest, files = bundle(7)
    for make in HOSTILE[kind]:
        answer = put(client, digest, make(files))
        assert answer.json["type"] == f"urn:aimgentix:problem:{kind}", answer
        assert answer.status == (413 if kind == "bundle-too-large" else 400)
    assert client.get(f"/v1/bundles/{digest}").status == 404
    assert kept_files(backend) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"run": {"repository": "../..", "run_id": "1", "run_attempt": 1}},
        {"run": {"repository": "a/b", "run_id": "0", "run_attempt": 1}},
        {"run": {"repository": "a/b", "run_id": "9" * 19, "run_attempt": 1}},
        {"run": None},
        {"outcome": "x" * 501},
        {"resource": "a\u202eb"},
        {"files": {"seal/report.json": "short"}},
        {"files": ["seal/report.json"]},
    ],
)
def test_a_manifest_that_is_none_is_refused(backend: Backend, changed: dict[str, Any]) -> None:
    digest, files = bundle(8, **changed)
    answer = put(Client(backend.port), digest, pack(files))
    assert (answer.status, answer.json["type"][-19:]) == (400, "bundle-bad-manifest"), answer


def test_ten_gigabytes_are_refused_before_they_are_sent(backend: Backend) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(20):
            yield b"\0" * 1024 * 1024

    client = Client(backend.port)
    digest, _ = bundle()
    announced = put(client, digest, b"", content_length=str(10 * 2**30))
    assert (announced.status, announced.json["type"][-16:]) == (413, "bundle-too-large"), announced
    try:
        streamed = put(client, digest, endless(), transfer_encoding="chunked")
    except OSError:  # the backend had hung up while this was still sending
        return
    assert streamed.status == 413, streamed


def test_a_full_disk_costs_a_503_and_nothing_else(start: Any, tmp_path: Path) -> None:
    running: Backend = start(None, AIMGENTIX_ARCHIVE=str(tmp_path / "bundles"))
    client = Client(running.port)
    digest, files = bundle()
    files = {**files, "act/large": os.urandom(1024 * 1024)}
    files["bundle.json"] = manifest_of({name: data for name, data in files.items() if name != "bundle.json"})
    digest = hashlib.sha256(files["bundle.json"]).hexdigest()
    assert running.process is not None
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))

    answer = put(client, digest, pack(files))

    assert (answer.status, "full" in answer.json["detail"]) == (503, True), answer
    assert [path for path in (tmp_path / "bundles").rglob("*") if path.is_file()] == []
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert put(client, digest, pack(files)).status == 201


def test_a_key_writes_for_its_repository_and_its_agent(start: Any) -> None:
    running: Backend = start(AIMGENTIX_AUTH="required")
    create = ("keys", "create", "--name", "x", "--scope", "write")
    digest, files = bundle()

    def status(*bound: str) -> int:
        key = command(running.database_url, *create, *bound).stdout.strip()
        return put(Client(running.port, key), digest, pack(files)).status

    assert status("--repository", "acme/other") == 403
    assert status("--repository", "acme/shop", "--agent", "other") == 403
    assert status("--repository", "acme/shop", "--agent", "shop-restarter") == 201
    assert put(Client(running.port), digest, pack(files)).status == 401
