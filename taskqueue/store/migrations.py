"""The schema's revisions: which one a database is at, which one this version needs, and the way between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy import exc as sqlalchemy_exc

from taskqueue.core.errors import InvalidSettings, StoreUnavailable, WrongRevision
from taskqueue.store.pooler import Pooler

VERSION_TABLE = "taskqueue_revision"  # not Alembic's default: the database may hold another application's revisions
_LOCK = 0x7461736B71  # any number, as long as every version of taskqueue takes the same
_PATIENCE = 60  # seconds to wait for another process that migrates


def upgrade(url: str) -> None:
    """Bring the database to the revision this version needs. Safe to call from many processes at once."""
    with locked(url) as conn:
        _run(conn, command.upgrade, "head")


def downgrade(url: str, revision: str) -> None:
    """Take the database back to ``revision``; ``base`` drops every table and all that is in them."""
    with locked(url) as conn:
        _run(conn, command.downgrade, revision)


@lru_cache(maxsize=1)
def head() -> str:
    """The revision this version was written for."""
    newest = ScriptDirectory(str(script_location())).get_current_head()
    assert newest is not None, "the package carries its revisions"
    return newest


def current(conn: Connection) -> str | None:
    """The revision the database is at; ``None`` when it was never migrated."""
    return MigrationContext.configure(conn, opts={"version_table": VERSION_TABLE}).get_current_revision()


def script_location() -> Path:
    """Where the revisions lie: inside the package when it was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


@contextmanager
def locked(url: str) -> Iterator[Connection]:
    """One transaction in which nobody else migrates; a revision is there whole or not at all."""
    parsed = _parsed(url)
    engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgres(parsed)
    try:
        with engine.connect() as conn, conn.begin():
            if conn.dialect.name == "postgresql":
                conn.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield conn
    except sqlalchemy_exc.OperationalError as error:
        shown = parsed.render_as_string(hide_password=True)
        said = str(error.orig).strip().partition("\n")[0]
        raise StoreUnavailable(f"{shown} cannot be migrated: {said}", rolled_back=True) from error
    finally:
        engine.dispose()


def _run(conn: Connection, verb: Any, revision: str) -> None:
    config = Config(attributes={"connection": conn})
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    try:
        verb(config, revision)
    except CommandError as error:
        raise WrongRevision(
            f"the database is at revision {current(conn)}, from which this version knows no way to {revision};"
            " use the version of taskqueue that wrote it"
        ) from error


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except sqlalchemy_exc.ArgumentError:
        raise InvalidSettings("TASKQUEUE_DATABASE_URL is not a URL; write sqlite:///path or postgresql://…") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        name = parsed.get_backend_name()
        raise InvalidSettings(f"TASKQUEUE_DATABASE_URL names {name}; only sqlite and postgresql can be used")
    return parsed


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise InvalidSettings("TASKQUEUE_DATABASE_URL names no file; write sqlite:///path/to/file.db")
    _make_private(Path(url.database).absolute())
    engine = create_engine(url, poolclass=NullPool, connect_args={"isolation_level": None, "timeout": _PATIENCE})
    # The driver's own begin comes too late to cover DDL.
    event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("begin immediate"))
    return engine


def _make_private(file: Path) -> None:
    """A new database is its owner's alone: it holds payloads, credentials and the signing secret."""
    if not file.parent.exists():
        file.parent.mkdir(mode=0o700, parents=True)
    file.touch(mode=0o600)  # SQLite gives its other files the same mode


def _postgres(url: URL) -> Engine:
    plain, pooler = Pooler.of(url.set(drivername="postgresql+psycopg"))
    return create_engine(
        pooler.direct if pooler is not None and pooler.direct is not None else plain,
        poolclass=NullPool,
        connect_args={"application_name": "taskqueue migrate", "connect_timeout": 10},
    )
