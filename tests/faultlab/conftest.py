"""A lab for each module of tests; each test finds it without a memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faultlab.running import RunningLab, running_lab


@pytest.fixture(scope="module")
def _lab() -> Iterator[RunningLab]:
    with running_lab() as lab:
        yield lab


@pytest.fixture
def lab(_lab: RunningLab) -> RunningLab:
    _lab.forget()
    return _lab
