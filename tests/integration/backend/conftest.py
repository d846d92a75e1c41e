"""What the backend's tests share: the code under test, servers, and events to send."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

HERE = Path(__file__).resolve().parent
# Behind everything else: other folders of tests have a conftest.py, too.
sys.path += [str(HERE), str(HERE.parents[2] / "backend")]

from backend_client import Client, event  # noqa: E402  found by the path above
from backend_log import Parties, parties  # noqa: E402
from bench.servers import Backend, Postgres, postgres_binaries  # noqa: E402

from support.environment import missing  # noqa: E402

Starter = Callable[..., Backend]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of its own."""
    if postgres_binaries() is None:
        missing("PostgreSQL is not installed")
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store: once on SQLite, once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'audit.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Start a backend; further arguments are those of `Backend`. It is stopped after the test."""
    running: list[Backend] = []

    def start(database_url: str | None = None, *, options: tuple[str, ...] = (), **settings: str) -> Backend:
        backend = Backend(tmp_path, database_url, settings, options)
        running.append(backend)
        return backend.start()

    yield start
    for backend in running:
        backend.__exit__(None, None, None)


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def shared_backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A running backend, once on SQLite and once on PostgreSQL, for tests that need no store of their own."""
    url = None
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_database()
    with Backend(tmp_path_factory.mktemp("backend"), url).start() as backend:
        yield backend


@pytest.fixture
def client(shared_backend: Backend) -> Client:
    """Speaks to the shared backend."""
    return Client(shared_backend.port)


@pytest.fixture
def new() -> Callable[..., dict[str, object]]:
    """Make events of a trace and an agent that no other test has."""
    name = uuid4().hex
    return partial(event, trace_id=name, agent_instance_id=name)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Parties]:
    """A log and a witness with their keys."""
    with parties(tmp_path / "keys") as made:
        yield made
