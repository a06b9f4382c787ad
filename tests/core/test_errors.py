"""Errors carry their data, say what to do, and give nothing away."""

from __future__ import annotations

import inspect

from taskqueue.core import errors
from taskqueue.core.errors import (
    Conflict,
    ForbiddenTarget,
    InvalidTarget,
    InvalidTask,
    KeyReused,
    StoreUnavailable,
    TaskQueueError,
)


def test_an_invalid_field_is_named_by_its_pointer() -> None:
    error = InvalidTask("/tasks/17/timeout", "must be at least 0.1")
    assert (error.pointer, error.detail) == ("/tasks/17/timeout", "must be at least 0.1")
    assert str(error) == "/tasks/17/timeout: must be at least 0.1"
    assert issubclass(InvalidTarget, InvalidTask)


def test_a_forbidden_target_does_not_show_where_its_name_led() -> None:
    error = ForbiddenTarget("internal.example", "10.0.0.7", reason="it is closed")
    assert str(error) == (
        "internal.example may not be called: it is closed; an operator can allow it in TASKQUEUE_ALLOWED_TARGETS"
    )
    assert (error.host, error.address, error.reason) == ("internal.example", "10.0.0.7", "it is closed")
    assert ForbiddenTarget("x", reason="").address is None


def test_a_reused_key_is_not_shown_but_kept() -> None:
    error = KeyReused("customer-secret-42")
    assert isinstance(error, Conflict)
    assert "customer-secret-42" not in str(error)
    assert error.key == "customer-secret-42"


def test_an_unavailable_store_says_whether_anything_may_have_happened() -> None:
    assert not StoreUnavailable("no answer").rolled_back
    assert StoreUnavailable("no turn", rolled_back=True).rolled_back


def test_the_tree_drawn_in_the_module_is_the_tree_there_is() -> None:
    drawn = errors.__doc__ or ""
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, TaskQueueError)
        line = next(line for line in drawn.splitlines() if name in line.split())
        parent = _above(drawn.splitlines(), line)
        assert parent in (None, kind.__base__.__name__ if kind.__base__ else None)


def _above(lines: list[str], line: str) -> str | None:
    """The class whose branch ``line`` hangs on."""
    depth = _depth(line)
    for earlier in reversed(lines[: lines.index(line)]):
        words = earlier.replace("│", " ").replace("├─", "  ").replace("└─", "  ").split()
        if words and words[0].isidentifier() and _depth(earlier) < depth:
            return words[0]
    return None


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" │├└─"))
