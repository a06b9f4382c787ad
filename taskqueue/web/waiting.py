"""Long polls: requests that wait for a task to end share one thread that looks."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import dataclass, field

from taskqueue import telemetry
from taskqueue.core.errors import StoreUnavailable
from taskqueue.core.task import TaskId
from taskqueue.store import tasks
from taskqueue.store.database import Database
from taskqueue.store.dialect import Hint
from taskqueue.telemetry import Event

_SLOW_POLL = 0.5  # seconds; hints come sooner, but may get lost
_BREATH = 0.02  # between two looks, so that a burst of hints costs few queries


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that waits for one task."""

    project: str
    task_id: TaskId
    _over: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> None:
        """Return once the task has ended, the process stops, or ``seconds`` have passed."""
        self._over.wait(seconds)

    def release(self) -> None:
        self._over.set()


class Waiting:
    """All waiters of this process, ``most`` at a time."""

    def __init__(self, database: Database, *, most: int) -> None:
        self._database, self._most = database, most
        self._lock = threading.Lock()
        self._waiters: set[Waiter] = set()
        self._someone = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="long-polls", daemon=True)
        self._thread.start()

    def enter(self, project: str, task_id: TaskId) -> Waiter | None:
        """Begin to wait; ``None`` when too many do already. Look at the task after this, and its end is not missed."""
        waiter = Waiter(project, task_id)
        with self._lock:
            if self._closed or len(self._waiters) >= self._most:
                return None
            self._waiters.add(waiter)
            self._someone.set()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        with self._lock:
            self._waiters.discard(waiter)
            if not self._waiters and not self._closed:
                self._someone.clear()

    @property
    def idle(self) -> bool:
        """True while nobody waits, and so nobody looks at the database."""
        return not self._someone.is_set()

    def close(self) -> None:
        """Release everybody; whoever comes later does not wait."""
        with self._lock:
            self._closed = True
            for waiter in self._waiters:
                waiter.release()
            self._someone.set()
        self._thread.join(2 * _SLOW_POLL)

    def _run(self) -> None:
        while self._someone.wait() and not self._closed:
            try:
                self._look_until_idle()
            except StoreUnavailable:
                time.sleep(_SLOW_POLL)
            except Exception as error:  # this thread must outlive whatever happens: nobody else looks
                telemetry.exception(Event.REQUEST_FAULT, error, what="long polls")
                time.sleep(_SLOW_POLL)

    def _look_until_idle(self) -> None:
        # Closed at the end: while a listener of PostgreSQL is not read, the server keeps every notice for it.
        with closing(self._database.listener(Hint.ENDED)) as listener:
            patience = _BREATH  # what ended before anybody listened was told to nobody
            while not self.idle and not self._closed:
                listener.wait(patience)
                self._release_ended()
                time.sleep(_BREATH)
                patience = _SLOW_POLL

    def _release_ended(self) -> None:
        with self._lock:
            waiters = list(self._waiters)
        if not waiters:
            return
        with self._database.read() as conn:
            ended = tasks.ended(conn, [(waiter.project, waiter.task_id) for waiter in waiters])
        for waiter in waiters:
            if waiter.task_id in ended:
                waiter.release()
