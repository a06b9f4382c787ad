"""The database's clock, moved by hand on top of its own pace."""

from datetime import timedelta


class Clock:
    """Hand it to ``Database.open(clock_offset=clock)``; from then on ``advance`` is how time passes."""

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def __call__(self) -> timedelta:
        return self._offset

    def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        self._offset += timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
