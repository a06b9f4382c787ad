"""What to tell somebody who asks for a path that is not there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from taskqueue.web.operations import Operation

_ID = re.compile(r"(?<=/)[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}(?=/|$)")
_LONGEST = 200  # characters that are compared with what there is


def nothing_at(path: str, operations: Iterable[Operation]) -> str:
    """Why there is nothing at ``path``: its id is none, or it is misspelt."""
    paths = {operation.path for operation in operations}
    for known in sorted(paths):
        before, id_, after = known.partition("{id}")
        if id_ and re.fullmatch(re.escape(before) + "[^/]+" + re.escape(after), path):
            return f"what this path names is not {_noun(before)} id (a UUID)"
    near = difflib.get_close_matches(_ID.sub("{id}", path[:_LONGEST]), paths, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"there is nothing at this path; {hint}/openapi.json lists every path"


def _noun(before: str) -> str:
    """``/v1/dead-letters/`` as ``a dead letter``."""
    noun = before.rstrip("/").rpartition("/")[2].removesuffix("s").replace("-", " ")
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
