"""Submit tasks and follow them from Python, Lambda handlers first; verify what the service sends.

Standard library only, and quick to import: HTTP, TLS and JSON are loaded by ``TaskQueue()`` or at first use.
Everything raised on purpose is a ``TaskQueueError``; wrong arguments are ``TypeError`` and ``ValueError``, as ever.
"""

from __future__ import annotations

import os
import select
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Required, TypedDict, TypeVar, Unpack, cast

if TYPE_CHECKING:
    from http.client import HTTPConnection

RETRIES = 2
BACKOFF = 0.2  # seconds, doubled each time, ±50 %
MAX_PAUSE = 3.0  # seconds; a longer Retry-After is left to the caller
MAX_IDLE = 45.0  # seconds; gateways forget idle connections after a minute or so, some without telling
LAMBDA_MARGIN = 0.3  # seconds kept back for the handler to answer in
TOLERANCE = 300  # seconds a signed message may be old, or ahead of this machine's clock
VERBATIM = frozenset({"payload", "headers", "labels", "metadata"})  # their insides are not ours to spell
NULLABLE = frozenset({"payload", "equals"})  # where null says something
Json = Mapping[str, Any]
Span = timedelta | float | str
T = TypeVar("T")


class RawJson(bytes):
    """A payload that is JSON text already, in UTF-8: it is sent byte for byte."""


class TaskQueueError(Exception):
    """The call failed. ``indeterminate``: it may have been done all the same; repeat it with ``idempotency_key``."""

    transient = False
    retry_after = 0.0  # seconds
    idempotency_key: str | None = None

    def __init__(self, message: str, *, indeterminate: bool = False) -> None:
        super().__init__(message)
        self.indeterminate = indeterminate


class ApiError(TaskQueueError):
    """The service answered, but not with success; ``problem`` is its problem document (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any], *, retry_after: float = 0.0) -> None:
        faults = problem["errors"] if isinstance(problem.get("errors"), list) else []
        named = [f"{fault.get('pointer')}: {fault.get('detail')}" for fault in faults if isinstance(fault, dict)]
        told = [str(part) for part in (status, problem.get("title"), *(named or (problem.get("detail"),))) if part]
        super().__init__(" · ".join(told), indeterminate=status in (502, 503, 504))
        self.status, self.problem, self.retry_after = status, problem, retry_after
        self.transient = self.indeterminate or status == 429


class Unreachable(TaskQueueError):
    """No whole answer came in time."""

    transient = True


class InvalidSignature(TaskQueueError):
    """The message was not signed with any of your secrets, or is too old."""


class LambdaContext(Protocol):
    """What is needed of the ``context`` that AWS hands to a handler."""

    def get_remaining_time_in_millis(self) -> int: ...


class NewTask(TypedDict, total=False):
    """The fields of a submission, in snake_case at any depth. ``None``: left out; as ``payload``, JSON's null."""

    target_url: Required[str]
    payload: Any
    body: str | None
    body_base64: str | None
    content_type: str | None
    method: str | None
    headers: Mapping[str, str] | None
    webhook_url: str | None
    webhook_events: Sequence[str] | None
    retries: int | None
    timeout: Span | None
    backoff: Json | None
    retry_policy: str | Sequence[Json] | None
    verdict: Sequence[Json] | None
    reconcile: Json | None
    on_lost: str | None
    poison_after: int | None
    on_failure: Json | None
    on_success: Json | None
    delay: Span | None
    run_at: datetime | str | None
    expires_in: Span | None
    expires_at: datetime | str | None
    queue: str | None
    priority: int | None
    ordering_key: str | None
    flow_key: str | None
    labels: Sequence[str] | None
    metadata: Json | None
    idempotency_key: str | None
    idempotency_ttl: Span | None


