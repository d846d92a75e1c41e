"""Starting, migrating, keeping and deleting, backing up, and what the logs say."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import subprocess
import sys
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest
from app.store.location import parse_location
from app.store.opening import open_database
from app.store.schema import MIGRATIONS, REVISION, upgrade
from backend_client import Client, administer, command, event, eventually, line
from bench.servers import BACKEND, HOST, Backend, Postgres, ServerFailed

DAY_US = 24 * 3600 * 1_000_000


def age(database_url: str, days: int, condition: str) -> None:
    """Make events look as if they had been received earlier."""
    administer(database_url, f"UPDATE events SET received_at = received_at - {days * DAY_US} WHERE {condition}")


def failing_start(folder: Path, database_url: str | None = None, **settings: str) -> str:
    """Start a backend that can't start, and return what it said."""
    backend = Backend(folder, database_url, settings)
    with pytest.raises(ServerFailed), backend:
        backend.start()
    assert "Traceback" not in backend.output()
    return backend.output()


def test_a_server_s_port_is_its_own(tmp_path: Path, postgres: Postgres) -> None:
    """Started or not: else a start that has to fail finds another test's backend answering at its address."""
    with Backend(tmp_path) as backend, socket.socket() as other:
        for port in (backend.port, postgres.port):
            with pytest.raises(OSError) as refused:
                other.bind((HOST, port))
            assert refused.value.errno == errno.EADDRINUSE
        backend.start()
        backend.kill()
        with pytest.raises(ConnectionRefusedError):
            other.connect((HOST, backend.port))
        backend.start()


def test_the_known_revision_is_the_newest_migration() -> None:
    assert max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")) == REVISION


def test_both_stores_get_the_same_tables(database_url: str) -> None:
    assert "brought up to date" in command(database_url, "migrate").stdout
    assert "is up to date" in command(database_url, "migrate").stdout
    if database_url.startswith("sqlite"):
        columns = administer(database_url, "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c "
                          "WHERE m.type = 'table' AND m.name <> 'alembic_version' "
                          "AND m.name NOT LIKE 'run_words%'")  # fmt: skip
        indices = administer(database_url, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    else:
        columns = administer(database_url, "SELECT table_name, column_name FROM information_schema.columns "
                          "WHERE table_schema = 'public' AND table_name <> 'alembic_version' "
                          "AND table_name <> 'run_words'")  # fmt: skip
        indices = administer(database_url, "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' "
                          "AND indexname !~ '(pkey|pkc|_key)$|^run_words'")  # fmt: skip
    made_of_events = 24 + 2 + 2 + 7 + 2 + 6 + 7
    assert len(columns) == len(set(columns)) == 14 + 2 + 2 + 9 + 4 * 3 + 13 + made_of_events + 4 + 5
    assert {
        ("events", "body"),
        ("expired_streams", "through_seq"),
        ("broken_links", "seq"),
        ("api_keys", "digest"),
        ("log_tiles", "hashes"),
    } <= set(columns)
    expected = ("agent", "event_id", "stream", "time", "trace", "unusual")
    of_runs = ("agent", "checked", "code", "last", "outcome", "received", "repository", "resource", "trace", "trail")
    of_bundles = {f"bundles_{name}" for name in ("agent", "received", "repository")}
    others = {"log_entries_identity", "agents_last", "run_approvers_number", "run_streams_number", "streams_last"}
    others |= {f"bundles_{name}" for name in ("agent", "received", "repository", "trace")}
    assert {name for (name,) in indices} == (
        {f"events_{name}" for name in expected} | {f"runs_{name}" for name in of_runs} | of_bundles | others
    )


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({"trace_id": "t"}, "events_trace"),
        ({"agent_instance_id": "a"}, "events_agent"),
        ({}, "events_time"),
        ({"status": "denied"}, "events_unusual"),
        ({"since": 0, "until": 1}, "events_time"),
        ({"since": 0, "resource": "r"}, "events_time"),
        ({"trace_id": "t", "agent_instance_id": "a", "status": "denied"}, "events_trace"),
        ({"agent_instance_id": "a", "status": "denied"}, "events_agent"),
        ({"status": "denied", "resource": "r"}, "events_unusual"),
    ],
    ids=str,
)
def test_pages_are_read_from_an_index(tmp_path: Path, wanted: dict[str, Any], index: str) -> None:
    from app.store.queries import Filter, Place, end_query, page_query

    url = f"sqlite:///{tmp_path}/plan.db"
    command(url, "migrate")
    reader = open_database(parse_location(url)).connect_reader()
    for after in (None, Place(1, 1)):
        for statement, parameters in (
            page_query(Filter(**wanted), "desc", after, 100),
            page_query(Filter(**wanted), "desc", after, 100, Place(0, 0)),
            end_query(Filter(**wanted), "desc", after, 100),
        ):
            plan = " ".join(row[3] for row in reader.fetch(f"EXPLAIN QUERY PLAN {statement}", parameters))
            assert f"INDEX {index}" in plan, plan
            assert "TEMP B-TREE" not in plan
    reader.close()


