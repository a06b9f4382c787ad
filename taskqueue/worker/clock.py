"""The clock that leases are guarded by: it never jumps, and it counts while the machine sleeps."""

from __future__ import annotations

import time

# CLOCK_MONOTONIC stands still on Linux while the machine is suspended, but the leases in the database run on.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def ticks() -> float:
    """Seconds since some fixed instant of this boot."""
    return time.clock_gettime(_CLOCK)
