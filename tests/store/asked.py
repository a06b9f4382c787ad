"""What random lives are made of: submissions, as the model knows them, and how their calls may come out."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from hypothesis import strategies as st

from taskqueue.core.outcome import lapsed
from taskqueue.core.policy import NO_POLICY, OnLost, OnUnknown, Policy, Reconcile, Rule
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import FollowUp
from tests.store.model import BACKOFF
from tests.support.builders import answer, new_task

FIXED = Backoff(type=BackoffType.FIXED, initial=timedelta(seconds=BACKOFF), jitter=Jitter.NONE)
OUTCOMES = {
    "succeeded": answer(200),
    "rejected": answer(400),
    "failed": answer(500),
    "deferred": answer(429),
    "lost": lapsed(),
}
# The same words for a task that somebody is asked about: done, unknown, no answer, not done.
SAID = {
    **OUTCOMES,
    "succeeded": answer(200, body=b'{"state": "done"}'),
    "rejected": answer(200, body=b'{"state": "unknown"}'),
    "failed": answer(500),
    "deferred": answer(200, body=b'{"state": "not-done"}'),
}


def _asking(on_unknown: OnUnknown) -> Policy:
    return Policy(
        reconcile=Reconcile(url="https://caller.example/done", timeout=timedelta(seconds=1), on_unknown=on_unknown)
    )


POLICIES = {
    None: NO_POLICY,
    "ask": _asking(OnUnknown.RETRY),
    "ask or hold": _asking(OnUnknown.HOLD),
    "ask or fail": _asking(OnUnknown.FAIL),
    "lost is dead": Policy(on_lost=OnLost.DEAD),
    "poison": Policy(poison_after=2),
    "one more": Policy(rules=(Rule(match=("status:5xx",), retries=1, backoff=FIXED),)),
    "free": Policy(rules=(Rule(match=("server_error",), charge=False),)),
}
ERRAND = new_task(queue="errands")
UNDO = {
    None: None,
    "any": FollowUp(task=ERRAND),
    "exhausted": FollowUp(task=ERRAND, match=("reason:exhausted",)),
    "lost": FollowUp(task=ERRAND, match=("function_*", "reason:lost")),
}


class Asked(NamedTuple):
    """A submission, as far as the model cares."""

    key: str | None
    delay: int
    life: int
    retries: int
    told: bool
    repeat: str | None
    policy: str | None
    undo: str | None
    followed: bool
    priority: int
    narrow: bool


submissions = st.builds(
    Asked,
    key=st.sampled_from([None, "a", "b"]),
    delay=st.sampled_from([0, 0, 150]),
    life=st.sampled_from([450, 100_050]),
    retries=st.integers(0, 2),
    told=st.booleans(),
    repeat=st.sampled_from([None, None, "k1", "k2"]),
    policy=st.sampled_from([None, *POLICIES]),
    undo=st.sampled_from(list(UNDO)),
    followed=st.booleans(),
    priority=st.sampled_from([5, 5, 0, 9]),
    narrow=st.booleans(),
)
