"""Who calls, and what they may do. The one place that knows how callers are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flask import Request

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


def authenticate(_request: Request) -> Caller:
    """The caller of a request. Without API keys everybody who reaches the loopback address is the same one."""
    return _EVERYBODY
