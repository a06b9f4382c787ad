"""Names failures of the same cause alike."""

from __future__ import annotations

import hashlib
import re

_VARIABLE = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+", re.IGNORECASE)


def fingerprint(*, kind: str, error_type: str | None, target_url: str, message: str | None) -> str:
    """Sixteen hex digits from the class (or reason), the error type, the target without its query, and the message
    without its numbers and ids."""
    normalised = _VARIABLE.sub("#", message or "")
    parts = "\x1f".join((kind, error_type or "", target_url.partition("?")[0], normalised))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:16]
