"""`taskqueue doctor`: looks at what most often keeps the service from starting, and says what to do."""

from __future__ import annotations

import os
import re
import resource
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import click

from taskqueue.cli.dev import bind_for_a_moment, ready
from taskqueue.cli.output import as_json, plain, print_json
from taskqueue.cli.program import as_called, program
from taskqueue.config import Settings, require_known_callers, strangers
from taskqueue.core.errors import InvalidSettings, StoreUnavailable, WrongRevision
from taskqueue.core.lambda_endpoint import LambdaEndpoint
from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.delivery.lambda_keys import Keys, NotConfigured, aws_keys
from taskqueue.store import api_keys, secrets
from taskqueue.store.database import Database

_CLOCK_TOLERANCE = timedelta(seconds=2)
_KEYS_SECONDS = 5.0  # for a look-up of credentials that may ask the network
_OWN_FILES = 150  # what a worker has open besides the sockets of its attempts
_NO_DATABASE = re.compile('database "(.+)" does not exist')
_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found. ``advice`` says what to do, where there is something to do."""

    check: str
    level: Literal["ok", "warn", "fail"]
    found: str
    advice: str | None = None


@click.command()
@as_json
def doctor(*, as_json: bool) -> None:
    """Check settings, database, durability, clock, secret, port, limits and the like; exit code 1 if one fails.

    Lambda is checked where a region is set.
    """
    findings = list(_findings())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            level = click.style(f"{finding.level:<4}", fg=_COLORS[finding.level])
            click.echo(f"{level}  {finding.check:<12} {plain(finding.found)}")
            if finding.advice:
                click.echo(f"                   -> {plain(finding.advice)}")
    sys.exit(any(finding.level == "fail" for finding in findings))


def _findings() -> Iterator[Finding]:
    try:
        settings = Settings.from_env(os.environ)
    except InvalidSettings as error:
        yield Finding("settings", "fail", str(error), "see docs/settings.md")
        return
    yield from _settings()
    yield from _database(settings)
    yield _port(settings)
    yield _open_files(settings)
    if settings.lambda_service is not None:
        yield _lambda(settings.lambda_service)


def _settings() -> Iterator[Finding]:
    odd = strangers(os.environ)
    for name, meant in odd.items():
        yield Finding("settings", "warn", f"{name} is no setting", f"did you mean {meant}?" if meant else "remove it")
    if not odd:
        yield Finding("settings", "ok", "every TASKQUEUE_ variable is known and can be used")


def _database(settings: Settings) -> Iterator[Finding]:
    yield from _folder(settings)
    database = Database.open(settings.database_url)
    if database.dialect.missing():
        yield Finding(
            "database", "fail", f"there is no database at {database.url_shown} yet", f"run: {program()} migrate"
        )
        return
    try:
        risks = _risks(database)
        yield Finding("database", "ok", f"{database.url_shown} answers")
        for risk in risks:
            yield Finding("durability", "warn" if settings.allow_unsafe_database else "fail", risk)
        if not risks:
            yield Finding("durability", "ok", "a committed task survives a power cut")
        yield _clock(database)
        database.check(allow_unsafe=True)
        yield Finding("migrations", "ok", "the tables are those of this version")
        yield _secret(settings, database)
        yield _keys_made(settings, database)
    except WrongRevision as error:
        yield Finding("migrations", "fail", as_called(str(error)))
    except StoreUnavailable as error:
        yield Finding("database", "fail", f"{database.url_shown}: {_cause(error)}", _remedy(_cause(error)))
    finally:
        database.close()


def _risks(database: Database) -> list[str]:
    with database.read() as conn:
        return database.dialect.check(conn)


def _cause(error: StoreUnavailable) -> str:
    """What the driver said: here, unlike in an answer to a caller, it is what helps."""
    cause = getattr(error.__cause__, "orig", None) or error
    return str(cause).strip().partition("\n")[0]


def _remedy(cause: str) -> str:
    missing = _NO_DATABASE.search(cause)
    return f"create it: createdb {missing[1]}" if missing else "is it running, is the URL right?"


def _folder(settings: Settings) -> Iterator[Finding]:
    scheme, _, path = settings.database_url.partition(":///")
    if not scheme.startswith("sqlite"):
        return
    file = Path(path.partition("?")[0]).absolute()
    folder = file.parent
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if os.access(existing, os.W_OK | os.X_OK):
        yield Finding("folder", "ok", f"{existing} can be written")
    else:
        yield Finding("folder", "fail", f"{existing} cannot be written", "change its owner, or TASKQUEUE_DATABASE_URL")
    if file.exists():
        yield _privacy(file)


def _privacy(file: Path) -> Finding:
    if file.stat().st_mode & 0o077 and file.parent.stat().st_mode & 0o011:
        advice = f"run: chmod 700 {file.parent} && chmod 600 {file}*"
        return Finding("privacy", "warn", f"others on this machine can open {file}: it holds payloads", advice)
    return Finding("privacy", "ok", "the database's file is this user's alone")


def _clock(database: Database) -> Finding:
    with database.read() as conn:
        before = time.time()
        theirs = database.now(conn)
        ours = datetime.fromtimestamp((before + time.time()) / 2, UTC)
    apart = theirs - ours
    if abs(apart) <= _CLOCK_TOLERANCE:
        return Finding("clock", "ok", f"this machine and the database differ by {apart.total_seconds():+.3f} s")
    return Finding(
        "clock",
        "warn",
        f"the database's clock is {apart.total_seconds():+.1f} s from this machine's",
        "run NTP on both: signatures older than five minutes are refused by receivers",
    )


def _secret(settings: Settings, database: Database) -> Finding:
    if settings.signing_secret:
        return Finding("secret", "ok", "TASKQUEUE_SIGNING_SECRET is set")

    with database.read() as conn:
        kept = secrets.current(conn, DEFAULT_PROJECT)
    return Finding("secret", "ok", "kept in the database" if kept else "will be made at the first start")


def _keys_made(settings: Settings, database: Database) -> Finding:
    with database.read() as conn:
        count = api_keys.count_active(conn, now=database.now(conn))
    if settings.auth == "off":
        return Finding("api keys", "ok", "TASKQUEUE_AUTH is off: everybody on this machine may do everything")
    if not count:
        return Finding(
            "api keys", "warn", "TASKQUEUE_AUTH is on, and no key opens anything", f"run: {program()} keys create"
        )
    return Finding("api keys", "ok", f"TASKQUEUE_AUTH is on; keys that open something: {count}")


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        require_known_callers(settings)
    except InvalidSettings as error:
        return Finding("port", "fail", str(error))
    if ready(settings):
        return Finding("port", "ok", f"a taskqueue API answers on {where}")
    try:
        bind_for_a_moment(settings)
    except OSError as error:
        return Finding("port", "fail", f"{where}: {error.strerror}", "stop what uses it, or set TASKQUEUE_PORT")
    return Finding("port", "ok", f"{where} is free")


def _open_files(settings: Settings) -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.concurrency + _OWN_FILES
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return Finding("open files", "ok", f"a process may open {'any number' if hard < 0 else hard}")
    return Finding(
        "open files",
        "fail",
        f"a process may open {hard}, a worker needs {needed}",
        f"raise the limit (ulimit -Hn {needed}), or lower TASKQUEUE_CONCURRENCY",
    )


def _lambda(service: LambdaEndpoint) -> Finding:
    where = f"functions of {service.region} are invoked at {service.base.origin}"
    said = _keys()
    if isinstance(said, Keys):
        # The first letters tell a person which keys they are, and nobody else anything.
        return Finding("lambda", "ok", f"{where}, with the credentials {said.access_key[:4]}…")
    return Finding("lambda", "warn", f"{where}, but a worker started like this could sign nothing", said)


def _keys() -> Keys | str:
    """The credentials that a worker would find here; a sentence where there are none in time."""
    said: list[Keys | str] = []

    def look() -> None:
        try:
            said.append(aws_keys()())
        except NotConfigured as error:
            said.append(str(error))
        except Exception as error:
            said.append(f"the AWS credentials could not be looked up ({type(error).__name__})")

    looking = threading.Thread(target=look, name="aws-keys", daemon=True)
    looking.start()
    looking.join(_KEYS_SECONDS)
    return (
        said[0] if said else f"the AWS credentials were not found within {_KEYS_SECONDS:g} s; set them or AWS_PROFILE"
    )
