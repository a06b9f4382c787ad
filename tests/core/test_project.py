"""Names of projects."""

from __future__ import annotations

import pytest

from taskqueue.core.project import is_project_name


@pytest.mark.parametrize("name", ["default", "a", "7", "acme-eu-1", "a" * 63])
def test_a_plain_name_can_be_a_projects(name: str) -> None:
    assert is_project_name(name)


@pytest.mark.parametrize("name", ["", "-a", "Acme", "a" * 64, "a b", "a\n", "a.b", "a/b", "ä", "\0"])
def test_anything_else_cannot(name: str) -> None:
    assert not is_project_name(name)
