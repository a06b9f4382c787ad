"""Order blocks: the place of a dead task in the lane of its ordering key, for as long as others wait because of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, exists, func, select, tuple_

from taskqueue.core.errors import InvalidTask
from taskqueue.core.order_block import Block
from taskqueue.core.queue import OnDeath
from taskqueue.core.reason import DeadReason
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import DeadLetterId, Task, TaskId, TaskState
from taskqueue.store import lanes
from taskqueue.store.database import Database
from taskqueue.store.dialect import Lane
from taskqueue.store.lanes import BLOCKS_IN_LANE, IN_LANE, bound
from taskqueue.store.schema import order_blocks, queues, ready
from taskqueue.store.search import NOT_OURS, Page, seal, unseal

MOST = 1_000  # waiting tasks that are counted of one block
Row = dict[str, Any]


def made(conn: Connection, settlements: Iterable[Settlement]) -> list[Row]:
    """The rows for those deaths among ``settlements`` whose queue does not go on; their lanes are locked, and their
    tasks still in them. Without the death of a task that has an ordering key, nothing is asked."""
    dying = [item for item in settlements if _leaves_a_place(item)]
    policies = _policies(conn, [item.task for item in dying])
    places = [
        (conn.execute(_PLACE, {**_bound(item.task), "of_task": item.task.id}).one(), item)
        for item in dying
        if _queue_of(item.task) in policies
    ]
    found: list[Row] = []
    reach: dict[Lane, int] = {}  # how far what is to be parked goes
    for place, item in sorted(places, key=lambda each: each[0].position):
        lane, task = _lane(item.task), item.task
        if place.parked or place.position <= reach.get(lane, place.position - 1):
            continue  # it was about to be parked: what came later does not wait for it
        kind = policies[_queue_of(task)]
        if kind is OnDeath.PARK:
            reach[lane] = place.tail
        found.append(
            {
                "project": lane.project,
                "queue": lane.queue,
                "ordering_key": lane.key,
                "position": place.position,
                "task_id": task.id,
                "generation": item.progress.generation,
                "dead_letter_id": task.dead_letter_id,
                "kind": kind.value,
                "last_position": place.tail if kind is OnDeath.PARK else None,
                "last_letter": task.dead_letter_id if kind is OnDeath.PARK else None,
                "created_at": item.ending.finished_at if item.ending else None,
            }
        )
    return found


def resolve(conn: Connection, project: str, task_id: TaskId, generation: int) -> int | None:
    """The death of that generation blocks no more; return the place that the task kept, ``None`` if it kept none. Its
    lane is locked. What is being parked because of it is parked all the same."""
    asked = {"of_project": project, "of_task": task_id, "of_generation": generation}
    return conn.execute(_RESOLVE, asked).scalar()


def unblock(conn: Connection, database: Database, lane: Lane) -> int:
    """Let the tasks of one key go on, whatever blocks them, and stop parking them; return how many deaths blocked it.
    The dead letters stay."""
    database.dialect.lock_lanes(conn, [lane])
    lifted = conn.execute(_UNBLOCK, bound(lane)).rowcount
    if lifted:
        lanes.advance(conn, database, [lane])
    return lifted


def lift_obsolete(conn: Connection, database: Database, *, limit: int) -> int:
    """Unblock up to ``limit`` keys of a queue that skips by now, or is not defined any more; return how many."""
    for project, queue in _queues_with_blocks(conn):
        asked = {"of_project": project, "of_queue": queue, "limit": limit}
        found = [Lane(project, queue, key) for key in conn.execute(_OBSOLETE, asked).scalars()]
        if found:
            database.dialect.lock_lanes(conn, found)
            for lane in found:
                conn.execute(_LIFT, bound(lane))
            lanes.advance(conn, database, found)
            return len(found)
    return 0


def search(conn: Connection, project: str, queue: str, *, cursor: str | None, limit: int) -> Page[Block]:
    """What blocks keys of a queue, by key and then in their order."""
    after = ("", 0) if cursor is None else _read_cursor(cursor, project)
    asked = {"of_project": project, "of_queue": queue, "limit": limit + 1}
    found = conn.execute(_OF_QUEUE, {**asked, "after_key": after[0], "after_position": after[1]}).all()
    items = [_block(conn, row) for row in found[:limit]]
    last = found[limit - 1] if len(found) > limit else None
    return Page(items, seal(msgspec.json.encode((last.ordering_key, last.position)), project) if last else None)


def first_before(conn: Connection, task: Task) -> Block | None:
    """The death that comes first in the lane of a held task; ``None`` if a living one comes before it."""
    row = conn.execute(_FIRST, _bound(task)).one_or_none()
    if row is None:
        return None
    head = conn.execute(_HEAD, _bound(task)).scalar()
    return _block(conn, row) if head is None or row.position < head else None


def of_death(conn: Connection, task: Task) -> Block | None:
    """The block that a dead task is, as it stands."""
    asked = {"of_project": task.spec.project, "of_task": task.id, "of_generation": task.progress.generation}
    row = conn.execute(_OF_DEATH, asked).one_or_none()
    return None if row is None else _block(conn, row)


def count_keys(conn: Connection, project: str, queue: str, *, most: int) -> int:
    """How many keys of a queue are blocked, up to ``most``."""
    return conn.execute(_KEYS, {"of_project": project, "of_queue": queue, "most": most}).scalar_one()


def _leaves_a_place(item: Settlement) -> bool:
    parked = item.ending is not None and item.ending.reason is DeadReason.PARKED
    return item.state is TaskState.DEAD and item.task.spec.ordering_key is not None and not parked


def _policies(conn: Connection, dying: Sequence[Task]) -> Mapping[tuple[str, str], OnDeath]:
    """Of those of their queues that do not just go on, by project and name."""
    found: dict[tuple[str, str], OnDeath] = {}
    for project in {task.spec.project for task in dying}:
        names = {task.spec.queue for task in dying if task.spec.project == project}
        for row in conn.execute(_POLICIES, {"of_project": project, "names": sorted(names)}):
            found[project, row.name] = OnDeath(row.on_death)
    return found


def _queues_with_blocks(conn: Connection) -> Iterator[tuple[str, str]]:
    """Found by leaping from each to the next in the key: a hundred thousand blocks may be of one queue."""
    last = ("", "")
    while (row := conn.execute(_NEXT_QUEUE, {"project": last[0], "queue": last[1]}).one_or_none()) is not None:
        yield (last := (row.project, row.queue))


def _block(conn: Connection, row: Any) -> Block:
    asked = {**bound(Lane(row.project, row.queue, row.ordering_key)), "position": row.position, "most": MOST + 1}
    waiting: int = conn.execute(_WAITING, asked).scalar_one()
    return Block(
        queue=row.queue,
        ordering_key=row.ordering_key,
        on_death=OnDeath(row.kind),
        task_id=TaskId(row.task_id),
        dead_letter_id=DeadLetterId(row.dead_letter_id),
        since=row.created_at,
        waiting=min(waiting, MOST),
        capped=waiting > MOST,
    )


def _read_cursor(cursor: str, project: str) -> tuple[str, int]:
    try:
        key, position = _decode_place(unseal(cursor, project))
    except (msgspec.DecodeError, UnicodeDecodeError):
        key, position = "\0", 0
    if "\0" in key:
        raise InvalidTask("/cursor", NOT_OURS)
    return key, position


def _queue_of(task: Task) -> tuple[str, str]:
    return task.spec.project, task.spec.queue


def _lane(task: Task) -> Lane:
    lane = lanes.lane_of(task)
    assert lane is not None, "only a task with an ordering key has a place"
    return lane


def _bound(task: Task) -> Row:
    return bound(_lane(task))


_decode_place = msgspec.json.Decoder(tuple[str, Annotated[int, msgspec.Meta(ge=0, le=2**62)]]).decode
_MINE = (order_blocks.c.project == bindparam("of_project"), order_blocks.c.queue == bindparam("of_queue"))
_POLICIES = select(queues.c.name, queues.c.on_death).where(
    queues.c.project == bindparam("of_project"),
    queues.c.name.in_(bindparam("names", expanding=True)),
    queues.c.on_death != OnDeath.SKIP.value,
)
_DYING = ready.alias()
_PLACE = select(
    _DYING.c.lane_position.label("position"),
    select(func.max(ready.c.lane_position)).where(IN_LANE).scalar_subquery().label("tail"),
    exists(
        select(1).where(
            BLOCKS_IN_LANE,
            order_blocks.c.position < _DYING.c.lane_position,
            order_blocks.c.last_position >= _DYING.c.lane_position,
        )
    ).label("parked"),
).where(_DYING.c.project == bindparam("lane_project"), _DYING.c.task_id == bindparam("of_task"))
_ITS_DEATH = (
    order_blocks.c.project == bindparam("of_project"),
    order_blocks.c.task_id == bindparam("of_task"),
    order_blocks.c.generation == bindparam("of_generation"),
)
_RESOLVE = (
    delete(order_blocks)
    .where(*_ITS_DEATH, order_blocks.c.kind == OnDeath.BLOCK.value)
    .returning(order_blocks.c.position)
)
_OF_DEATH = select(order_blocks).where(*_ITS_DEATH)
_UNBLOCK = delete(order_blocks).where(BLOCKS_IN_LANE)
_GOES_ON = ~exists(
    select(1).where(
        queues.c.project == order_blocks.c.project,
        queues.c.name == order_blocks.c.queue,
        queues.c.on_death != OnDeath.SKIP.value,
    )
)
_LIFT = delete(order_blocks).where(BLOCKS_IN_LANE, _GOES_ON)
_OBSOLETE = select(order_blocks.c.ordering_key).distinct().where(*_MINE, _GOES_ON).limit(bindparam("limit"))
_QUEUE = (order_blocks.c.project, order_blocks.c.queue)
_NEXT_QUEUE = (
    select(*_QUEUE).where(tuple_(*_QUEUE) > tuple_(bindparam("project"), bindparam("queue"))).order_by(*_QUEUE).limit(1)
)
_PLACES = (order_blocks.c.ordering_key, order_blocks.c.position)
_OF_QUEUE = (
    select(order_blocks)
    .where(*_MINE, tuple_(*_PLACES) > tuple_(bindparam("after_key"), bindparam("after_position")))
    .order_by(*_PLACES)
    .limit(bindparam("limit"))
)
_FIRST = select(order_blocks).where(BLOCKS_IN_LANE).order_by(order_blocks.c.position).limit(1)
_HEAD = select(func.min(ready.c.lane_position)).where(IN_LANE)
_BEHIND = select(ready.c.task_id).where(IN_LANE, ready.c.lane_position > bindparam("position"))
_WAITING = select(func.count()).select_from(_BEHIND.limit(bindparam("most")).subquery())
_KEYS = select(func.count()).select_from(
    select(order_blocks.c.ordering_key).distinct().where(*_MINE).limit(bindparam("most")).subquery()
)
