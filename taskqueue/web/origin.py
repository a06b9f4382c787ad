"""A browser on this machine must not be turned against the API by a page from elsewhere."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from taskqueue.config import Settings
from taskqueue.web.problems import FOREIGN_ORIGIN, Problem

_AUTHORITY = re.compile(r"(\[(?P<address>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(:[0-9]*)?")
_OWN_SITES = (None, "same-origin", "none")  # "none": typed in by the user


def check_origin(environ: Mapping[str, Any], settings: Settings) -> None:
    """Raise a 403 for what another site's page sends; other programs than browsers name no origin and always pass."""
    host = environ.get("HTTP_HOST")
    # Without keys, being on this machine is what lets a caller in. A page whose own name was made to lead here is not.
    if settings.auth == "off" and host is not None and not _names_us(host, settings.host):
        raise Problem(
            FOREIGN_ORIGIN,
            "the Host header must be localhost or a loopback address while there are no API keys;"
            " a gateway in front has to set it",
        )
    if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        return
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and origin.partition("://")[2].lower() != (host or "").lower():
        raise Problem(
            FOREIGN_ORIGIN, "the Origin header is not this service's own; pages of other sites may not call it"
        )
    if environ.get("HTTP_SEC_FETCH_SITE") not in _OWN_SITES:
        raise Problem(
            FOREIGN_ORIGIN, "Sec-Fetch-Site names another site; pages of other sites may not call this service"
        )


def _names_us(authority: str, bound: str) -> bool:
    """Whether a Host header is the address we listen on, or leads nowhere but here."""
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return False
    host = (parts["address"] or parts["name"] or "").lower()
    if host in ("localhost", bound.strip("[]").lower()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
