"""A database that can be trusted with acknowledged tasks: opened, checked, and entered one transaction at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, false, make_url
from sqlalchemy import exc as sqlalchemy_exc

from taskqueue.core.errors import InvalidSettings, StoreUnavailable, UnsafeDatabase, WrongRevision
from taskqueue.store import migrations
from taskqueue.store.dialect import Dialect, Hint, Listener
from taskqueue.store.schema import ready
from taskqueue.store.sqlite import Sqlite

_WRITE_NOTHING = delete(ready).where(false())
DEFAULT_WAIT = timedelta(seconds=1.5)  # leaves a request half a second to answer 503 within 2 s
_HINTS = "taskqueue_hints"
_UNAVAILABLE = "the database did not commit in time; the request may or may not have taken effect"


def _no_offset() -> timedelta:
    return timedelta(0)


class Database:
    """One database, shared by all threads of a process. Every call may raise ``StoreUnavailable``."""

    def __init__(self, dialect: Dialect, url_shown: str, clock_offset: Callable[[], timedelta]) -> None:
        self.dialect, self.url_shown = dialect, url_shown
        self.clock_offset = clock_offset
        self._writer, self._reader = dialect.engines()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        wait: timedelta = DEFAULT_WAIT,
        pool_size: int = 5,
        clock_offset: Callable[[], timedelta] = _no_offset,
    ) -> Database:
        """A database by URL; nothing is connected yet. ``clock_offset`` moves its clock, for tests alone."""
        try:
            parsed = make_url(url)
        except sqlalchemy_exc.ArgumentError:
            raise InvalidSettings(
                "TASKQUEUE_DATABASE_URL is not a URL; write sqlite:///path or postgresql://…"
            ) from None
        name = parsed.get_backend_name()
        if name == "sqlite":
            return cls(Sqlite(parsed, wait=wait), str(parsed), clock_offset)
        if name in ("postgresql", "postgres"):
            from taskqueue.store.postgres import Postgres  # its driver is an extra: SQLite alone must run without it

            dialect = Postgres(parsed, wait=wait, pool_size=pool_size)
            return cls(dialect, parsed.render_as_string(hide_password=True), clock_offset)
        raise InvalidSettings(f"TASKQUEUE_DATABASE_URL names {name}; only sqlite and postgresql can be used")

    @property
    def dialect_name(self) -> str:
        return self.dialect.name

    def check(self, *, allow_unsafe: bool = False) -> list[str]:
        """Refuse a database that would break a promise; return what was let through because of ``allow_unsafe``."""
        if self.dialect.missing():
            raise WrongRevision(f"there is no database at {self.url_shown} yet; run: taskqueue migrate")
        try:
            with self.read() as conn:
                risks = self.dialect.check(conn)
                current, head = migrations.current(conn), migrations.head()
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{self.url_shown} cannot be reached: {_reason(error)}", rolled_back=True) from error
        if risks and not allow_unsafe:
            raise UnsafeDatabase(" ".join(risks))
        if current is None:
            raise WrongRevision("the database has no taskqueue tables yet; run: taskqueue migrate")
        if current != head:
            raise WrongRevision(
                f"the database is at revision {current}, this version needs {head}; run: taskqueue migrate"
                " (or start the version that wrote it, if it is the newer one)"
            )
        return risks

    def probe(self) -> None:
        """Raise ``StoreUnavailable`` unless a transaction can write: a standby or a locked store refuses even this."""
        with self.begin() as conn:
            conn.execute(_WRITE_NOTHING)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One write transaction, committed at the end. It waits for its turn, but not for long."""
        committing = False
        try:
            with self.dialect.turn(), self._writer.connect() as conn, conn.begin():
                hints = conn.info[_HINTS] = set[Hint]()
                yield conn
                committing = True
                self.dialect.commit(conn, hints)
        except Exception as error:
            if self._unavailable(error):
                raise StoreUnavailable(_UNAVAILABLE, rolled_back=not committing) from error
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A short look at one snapshot."""
        try:
            with self._reader.connect() as conn, conn.begin():
                yield conn
        except Exception as error:
            if self._unavailable(error):
                raise StoreUnavailable(_UNAVAILABLE, rolled_back=True) from error
            raise

    def now(self, conn: Connection) -> datetime:
        """The database's clock. Every time that is stored or compared comes from it."""
        return self.dialect.now(conn) + self.clock_offset()

    def hint(self, conn: Connection, hint: Hint) -> None:
        """Tell other processes, once this transaction is committed."""
        conn.info[_HINTS].add(hint)

    def listener(self, *hints: Hint) -> Listener:
        """Hear the hints of other processes; close it when done."""
        return self.dialect.listener(frozenset(hints))

    def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()

    def _unavailable(self, error: Exception) -> bool:
        return isinstance(error, sqlalchemy_exc.TimeoutError) or self.dialect.transient(error)


def _reason(error: StoreUnavailable) -> str:
    """What the server said or, if nobody answered, the driver."""
    cause = error.__cause__
    said = str(cause.orig if isinstance(cause, sqlalchemy_exc.DBAPIError) else cause).strip()
    return said.rpartition("FATAL:")[2].strip().partition("\n")[0]
