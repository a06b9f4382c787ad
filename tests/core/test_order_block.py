"""A blocked ordering key in words: who blocks it, who waits, and the commands that end it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taskqueue.core.errors import Conflict
from taskqueue.core.lifecycle import park
from taskqueue.core.order_block import Block, block_resource, of_dead, to_resolve
from taskqueue.core.queue import OnDeath
from taskqueue.core.reason import DeadReason
from taskqueue.core.resource import task_resource
from taskqueue.core.task import TaskState, WebhookEvent
from tests.core.examples import HOOKED, NOW, a_spec, answered, decided, queued, running
from tests.core.test_explain import LETTER, OTHER, after_settlement, explained

BLOCK = Block(
    queue="mail",
    ordering_key="it's one",
    on_death=OnDeath.BLOCK,
    task_id=OTHER,
    dead_letter_id=LETTER,
    since=NOW,
    waiting=2,
    capped=False,
)
PARK = replace(BLOCK, on_death=OnDeath.PARK)
AT = "2026-03-01T12:00:00.000Z"


def test_who_is_held_names_the_death_and_what_ends_it() -> None:
    told = explained(queued(held=True, ordering_key="it's one"), block=BLOCK)
    because = f"behind task {OTHER} of its ordering key, which died at {AT} and blocks the key until"
    assert because in told["why"]
    (blocker,) = told["blockedBy"]
    assert (blocker["kind"], blocker["taskId"], blocker["since"]) == ("orderingKey", str(OTHER), AT)
    assert because in blocker["detail"]
    assert [advice.partition(" run: ")[2] for advice in told["advice"]] == [
        f"taskqueue dead redrive {LETTER}",
        """taskqueue queues unblock mail 'it'"'"'s one'""",
    ]
    assert told["blocks"] is None


def test_who_waits_while_others_are_parked_is_told_so() -> None:
    told = explained(queued(held=True, ordering_key="a"), block=PARK)
    assert "is being parked" in told["why"]
    assert [advice.partition(",")[0] for advice in told["advice"]] == [
        "To stop parking and let the others of its ordering key go on"
    ]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (replace(BLOCK, waiting=0), "It blocks its ordering key: no tasks wait behind it."),
        (replace(BLOCK, waiting=1), "It blocks its ordering key: 1 task waits behind it."),
        (BLOCK, "It blocks its ordering key: 2 tasks wait behind it."),
        (replace(BLOCK, waiting=1000, capped=True), "It blocks its ordering key: more than 1000 tasks wait behind it."),
        (PARK, "Those of its ordering key that waited then are being parked: 2 tasks wait behind it."),
    ],
)
def test_a_death_says_how_many_wait_for_its_sake(block: Block, words: str) -> None:
    assert of_dead(block) == words


def test_a_key_that_looks_like_an_option_is_none() -> None:
    assert to_resolve(replace(BLOCK, ordering_key="-x"))[-1].endswith(" unblock mail -- -x")


def test_a_dead_task_that_blocks_its_key_says_so() -> None:
    dead = after_settlement(decided(running(ordering_key="a"), answered(400)))
    told = explained(dead, block=BLOCK)
    assert told["blocks"] == block_resource(BLOCK)
    assert "It blocks its ordering key: 2 tasks wait behind it." in told["why"]
    assert "unblock" in told["advice"][-1]


def test_a_parked_task_dies_without_an_attempt_and_its_caller_is_told() -> None:
    settlement = park(queued(held=True, spec=a_spec(ordering_key="a", **HOOKED)), now=NOW)
    ending = settlement.ending
    assert ending is not None
    assert (ending.state, ending.reason, ending.cls) == (TaskState.DEAD, DeadReason.PARKED, None)
    assert (settlement.attempt, settlement.progress.seq, settlement.events) == (None, 2, (WebhookEvent.DEAD,))
    shown = task_resource(after_settlement(settlement), now=NOW)
    assert shown["error"] is not None
    assert (shown["deadReason"], shown["error"]["class"], shown["error"]["type"]) == ("parked", "parked", "Parked")
    told = explained(after_settlement(settlement))
    assert "(parked): an older task of its ordering key died" in told["why"]
    assert f"taskqueue dead redrive {LETTER}" in told["advice"][-1]


def test_what_has_ended_cannot_be_parked() -> None:
    with pytest.raises(Conflict):
        park(queued(state=TaskState.SUCCEEDED), now=NOW)
