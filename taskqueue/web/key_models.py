"""What requests about projects and API keys hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from msgspec import UNSET, UnsetType

from taskqueue.core.api_key import Scope
from taskqueue.core.project import PROJECT, PROJECT_NAME
from taskqueue.web.fields import about, matching, plain_text, span
from taskqueue.web.kinds import DAY, YEAR
from taskqueue.web.reading import Model

LONGEST_NAME = 100
DEFAULT_OVERLAP = timedelta(days=1)
MOST_SECONDS = 10 * YEAR.total_seconds()  # that a key may live
MOST_OVERLAP_SECONDS = 30 * DAY


class CreateApiKey(Model):
    """A key for the caller's project."""

    name: Annotated[str, plain_text(LONGEST_NAME, "What the key is for, so that it is known in the list")]
    scopes: Annotated[
        list[Scope], about("What the key allows; `admin` includes the others", min_length=1, max_length=len(Scope))
    ]
    expires_in: Annotated[timedelta, span(1, MOST_SECONDS, "The key opens nothing after this")] | UnsetType = UNSET


class RotateApiKey(Model):
    """How a key is to be replaced."""

    overlap: (
        Annotated[
            timedelta,
            span(0, MOST_OVERLAP_SECONDS, "So long the old key goes on beside the new one", default=DEFAULT_OVERLAP),
        ]
        | UnsetType
    ) = UNSET


class CreateProject(Model):
    """A project that is not there yet."""

    name: Annotated[str, matching(PROJECT, PROJECT_NAME, "Its name, which no other project has")]
