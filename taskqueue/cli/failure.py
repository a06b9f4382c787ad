"""How a command fails: one red sentence on standard error, exit code 1."""

from __future__ import annotations

import os
from typing import IO, Any, NoReturn

import click

from taskqueue import client
from taskqueue.cli.program import as_called, program
from taskqueue.core.errors import TaskQueueError


class Failure(click.ClickException):
    """A sentence for whoever typed the command."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.secho(self.format_message(), fg="red", err=file is None, file=file)

    @classmethod
    def of(cls, error: Exception) -> Exception:
        """What to raise for ``error``. Click's own exceptions, which know how to show themselves, stay as they are."""
        # Click ends silently when what reads the output has seen enough of it.
        if isinstance(error, click.ClickException | click.exceptions.Exit | click.Abort | BrokenPipeError):
            return error
        if isinstance(error, client.Unreachable) and isinstance(error.__cause__, ConnectionRefusedError):
            return cls(f"{error}; is it running? start it with: {program()} dev, or set TASKQUEUE_URL")
        if isinstance(error, TaskQueueError | client.TaskQueueError):
            return cls(as_called(str(error)))
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("psycopg"):
            return cls("PostgreSQL needs its driver; run: pip install 'taskqueue-http[postgres]'")
        if isinstance(error, OSError):
            return cls(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        if os.environ.get("TASKQUEUE_LOG_LEVEL") == "debug":
            return error
        # One line: a database error goes on with the statement and its values.
        said = str(error).partition("\n")[0][:200]
        return cls(f"a fault inside taskqueue: {type(error).__name__}: {said} (TASKQUEUE_LOG_LEVEL=debug shows where)")


def fail(sentence: str) -> NoReturn:
    raise Failure(sentence)
