"""Why a task died."""

from __future__ import annotations

from enum import StrEnum


class DeadReason(StrEnum):
    """One word for a death; the outcome class of the last attempt says the rest."""

    EXHAUSTED = "exhausted"  # every attempt it was allowed failed
    REJECTED = "rejected"  # an outcome that another attempt would not change
    EXPIRED = "expired"  # its time had passed, or would have before the next attempt
    LOST = "lost"  # its workers vanished, time and again
    POISON = "poison"  # the same failure over and over
    PARKED = "parked"  # an older task of its ordering key died, and their queue sets aside what waits behind such a one
    UNCERTAIN = "uncertain"  # nobody could say whether the work was done, and the policy was to hold it
