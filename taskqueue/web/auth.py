"""Who calls, and what they may do. The one place that knows how callers are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskqueue.config import Settings
from taskqueue.core.api_key import Scope as Scope
from taskqueue.core.api_key import Standing, allows, is_key
from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store.database import Database
from taskqueue.web.credentials import presented
from taskqueue.web.key_uses import KeyUses
from taskqueue.web.known_keys import KnownKeys
from taskqueue.web.problems import NOT_ALLOWED, Problem, unauthenticated


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a request is carried out."""

    project: str
    scopes: frozenset[Scope]


# Of an operation that is open to everybody: it belongs to no project, so that nothing of one can be asked for.
NOBODY = Caller("", frozenset())
_EVERYBODY = Caller(DEFAULT_PROJECT, frozenset(Scope))


class Authenticator:
    """Knows callers by their API keys; without keys everybody who reaches the loopback address is the same caller."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.asks = settings.auth == "on"
        self.known = KnownKeys(database)
        self._uses = KeyUses(database)

    def authenticate(self, environ: Mapping[str, Any], scope: Scope) -> Caller:
        """Who sent a request that needs ``scope``: a 401 where nobody knows, a 403 where they may not."""
        if not self.asks:
            return _EVERYBODY
        text = presented(environ)
        if not is_key(text):
            raise unauthenticated(
                "what was sent is no API key: one is tq_ and 49 letters and digits; it was cut or mistyped",
                invalid=True,
            )
        found = self.known.find(text)
        if found is None:
            raise unauthenticated("there is no such API key; it may belong to another service", invalid=True)
        key, standing = found
        if standing is not Standing.ACTIVE:  # said to nobody but those who hold all of the key
            raise unauthenticated(f"the API key is {standing}; use another", invalid=True)
        self._uses.note(key)
        if not allows(key.scopes, scope):
            raise _lacking(scope, key.scopes)
        return Caller(key.project, key.scopes)

    def close(self) -> None:
        """Write down what is left to be written of when keys were used."""
        self._uses.close()


def _lacking(scope: Scope, scopes: frozenset[Scope]) -> Problem:
    has = ", ".join(each for each in Scope if each in scopes)
    return Problem(
        NOT_ALLOWED,
        f"this needs the scope {scope}, and the API key has {has}",
        headers={"WWW-Authenticate": f'Bearer realm="taskqueue", error="insufficient_scope", scope="{scope}"'},
    )
