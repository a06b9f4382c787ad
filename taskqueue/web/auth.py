"""Who calls, and what they may do. The one place that knows how callers are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from taskqueue.core.task import DEFAULT_PROJECT


class Scope(StrEnum):
    """What a caller may be allowed."""

    SUBMIT = "submit"
    READ = "read"
    MANAGE = "manage"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a request is carried out."""

    project: str
    scopes: frozenset[Scope]


_EVERYBODY = Caller(DEFAULT_PROJECT, frozenset(Scope))


def authenticate(_environ: Mapping[str, Any]) -> Caller:
    """Who sent a request. Without API keys everybody who reaches the loopback address is the same caller."""
    return _EVERYBODY
