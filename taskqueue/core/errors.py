"""Everything this package raises on purpose.

TaskQueueError
 ├─ InvalidTask            a submitted field cannot be accepted; names the field by JSON pointer
 │   └─ InvalidTarget      a URL is not one this service can call
 ├─ ForbiddenTarget        the URL is well formed, but its address, port or name may not be called
 ├─ Conflict               the task or dead letter is in a state that does not allow this
 │   └─ KeyReused          an idempotency key came back with another body
 ├─ InvalidSettings        an environment variable cannot be used
 └─ StoreError
     ├─ StoreUnavailable   the store could not commit in time; the outcome is indeterminate, try again
     ├─ UnsafeDatabase     the database would not keep an acknowledged task through a power loss
     └─ WrongRevision      the database schema is not the one this version was written for
"""

from __future__ import annotations


class TaskQueueError(Exception):
    """Root of the tree; its text is fit to show a caller."""


class InvalidTask(TaskQueueError):
    """A field of a submitted task cannot be accepted."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}")
        self.pointer, self.detail = pointer, detail


class InvalidTarget(InvalidTask):
    """The URL is not absolute http(s) in the one strict spelling this service accepts."""


class ForbiddenTarget(TaskQueueError):
    """The target is an address this service may not call."""

    def __init__(self, host: str, address: str | None = None, *, reason: str) -> None:
        super().__init__(f"{host} may not be called: {reason}; an operator can allow it in TASKQUEUE_ALLOWED_TARGETS")
        self.host, self.reason = host, reason
        self.address = address  # for the security log only: callers could map our network with it


class Conflict(TaskQueueError):
    """The thing exists, but its state does not allow what was asked."""


class KeyReused(Conflict):
    """An idempotency key was used before with a different body."""

    def __init__(self, key: str) -> None:
        super().__init__("this idempotency key was used before with a different body; send the same body or a new key")
        self.key = key


class InvalidSettings(TaskQueueError):
    """A setting cannot be used; the text names it and says what would be accepted."""


class StoreError(TaskQueueError):
    """The store cannot serve."""


class StoreUnavailable(StoreError):
    """The store could not commit in time. What was asked may or may not have happened: repeat it with the same key."""

    def __init__(self, detail: str, *, rolled_back: bool = False) -> None:
        super().__init__(detail)
        self.rolled_back = rolled_back  # True: certainly nothing happened, so trying again at once is safe


class UnsafeDatabase(StoreError):
    """The database is set up so that an acknowledged task could be lost; the text says what to change."""


class WrongRevision(StoreError):
    """The schema is older or newer than this version of the code; the text says which command mends it."""
