"""How single values are shown, wherever they are: instants, and headers without credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

MASK = "***"
_CREDENTIAL = re.compile(r"^(proxy-)?authorization$|^(set-)?cookie$|-key$|-token$|-secret$", re.IGNORECASE)


def masked(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers as they may be shown: credentials never."""
    return {name: MASK if _CREDENTIAL.search(name) else value for name, value in headers}


def rfc3339(instant: datetime) -> str:
    """UTC with milliseconds, as every time in the API."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
