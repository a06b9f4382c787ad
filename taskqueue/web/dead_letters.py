"""Dead letters over HTTP: find, look, redrive one or many, forget."""

from __future__ import annotations

from msgspec import UNSET

from taskqueue.core.target import Target
from taskqueue.core.task import DeadLetterId, TaskId, TaskSpec
from taskqueue.store import dead_letters, operations, tasks
from taskqueue.store.dead_letters import DeadLetterFilter, Edits
from taskqueue.web import resources
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.contents import read_content
from taskqueue.web.models import DeadLetterConditions, FindDeadLetters, Redrive, RedriveMany
from taskqueue.web.operations import Answer, operation
from taskqueue.web.problems import CONFLICT, NOT_FOUND, Faults, Problem
from taskqueue.web.progress import BEGUN, begun
from taskqueue.web.reading import either
from taskqueue.web.service import Service
from taskqueue.web.targets import Sent, callable_target, check_function, checked_headers, function_of

_TAG = "dead letters"


@operation(
    "GET",
    "/v1/dead-letters",
    summary="Find dead letters",
    tag=_TAG,
    scope=Scope.READ,
    query=FindDeadLetters,
    answers={200: Answer("One page of dead letters, newest first", resources.DeadLetters)},
)
def find_dead_letters(service: Service, call: Call) -> Reply:
    """Follow `nextCursor` with the same conditions for the next page. Payloads and attempts are left out."""
    asked = call.query(FindDeadLetters)
    wanted = _filter(asked, include_redriven=asked.include_redriven)
    with service.database.read() as conn:
        now = service.database.now(conn)
        cursor = either(asked.cursor, None)
        page = dead_letters.search(conn, call.caller.project, wanted, cursor=cursor, limit=asked.limit)
    items = [resources.dead_letter_answer(letter, resources.brief_task(letter.task, now=now)) for letter in page.items]
    return Reply(200, {"items": items, "nextCursor": page.next_cursor})


@operation(
    "GET",
    "/v1/dead-letters/groups",
    summary="Count dead letters by cause",
    tag=_TAG,
    scope=Scope.READ,
    query=FindDeadLetters,
    answers={200: Answer("One page of groups, the most frequent first", resources.Groups)},
)
def group_dead_letters(service: Service, call: Call) -> Reply:
    """Deaths of one fingerprint are the same failure of the same target. A group that grows between two pages may be
    on both or on neither."""
    asked = call.query(FindDeadLetters)
    wanted = _filter(asked, include_redriven=asked.include_redriven)
    with service.database.read() as conn:
        now = service.database.now(conn)
        cursor = either(asked.cursor, None)
        page = dead_letters.groups(conn, call.caller.project, wanted, cursor=cursor, limit=asked.limit)
    items = [resources.group_answer(group, now=now) for group in page.items]
    return Reply(200, {"items": items, "nextCursor": page.next_cursor})


@operation(
    "GET",
    "/v1/dead-letters/{id}",
    summary="Look at a dead letter",
    tag=_TAG,
    scope=Scope.READ,
    answers={200: Answer("The dead letter with its payload and every attempt", resources.DeadLetterAnswer)},
)
def get_dead_letter(service: Service, call: Call) -> Reply:
    """The task as it was when it died, and all attempts up to then."""
    project = call.caller.project
    with service.database.read() as conn:
        letter = dead_letters.get(conn, project, DeadLetterId(call.thing()))
        if letter is None:
            raise _unknown()
        attempts = tasks.attempts(conn, project, letter.task.id)
        now = service.database.now(conn)
    answer = resources.dead_letter_answer(letter, resources.whole_task(letter.task, now=now))
    answer["attempts"] = [
        resources.attempt_answer(generation, attempt)
        for generation, attempt in attempts
        if generation <= letter.generation
    ]
    return Reply(200, answer)


