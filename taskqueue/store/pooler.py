"""PgBouncer in transaction mode between us and PostgreSQL, as the database URL tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sqlalchemy import URL

from taskqueue.core.errors import InvalidSettings

_ON, _DIRECT = "pgbouncer", "direct"


@dataclass(frozen=True, slots=True)
class Pooler:
    """Every transaction may be given another session, so nothing may be left in one for the next."""

    direct: URL | None  # past the pooler, for LISTEN, which needs a session; None: poll instead

    @classmethod
    def of(cls, url: URL) -> tuple[URL, Self | None]:
        """``url`` as the driver knows it, and the pooler that ``pgbouncer=true`` in it speaks of."""
        on, direct = url.query.get(_ON, "false"), url.query.get(_DIRECT)
        plain = url.difference_update_query([_ON, _DIRECT])
        if on not in ("true", "false"):
            raise InvalidSettings(f"TASKQUEUE_DATABASE_URL says {_ON}={on}; write {_ON}=true, or leave it out")
        if on == "false":
            if direct is not None:
                raise InvalidSettings(f"TASKQUEUE_DATABASE_URL says {_DIRECT}=… without {_ON}=true; leave it out")
            return plain, None
        return plain, cls(_past(plain, str(direct)) if direct is not None else None)


def _past(url: URL, direct: str) -> URL:
    host, _, port = direct.rpartition(":") if ":" in direct.rpartition("]")[2] else (direct, "", "5432")
    if not host or not port.isdecimal():
        raise InvalidSettings(f"TASKQUEUE_DATABASE_URL says {_DIRECT}={direct[:100]}; write {_DIRECT}=host:port")
    return url.set(host=host.strip("[]"), port=int(port))