def test_a_schema_of_another_version_is_not_touched(tmp_path: Path, database_url: str) -> None:
    refused = failing_start(tmp_path, database_url, AIMGENTIX_MIGRATE_ON_START="false")
    assert "python -m app migrate" in refused
    command(database_url, "migrate")
    with Backend(tmp_path, database_url, {"AIMGENTIX_MIGRATE_ON_START": "false"}).start() as backend:
        assert Client(backend.port).post(event()).status == 201
    administer(database_url, "UPDATE alembic_version SET version_num = '9999'")
    assert "newer backend" in failing_start(tmp_path, database_url)


def test_a_store_of_an_earlier_version_is_brought_up_to_date(start: Any, database_url: str) -> None:
    """With its events, of whose lines no hash is known: nothing is said of what follows them."""
    database = open_database(parse_location(database_url))
    database.create()
    upgrade(database, "0001")
    old = line("old", 1, trace_id="old")["event"]
    columns = ("agent_instance_id", "trace_id", "actor", "action_type", "resource", "status")
    values = ", ".join(f"'{old[name]}'" for name in columns)
    given = old["event_id"].replace("-", "")
    event_id = f"x'{given}'" if database_url.startswith("sqlite") else f"'{given}'"
    body = json.dumps(old | {"stream": "old", "seq": 1, "prev": None})
    administer(
        database_url,
        f"INSERT INTO events (event_id, occurred_at, received_at, {', '.join(columns)}, stream, seq, body) "
        f"VALUES ({event_id}, 1, 1, {values}, 'old', 1, '{body}')",
    )
    backend: Backend = start(database_url)
    assert "schema brought up to date" in backend.output()
    client = Client(backend.port)
    assert client.post(line("old", 2, trace_id="old")).status == 201
    assert len(client.events("/v1/traces/old/events")) == 2
    (stream,) = client.get("/v1/traces/old/gaps").json["streams"]
    assert (stream["received"], stream["broken"]) == (2, [])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AIMGENTIX_RETENTION_DAYS": "soon"}, "AIMGENTIX_RETENTION_DAYS"),
        ({"AIMGENTIX_AUTH": "maybe"}, "AIMGENTIX_AUTH"),
        ({"AIMGENTIX_AUTH": "auto"}, "AIMGENTIX_AUTH"),
        ({"DATABASE_URL": "mysql://root:hunter2@h/x"}, "unknown scheme 'mysql'"),
        ({"DATABASE_URL": "sqlite:////proc/audit.db"}, "can't be opened for writing"),
        ({"DATABASE_URL": "postgresql://me:hunter2@h:port/x"}, "a port that is not a number"),
        ({"DATABASE_URL": "postgresql://me:hunter2%@h/x"}, "percent-encoded"),
        ({"DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/x"}, "can't use PostgreSQL database x at 127.0.0.1:1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_start_that_fails_says_why(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    output = failing_start(tmp_path, settings.pop("DATABASE_URL", None), **settings)
    assert said in output
    assert "hunter2" not in output


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "postgresql://audit@{host}:{port}/{name}?options=-c%20search_path%3Delsewhere",
            ("elsewhere", "aimgentix-backend"),
        ),
        (
            "postgres://audit@{host}:{port}/{name}?options=-c%20work_mem%3D8MB%20-c%20search_path%3Delsewhere"
            "&application_name=audit%20one%2Btwo",
            ("elsewhere", "audit one+two"),
        ),
        ("postgresql:///{name}?host={host}&port={port}&user=audit", ("public", "aimgentix-backend")),
        (
            "postgresql://audit@%2Fnowhere,{host}:{port}/{name}?target_session_attrs=read-write",
            ("public", "aimgentix-backend"),
        ),
        ("postgresql+psycopg://o%27neil@{folder}:{port}/{name}", ("public", "aimgentix-backend")),
    ],
    ids=["options", "two options and a name", "host in the query", "two hosts, one is down", "socket and quote"],
)
def test_takes_every_address_that_libpq_takes(
    start: Any, postgres: Postgres, form: str, expected: tuple[str, str]
) -> None:
    plain = postgres.new_database()
    administer(plain, "CREATE SCHEMA elsewhere")
    administer(plain, 'DO $$BEGIN CREATE ROLE "o\'neil" LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN END$$')
    name = plain.rpartition("/")[2]
    url = form.format(host=HOST, port=postgres.port, name=name, folder=str(postgres.socket_folder).replace("/", "%2F"))
    assert "brought up to date" in command(url, "migrate").stdout
    client = Client(start(url).port)
    assert client.post(event(trace_id="addressed")).status == 201
    assert len(client.events("/v1/traces/addressed/events")) == 1
    schema = administer(plain, "SELECT schemaname FROM pg_tables WHERE tablename = 'events'")
    program = administer(plain, f"SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = '{name}' "
                      "AND pid <> pg_backend_pid()")  # fmt: skip
    assert (schema, program) == ([(expected[0],)], [(expected[1],)])


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "audit.db").write_bytes(b"this is not a database, " * 1000)
    assert "damaged" in failing_start(tmp_path)


