"""The archive in a bucket: what it does on a disk, it does there, and object lock keeps bundles from everybody."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from app.cli import main
from backend_bundles import HOSTILE, bundle, pack, put, ten_gigabytes
from backend_client import Client, administer, event, eventually
from bench.servers import BACKEND, HOST, Backend, reserve_port, tied

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}
DAY = timedelta(days=1)
BUCKET = "acme-audit-bundles"


class S3:
    """A store that speaks S3, and the way of its administrator into it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = botocore.session.get_session().create_client("s3", endpoint_url=url)

    def versions(self, digest: str) -> list[dict[str, Any]]:
        found = self.client.list_object_versions(Bucket=BUCKET, Prefix=key_of(digest))
        return [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]

    def guarded(self, actions: int) -> None:
        """Ask for valid credentials after so many more requests."""
        asked = urllib.request.Request(f"{self.url}/moto-api/reset-auth", str(actions).encode(), method="POST")
        asked.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(asked).close()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with reserve_port() as keeper:
            port: int = keeper.getsockname()[1]
            command = [*tied("KILL"), sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                try:
                    server = S3(f"http://{HOST}:{port}")
                    patch.setenv("AWS_ENDPOINT_URL", server.url)
                    eventually(lambda: answers(server.url))
                    yield server
                finally:
                    process.terminate()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def operate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """What an operator runs beside a backend, with its settings."""

    def run(backend: Backend, *arguments: object, **settings: str) -> tuple[int, str]:
        for name, value in ({"DATABASE_URL": backend.database_url} | settings).items():
            monkeypatch.setenv(name, value)
        code = main(["archive", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


@pytest.fixture(scope="module")
def backend(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend with the settings that README has, which an operator's commands have, too; and the bucket."""
    readme = (BACKEND / "README.md").read_text(encoding="utf-8")
    wanted = dict(re.findall(r"\b(AIMGENTIX_ARCHIVE(?:_LOCK)?)=(\S+)", readme))
    assert wanted == {"AIMGENTIX_ARCHIVE": f"s3://{BUCKET}", "AIMGENTIX_ARCHIVE_LOCK": "governance=365"}
    assert f"--bucket {BUCKET} --object-lock-enabled-for-bucket\n" in readme
    s3.client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIMGENTIX_ARCHIVE", f"s3://{BUCKET}/audit")
        patch.setenv("AIMGENTIX_ARCHIVE_LOCK", wanted["AIMGENTIX_ARCHIVE_LOCK"])
        patch.setenv("AIMGENTIX_MAX_BUNDLE_BYTES", str(1024 * 1024))
        with Backend(tmp_path_factory.mktemp("bucket")).start() as backend:
            yield backend


def key_of(digest: str) -> str:
    return f"audit/{digest[:2]}/{digest}.zip"


def age(backend: Backend, digest: str) -> None:
    administer(backend.database_url, f"UPDATE bundles SET received_at = 1 WHERE digest = '{digest}'")


def unlock(s3: S3, digest: str) -> None:
    """Let its day come."""
    yesterday = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) - DAY}
    s3.client.put_object_retention(
        Bucket=BUCKET, Key=key_of(digest), BypassGovernanceRetention=True, Retention=yesterday
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_no_bundle_never_gets_there(s3: S3, backend: Backend) -> None:
    client = Client(backend.port)
    digest, files = bundle(7)
    for kind, forms in HOSTILE.items():
        for make in forms:
            answer = put(client, digest, make(files))
            assert answer.json["type"] == f"urn:aimgentix:problem:{kind}", answer
    assert ten_gigabytes(client) == [413, 413]
    assert s3.versions(digest) == []


def test_a_bundle_is_kept_once_and_locked_until_its_day(
    s3: S3, backend: Backend, operate: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    client = Client(backend.port)
    digest, files = bundle(1)
    assert put(client, digest, pack(files)).status == 201
    assert put(client, digest, pack(files, zipfile.ZIP_STORED)).status == 200
    assert len(s3.versions(digest)) == 1, "no second version that has to be paid"
    head = s3.client.head_object(Bucket=BUCKET, Key=key_of(digest))
    until = head["ObjectLockRetainUntilDate"]
    assert head["ObjectLockMode"] == "GOVERNANCE"
    assert abs(until - datetime.now(UTC) - 365 * DAY) < timedelta(minutes=5)
    (listed,) = client.get("/v1/bundles").json["bundles"]
    assert listed["locked_until"][:19] == f"{until:%Y-%m-%dT%H:%M:%S}"

    with zipfile.ZipFile(io.BytesIO(client.get(f"/v1/bundles/{digest}").body)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files
    assert operate(backend, "check") == (0, "1 bundles are whole, 0 are in the log, 0 of them were deleted\n")
    assert operate(backend, "export", tmp_path / "out")[1][:18] == "1 bundles exported"
    assert (next((tmp_path / "out" / "acme" / "shop").iterdir()) / "seal" / "report.json").read_bytes() == b"{}" * 5000

    for broken, found in (
        (b"garbage", "bundle-not-zip"),
        (pack(files)[:-30], "bundle-not-zip"),
        (pack({**files, "seal/report.json": b"other"}), "bundle-incomplete"),
        (pack({**files, "bomb": b"\0" * (64 * 1024 * 1024)}), "bundle-too-large"),
        (b"\0" * (1024 * 1024 + 1), "bundle-too-large: it has more than 1048576 bytes in s3://"),
    ):
        put_by = s3.client.put_object(Bucket=BUCKET, Key=key_of(digest), Body=broken)
        code, said = operate(backend, "check")
        assert (code, f"{digest}: {found}" in said) == (1, True), said
        assert operate(backend, "export", tmp_path / "no")[1].startswith(f"aimgentix: {digest}: {found}")
        assert not (tmp_path / "no").exists()
        s3.client.delete_object(Bucket=BUCKET, Key=key_of(digest), VersionId=put_by["VersionId"])
    assert operate(backend, "check")[0] == 0

    age(backend, digest)
    code, said = operate(backend, "purge", "--older-than-days", 1)
    assert (code, said.splitlines()[-1]) == (0, "0 bundles deleted, 0 are held, 1 are locked")
    why = f"it is locked until {until:%Y-%m-%dT%H:%M}Z in s3://{BUCKET}/audit (governance)"
    assert said.splitlines()[0] == f"{digest} is not deleted: {why}"

    assert operate(backend, "hold", digest, "--because", "case 7")[0] == 0
    assert s3.client.get_object_legal_hold(Bucket=BUCKET, Key=key_of(digest))["LegalHold"]["Status"] == "ON"
    administer(backend.database_url, "UPDATE bundles SET held_because = NULL")
    why = f"it has a legal hold in s3://{BUCKET}/audit"
    said = operate(backend, "purge", "--older-than-days", 1)[1]
    assert said.splitlines()[0] == f"{digest} is not deleted: {why}", "whatever the database says"
    assert operate(backend, "release", digest)[0] == 0
    assert s3.client.get_object_legal_hold(Bucket=BUCKET, Key=key_of(digest))["LegalHold"]["Status"] == "OFF"
    assert client.get(f"/v1/bundles/{digest}").status == 200

    unlock(s3, digest)
    s3.client.delete_object(Bucket=BUCKET, Key=key_of(digest))
    assert len(s3.versions(digest)) == 2, "somebody hid it; the store still has it"
    assert "its file is missing" in operate(backend, "check")[1]
    assert operate(backend, "purge", "--older-than-days", 1)[1] == "1 bundles deleted, 0 are held\n"
    assert s3.versions(digest) == [], "every version is gone"
    steps = [one["metadata"]["step"] for one in client.events("/v1/traces/aimgentix-archive/events")]
    assert steps == ["read", "exported", "held", "released", "read", "purged"]


def test_what_somebody_put_there_first_is_not_taken_for_the_bundle(
    s3: S3, backend: Backend, operate: Callable[..., tuple[int, str]]
) -> None:
    """Else it would be acknowledged, and gone with GitHub's copy."""
    client = Client(backend.port)
    digest, files = bundle(5)
    for garbage in (b"garbage", pack({**files, "seal/report.json": b"other"}), b"\0" * (1024 * 1024 + 1)):
        s3.client.put_object(Bucket=BUCKET, Key=key_of(digest), Body=garbage)
        assert put(client, digest, pack(files)).status in (200, 201)
        with zipfile.ZipFile(io.BytesIO(client.get(f"/v1/bundles/{digest}").body)) as archive:
            assert archive.read("seal/report.json") == files["seal/report.json"]
        head = s3.client.head_object(Bucket=BUCKET, Key=key_of(digest))
        assert head["ObjectLockMode"] == "GOVERNANCE"
    # What has a longer name is not a version of it, and keeps nothing from being deleted.
    s3.client.put_object(Bucket=BUCKET, Key=f"{key_of(digest)}.bak", Body=b"x")
    for version in s3.versions(digest):
        if version["Key"] == key_of(digest) and "ETag" in version:
            s3.client.put_object_retention(
                Bucket=BUCKET, Key=key_of(digest), VersionId=version["VersionId"], BypassGovernanceRetention=True,
                Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) - DAY},
            )  # fmt: skip
    age(backend, digest)
    assert operate(backend, "purge", "--older-than-days", 1)[1].splitlines()[-1].startswith("1 bundles deleted")
    assert [version["Key"] for version in s3.versions(digest)] == [f"{key_of(digest)}.bak"]


def test_retention_passes_by_what_is_locked(s3: S3, backend: Backend, start: Any) -> None:
    digests = []
    for number in (2, 3, 4):
        digest, files = bundle(number)
        assert put(Client(backend.port), digest, pack(files)).status == 201
        age(backend, digest)
        digests.append(digest)
    locked, unknown, unlocked = digests
    unlock(s3, unlocked)
    past = f"UPDATE bundles SET locked_until = 1 WHERE digest IN ('{unknown}', '{unlocked}')"
    administer(backend.database_url, past)  # and the store knows better of one
    client = Client(start(backend.database_url, AIMGENTIX_ARCHIVE_RETENTION_DAYS="1").port)
    eventually(lambda: client.get(f"/v1/bundles/{unlocked}").status == 404)
    assert [len(s3.versions(digest)) for digest in digests] == [1, 1, 0]
    assert {one["digest"] for one in client.get("/v1/bundles").json["bundles"]} >= {locked, unknown}


def test_what_a_store_refuses_is_one_line_and_costs_no_event(
    s3: S3, start: Any, operate: Callable[..., tuple[int, str]]
) -> None:
    digest, files = bundle()
    backend: Backend = start(AIMGENTIX_ARCHIVE="s3://no-such-bucket")
    client = Client(backend.port)
    answer = put(client, digest, pack(files))
    assert (answer.status, answer.json["type"]) == (503, "urn:aimgentix:problem:store-unavailable"), answer
    missing = "the archive's bucket no-such-bucket does not exist"
    assert answer.json["detail"].split(";")[0] == missing
    eventually(lambda: client.get("/readyz").json == {"status": "ready", "archive": missing})
    assert "aimgentix_archive_unavailable 1.0" in client.get("/metrics").body.decode()
    assert client.get("/v1/bundles").json["bundles"] == []
    assert client.post(event()).status == 201

    def refused(**settings: str) -> str:
        code, said = operate(backend, "check", **settings)
        assert (code, len(said.splitlines())) == (1, 1), said
        return said.removeprefix("aimgentix: ").rstrip()

    assert refused(AIMGENTIX_ARCHIVE="s3://no-such-bucket") == missing
    plain = "without-object-lock"
    s3.client.create_bucket(Bucket=plain)
    said = refused(AIMGENTIX_ARCHIVE=f"s3://{plain}", AIMGENTIX_ARCHIVE_LOCK="governance=1")
    assert said.startswith(f"the archive's bucket {plain} has no object lock: turn it on there, or unset"), said
    s3.guarded(0)
    try:
        said = refused(AIMGENTIX_ARCHIVE=f"s3://{plain}")
    finally:
        s3.guarded(10**9)
    assert said == f"the archive s3://{plain} refuses ListObjectsV2: InvalidAccessKeyId"
    with reserve_port() as nobody:
        said = refused(AWS_ENDPOINT_URL=f"http://{HOST}:{nobody.getsockname()[1]}")
    assert said.startswith(f"the archive s3://{plain} does not work: Could not connect to the endpoint"), said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AIMGENTIX_ARCHIVE": "s3://Bucket_1"}, "is not s3://bucket or s3://bucket/prefix"),
        ({"AIMGENTIX_ARCHIVE": "s3://bucket/../x"}, "is not s3://bucket or s3://bucket/prefix"),
        ({"AIMGENTIX_ARCHIVE": "s3://bucket", "AIMGENTIX_ARCHIVE_LOCK": "for-ever"}, "AIMGENTIX_ARCHIVE_LOCK"),
        ({"AIMGENTIX_ARCHIVE": "s3://bucket", "AIMGENTIX_ARCHIVE_LOCK": "governance=0"}, "AIMGENTIX_ARCHIVE_LOCK"),
        ({"AIMGENTIX_ARCHIVE": "folder", "AIMGENTIX_ARCHIVE_LOCK": "governance=9"}, "AIMGENTIX_ARCHIVE_LOCK is for a"),
        ({"AIMGENTIX_ARCHIVE": "s3://bucket", "AWS_ENDPOINT_URL": "nonsense"}, "AIMGENTIX_ARCHIVE: "),
    ],
)
def test_a_setting_that_can_t_be_is_one_line(
    settings: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name, value in {**settings, "DATABASE_URL": f"sqlite:///{tmp_path / 'audit.db'}"}.items():
        monkeypatch.setenv(name, value)
    assert main(["archive", "list"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("aimgentix: AIMGENTIX_ARCHIVE") and said in line, line