class Task:
    """A task as the service last told it; ``raw`` holds every field."""

    def __init__(self, raw: Json, text: str | None = None) -> None:
        self.raw, self._text = raw, text
        self.id: str = raw["id"]
        self.status: str = raw["status"]  # scheduled, queued, running, retrying; succeeded, dead, cancelled
        self.ended = self.status in ("succeeded", "dead", "cancelled")
        self.attempt, self.max_attempts = int(raw["attempt"]), int(raw["maxAttempts"])  # started so far, and at most
        self.result: Json | None = raw.get("result")  # what the target answered last, once ended
        self.error: Json | None = raw.get("error")  # how the last attempt failed, if it did
        self.dead_reason: str | None = raw.get("deadReason")

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.status}>"

    def to_json(self) -> str:
        """The task as JSON: the very text of the answer, unless it came as one of many."""
        return self._text if self._text is not None else _json(self.raw)


class Page(NamedTuple, Generic[T]):
    """Part of a list; ``next_cursor`` leads to the next part and is ``None`` at the end."""

    items: Sequence[T]
    next_cursor: str | None


class TaskQueue:
    """The service; make one per process, as it keeps its connection open. ``timeout`` seconds bound each exchange."""

    def __init__(self, url: str | None = None, api_key: str | None = None, *, timeout: float = 2.5) -> None:
        # Loaded now and not by the first request: a Lambda has more processor time while it starts.
        import json  # noqa: F401
        from functools import partial
        from http.client import HTTPConnection, HTTPException, HTTPSConnection
        from ssl import create_default_context
        from urllib.parse import urlsplit

        name, given = ("url", url) if url else ("TASKQUEUE_URL", os.environ.get("TASKQUEUE_URL", ""))
        parts = urlsplit((given.strip() or "http://127.0.0.1:8484").rstrip("/"))
        self.url, self._root, self._timeout = parts.geturl(), parts.path, timeout
        odd = not self.url.isascii() or set("@?#") & set(self.url)  # it may hold a password, which is not to be shown
        if parts.scheme not in ("http", "https") or not parts.hostname or odd:
            said = "not plain, or has a user or a query" if odd else given
            raise TaskQueueError(f"{name} is {said}; write it like http://127.0.0.1:8484")
        self._api_key = (api_key or os.environ.get("TASKQUEUE_API_KEY") or "").strip()
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise TaskQueueError("the API key has characters that no header can hold: check TASKQUEUE_API_KEY")
        self._open: Callable[[], HTTPConnection] = partial(HTTPConnection, parts.hostname, parts.port)
        if parts.scheme == "https":
            self._open = partial(HTTPSConnection, parts.hostname, parts.port, context=create_default_context())
        self._breakdowns = (OSError, HTTPException)
        self._idle: list[tuple[HTTPConnection, int, float]] = []  # of all threads: append and pop are atomic
        self.tasks, self.dead_letters, self.queues = Tasks(self), DeadLetters(self), Queues(self)

    def close(self) -> None:
        """Drop the idle connections; later calls open new ones."""
        with suppress(IndexError):
            while True:
                self._idle.pop()[0].close()

    def _call(
        self, method: str, path: str, body: Json | None = None, *, key: str = "", hold: float = 0, context: Any = None
    ) -> tuple[dict[str, Any], str]:
        """The successful answer, parsed and as text; what may have been done is asked for again only under a key."""
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "taskqueue-client"}
        headers |= {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        headers |= {"Idempotency-Key": key} if key else {}
        content = _json(body).encode() if body is not None else b""
        left = context.get_remaining_time_in_millis() / 1000 - LAMBDA_MARGIN if context is not None else 1e9
        end, retry = time.monotonic() + left, 0
        while True:
            deadline = min(time.monotonic() + self._timeout + hold, end)
            try:
                return self._answer(deadline, method, self._root + path, content, headers)
            except TaskQueueError as error:
                error.idempotency_key = key or None
                pause = max(error.retry_after, BACKOFF * 2**retry * (0.5 + os.urandom(1)[0] / 255))
                safe = error.transient and (method == "GET" or key or not error.indeterminate)
                if not safe or retry == RETRIES or pause > MAX_PAUSE or time.monotonic() + pause >= end:
                    raise
            time.sleep(pause)
            retry += 1

    def _answer(self, deadline: float, method: str, *request: Any) -> tuple[dict[str, Any], str]:
        import json

        if (left := deadline - time.monotonic()) <= 0:
            raise Unreachable("no time is left to ask the service")
        connection = self._take()
        try:
            status, pause, content = _within(left, lambda: self._exchange(connection, deadline, method, *request))
        except BaseException as error:
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(2)  # wakes a reader that was left behind
            connection.close()
            self.close()  # what else is idle leads to the same peer
            if not isinstance(error, self._breakdowns):
                raise
            doubt = "" if method == "GET" else "; it may have been done all the same"
            why = f"no answer from {self.url} ({str(error) or 'timed out'}){doubt}"
            raise Unreachable(why, indeterminate=bool(doubt)) from error
        if connection.sock:
            self._idle.append((connection, os.getpid(), time.time()))
        if status >= 300 and self._api_key:  # a peer that echoes the request must not bring the key into an exception
            content = content.replace(self._api_key.encode(), b"***")
        raw: Any = None
        with suppress(ValueError):
            raw = json.loads(content or b"{}")
        ours = isinstance(raw, dict) and (status == 204 or raw.keys() & {"id", "items", "links", "tasks", "title"})
        if status < 300 and ours:
            return raw, content.decode()
        problem = raw if ours else {"detail": "this is not an answer of the task queue: check its URL"}
        raise ApiError(status, problem, retry_after=float(pause) if pause.isdecimal() else 0.0)

    def _exchange(self, connection: HTTPConnection, deadline: float, *request: Any) -> tuple[int, str, bytes]:
        try:
            connection.timeout = max(0.001, deadline - time.monotonic())
            if connection.sock is None:
                connection.connect()
            if (left := deadline - time.monotonic()) <= 0:  # nobody waits for the answer any more: send nothing
                raise TimeoutError("timed out")
            connection.sock.settimeout(left)
        except (OSError, UnicodeError) as error:  # the latter for a name that cannot be one
            connection.close()
            why = "the service speaks http here" if "WRONG_VERSION_NUMBER" in str(error) else error
            raise Unreachable(f"no connection to {self.url}: {why}") from error
        with suppress(ConnectionError):  # a service that refuses a large body may answer before it has read it
            connection.request(*request)
        with connection.getresponse() as response:
            return response.status, response.headers.get("Retry-After", ""), response.read()

    def _take(self) -> HTTPConnection:
        """A kept connection that is ours, used of late, and neither closed nor spoken on by the peer; or a new one."""
        with suppress(IndexError):
            while True:
                connection, process, used_at = self._idle.pop()
                poll = select.poll()
                poll.register(connection.sock, select.POLLIN)
                # The wall clock: the monotonic one may stand still while a Lambda is frozen.
                if process == os.getpid() and abs(time.time() - used_at) < MAX_IDLE and not poll.poll(0):
                    return connection
                connection.close()
        return self._open()


class Tasks:
    """Submit, follow and steer tasks."""

    def __init__(self, queue: TaskQueue) -> None:
        self._call = queue._call

    def create(self, *, context: LambdaContext | None = None, **fields: Unpack[NewTask]) -> Task:
        """Submit a task; once this returns, it is stored for good.

        The same ``idempotency_key`` and fields give the same task, however often they are sent; without a key, one is
        made up for the repeats of this call. With a Lambda's ``context`` it ends before the invocation does.
        """
        key = fields.pop("idempotency_key", None) or os.urandom(16).hex()
        return Task(*self._call("POST", "/v1/tasks", _wire("task", fields), key=key, context=context))

    def create_many(
        self, tasks: Iterable[NewTask], *, idempotency_key: str | None = None, context: LambdaContext | None = None
    ) -> Sequence[Task]:
        """Submit up to 1,000 tasks, all or none; the key covers the whole batch."""
        body, key = _wire("batch", {"tasks": list(tasks)}), idempotency_key or os.urandom(16).hex()
        raw, _ = self._call("POST", "/v1/tasks/batch", body, key=key, context=context)
        return [Task(task) for task in raw["tasks"]]

    def get(self, task_id: str, wait: float | None = None) -> Task:
        """The task now, or once it has ended if that takes no longer than ``wait`` seconds, 25 at most."""
        return Task(*self._call("GET", _path("tasks", task_id, wait=wait), hold=wait or 0.0))

    def wait(self, task_id: str, timeout: float) -> Task:
        """The task once it has ended, or as it stands after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while True:
            task = self.get(task_id, wait=min(25.0, max(0.0, round(end - time.monotonic(), 3))))
            if task.ended or time.monotonic() >= end:
                return task
            time.sleep(0.2)  # a busy service answers a long poll at once: do not ask again at full speed

    def cancel(self, task_id: str) -> Task:
        """Start no further attempt and abandon a running one; ``ApiError`` 409 once the task has ended."""
        return Task(*self._call("POST", _path("tasks", task_id, "cancel")))

    def run_now(self, task_id: str) -> Task:
        """Pull a waiting task forward; ``ApiError`` 409 while it runs or once it has ended."""
        return Task(*self._call("POST", _path("tasks", task_id, "run-now")))

    def attempts(self, task_id: str) -> Sequence[Json]:
        """Every attempt on record, oldest first."""
        return cast("Sequence[Json]", self._call("GET", _path("tasks", task_id, "attempts"))[0]["items"])

    def explain(self, task_id: str) -> Json:
        """Why the task is where it is, what comes next and when, and what can be done, in words and in data."""
        return self._call("GET", _path("tasks", task_id, "explain"))[0]

    def chain(self, task_id: str) -> Sequence[Task]:
        """The task, those before it and those that followed, oldest first."""
        return [Task(raw) for raw in self._call("GET", _path("tasks", task_id, "chain"))[0]["items"]]

    def webhooks(self, task_id: str) -> Sequence[Task]:
        """The webhooks that tell of a task, oldest first; each is a task itself."""
        return [Task(raw) for raw in self._call("GET", _path("tasks", task_id, "webhooks"))[0]["items"]]

    def list(self, **filters: str | int | datetime | None) -> Page[Task]:
        """By status, kind, queue, label, outcome, created_after, created_before, target_host; cursor, limit."""
        raw, _ = self._call("GET", _path("tasks", **filters))
        return Page([Task(task) for task in raw["items"]], raw["nextCursor"])


class DeadLetters:
    """Look at the tasks that died and send them again."""

    def __init__(self, queue: TaskQueue) -> None:
        self._call = queue._call

    def list(self, **filters: str | int | datetime | None) -> Page[Json]:
        """By task_id, kind, queue, class_, reason, fingerprint, target_host, after, before, label; include_redriven."""
        raw, _ = self._call("GET", _path("dead-letters", **filters))
        return Page(raw["items"], raw["nextCursor"])

    def groups(self, **filters: str | int | datetime | None) -> Page[Json]:
        """How many died of one cause, most frequent first; the filters are those of ``list``."""
        raw, _ = self._call("GET", _path("dead-letters/groups", **filters))
        return Page(raw["items"], raw["nextCursor"])

    def get(self, dead_letter_id: str) -> Json:
        """The dead letter with its payload and every attempt."""
        return self._call("GET", _path("dead-letters", dead_letter_id))[0]

    def text(self, dead_letter_id: str) -> str:
        """What ``get`` gives as the very text of the answer, in which the payload is byte for byte what was sent."""
        return self._call("GET", _path("dead-letters", dead_letter_id))[1]

    def redrive(self, dead_letter_id: str, **edits: Any) -> Task:
        """Queue it again, with another target_url, payload, headers, timeout, retries; ``force`` if compensated."""
        return Task(*self._call("POST", _path("dead-letters", dead_letter_id, "redrive"), _wire("redrive", edits)))

    def delete(self, dead_letter_id: str) -> None:
        self._call("DELETE", _path("dead-letters", dead_letter_id))


class Queues:
    """What holds for all tasks of a queue: limits, a pause, and defaults for what a submit leaves out."""

    def __init__(self, queue: TaskQueue) -> None:
        self._call = queue._call

    def get(self, name: str) -> Json:
        """Its limits and defaults, and how it stands."""
        return self._call("GET", _of_queue(name))[0]

    def put(self, name: str, **fields: Any) -> Json:
        """Give it ``concurrency``, ``rate``, ``paused``, ``on_death``, ``defaults``; what is left out, it loses."""
        return self._call("PUT", _of_queue(name), _wire("queue", fields))[0]

    def pause(self, name: str) -> Json:
        """Start no attempt of its tasks; those that run go on."""
        return self._call("POST", _of_queue(name) + "/pause")[0]

    def resume(self, name: str) -> Json:
        return self._call("POST", _of_queue(name) + "/resume")[0]

    def delete(self, name: str) -> None:
        """Forget what was said about it; its tasks stay."""
        self._call("DELETE", _of_queue(name))


def verify(headers: Mapping[str, str], body: bytes | str, secret: str | Iterable[str]) -> Any:
    """The parsed body of a webhook or an attempt whose Standard Webhooks signature holds; else ``InvalidSignature``.

    ``body`` is what arrived, unparsed; ``secret`` one ``whsec_…`` or several. A body other than JSON is returned as is.
    """
    import hmac
    import json

    keys = [_secret_key(text) for text in ([secret] if isinstance(secret, str) else secret)]
    given = {name.lower(): value for name, value in headers.items()}
    timestamp = given.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - float(timestamp)) > TOLERANCE:
        raise InvalidSignature("webhook-timestamp is missing or far off: a replay, or this machine's clock is wrong")
    content = body.encode() if isinstance(body, str) else body
    signed = f"{given.get('webhook-id', '')}.{timestamp}.".encode("utf-8", "replace") + content
    expected = [b"v1," + b2a_base64(hmac.digest(key, signed, "sha256"), newline=False) for key in keys]
    offered = given.get("webhook-signature", "").encode("utf-8", "replace").split()
    if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in offered):
        raise InvalidSignature("no signature matches: check the secret, and that the body is the bytes that arrived")
    with suppress(ValueError):
        return json.loads(content)
    return body


def _secret_key(secret: str) -> bytes:
    text = secret.strip().removeprefix("whsec_")
    with suppress(ValueError):
        if key := a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True):
            return key
    raise TaskQueueError("a signing secret is whsec_ followed by base64")


def _within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises; in a thread, as nothing else bounds a name's look-up or a peer that drips."""
    from concurrent.futures import Future
    from threading import Thread

    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    return outcome.result(timeout=seconds + 0.05)  # the limits of the work itself come first: they say more


def _path(*parts: str, **query: Any) -> str:
    import re
    from urllib.parse import urlencode

    for text in parts[1:2]:  # a thing's id, where there is one
        if not re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
            raise TaskQueueError(f"{text} is not a {parts[0][:-1].replace('-', ' ')} id (a UUID)")
    asked = {name: value if isinstance(value, str) else _json(value) for name, value in _wire("query", query).items()}
    return "/v1/" + "/".join(parts) + ("?" + urlencode(asked) if asked else "")


def _of_queue(name: str) -> str:
    from urllib.parse import quote

    return f"/v1/queues/{quote(name, safe='')}"


def _wire(name: str, value: Any) -> Any:
    """As the API spells it: camelCase names, spans in seconds, times in UTC; what the caller named is left as it is."""
    if name in VERBATIM:
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} needs a time zone: write datetime.now(UTC), not datetime.now()")
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        given = [(key.split("_"), key, item) for key, item in value.items() if item is not None or key in NULLABLE]
        return {words[0] + "".join(map(str.title, words[1:])): _wire(key, item) for words, key, item in given}
    return [_wire(name, item) for item in value] if isinstance(value, list | tuple) else value


def _json(value: Any) -> str:
    """``value`` as JSON, in which every ``RawJson`` stands as it is."""
    import json

    raw, mark = list[str](), os.urandom(16).hex()

    def marked(item: object) -> str:
        if not isinstance(item, RawJson):
            raise TypeError(f"JSON cannot hold a {type(item).__name__}")
        raw.append(item.decode())
        return mark

    pieces = json.dumps(value, allow_nan=False, separators=(",", ":"), default=marked).split(f'"{mark}"')
    return "".join(piece + text for piece, text in zip(pieces, [*raw, ""], strict=True))
