"""Frozen dataclasses, made as fast as others.

A frozen one sets each field by a call; for a task with its thirty fields that takes longer than to read its row.
"""

from __future__ import annotations

from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any, TypeVar, cast

_Frozen = TypeVar("_Frozen")


def draft_of(frozen: type[_Frozen]) -> type[_Frozen]:
    """A class with the same fields and slots as ``frozen``. What it makes counts as one of those once it is given their
    ``__class__``, which Python permits between classes with the same slots."""
    named = [(each.name, each.type, _with_default(each)) for each in fields(cast(Any, frozen))]
    return cast(type[_Frozen], make_dataclass(f"{frozen.__name__}Draft", named, kw_only=True, slots=True, eq=False))


def _with_default(original: Any) -> Any:
    if original.default_factory is not MISSING:
        return field(default_factory=original.default_factory)
    return field() if original.default is MISSING else field(default=original.default)