def test_a_start_says_where_it_listens_and_stores(start: Any, database_url: str) -> None:
    backend: Backend = start(database_url, AIMGENTIX_RETENTION_DAYS="90")
    output = backend.output()
    assert f"Uvicorn running on http://127.0.0.1:{backend.port}" in output
    assert ("SQLite file" if database_url.startswith("sqlite") else "PostgreSQL database audit") in output
    assert "kept for 90 days" in output
    for entry in map(json.loads, output.splitlines()):
        assert set(entry) >= {"time", "level", "message"}


def test_logs_hold_no_contents(start: Any) -> None:
    backend: Backend = start(AIMGENTIX_ACCESS_LOG="true", AIMGENTIX_LOG_LEVEL="debug")
    client = Client(backend.port)
    secret = "planted-c0ffee"
    sent = event(resource=secret, trace_id=secret, agent_instance_id=secret, metadata={"key": secret})
    client.post(sent)
    client.post(sent | {"status": "error"})
    client.post(sent | {"actor": secret})
    client.post_lines([sent | {"timestamp": secret}])
    client.get(f"/v1/traces/{secret}/events")
    client.get(f"/v1/events?resource={secret}&{secret}={secret}")
    client.get(f"/{secret}")
    client.ask("POST", "/v1/events", f"{{{secret}".encode(), content_type="application/json", authorization=secret)

    def requests() -> list[str]:
        """The lines of these eight, and not of the ones that asked whether the backend is alive."""
        lines = [text for text in backend.output().splitlines() if '"message": "request"' in text]
        return [text for text in lines if '"route": "/healthz"' not in text]

    eventually(lambda: len(requests()) >= 8)  # a request is logged after its answer is sent
    output = backend.output()
    assert len(requests()) == 8
    assert secret not in output
    assert '"route": "/v1/traces/{trace_id}/events"' in output


