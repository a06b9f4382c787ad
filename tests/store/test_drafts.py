"""What a draft makes is the frozen thing itself."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field

import pytest

from taskqueue.core.task import Task, TaskSpec
from taskqueue.store.drafts import draft_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    name: str
    count: int = 3
    parts: list[int] = field(default_factory=list)


def made(**values: object) -> Thing:
    thing: Thing = draft_of(Thing)(**values)
    thing.__class__ = Thing
    return thing


def test_it_is_equal_to_what_its_class_makes() -> None:
    assert made(name="a", count=4) == Thing(name="a", count=4)
    assert type(made(name="a")) is Thing
    assert made(name="a").count == 3
    assert made(name="a").parts == []
    assert made(name="a").parts is not made(name="a").parts


def test_it_is_as_frozen_as_its_class() -> None:
    with pytest.raises(FrozenInstanceError):
        made(name="a").name = "b"  # type: ignore[misc]


def test_a_field_that_is_left_out_is_missed() -> None:
    with pytest.raises(TypeError, match="name"):
        draft_of(Thing)()  # type: ignore[call-arg]


@pytest.mark.parametrize("frozen", [Task, TaskSpec])
def test_the_fields_of_a_task_are_all_there(frozen: type) -> None:
    assert set(draft_of(frozen).__slots__) == set(frozen.__slots__)
