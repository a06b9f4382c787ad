"""Refuse forbidden addresses, at the moment of the call."""

from __future__ import annotations

from collections.abc import Sequence

from taskqueue.core.target import Address, AllowedTargets, Target, forbidden


def check_addresses(target: Target, addresses: Sequence[Address], allowed: AllowedTargets) -> None:
    """Raise ``ForbiddenTarget`` unless every address may be called.

    One bad address spoils the answer: who controls the name would only have to wait for the other to be tried.
    """
    for address in addresses:
        if not allowed.permits(target, address):
            raise forbidden(target, address)


def check_peer(target: Target, address: Address, peer: Address) -> None:
    """Raise ``ForbiddenTarget`` unless the connected ``peer`` is the ``address`` that was judged."""
    if peer != address:
        raise forbidden(target, peer)