def test_retention(start: Any, database_url: str) -> None:
    backend: Backend = start(database_url, AIMGENTIX_READ_MINUTES="0")
    client = Client(backend.port)
    client.post_lines([line("aging", seq, trace_id="aging") for seq in (1, 2, 4, 5, 6, 9)])
    client.post_lines([event(trace_id="gone") for _ in range(3000)])
    age(database_url, 10, "seq <= 5 OR trace_id = 'gone'")
    assert command(database_url, "purge", "--older-than-days", "11").stdout == "0 events deleted\n"
    # seq 6 and 9 came before those of the other trace, and are young: what came after them stays with them.
    assert command(database_url, "purge", "--older-than-days", "9").stdout == "4 events deleted\n"
    assert [one["seq"] for one in client.events("/v1/traces/aging/events")] == [6, 9]
    (stream,) = client.get("/v1/traces/aging/gaps").json["streams"]
    assert (stream["expired_through"], stream["missing"]) == (5, [{"first": 7, "last": 8}])
    age(database_url, 10, "seq >= 6")
    backend.stop()
    with Backend(
        backend.log.parent, database_url, {"AIMGENTIX_RETENTION_DAYS": "9", "AIMGENTIX_READ_MINUTES": "0"}
    ).start() as again:
        client = Client(again.port)
        eventually(lambda: b"aimgentix_events_expired_total 3002.0" in client.get("/metrics").body)
        (left,) = client.events("/v1/events")
        assert (left["resource"], left["metadata"]["step"], left["metadata"]["by"]) == ("events", "purged", getuser())
        assert left["metadata"]["events"] == 4, "who deleted by hand is recorded, and is young"
        assert client.post(event()).status == 201


def test_backup_of_a_store_in_use(start: Any, tmp_path: Path) -> None:
    backend: Backend = start()
    client = Client(backend.port)
    sent = [line("kept", seq, trace_id="kept") for seq in range(1, 101)]
    client.post_lines(sent)
    copy = tmp_path / "copy.db"
    assert "copied" in command(backend.database_url, "backup", str(copy)).stdout
    assert copy.stat().st_mode & 0o777 == 0o600
    command(backend.database_url, "backup", str(copy), expected=1)
    folder = tmp_path / "restored"
    folder.mkdir()
    with Backend(folder, f"sqlite:///{copy}").start() as restored:
        assert len(Client(restored.port).events("/v1/traces/kept/events")) == 100


def test_the_file_is_its_owner_s_only(start: Any, tmp_path: Path) -> None:
    Client(start().port).post(event())
    for path in tmp_path.glob("audit.db*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("name", ["requirements", "requirements-s3"])
def test_requirements_are_locked(name: str) -> None:
    text = (BACKEND / f"{name}.txt").read_text()
    pinned = re.findall(r"^([a-z0-9-]+(?:\[[a-z]+\])?)==", text, re.MULTILINE)
    wanted = [name.split(";")[0].strip() for name in (BACKEND / f"{name}.in").read_text().splitlines()]
    assert {name.split("[")[0] for name in wanted if name and not name.startswith("#")} <= {
        name.split("[")[0] for name in pinned
    }
    assert text.count("--hash=sha256:") >= len(pinned)
    assert not re.search(r"https?://|^/| /|--index|--find-links|file:", text, re.MULTILINE)


def test_idle_memory(start: Any) -> None:
    """A generous bound; `python -m bench` measures, and the start, too."""
    backend: Backend = start()
    assert backend.memory_bytes() < 120_000_000


def test_the_application_needs_its_lifespan(tmp_path: Path) -> None:
    with Backend(tmp_path, options=["--lifespan", "off"]) as backend:
        backend.start(wait=False)

        def says_so() -> bool:
            with contextlib.suppress(ServerFailed):
                backend.wait(0.2)
            return "--lifespan on" in backend.output()

        eventually(says_so)


def test_the_package_starts_from_another_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", "migrate"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(BACKEND), "DATABASE_URL": "sqlite:///here.db"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done
    assert (tmp_path / "here.db").exists()
