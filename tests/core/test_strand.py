"""Strands: the same name for the same five, everywhere and always."""

from __future__ import annotations

from taskqueue.core.strand import blocked_on_flow, blocked_on_origin, blocked_on_queue, strand_id, strand_of
from taskqueue.core.task import TaskSpec

ORIGIN = "https://target.example:443"


def spec(**over: object) -> TaskSpec:
    plain = {"target_url": f"{ORIGIN}/work", "origin": ORIGIN, "target_host": "target.example"}
    return TaskSpec(**{**plain, **over})  # type: ignore[arg-type]


def test_a_strand_has_the_same_id_in_every_process_and_every_version() -> None:
    # Rows on disk hold it: were it to change, what waits in them would be in no strand.
    assert strand_id("default", "mail", "smtp", ORIGIN, 5) == 7980541566654606447


def test_an_id_fits_a_signed_column_of_64_bits() -> None:
    assert all(0 <= strand_id("p", "q", str(number), ORIGIN, 5) < 2**63 for number in range(1000))


def test_each_of_the_five_makes_another_strand() -> None:
    names = [
        ("p", "q", "f", "o", 5),
        ("x", "q", "f", "o", 5),
        ("p", "x", "f", "o", 5),
        ("p", "q", "x", "o", 5),
        ("p", "q", "f", "x", 5),
        ("p", "q", "f", "o", 6),
        ("pq", "", "f", "o", 5),
    ]
    assert len({strand_id(*name) for name in names}) == len(names)


def test_the_flow_key_is_the_origin_unless_the_task_names_another() -> None:
    assert strand_of(spec()) == strand_id("default", "default", ORIGIN, ORIGIN, 5)
    named = spec(flow_key="smtp", queue="mail", priority=9, project="other")
    assert strand_of(named) == strand_id("other", "mail", "smtp", ORIGIN, 9)


def test_limits_of_one_name_are_not_taken_for_each_other() -> None:
    assert len({blocked_on_flow("mail"), blocked_on_queue("mail"), blocked_on_origin("mail")}) == 3
