"""The breaker of an origin: when its failures hold back further calls, and how it comes back to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from taskqueue.core.outcome import Outcome, Sign

# Opens when of the last calls at least so many failed, and at least this part of them. Ten: a handful of tasks is
# spaced well enough by the backoff of each, and the short restart of a target should hold nobody back.
FAILURES = 10
RATE = 0.5
# The last calls are those of two windows side by side. Each ends after a minute, which is long enough to see ten calls
# that time out after 30 s, three at a time; or after 100 calls, so that a death shows at once on a busy host, too.
WINDOW = timedelta(seconds=60)
WINDOW_CALLS = 100
# How long it stays open: a restart is over in seconds, and after five minutes without a call a host that came back has
# waited long enough to be noticed. Doubled for each opening that follows within SOUND_AFTER of the last closing.
FIRST_SPAN = timedelta(seconds=5)
LONGEST_SPAN = timedelta(minutes=5)
SPREAD = 0.25  # of the span that jitter may take off
SOUND_AFTER = timedelta(minutes=5)
# One call at a time finds out whether the host is back. One that takes its time, as a task of an hour may, must not
# keep all others waiting: another may start each minute, but a few hung calls are enough to tell.
PATIENCE = timedelta(seconds=60)
MOST_PROBES = 5
# Slow start: what is allowed at once grows by one per sound call, but at most doubles each second. At this it closes.
WIDE = 64
_DOUBLINGS = 6  # 2 ** 6 is WIDE
_SECOND = timedelta(seconds=1)
# A transaction reads the clock when it begins, so one that had to wait may be this much behind what it finds. What lies
# further ahead was written before the clock was set back, and nothing may hang on a time to come.
SKEW = timedelta(seconds=30)


class BreakerState(StrEnum):
    """What an origin's calls are allowed to do."""

    CLOSED = "closed"  # anything
    OPEN = "open"  # nothing
    PROBING = "probing"  # one call at a time; never stored: an open breaker whose time has passed
    SLOW = "slow"  # a few calls at a time, more with each that is sound


