"""Lists that are read to their end, a page at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from taskqueue.store.search import Page

Item = TypeVar("Item")


def every_page(look: Callable[[str | None], Page[Item]]) -> list[list[Item]]:
    """What ``look`` finds at each cursor, from the first page, which has none, to the last."""
    pages: list[list[Item]] = []
    cursor: str | None = None
    while True:
        page = look(cursor)
        pages.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return pages
