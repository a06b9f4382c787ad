"""Defaults: what a queue gives to a submit that leaves fields out."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from msgspec import UNSET

from taskqueue.store import queues
from taskqueue.store.database import Database
from taskqueue.web.models import OnFailure, OnSuccess, QueuedTask, SubmitTask
from taskqueue.web.new_tasks import Context, new_task
from taskqueue.web.problems import Faults
from taskqueue.web.queue_models import TaskDefaults
from taskqueue.web.reading import lent, read, replaced
from taskqueue.web.times import overdue

Task = TypeVar("Task", bound=QueuedTask)
Find = Callable[[str], TaskDefaults | None]  # the defaults of a queue by its name

MAX_DEFAULTS = 32_768  # bytes
_CONTENT = frozenset(("payload", "body", "bodyBase64"))
# What a caller says of one of these leaves no room for a default of the others.
_RIVALS = (frozenset(("delay", "runAt")), frozenset(("expiresIn", "expiresAt")), _CONTENT)
_WITHOUT_BODY = ("GET", "DELETE")
# A follow-up delivers what has ended, unless its own text says otherwise; and none of its own follows it: of queues
# whose tasks follow each other there would be no end.
_NOT_OF_FOLLOW_UPS = _CONTENT | {"onFailure", "onSuccess"}
_SOMEWHERE = "https://target.example/"  # stands for the target that a submit will name
_KEPT_SECONDS = 1.0
_MOST_PROJECTS = 256
_MOST_QUEUES = 256


def filled(asked: Task, find: Find) -> Task:
    """``asked`` and the tasks that are to follow it, with the defaults of their queues for what they leave out."""
    return _filled(asked, find, of_follow_up=False)


def check_defaults(asked: TaskDefaults, queue: str, faults: Faults, context: Context, find: Find) -> None:
    """Leave a fault for whatever a submit to ``queue`` that is given these defaults alone would be refused for."""
    if len(asked.text) > MAX_DEFAULTS:
        faults.add(asked.pointer, f"expected at most {MAX_DEFAULTS} bytes, got {len(asked.text)}")
    task = SubmitTask(queue=queue)
    task.__dict__.update(pointer=asked.pointer, spelled={}, text=asked.text)
    task = lent(task, asked, _fitting(task, asked, of_follow_up=False))
    if not task.given("targetUrl"):
        task = replaced(task, target_url=_SOMEWHERE)
    task = _with_follow_ups(task, find)
    new_task(task, faults, context)
    for pointer, why in overdue(task, datetime.now(UTC)):
        faults.add(pointer, why)


class Defaults:
    """The defaults of all queues, as they were a second ago at most; what this process changes is seen at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._epoch = 0
        self._known: OrderedDict[str, _Known] = OrderedDict()  # by project
        self._read: OrderedDict[tuple[str, str, datetime], TaskDefaults] = OrderedDict()

    def of(self, project: str, queue: str) -> TaskDefaults | None:
        """What a queue gives; ``None`` for nothing. What another version wrote and this one cannot read is left out."""
        changed_at = self._changed_at(project).get(queue)
        if changed_at is None:
            return None
        key = (project, queue, changed_at)
        with self._lock:
            found = self._read.get(key)
        if found is None:
            with self._database.read() as conn:
                text = queues.defaults(conn, project, queue)
            found = read(text or b"{}", TaskDefaults, Faults(), pointer="/queue")
            assert found is not None, "no default is required"
            with self._lock:
                self._read[key] = found
                while len(self._read) > _MOST_QUEUES:
                    self._read.popitem(last=False)
        return found

    def forget(self, project: str) -> None:
        """Look again: a queue of the project was changed."""
        with self._lock:
            self._epoch += 1
            self._known.pop(project, None)

    def _changed_at(self, project: str) -> Mapping[str, datetime]:
        """When each queue that has defaults was changed last. Nearly all submits need no more than this."""
        with self._lock:
            known, epoch = self._known.get(project), self._epoch
        now = time.monotonic()
        if known is not None and now < known.until:
            return known.changed_at
        with self._database.read() as conn:
            changed_at = queues.with_defaults(conn, project)
        with self._lock:
            if epoch == self._epoch:  # else what was read may be from before the change
                self._known[project] = _Known(changed_at, now + _KEPT_SECONDS)
                while len(self._known) > _MOST_PROJECTS:
                    self._known.popitem(last=False)
        return changed_at


@dataclass(frozen=True, slots=True)
class _Known:
    changed_at: Mapping[str, datetime]
    until: float  # on the monotonic clock


def _filled(asked: Task, find: Find, *, of_follow_up: bool) -> Task:
    defaults = find(asked.queue)
    if defaults is not None:
        asked = lent(asked, defaults, _fitting(asked, defaults, of_follow_up=of_follow_up), at="queue")
    return _with_follow_ups(asked, find)


def _with_follow_ups(asked: Task, find: Find) -> Task:
    parts: dict[str, OnFailure | OnSuccess] = {}
    for name, follow_up in (("on_failure", asked.on_failure), ("on_success", asked.on_success)):
        if follow_up is not UNSET:
            parts[name] = replaced(follow_up, task=_filled(follow_up.task, find, of_follow_up=True))
    return replaced(asked, **parts) if parts else asked


def _fitting(asked: QueuedTask, defaults: TaskDefaults, *, of_follow_up: bool) -> set[str]:
    """The defaults that do not gainsay what the caller said, and mean something beside it."""
    said = asked.all_given
    fitting = defaults.all_given - said
    for rivals in _RIVALS:
        if rivals & said:
            fitting -= rivals
    if of_follow_up:
        fitting -= _NOT_OF_FOLLOW_UPS
    if asked.method in _WITHOUT_BODY:
        fitting -= _CONTENT
    if _CONTENT & said and defaults.method in _WITHOUT_BODY:
        fitting -= {"method"}
    every = said | fitting
    if not every & {"body", "bodyBase64"}:
        fitting -= {"contentType"}
    if "webhookUrl" not in every:
        fitting -= {"webhookEvents"}
    return set(fitting)
