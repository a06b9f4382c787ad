"""A task's policy and its follow-ups as blobs, and back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from taskqueue.core.policy import NO_POLICY, PRESETS, Policy
from taskqueue.core.task import FollowUp, TaskSpec

Kind = TypeVar("Kind")
_CACHED = 8192  # bytes; longer blobs are rarely shared by many tasks, and would fill the cache


@dataclass(frozen=True, slots=True)
class FollowUps:
    """What to submit when a task ends, by how it ends."""

    on_failure: FollowUp | None = None
    on_success: FollowUp | None = None


NO_FOLLOW_UPS = FollowUps()


def policy_blob(policy: Policy) -> bytes | None:
    """As stored; ``None`` for a policy that says nothing."""
    return None if policy is NO_POLICY or policy == NO_POLICY else msgspec.json.encode(policy)


def policy_of(blob: bytes | None) -> Policy:
    """The policy in a blob. What a newer version wrote and this one cannot read counts as not said, field by field: the
    table of classes decides then, and no task waits for the newer version."""
    return NO_POLICY if blob is None else _cached(blob, _policy)


def follow_ups_blob(spec: TaskSpec) -> bytes | None:
    """The follow-ups of ``spec`` with all that they name; ``None`` for none."""
    if spec.on_failure is None and spec.on_success is None:
        return None
    return msgspec.json.encode(FollowUps(spec.on_failure, spec.on_success))


def follow_ups_of(blob: bytes | None) -> FollowUps:
    """The follow-ups in a blob; as of a policy, fields of theirs that cannot be read count as not said."""
    return NO_FOLLOW_UPS if blob is None else _cached(blob, _follow_ups)


def _cached(blob: bytes, read: Callable[[bytes], Kind]) -> Kind:
    return _remembered(blob, read) if len(blob) <= _CACHED else read(blob)


@lru_cache(maxsize=1024)
def _remembered(blob: bytes, read: Callable[[bytes], Any]) -> Any:
    """Many tasks share one policy: it is read once."""
    return read(blob)


def _policy(blob: bytes) -> Policy:
    policy = _read(_policies, blob)
    return policy if policy.preset is None or policy.preset in PRESETS else replace(policy, preset=None)


def _follow_ups(blob: bytes) -> FollowUps:
    return _read(_both, blob)


def _read(decoder: msgspec.json.Decoder[Kind], blob: bytes) -> Kind:
    try:
        return decoder.decode(blob)
    except msgspec.ValidationError:
        return _understood(decoder.type, msgspec.json.decode(blob))


def _understood(kind: type[Kind], said: Any) -> Kind:
    """A ``kind`` of the fields that can be read; TypeError when one without a default is not among them."""
    known: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        with suppress(KeyError, TypeError, msgspec.ValidationError):
            known[name] = _field(hint, said[name])
    return kind(**known)


def _field(hint: Any, said: Any) -> Any:
    try:
        return msgspec.convert(said, hint)
    except msgspec.ValidationError:
        for inner in (hint, *get_args(hint)):
            if isinstance(inner, type) and is_dataclass(inner):
                return _understood(inner, said)
        raise


_policies = msgspec.json.Decoder(Policy)
_both = msgspec.json.Decoder(FollowUps)
