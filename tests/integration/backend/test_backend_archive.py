"""The archive: what it takes is a whole bundle, once, durably, and in the log; everything else leaves nothing."""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app.archive.bundle import InvalidBundle, read_bundle
from app.archive.folder import Folder
from app.archive.trail import event_of
from app.cli import main
from app.log.checkpoint import parse_proof
from app.log.policy import read_policy
from app.log.verify import check_checkpoint, check_inclusion
from app.store.bundles import forget_bundle
from app.store.location import parse_location
from app.store.opening import open_database
from backend_bundles import HOSTILE, attestation, bundle, manifest_of, pack, put, ten_gigabytes
from backend_client import JSON, LINES, Client, administer, command, eventually, trail_of
from backend_log import Parties, parties
from bench.servers import BACKEND, Backend


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


def test_a_table_of_contents_that_takes_much_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            entry = zipfile.ZipInfo(f"x/{number}")
            entry.comment = b"x" * 60_000
            archive.writestr(entry, b"")
    with path.open("rb") as file, pytest.raises(InvalidBundle, match="table of contents"):
        read_bundle(file, "0" * 64, 64 * 1024 * 1024)


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
    assert ten_gigabytes(Client(backend.port)) == [413, 413]


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


def test_a_key_writes_for_its_repository_and_its_agent(start: Any, both: Parties) -> None:
    both.policy.write_text("quorum none\n")
    running: Backend = start(AIMGENTIX_AUTH="required", **both.settings)
    create = ("keys", "create", "--name", "x", "--scope", "write")
    digest, files = bundle()

    def status(*bound: str) -> int:
        key = command(running.database_url, *create, *bound).stdout.strip()
        return put(Client(running.port, key), digest, pack(files)).status

    assert status("--repository", "acme/other") == 403
    assert status("--repository", "acme/shop", "--agent", "other") == 403
    assert status("--repository", "acme/shop", "--agent", "shop-restarter") == 201
    assert put(Client(running.port), digest, pack(files)).status == 401

    def attested(*bound: str) -> int:
        key = command(running.database_url, *create, *bound).stdout.strip()
        address = f"/v1/bundles/{digest}/attestations"
        return Client(running.port, key).ask("PUT", address, attestation(digest), content_type=JSON).status

    assert attested("--repository", "acme/other") == 403
    assert attested("--repository", "acme/shop") == 201

    def logged(subject: str, *bound: str) -> int:
        key = command(running.database_url, *create, *bound).stdout.strip()
        body = json.dumps([{"digest": digest, "subject": subject}]).encode()
        return Client(running.port, key).ask("POST", "/v1/log/entries", body, content_type=JSON).status

    run = "acme/shop/runs/42/attempts/1"
    assert logged(run, "--repository", "acme/shop") == 200, "the bundle is logged already"
    assert logged("acme/shop-2/runs/1/attempts/1", "--repository", "acme/shop") == 403
    assert logged(run, "--agent", "shop-restarter") == 403, "nothing says whose it is"
    assert logged("acme/other/runs/1/attempts/1") == 201


