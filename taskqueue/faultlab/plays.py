"""Every play there is, by name."""

from __future__ import annotations

from collections.abc import Mapping

from taskqueue.faultlab.answers import answers
from taskqueue.faultlab.cuts import cuts
from taskqueue.faultlab.lambda_said import said
from taskqueue.faultlab.stage import Play

PLAYS: Mapping[str, Play] = dict([*answers(), *cuts(), *said()])
# No target has a part in these: how to see them all the same.
UNPLAYED: Mapping[str, str] = {
    "dns_failure": "stop the resolver of the worker's machine, or name one that does not answer",
    "local_resource": "give the worker fewer files than connections: ulimit -Hn 64 before it starts",
    "released": "stop the worker while it has not begun to send, as during a slow name look-up",
}
