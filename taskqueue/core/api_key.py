"""API keys: how one is written and recognised, what it allows, and until when."""

from __future__ import annotations

import hashlib
import re
import string
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

ApiKeyId = NewType("ApiKeyId", UUID)

RANDOM_BYTES = 32
SHOWN = 11  # characters of a key that name it wherever keys are listed: enough to know it by, too few to guess the rest
_MARK = "tq_"
_DIGITS = string.digits + string.ascii_letters
_RANDOM_DIGITS = 43  # as many as 32 bytes need
_CHECK_DIGITS = 6  # as many as a CRC-32 needs
_FORM = re.compile(rf"{_MARK}[0-9A-Za-z]{{{_RANDOM_DIGITS + _CHECK_DIGITS}}}")


class Scope(StrEnum):
    """What a caller may be allowed. Whoever may administer may all the rest: he could make himself a key for it."""

    SUBMIT = "submit"
    READ = "read"
    MANAGE = "manage"
    ADMIN = "admin"


class Standing(StrEnum):
    """Whether a key opens anything."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of a key. The key itself is not: nothing here lets anybody in."""

    id: ApiKeyId
    project: str
    name: str
    scopes: frozenset[Scope]
    shown: str  # how the key begins
    created_at: datetime
    expires_at: datetime | None = None  # None: never
    last_used_at: datetime | None = None  # a minute or so behind
    revoked_at: datetime | None = None
    replaced_by: ApiKeyId | None = None  # the key that a rotation made in its place

    def standing(self, now: datetime) -> Standing:
        if self.revoked_at is not None:
            return Standing.REVOKED
        return Standing.EXPIRED if self.expires_at is not None and self.expires_at <= now else Standing.ACTIVE


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was just made, with its text, which nobody can be shown again."""

    key: ApiKey
    text: str = field(repr=False)


def allows(scopes: frozenset[Scope], scope: Scope) -> bool:
    """Whether somebody with ``scopes`` may do what asks for ``scope``."""
    return scope in scopes or Scope.ADMIN in scopes


def key_text(random: bytes) -> str:
    """The key that ``random``, 32 bytes that nobody else knows, makes."""
    assert len(random) == RANDOM_BYTES
    head = _MARK + _in_digits(int.from_bytes(random), _RANDOM_DIGITS)
    return head + _check(head)


def is_key(text: str) -> bool:
    """Whether ``text`` can be a key at all: false for one that was cut or mistyped, without asking the store."""
    return _FORM.fullmatch(text) is not None and _check(text[:-_CHECK_DIGITS]) == text[-_CHECK_DIGITS:]


def key_hash(text: str) -> bytes:
    """What the store keeps in place of a key.

    One round of SHA-256 is enough: a slow hash protects what people think up, but nobody can go through the 2^256 that
    a key is drawn from, and every request pays for the hash.
    """
    return hashlib.sha256(text.encode()).digest()


def _check(head: str) -> str:
    return _in_digits(zlib.crc32(head.encode()), _CHECK_DIGITS)


def _in_digits(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