@pytest.fixture
def operate(
    start: Any, both: Parties, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Backend, Any]:
    """A backend with a log and without a witness, and what an operator runs beside it."""
    both.policy.write_text("quorum none\n")
    running: Backend = start(**both.settings)
    monkeypatch.setenv("DATABASE_URL", running.database_url)

    def run(*arguments: object) -> tuple[int, str]:
        code = main(["archive", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return running, run


def test_what_is_held_stays_and_everything_is_recorded(operate: tuple[Backend, Any], tmp_path: Path) -> None:
    running, run = operate
    client = Client(running.port)
    digests = []
    for number in range(3):
        digest, files = bundle(number)
        digests.append(digest)
        assert put(client, digest, pack(files)).status == 201
    held, old, young = digests
    assert run("check")[0] == 1, "three bundles of one run"
    administer(running.database_url, f"UPDATE bundles SET received_at = 1 WHERE digest <> '{young}'")
    assert run("hold", held, "--because", "case 7")[0] == 0
    assert run("hold", "0" * 64, "--because", "case 7") == (1, f"aimgentix: the archive has no bundle '{'0' * 64}'\n")

    connection = open_database(parse_location(running.database_url)).connect_writer()
    assert not forget_bundle(connection, held, event_of("purged", held, "somebody")), "also if it was held just now"
    connection.close()
    code, said = run("purge", "--older-than-days", 30, "--agent", "another")
    assert (code, said) == (0, "0 bundles deleted, 0 are held\n")
    code, said = run("purge", "--older-than-days", 30, "--agent", "shop-restarter")
    assert (code, said) == (0, "1 bundles deleted, 1 are held\n")
    assert kept_files(running) == sorted(f"{digest}.zip" for digest in (held, young))
    assert client.get(f"/v1/bundles/{old}").status == 404
    assert "held: case 7" in run("list", "--repository", "acme/shop")[1]
    code, said = run("export", tmp_path / "out", "--since", "2026-01-01T00:00:00Z")
    assert (code, said[:18]) == (0, "1 bundles exported"), said
    (proof,) = (tmp_path / "out").rglob("*.tlog-proof")
    assert young.encode() in (parse_proof(proof.read_bytes()).extra or b"")
    assert (proof.with_suffix("") / "seal" / "report.json").read_bytes() == b"{}" * 5000
    assert run("release", held)[0] == 0
    assert run("purge", "--older-than-days", 30)[1] == "1 bundles deleted, 0 are held\n"
    assert run("check")[0] == 0

    trail = client.events("/v1/traces/aimgentix-archive/events")
    assert [(one["metadata"]["step"], one["resource"]) for one in trail] == [
        ("held", f"bundle/{held}"),
        ("purged", f"bundle/{old}"),
        ("exported", f"bundle/{young}"),
        ("released", f"bundle/{held}"),
        ("purged", f"bundle/{held}"),
    ]
    assert {one["metadata"]["by"] for one in trail} == {getpass.getuser()}


def test_a_bundle_that_is_deleted_meanwhile_is_not_said_to_be_held(
    operate: tuple[Backend, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention deletes it between the look and the hold."""
    running, run = operate
    digest, files = bundle()
    assert put(Client(running.port), digest, pack(files)).status == 201

    def delete(_: Folder, digest: str, *, held: bool) -> None:
        administer(running.database_url, f"DELETE FROM bundles WHERE digest = '{digest}'")

    monkeypatch.setattr(Folder, "hold", delete)
    said = f"aimgentix: {digest} was deleted meanwhile, and is not held\n"
    assert run("hold", digest, "--because", "case 7") == (1, said)
    assert trail_of(running.database_url) == []


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_attestations_are_kept_beside_their_bundle_and_go_with_it(
    request: pytest.FixtureRequest, start: Any, tmp_path: Path, store: str
) -> None:
    url = request.getfixturevalue("postgres").new_database() if store == "postgres" else None
    running: Backend = start(url, AIMGENTIX_ARCHIVE=str(tmp_path / "bundles"))
    client = Client(running.port)
    digest, files = bundle()
    address = f"/v1/bundles/{digest}/attestations"

    def bring(*given: bytes, key: str | None = None, media: str = JSON) -> Any:
        return Client(running.port, key).ask("PUT", address, b"\n".join(given), content_type=media)

    assert bring(attestation(digest)).status == client.get(address).status == 404, "no bundle"
    assert put(client, digest, pack(files)).status == 201
    assert client.get(address).body == b""
    other = attestation("0" * 64)
    both_of_them = [{"digest": {"sha256": one}} for one in (digest, "0" * 64)]
    for given, kind, status in (
        (b"", "attestation-too-many", 409),
        (b"[]", "attestation-invalid", 400),
        (b"[" * 5000, "attestation-invalid", 400),
        (b'{"dsseEnvelope": {"payload": "e30=", "signatures": []}}', "attestation-invalid", 400),
        (attestation(digest, _type="https://in-toto.io/Statement/v0"), "attestation-invalid", 400),
        (attestation(digest).replace(b'[{"sig": "0"}]', b"[]"), "attestation-invalid", 400),
        (other, "attestation-other-bundle", 400),
        (attestation(digest, subject=both_of_them), "attestation-other-bundle", 400),
        (attestation(digest) + b"\n" + other, "attestation-other-bundle", 400),
        (attestation(digest, x="x" * 128 * 1024), "attestation-too-large", 413),
        (attestation(digest, x="x" * 1024 * 1024), "too-large", 413),
    ):
        answer = bring(given)
        assert (answer.status, answer.json["type"]) == (status, f"urn:aimgentix:problem:{kind}"), answer
    assert bring(attestation(digest), media="text/plain").status == 415
    assert client.get(address).body == b""

    indented = json.dumps(json.loads(attestation(digest)), indent=2).encode()
    assert bring(indented).json == {"digest": digest, "stored": 1, "duplicates": 0}
    again = bring(attestation(digest), attestation(digest, 1), attestation(digest, 1))
    assert (again.status, again.json) == (201, {"digest": digest, "stored": 1, "duplicates": 1})
    assert bring(attestation(digest)).status == 200
    assert bring(*(attestation(digest, number) for number in range(2, 6))).status == 409, "all or none"
    assert bring(*(attestation(digest, number) for number in range(2, 5))).status == 201
    assert bring(attestation(digest, 6)).status == 409
    assert bring(attestation(digest, 3)).status == 200, "one that is there already"
    kept = client.get(address)
    assert kept.headers["content-type"] == LINES
    assert json.loads(kept.body.splitlines()[0])["dsseEnvelope"]["signatures"] == [{"sig": "0"}]
    assert len(kept.body.splitlines()) == 5
    assert trail_of(running.database_url)[-1]["metadata"]["attestations"] == 5

    administer(running.database_url, "UPDATE bundles SET received_at = 1")
    environ = {**os.environ, "DATABASE_URL": running.database_url, "AIMGENTIX_ARCHIVE": str(tmp_path / "bundles")}
    words = [sys.executable, "-m", "app", "archive", "purge", "--older-than-days", "1"]
    subprocess.run(words, cwd=BACKEND, env=environ, check=True, capture_output=True)
    assert administer(running.database_url, "SELECT count(*) FROM attestations") == [(0,)]


def test_a_check_finds_what_was_done_to_files_and_rows(operate: tuple[Backend, Any]) -> None:
    running, run = operate
    client = Client(running.port)
    for number in range(2):
        run_of = {"repository": "acme/shop", "run_id": str(number + 1), "run_attempt": 1}
        digest, files = bundle(number, run=run_of)
        assert put(client, digest, pack(files)).status == 201
    assert run("check") == (0, "2 bundles are whole, 2 are in the log, 0 of them were deleted\n")
    (path,) = Path(running.database_url.removeprefix("sqlite:///") + ".bundles").rglob(f"{digest}.zip")
    kept = path.read_bytes()
    path.write_bytes(pack({**files, "seal/report.json": b"other"}))
    assert f"{digest}: bundle-incomplete: seal/report.json" in run("check")[1]
    path.write_bytes(kept)
    administer(running.database_url, f"UPDATE bundles SET outcome = 'rejected' WHERE digest = '{digest}'")
    assert "the database says something else than the bundle" in run("check")[1]
    administer(running.database_url, f"DELETE FROM bundles WHERE digest = '{digest}'")
    assert "a file that the database doesn't know" in run("check")[1]
    path.unlink()
    assert f"{digest}: in the log, and gone" in run("check")[1]


def test_retention_goes_by_agent(start: Any, tmp_path: Path) -> None:
    running: Backend = start(None)
    client = Client(running.port)
    digest, files = bundle()
    assert put(client, digest, pack(files)).status == 201
    held, files = bundle(1)
    assert put(client, held, pack(files)).status == 201
    running.stop()
    administer(running.database_url, "UPDATE bundles SET received_at = 1")
    administer(running.database_url, f"UPDATE bundles SET held_because = 'case 7' WHERE digest = '{held}'")
    again: Backend = start(
        running.database_url,
        AIMGENTIX_ARCHIVE_RETENTION_AGENTS="another=1",
        AIMGENTIX_ARCHIVE_RETENTION_DAYS="36500",
    )
    time.sleep(0.5)
    assert Client(again.port).get(f"/v1/bundles/{digest}").status == 200
    again.stop()
    last: Backend = start(running.database_url, AIMGENTIX_ARCHIVE_RETENTION_AGENTS="another=9, shop-restarter=1")
    eventually(lambda: Client(last.port).get(f"/v1/bundles/{digest}").status == 404)
    # The row goes before the file; what is held stays.
    eventually(lambda: kept_files(running) == [f"{held}.zip"])
    trail = Client(last.port).events("/v1/traces/aimgentix-archive/events")
    purged = [one for one in trail if one["metadata"]["step"] == "purged"]
    assert [(one["resource"], one["metadata"]["by"]) for one in purged] == [(f"bundle/{digest}", "retention")]
