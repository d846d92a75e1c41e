"""The schema that this version of the backend works with, and how a store gets there."""

from __future__ import annotations

from app.settings import PACKAGE
from app.store.base import Database

REVISION = "0007"
"""The newest migration. Kept here too, so that a start finds its store up to date without loading Alembic."""

MIGRATIONS = PACKAGE / "store" / "migrations"


class WrongSchema(Exception):
    """The store has a schema that this version of the backend does not work with; the message says what to do."""


def prepare(database: Database, *, migrate: bool) -> bool:
    """Make sure that the store has the schema of this version; return whether it had to be changed.

    Raises:
        StoreUnavailable: the store does not answer.
        WrongSchema: its schema is newer than this version, or older and `migrate` is not wanted.
    """
    database.create()
    revision = database.revision()
    if revision == REVISION:
        return False
    if revision is not None and revision > REVISION:
        raise WrongSchema(f"the store's schema {revision} was made by a newer backend; this one knows {REVISION}")
    if not migrate:
        raise WrongSchema(
            f"the store's schema is {revision or 'none'}, not {REVISION}: run `python -m app migrate` first"
        )
    upgrade(database)
    return True


def upgrade(database: Database, revision: str = REVISION) -> None:
    """Run the migrations that are missing. Any number of processes may do so at once: one does it, the others wait.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = database.engine()
    try:
        with engine.begin() as connection:
            database.lock(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()
