"""What every view needs at hand: store, committer, callers, defaults, long polls, intake and limits."""

from __future__ import annotations

from taskqueue.config import Settings
from taskqueue.core.target import AllowedTargets
from taskqueue.store.database import Database
from taskqueue.store.group_commit import GroupCommit
from taskqueue.web.auth import Authenticator
from taskqueue.web.defaults import Defaults
from taskqueue.web.intake import Intake
from taskqueue.web.waiting import Waiting


class Service:
    """The API of one process, but for HTTP. Close it before the database."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database
        self.callers = Authenticator(settings, database)
        self.allowed = AllowedTargets.parse(settings.allowed_targets)
        self.functions = settings.lambda_service
        self.defaults = Defaults(database)
        self.commits = GroupCommit(database)
        # What a caller can draw out gets at most three quarters of the threads: the others are free to answer at once.
        self.waiting = Waiting(database, most=max(1, settings.api_threads // 4))
        self.intake = Intake(most=max(1, settings.api_threads // 2))

    def wake(self) -> None:
        """Let every long poll answer now; later ones answer at once."""
        self.waiting.close()

    def close(self) -> None:
        """Commit what was handed in, then end the threads."""
        self.wake()
        self.commits.close()
        self.callers.close()
