"""Group commit: many callers' inserts in one transaction; each caller waits for its own commit."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta

from taskqueue.core.errors import KeyReused, StoreUnavailable
from taskqueue.store.database import Database
from taskqueue.store.submissions import Receipt, Submission, submit

# Per transaction, so that nobody waits for a giant; a single submission may be larger.
MAX_TASKS = 2000
MAX_BYTES = 8 * 2**20
DEFAULT_WAIT = timedelta(seconds=1.8)  # the caller owes an answer within 2 s


def _shut() -> threading.Lock:
    gate = threading.Lock()
    gate.acquire()
    return gate


@dataclass(slots=True, eq=False)
class _Waiting:
    submission: Submission
    give_up_at: float
    gate: threading.Lock = field(default_factory=_shut)  # opened once: what is needed of an Event, for less
    answer: Receipt | BaseException | None = None
    left: bool = False  # the caller has answered 503 already

    @property
    def size(self) -> int:
        """Bytes of the payloads."""
        return sum(len(new.spec.body or b"") for new in self.submission.tasks)

    def leave(self) -> None:
        """Wait no longer. The payload is let go of: while the store hangs, many may come and leave."""
        self.left = True
        self.submission = _NOTHING

    def give(self, answer: Receipt | BaseException) -> None:
        self.answer = answer
        self.gate.release()


_NOTHING = Submission(tasks=())


class GroupCommit:
    """A thread that commits what callers hand it. While one group is being committed, the next one gathers."""

    def __init__(self, database: Database, *, wait: timedelta = DEFAULT_WAIT) -> None:
        self._database, self._wait = database, wait.total_seconds()
        self._inbox: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, submission: Submission) -> Receipt:
        """Block until this submission is committed. Raises ``KeyReused``, or ``StoreUnavailable``."""
        if self._closing.is_set():
            raise StoreUnavailable("the service is shutting down; send the request again", rolled_back=True)
        waiting = _Waiting(submission, give_up_at=time.monotonic() + self._wait)
        self._inbox.put(waiting)
        if not waiting.gate.acquire(timeout=self._wait):
            waiting.leave()
            raise StoreUnavailable("the database did not commit in time; the task may or may not have been accepted")
        if isinstance(waiting.answer, Receipt):
            return waiting.answer
        assert waiting.answer is not None, "the committer answers before it says done"
        raise waiting.answer

    def close(self) -> None:
        """Commit what has been handed in, then stop. Later submits are refused."""
        self._closing.set()
        self._inbox.put(None)
        self._thread.join(self._wait * 2)

    def _run(self) -> None:
        open_ = True
        while open_:
            group, open_ = self._gather()
            if group:
                self._commit(group)

    def _gather(self) -> tuple[list[_Waiting], bool]:
        """Everything that waits by now, at least one; False once the inbox is closed."""
        group: list[_Waiting] = []
        count = size = 0
        waiting = self._inbox.get()
        while waiting is not None:
            group.append(waiting)
            count, size = count + len(waiting.submission.tasks), size + waiting.size
            if count >= MAX_TASKS or size >= MAX_BYTES:
                return group, True
            try:
                waiting = self._inbox.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            answered = self._insert(group)
        except StoreUnavailable as error:
            for waiting in group:
                waiting.give(error)
        except Exception as error:
            if len(group) == 1:
                group[0].give(error)
                return
            # One row the database cannot take must not fail its neighbours.
            for waiting in group:
                self._commit([waiting])
        else:
            for waiting, answer in answered:
                waiting.give(answer)

    def _insert(self, group: list[_Waiting]) -> list[tuple[_Waiting, Receipt | KeyReused]]:
        give_up_at = min(waiting.give_up_at for waiting in group)
        while True:
            try:
                with self._database.begin() as conn:
                    # Who left while this transaction waited for its turn was told 503: its rows would only surprise it.
                    # Read in this order: what a leaving caller let go of is then never taken for its submission.
                    handed_in = [(waiting, waiting.submission) for waiting in group]
                    present = [(waiting, submission) for waiting, submission in handed_in if not waiting.left]
                    answers = submit(conn, self._database, [submission for _, submission in present])
                return [(waiting, answer) for (waiting, _), answer in zip(present, answers, strict=True)]
            except StoreUnavailable as error:
                # What certainly did not happen may be done again while its callers wait.
                if not error.rolled_back or time.monotonic() > give_up_at:
                    raise
                time.sleep(0.005)
