"""API keys in the store: found by their text alone, and by nobody of another project."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, select, text
from uuid_utils.compat import uuid7

from taskqueue.core.api_key import ApiKey, ApiKeyId, NewApiKey, Scope, Standing, key_text
from taskqueue.core.errors import Conflict, InvalidTask
from taskqueue.store import api_keys
from taskqueue.store.database import Database
from taskqueue.store.schema import api_keys as table
from tests.store.overhear import overheard, plan_of
from tests.store.threads import at_once, results
from tests.support.clock import Clock

HOUR = timedelta(hours=1)
BOTH = frozenset({Scope.SUBMIT, Scope.READ})


def create(database: Database, project: str = "default", *, lifetime: timedelta | None = None) -> NewApiKey:
    with database.begin() as conn:
        return create_in(conn, database, project, lifetime=lifetime)


def create_in(
    conn: Connection, database: Database, project: str = "default", *, lifetime: timedelta | None = None
) -> NewApiKey:
    return api_keys.create(conn, database, project, name="ci", scopes=BOTH, lifetime=lifetime)


def find(database: Database, key: NewApiKey) -> ApiKey:
    with database.read() as conn:
        found = api_keys.find(conn, key.text)
    assert found is not None
    return found


def standing(database: Database, key: NewApiKey) -> Standing:
    with database.read() as conn:
        return find(database, key).standing(database.now(conn))


def revoke(database: Database, id_: ApiKeyId, project: str = "default") -> ApiKey | None:
    with database.begin() as conn:
        return api_keys.revoke(conn, database, project, id_)


def rotate(database: Database, id_: ApiKeyId, project: str = "default", *, overlap: timedelta = HOUR) -> NewApiKey:
    with database.begin() as conn:
        made = api_keys.rotate(conn, database, project, id_, overlap=overlap)
    assert made is not None
    return made


def use(database: Database, *keys: NewApiKey) -> None:
    with database.begin() as conn:
        api_keys.note_uses(conn, database, {(made.key.project, made.key.id) for made in keys})


def test_a_key_is_found_by_its_text_with_all_that_was_said_of_it(database: Database, other: Database) -> None:
    made = create(database, "acme", lifetime=HOUR)
    found = find(other, made)
    assert found == made.key
    assert (found.project, found.name, found.scopes) == ("acme", "ci", BOTH)
    assert found.expires_at == found.created_at + HOUR
    assert made.text.startswith(found.shown)


def test_the_text_of_a_key_is_nowhere_in_the_store(database: Database) -> None:
    made = create(database)
    with database.read() as conn:
        (row,) = conn.execute(select(table)).all()
    assert made.text[11:] not in repr(row)
    assert made.text[11:].encode() not in row.hash


def test_a_key_that_begins_alike_is_another(database: Database) -> None:
    made = create(database)
    with database.begin() as conn:
        conn.execute(text("update api_keys set shown = 'tq_00000000'"))
        assert api_keys.find(conn, key_text(b"\0" * 32)) is None
        assert api_keys.find(conn, made.text) is None
        conn.execute(text("update api_keys set shown = :shown"), {"shown": made.key.shown})
        assert api_keys.find(conn, made.text) is not None


def test_two_keys_that_begin_alike_are_both_found(database: Database) -> None:
    one, two = create(database, "a"), create(database, "b")
    with database.begin() as conn:
        conn.execute(text("update api_keys set shown = :shown"), {"shown": one.key.shown})
        found = api_keys.find(conn, one.text)
        assert found is not None
        assert found.id == one.key.id
        assert api_keys.find(conn, two.text) is None, "it is looked for under its own letters"


def test_a_key_is_found_among_many_by_an_index(database: Database) -> None:
    with database.begin() as conn:
        row = dict(conn.execute(select(table).where(table.c.id == create_in(conn, database).key.id)).mappings().one())
        conn.execute(table.insert(), [row | {"id": uuid7(), "shown": f"tq_{number:08}"} for number in range(3000)])
        conn.exec_driver_sql("analyze api_keys")
    made = create(database)
    with overheard() as said:
        find(database, made)
    (look_up,) = (each for each in said if "api_keys" in each.words)
    assert "ix_api_keys_shown" in plan_of(database, look_up)


def test_a_revoked_key_is_found_as_such_and_stays_revoked(database: Database, clock: Clock) -> None:
    made = create(database)
    first = revoke(database, made.key.id)
    clock.advance(hours=1)
    again = revoke(database, made.key.id)
    assert first is not None
    assert again is not None
    assert first.revoked_at == again.revoked_at is not None
    assert standing(database, made) is Standing.REVOKED


def test_a_key_ends_with_its_lifetime(database: Database, clock: Clock) -> None:
    made = create(database, lifetime=HOUR)
    assert standing(database, made) is Standing.ACTIVE
    clock.advance(hours=1)
    assert standing(database, made) is Standing.EXPIRED


def test_both_keys_of_a_rotation_stand_for_the_overlap(database: Database, clock: Clock) -> None:
    old = create(database)
    new = rotate(database, old.key.id)
    assert new.text != old.text
    assert (new.key.name, new.key.scopes, new.key.project) == (old.key.name, old.key.scopes, old.key.project)
    assert find(database, old).replaced_by == new.key.id
    assert (standing(database, old), standing(database, new)) == (Standing.ACTIVE, Standing.ACTIVE)
    clock.advance(hours=1)
    assert (standing(database, old), standing(database, new)) == (Standing.EXPIRED, Standing.ACTIVE)


def test_a_rotation_prolongs_no_key_and_gives_the_next_as_long_a_life(database: Database, clock: Clock) -> None:
    old = create(database, lifetime=2 * HOUR)
    clock.advance(hours=1.5)
    new = rotate(database, old.key.id)
    assert find(database, old).expires_at == old.key.expires_at
    assert new.key.expires_at is not None
    assert timedelta(minutes=119) < new.key.expires_at - new.key.created_at < timedelta(minutes=121)


def test_a_rotation_without_overlap_ends_the_old_key_at_once(database: Database) -> None:
    old = create(database)
    rotate(database, old.key.id, overlap=timedelta(0))
    assert standing(database, old) is Standing.EXPIRED


def test_what_opens_nothing_cannot_be_rotated(database: Database, clock: Clock) -> None:
    revoked, expired, rotated = create(database), create(database, lifetime=HOUR), create(database)
    revoke(database, revoked.key.id)
    new = rotate(database, rotated.key.id, overlap=10 * HOUR)
    clock.advance(hours=1)
    for made, why in ((revoked, "revoked"), (expired, "expired"), (rotated, str(new.key.id))):
        with pytest.raises(Conflict, match=why):
            rotate(database, made.key.id)


def test_of_rotations_at_once_one_makes_a_key(database: Database, other: Database) -> None:
    old = create(database)
    found = at_once([partial(rotate, store, old.key.id) for store in (database, other) * 2])
    made = [each for each in found if isinstance(each, NewApiKey)]
    assert len(made) == 1
    assert all(isinstance(each, NewApiKey | Conflict) for each in found)
    with database.read() as conn:
        assert len(api_keys.search(conn, "default", cursor=None, limit=9).items) == 2


def test_a_use_is_noted_once_a_minute(database: Database, other: Database, clock: Clock) -> None:
    made, idle = create(database), create(database)
    use(database, made)
    first = find(database, made).last_used_at
    assert first is not None
    clock.advance(seconds=30)
    use(other, made)
    assert find(database, made).last_used_at == first
    clock.advance(seconds=31)
    use(database, made)
    last = find(database, made).last_used_at
    assert last is not None
    assert last > first
    assert find(database, idle).last_used_at is None
    use(database)


def test_keys_are_listed_newest_first_a_page_at_a_time(database: Database) -> None:
    made = [create(database).key.id for _ in range(5)]
    create(database, "acme")
    revoke(database, made[0])
    found, cursor = [], None
    for _ in range(3):
        with database.read() as conn:
            page = api_keys.search(conn, "default", cursor=cursor, limit=2)
        found += [key.id for key in page.items]
        cursor = page.next_cursor
    assert (found, cursor) == (made[::-1], None)


def test_nobody_sees_or_changes_the_keys_of_another_project(database: Database) -> None:
    ours = create(database)
    with database.begin() as conn:
        assert api_keys.get(conn, "acme", ours.key.id) is None
        assert api_keys.revoke(conn, database, "acme", ours.key.id) is None
        assert api_keys.rotate(conn, database, "acme", ours.key.id, overlap=HOUR) is None
        api_keys.note_uses(conn, database, [("acme", ours.key.id)])
        assert api_keys.search(conn, "acme", cursor=None, limit=9).items == []
    assert find(database, ours) == ours.key
    create(database)
    with database.read() as conn:
        cursor = api_keys.search(conn, "default", cursor=None, limit=1).next_cursor
        with pytest.raises(InvalidTask, match="cursor"):
            api_keys.search(conn, "acme", cursor=cursor, limit=1)


def test_keys_made_at_once_are_all_different(database: Database, other: Database) -> None:
    made = results(at_once([partial(create, store) for store in (database, other) * 4]))
    assert len({each.text for each in made}) == 8
