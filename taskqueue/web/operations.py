"""What the API can do: each operation's route, models, answers and words in one place, for Flask and OpenAPI alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskqueue.web import problems
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.models import Nothing
from taskqueue.web.problems import ProblemKind
from taskqueue.web.reading import Model

if TYPE_CHECKING:
    from taskqueue.web.service import Service

View = Callable[["Service", Call], Reply]


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: what it means, what it holds (``None``: nothing) and which headers come with it."""

    description: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)  # name -> description


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One verb of the API."""

    name: str
    method: str
    path: str  # with {id}, {name} or {key} where a thing is named
    summary: str
    description: str
    tag: str
    scope: Scope | None  # what a caller's key must allow; None: open to everybody
    query: type[Model]
    body: type[Model] | None
    body_required: bool
    batch: bool  # the larger limit on the body
    headers: Mapping[str, str]  # request headers it reads -> description
    answers: Mapping[int, Answer]
    extra_problems: tuple[ProblemKind, ...]
    example: Mapping[str, Any] | None  # a request body
    view: View

    @property
    def names_a_thing(self) -> bool:
        return "{" in self.path

    @property
    def problems(self) -> tuple[ProblemKind, ...]:
        """Every problem it may answer with, but for a fault of our own."""
        kinds = list(self.extra_problems)
        if self.names_a_thing:
            kinds.append(problems.NOT_FOUND)
        if self.body is not None:
            kinds += [problems.UNREADABLE, problems.TOO_LARGE, problems.MEDIA_TYPE_REFUSED, problems.BUSY]
        if self.scope is not None:
            kinds += [problems.UNAUTHENTICATED, problems.NOT_ALLOWED, problems.FOREIGN_ORIGIN]
            kinds += [problems.INVALID, problems.UNAVAILABLE]
        return tuple(dict.fromkeys(kinds))


def operation(
    method: str,
    path: str,
    *,
    summary: str,
    tag: str,
    scope: Scope | None,
    answers: Mapping[int, Answer],
    query: type[Model] = Nothing,
    body: type[Model] | None = None,
    body_required: bool = False,
    batch: bool = False,
    headers: Mapping[str, str] | None = None,
    problems: tuple[ProblemKind, ...] = (),
    example: Mapping[str, Any] | None = None,
) -> Callable[[View], Operation]:
    """Make an operation of a view; the view's name and docstring become the operation's."""

    def bound(view: View) -> Operation:
        return Operation(
            name=view.__name__,
            method=method,
            path=path,
            summary=summary,
            description=" ".join((view.__doc__ or "").split()),
            tag=tag,
            scope=scope,
            query=query,
            body=body,
            body_required=body_required,
            batch=batch,
            headers=headers or {},
            answers=answers,
            extra_problems=problems,
            example=example,
            view=view,
        )

    return bound


def verb(
    path: str,
    *,
    summary: str,
    tag: str,
    answers: Mapping[int, Answer],
    problems: tuple[ProblemKind, ...] = (),
) -> Callable[[View], Operation]:
    """Make an operation of a view that does to a thing what its path ends with, and is told nothing else."""
    return operation(
        "POST", path, summary=summary, tag=tag, scope=Scope.MANAGE, answers=answers, body=Nothing, problems=problems
    )
