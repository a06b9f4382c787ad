"""Settings, read from ``TASKQUEUE_*`` variables and nowhere else, checked once at the start."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from taskqueue.core.errors import InvalidSettings
from taskqueue.core.lambda_endpoint import LambdaEndpoint, is_region
from taskqueue.core.target import AllowedTargets
from taskqueue.core.webhook import secret_key

PREFIX = "TASKQUEUE_"
# Read by clients, and by the tests; the service itself does not look at them.
FOREIGN = ("TASKQUEUE_URL", "TASKQUEUE_API_KEY", "TASKQUEUE_TEST_POSTGRES")
_SECRET = ("database_url", "signing_secret")
_PASSWORD = re.compile(r"(?<=://)([^/@:]*:).*(?=@)|([?&]password=)[^&]*")


def _about(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator may set. Each field is the variable of its name in capitals behind ``TASKQUEUE_``."""

    database_url: Annotated[
        str, _about("`sqlite:///path/to/file.db` or `postgresql://user:password@host/name`", min_length=1)
    ] = "sqlite:///.taskqueue/taskqueue.db"
    host: Annotated[str, _about("the address the API listens on", min_length=1)] = "127.0.0.1"
    port: Annotated[int, _about("the port the API listens on", ge=1, le=65535)] = 8484
    auth: Annotated[
        Literal["off", "on"],
        _about(
            "`on`: each request needs an API key; `off`: everybody may do everything, and the API binds to loopback"
        ),
    ] = "off"
    allowed_targets: Annotated[
        str,
        _about("private addresses that may be called all the same: hosts or CIDRs, with or without a port, by comma"),
    ] = ""
    signing_secret: Annotated[
        str | None,
        _about("`whsec_` and 24 to 64 bytes in base64; unset: one is made at the first start and kept in the database"),
    ] = None
    lambda_region: Annotated[
        str | None,
        _about("region of `lambda://` targets; unset: that of `AWS_REGION` or `AWS_DEFAULT_REGION`"),
    ] = None
    lambda_endpoint: Annotated[
        str | None,
        _about("where functions are invoked; unset: `https://lambda.{region}.amazonaws.com`"),
    ] = None
    concurrency: Annotated[int, _about("attempts that one worker process has in flight", ge=1, le=10_000)] = 100
    claim_batch: Annotated[int, _about("tasks that one claim takes at most", ge=1, le=1000)] = 100
    grace_seconds: Annotated[
        float, _about("how long a stopping process may finish what it has begun", ge=0, le=3600)
    ] = 30.0
    lease_seconds: Annotated[
        float, _about("how long a worker may be silent before its tasks run elsewhere", ge=2, le=3600)
    ] = 15.0
    extend_seconds: Annotated[float, _about("how often a worker extends its leases", ge=0.1, le=600)] = 3.0
    fence_margin_seconds: Annotated[
        float, _about("how long before its lease lapses a worker cuts its own request", ge=0.1, le=600)
    ] = 3.0
    reclaim_seconds: Annotated[float, _about("how often each worker looks for lapsed leases", ge=0.1, le=600)] = 2.0
    breaker: Annotated[
        Literal["on", "off"],
        _about("whether the tasks of a host that fails wait until it is back; the same on all workers"),
    ] = "on"
    flow_concurrency: Annotated[
        int,
        _about(
            "how many attempts of one flow key, which is the target's origin unless the task names another, run at a"
            " time on all workers together, where the key has no limit of its own; 0: nearly all slots of each worker",
            ge=0,
            le=100000,
        ),
    ] = 0
    lost_limit: Annotated[int, _about("how often a task may lose its worker before it is dead", ge=0, le=100)] = 3
    max_body_bytes: Annotated[int, _about("largest request body", ge=1024, le=256 * 2**20)] = 2**20
    max_batch_bytes: Annotated[int, _about("largest request body of a batch", ge=1024, le=256 * 2**20)] = 16 * 2**20
    api_threads: Annotated[int, _about("requests that one API process serves at a time", ge=4, le=1024)] = 64
    api_processes: Annotated[int, _about("API processes; SQLite is best served by one", ge=1, le=64)] = 1
    task_retention_days: Annotated[float, _about("how long ended tasks are kept", gt=0, le=36500)] = 14.0
    dead_letter_retention_days: Annotated[float, _about("how long dead letters are kept", gt=0, le=36500)] = 30.0
    allow_unsafe_database: Annotated[
        bool, _about("start on a database that could lose an acknowledged task; `/readyz` then says so")
    ] = False
    log_format: Annotated[Literal["console", "json"], _about("how events are written to standard error")] = "console"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _about("the least serious events that are written")
    ] = "info"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings in ``environ``, where empty counts as unset; ``InvalidSettings`` names the first bad one."""
        given = {}
        for row in table():
            if text := environ.get(row.variable, "").strip():
                given[row.field] = _read(row, text)
        if region := _region_of_aws(environ):
            given.setdefault("lambda_region", region)
        settings = cls(**given)
        settings._check()
        return settings

    @property
    def lambda_service(self) -> LambdaEndpoint | None:
        """Where functions are invoked; ``None`` without a region."""
        return LambdaEndpoint.parse(self.lambda_region, self.lambda_endpoint) if self.lambda_region else None

    def shown(self, field: str) -> Any:
        """The value as it may be printed: without passwords, and of a secret only that it is set."""
        value = getattr(self, field)
        if field == "database_url":
            return _PASSWORD.sub(r"\1\2***", value)
        return "set" if field == "signing_secret" and value is not None else value

    def _check(self) -> None:
        least = self.extend_seconds * 2 + self.fence_margin_seconds
        if self.lease_seconds <= least:
            raise InvalidSettings(
                f"TASKQUEUE_LEASE_SECONDS is {self.lease_seconds:g}, but must be more than {least:g}:"
                " TASKQUEUE_EXTEND_SECONDS twice plus TASKQUEUE_FENCE_MARGIN_SECONDS,"
                " so that one late extension does not lose a lease"
            )
        if self.max_batch_bytes < self.max_body_bytes:
            raise InvalidSettings("TASKQUEUE_MAX_BATCH_BYTES must not be less than TASKQUEUE_MAX_BODY_BYTES")
        try:
            AllowedTargets.parse(self.allowed_targets)
        except ValueError as error:
            raise InvalidSettings(f"TASKQUEUE_ALLOWED_TARGETS: {error}") from None
        try:
            secret_key(self.signing_secret) if self.signing_secret is not None else None
        except ValueError as error:
            raise InvalidSettings(f"TASKQUEUE_SIGNING_SECRET cannot be used: {error}") from None
        self._check_lambda()

    def _check_lambda(self) -> None:
        if self.lambda_region is not None and not is_region(self.lambda_region):
            raise InvalidSettings(
                f"TASKQUEUE_LAMBDA_REGION cannot be {self.lambda_region[:60]}; write eu-west-1 or alike"
            )
        if self.lambda_endpoint is not None and self.lambda_region is None:
            raise InvalidSettings("TASKQUEUE_LAMBDA_ENDPOINT needs TASKQUEUE_LAMBDA_REGION: requests are signed for it")
        try:
            _ = self.lambda_service
        except ValueError as error:
            raise InvalidSettings(f"TASKQUEUE_LAMBDA_ENDPOINT: {error}") from None


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings."""

    field: str
    variable: str
    type: Any
    default: Any
    about: str
    secret: bool