@operation(
    "POST",
    "/v1/dead-letters/{id}/redrive",
    summary="Run a dead task again",
    tag=_TAG,
    scope=Scope.MANAGE,
    body=Redrive,
    answers={200: Answer("The task, queued again in a new generation", resources.TaskAnswer)},
    problems=(CONFLICT,),
    example={"targetUrl": "https://your-app.example/api/repaired", "timeout": "5m"},
)
def redrive_dead_letter(service: Service, call: Call) -> Reply:
    """The task starts over, changed where the request says so. A second redrive of the same death is a 409; so is one
    whose `onFailure` task was submitted, unless `force` is `true`."""
    asked, project, letter_id = call.body(Redrive), call.caller.project, DeadLetterId(call.thing())
    with service.database.begin() as conn:
        letter = dead_letters.get(conn, project, letter_id)
        if letter is None:
            raise _unknown()
        edits = _edits(asked, service, letter.task.spec)
        task = dead_letters.redrive(conn, service.database, project, letter_id, edits, force=asked.force)
        now = service.database.now(conn)
    if task is None:
        raise _unknown()
    return Reply(200, resources.whole_task(task, now=now))


@operation(
    "POST",
    "/v1/dead-letters/redrive",
    summary="Run many dead tasks again",
    tag=_TAG,
    scope=Scope.MANAGE,
    body=RedriveMany,
    body_required=True,
    answers={200: Answer("A dry run: how many fit", resources.Count), 202: BEGUN},
    example={"queue": "mail", "reason": "exhausted", "ratePerSecond": 10},
)
def redrive_dead_letters(service: Service, call: Call) -> Reply:
    """Every dead letter that fits, was not redriven yet and not compensated. Asking twice redrives none twice."""
    asked = call.body(RedriveMany)
    wanted, project = _filter(asked), call.caller.project
    if asked.dry_run:
        with service.database.read() as conn:
            return Reply(200, {"count": dead_letters.count(conn, project, wanted)})
    rate = either(asked.rate_per_second, None)
    with service.database.begin() as conn:
        started = operations.start_redrive(conn, service.database, project, wanted, rate=rate)
    return begun(started)


@operation(
    "DELETE",
    "/v1/dead-letters/{id}",
    summary="Forget a dead letter",
    tag=_TAG,
    scope=Scope.MANAGE,
    answers={204: Answer("It is gone")},
)
def delete_dead_letter(service: Service, call: Call) -> Reply:
    """The task and its attempts stay on record until their retention."""
    with service.database.begin() as conn:
        removed = dead_letters.remove(conn, service.database, call.caller.project, DeadLetterId(call.thing()))
    if not removed:
        raise _unknown()
    return Reply(204)


OPERATIONS = (
    find_dead_letters,
    group_dead_letters,
    redrive_dead_letters,
    get_dead_letter,
    redrive_dead_letter,
    delete_dead_letter,
)


def _filter(asked: DeadLetterConditions, *, include_redriven: bool = False) -> DeadLetterFilter:
    reason = either(asked.reason, None)
    return DeadLetterFilter(
        task_id=None if asked.task_id is UNSET else TaskId(asked.task_id),
        kind=either(asked.kind, None),
        queue=either(asked.queue, None),
        cls=either(asked.cls, None),
        reason=reason.value if reason else None,
        fingerprint=either(asked.fingerprint, None),
        target_host=either(asked.target_host, None),
        after=either(asked.after, None),
        before=either(asked.before, None),
        label=either(asked.label, None),
        include_redriven=include_redriven,
    )


def _edits(asked: Redrive, service: Service, spec: TaskSpec) -> Edits | None:
    """What to change, or ``None`` for nothing. Raises a 422 that lists all that is wrong."""
    if not asked.given("targetUrl", "payload", "body", "bodyBase64", "contentType", "headers", "timeout", "retries"):
        return None
    faults = Faults()
    target = _new_target(asked, faults, service)
    content = read_content(asked, faults, method=spec.method)
    headers = checked_headers(asked.headers, asked.at("headers"), faults)
    function = target.lambda_function if target else function_of(spec.target_url)
    if function is not None and not faults:
        kept = spec.headers if headers is None else headers
        sent = Sent(spec.method, kept, content.body if content else spec.body)
        check_function(function, service.functions, sent, asked, faults)
    faults.raise_any()
    return Edits(
        target=target,
        body=content.body if content else None,
        content_type=content.content_type if content else None,
        headers=headers,
        timeout=either(asked.timeout, None),
        retries=either(asked.retries, None),
    )


def _new_target(asked: Redrive, faults: Faults, service: Service) -> Target | None:
    if asked.target_url is UNSET:
        return None
    return callable_target(asked.target_url, asked.at("targetUrl"), faults, service.allowed, functions=True)


def _unknown() -> Problem:
    return Problem(NOT_FOUND, "there is no dead letter with this id; it may be deleted, or past its retention")
