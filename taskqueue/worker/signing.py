"""The signing secrets of each project, kept at hand so that no attempt waits for the store."""

from __future__ import annotations

from collections.abc import Iterable

from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store import secrets
from taskqueue.store.database import Database
from taskqueue.worker.clock import ticks

_FRESH_SECONDS = 30.0  # how long a rotated secret may go unnoticed


class SigningSecrets:
    """Loaded by whoever claims, on that thread; read by every attempt. ``given`` is the default project's, if set."""

    def __init__(self, database: Database, *, given: str | None) -> None:
        self._database = database
        self._of: dict[str, tuple[str, ...]] = {}
        self._loaded_at: dict[str, float] = {}
        if given is not None:
            self._of[DEFAULT_PROJECT] = (given,)
            self._loaded_at[DEFAULT_PROJECT] = float("inf")

    def of(self, project: str) -> tuple[str, ...]:
        """Newest first; KeyError for a project that ``keep`` never loaded."""
        return self._of[project]

    def keep(self, projects: Iterable[str]) -> None:
        """Load what is missing or old. Raises ``StoreUnavailable``; what was loaded before stays usable."""
        now = ticks()
        for project in projects:
            if now - self._loaded_at.get(project, -_FRESH_SECONDS) >= _FRESH_SECONDS:
                self._of[project] = self._load(project)
                self._loaded_at[project] = now

    def _load(self, project: str) -> tuple[str, ...]:
        if project in self._of:
            with self._database.read() as conn:
                return secrets.current(conn, project)
        with self._database.begin() as conn:
            return secrets.ensure(conn, self._database, project)
