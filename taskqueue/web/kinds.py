"""The kinds of value that request fields hold."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from taskqueue.core.outcome import CLASSES
from taskqueue.core.task import DEFAULT_EXPIRY, DEFAULT_TIMEOUT
from taskqueue.web.fields import about, matching, one_of, plain_text, queue_name, span, visible

DAY = 86_400.0  # seconds
YEAR = timedelta(days=366)

Url = Annotated[str, about("An absolute https or http URL", min_length=1, max_length=2048)]
Headers = Annotated[dict[str, str], about("Request headers for the target; hop-by-hop headers and our own are refused")]
MediaType = Annotated[
    str,
    matching(
        r"^[!-~]+/[!-~]+([ \t]*;[ -~]*)?",
        "a media type such as text/plain",
        "Content type of `body` or `bodyBase64`",
    ),
]
Timeout = Annotated[
    timedelta, span(0.1, 43_200, "Longest one attempt may take, from DNS to the last byte", default=DEFAULT_TIMEOUT)
]
ExpiresIn = Annotated[
    timedelta,
    span(0.1, 2 * YEAR.total_seconds(), "No attempt starts later than this after the submit", default=DEFAULT_EXPIRY),
]
Retries = Annotated[int, about("Attempts after the first", ge=0, le=100)]
Instant = Annotated[datetime, Meta(tz=True)]
Queue = Annotated[str, queue_name("Named lane of work")]
Priority = Annotated[int, about("Of what waits, the higher starts first; waiting makes up for it", ge=0, le=9)]
FlowKey = Annotated[
    str, visible("Tasks of one key share its limits, whatever their queue; by default the origin of the target")
]
SoughtQueue = Annotated[str, queue_name("Of this queue", hint="; webhooks are found with kind=webhook")]
Label = Annotated[str, plain_text(100, "A word to find tasks by")]
OutcomeClass = Annotated[
    str,
    one_of(CLASSES, "Outcome class", hint="; what expired before its first attempt has none: ask for reason=expired"),
]
Host = Annotated[str, plain_text(256, "Host of the target URL")]
Cursor = Annotated[str, about("`nextCursor` of the page before", max_length=512)]
Limit = Annotated[int, about("Items per page", ge=1, le=200)]