def table() -> Iterator[Setting]:
    """Every setting, in the order of the documentation."""
    hints = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        meta = next(extra for extra in get_args(hints[field.name]) if isinstance(extra, Meta))
        yield Setting(
            field=field.name,
            variable=PREFIX + field.name.upper(),
            type=hints[field.name],
            default=field.default,
            about=meta.description or "",
            secret=field.name in _SECRET,
        )


def strangers(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Variables that look like settings but are none, each with the name that may have been meant."""
    known = [row.variable.removeprefix(PREFIX) for row in table()]
    named = sorted(name for name in environ if name.startswith(PREFIX) and name not in FOREIGN)
    odd = [name for name in named if name.removeprefix(PREFIX) not in known]
    return {name: _meant(name.removeprefix(PREFIX), known) for name in odd}


def require_known_callers(settings: Settings) -> None:
    """Raise ``InvalidSettings`` if others than this machine could reach an API that asks nobody for a key."""
    if settings.auth == "off" and not _loopback(settings.host):
        raise InvalidSettings(
            f"TASKQUEUE_HOST is {settings.host}, where others can reach the API, but TASKQUEUE_AUTH is off: set it to"
            " on and make an API key (run: taskqueue keys create), or bind to 127.0.0.1"
        )


def _region_of_aws(environ: Mapping[str, str]) -> str:
    """As AWS's own tools name it. They are not ours: one that cannot be a region is as good as none."""
    named = (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "").strip()
    return named if is_region(named) else ""


def _meant(name: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(name, known, n=1)
    return PREFIX + close[0] if close else None


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _read(row: Setting, text: str) -> Any:
    try:
        return msgspec.convert(text, row.type, strict=False)
    except msgspec.ValidationError:
        shown = "what it is now" if row.secret else text[:60]
        # Kubernetes puts the address of a service named "taskqueue" into TASKQUEUE_PORT.
        hint = "; set enableServiceLinks: false in the pod" if row.field == "port" and text.startswith("tcp://") else ""
        raise InvalidSettings(f"{row.variable} cannot be {shown}; it must be {_accepted(row.type)}{hint}") from None


def _accepted(annotated: Any) -> str:
    kind, meta = get_args(annotated)
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if kind is bool:
        return "true or false"
    if kind not in (int, float):
        return "a text"
    noun = "a whole number" if kind is int else "a number"
    return f"{noun} {f'from {meta.ge}' if meta.ge is not None else f'above {meta.gt}'} to {meta.le}"