class Mark(NamedTuple):
    """What one call said about its host."""

    started_at: datetime
    failed: bool  # False: a sign of life


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What is known of an origin that failed lately; of any other nothing is, and it is closed."""

    project: str
    origin: str
    state: BreakerState = BreakerState.CLOSED  # as stored, see ``state_at``
    changed_at: datetime  # when it came into this state
    open_until: datetime | None = None  # of an open one
    trips: int = 0  # openings, each soon after the one before
    window_at: datetime  # when the present window began
    failures: int = 0
    calls: int = 0
    former_failures: int = 0
    former_calls: int = 0

    @property
    def sound(self) -> int:
        """Calls of the present window by which those that did not fail are ahead."""
        return self.calls - 2 * self.failures


def fresh(project: str, origin: str, *, now: datetime) -> Breaker:
    """The breaker of an origin of which nothing is known."""
    return Breaker(project=project, origin=origin, changed_at=now, window_at=now)


def state_at(breaker: Breaker, now: datetime) -> BreakerState:
    """The state that counts at ``now``: an open breaker whose time has passed is probing, which nobody writes down."""
    if breaker.state is BreakerState.OPEN and not _stays_open(breaker, now):
        return BreakerState.PROBING
    return breaker.state


def room(breaker: Breaker, now: datetime) -> int | None:
    """How many calls, started since ``counted_from``, may be in flight at once; ``None`` for any number."""
    match state_at(breaker, now):
        case BreakerState.OPEN:
            return 0
        case BreakerState.PROBING:
            return min(MOST_PROBES, 1 + _waited(breaker, now) // PATIENCE)
        case BreakerState.SLOW:
            return max(1, min(1 + breaker.sound, _widest(breaker, now)))
    return None


def look_again_at(breaker: Breaker, now: datetime) -> datetime | None:
    """When the room next grows by itself; ``None`` if only what calls come to can change it."""
    match state_at(breaker, now):
        case BreakerState.OPEN:
            return breaker.open_until
        case BreakerState.PROBING:
            steps = 1 + _waited(breaker, now) // PATIENCE
            return now + (steps * PATIENCE - _waited(breaker, now)) if steps < MOST_PROBES else None
        case BreakerState.SLOW:
            widest, since = _widest(breaker, now), _since(breaker.changed_at, now)
            return now + (_SECOND - since % _SECOND) if widest < min(WIDE, 1 + breaker.sound) else None
    return None


def counted_from(breaker: Breaker, now: datetime) -> datetime | None:
    """Calls that started before this say nothing any more and take none of the room; ``None``: all calls count.

    When a host dies its calls come back in bursts, up to their whole timeout later. They must not be taken for probes.
    """
    since = breaker.changed_at if breaker.open_until is None else breaker.open_until
    # One that never opened has no before. And a clock that was set back must not make all that starts look old.
    return None if not breaker.trips or since > now + SKEW else since


def listens(breaker: Breaker, now: datetime) -> bool:
    """Whether signs of life alone tell it anything; without failures lately they do not, nor do they need a row."""
    if breaker.state is not BreakerState.CLOSED:
        return True
    recent = _rolled(breaker, now)
    return recent.failures + recent.former_failures > 0


def sign_of(outcome: Outcome, *, judged: Outcome) -> Sign:
    """What an attempt says of its host, when ``outcome`` is how the call ended and ``judged`` how verdicts have it.

    A caller who calls a failure something else knows the target better, but has not said that it is well, unless it
    is a success.
    """
    if judged.cls.name != "success" and judged.cls is not outcome.cls and outcome.sign is Sign.FAILURE:
        return Sign.NOTHING
    return judged.sign


def observed(breaker: Breaker, marks: Iterable[Mark], *, now: datetime, jitter: float) -> Breaker:
    """The breaker after ``marks`` have come in; the caller draws ``jitter`` from [0, 1)."""
    if state_at(breaker, now) is BreakerState.OPEN:
        return breaker  # whatever comes now was under way when it opened
    since = counted_from(breaker, now)
    failed = [mark.failed for mark in marks if since is None or mark.started_at >= since]
    if not failed:
        return breaker
    calls, failures = len(failed), sum(failed)
    if breaker.state is BreakerState.OPEN:
        return _probed(breaker, calls=calls, failures=failures, now=now, jitter=jitter)
    if breaker.state is BreakerState.SLOW:
        return _widened(breaker, calls=calls, failures=failures, now=now, jitter=jitter)
    return _counted(breaker, calls=calls, failures=failures, now=now, jitter=jitter)


def closed(breaker: Breaker, *, now: datetime) -> Breaker:
    """Closed, with nothing held against it but how often it opened: what is under way now will not count."""
    return replace(
        _emptied(breaker, now), state=BreakerState.CLOSED, changed_at=now, open_until=None, trips=max(1, breaker.trips)
    )


def _probed(breaker: Breaker, *, calls: int, failures: int, now: datetime, jitter: float) -> Breaker:
    counted = replace(_emptied(breaker, now), calls=calls, failures=failures)
    if counted.sound <= 0:
        return _opened(counted, trips=breaker.trips + 1, now=now, jitter=jitter)
    return replace(counted, state=BreakerState.SLOW, changed_at=now, open_until=None)


def _widened(breaker: Breaker, *, calls: int, failures: int, now: datetime, jitter: float) -> Breaker:
    counted = replace(breaker, calls=breaker.calls + calls, failures=breaker.failures + failures)
    if failures and counted.sound <= 0:
        return _opened(counted, trips=breaker.trips + 1, now=now, jitter=jitter)
    wide = counted.sound >= WIDE and _widest(counted, now) >= WIDE
    # So long without breaking again, it is sound whatever came of it: its calls may be few, or take their time.
    return closed(counted, now=now) if wide or _since(breaker.changed_at, now) >= SOUND_AFTER else counted


def _counted(breaker: Breaker, *, calls: int, failures: int, now: datetime, jitter: float) -> Breaker:
    rolled = _rolled(breaker, now)
    counted = replace(rolled, calls=rolled.calls + calls, failures=rolled.failures + failures)
    failed = counted.failures + counted.former_failures
    if not failures or failed < FAILURES or failed < RATE * (counted.calls + counted.former_calls):
        return counted
    lately = _since(breaker.changed_at, now) < SOUND_AFTER
    return _opened(counted, trips=breaker.trips + 1 if lately else 1, now=now, jitter=jitter)


def _rolled(breaker: Breaker, now: datetime) -> Breaker:
    """With a new window begun, where the present one is full or over."""
    age = now - breaker.window_at
    if not -SKEW <= age < 2 * WINDOW:
        return _emptied(breaker, now)
    if age < WINDOW and breaker.calls < WINDOW_CALLS:
        return breaker
    former = replace(breaker, former_failures=breaker.failures, former_calls=breaker.calls)
    return replace(former, window_at=now, failures=0, calls=0)


def _emptied(breaker: Breaker, now: datetime) -> Breaker:
    return replace(breaker, window_at=now, failures=0, calls=0, former_failures=0, former_calls=0)


def _opened(breaker: Breaker, *, trips: int, now: datetime, jitter: float) -> Breaker:
    span = min(LONGEST_SPAN, FIRST_SPAN * 2.0 ** min(trips - 1, 16)) * (1 - SPREAD * jitter)
    # It keeps the calls that opened it, for people to see.
    return replace(breaker, state=BreakerState.OPEN, changed_at=now, open_until=now + span, trips=trips)


def _stays_open(breaker: Breaker, now: datetime) -> bool:
    """No longer than the longest span, even if the clock was set back meanwhile."""
    assert breaker.open_until is not None, "an open breaker says until when"
    return timedelta(0) < breaker.open_until - now <= LONGEST_SPAN + SKEW


def _waited(breaker: Breaker, now: datetime) -> timedelta:
    assert breaker.open_until is not None, "a probing breaker was open"
    return max(timedelta(0), now - breaker.open_until)


def _widest(breaker: Breaker, now: datetime) -> int:
    """What time alone allows in slow start."""
    return int(2 ** min(_DOUBLINGS, 1 + _since(breaker.changed_at, now) // _SECOND))


def _since(then: datetime, now: datetime) -> timedelta:
    """Time since ``then``; for ever if the clock was set back behind it."""
    return max(timedelta(0), now - then) if now >= then - SKEW else timedelta.max
