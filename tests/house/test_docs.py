"""The documentation says what the code does."""

from __future__ import annotations

import re

from taskqueue import __version__
from taskqueue.cli import COMMANDS
from taskqueue.cli.settings import documentation
from taskqueue.config import FOREIGN, table
from taskqueue.core import errors
from taskqueue.core.outcome import CLASSES
from taskqueue.telemetry import Event
from tests.support.project import ROOT, documents, modules, relative

_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
_VARIABLE = re.compile(r"\bTASKQUEUE_[A-Z_]*[A-Z]\b")
_COMMAND = re.compile(r"(?:^|[`$(]\s*|&&\s*)taskqueue ([a-z][a-z-]*)", re.MULTILINE)


def test_the_table_of_settings_is_up_to_date() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == documentation(), "run: make docs"


def test_every_link_inside_the_project_leads_somewhere() -> None:
    links = [(path, link) for path in documents() for link in _LINK.findall(path.read_text())]
    inside = [(path, link) for path, link in links if "://" not in link and not link.startswith("mailto:")]
    assert [f"{relative(path)}: {link}" for path, link in inside if not (path.parent / link).exists()] == []


def test_every_variable_that_is_named_exists() -> None:
    known = {row.variable for row in table()} | set(FOREIGN)
    assert _named(_VARIABLE) - known == set()


def test_every_command_that_is_named_exists() -> None:
    assert _named(_COMMAND) - set(COMMANDS) == set()


def test_the_classes_that_open_a_breaker_are_those_of_the_table() -> None:
    section = (ROOT / "docs" / "breakers.md").read_text().partition("## What opens it")[2].partition("\n\nEvery")[0]
    marked = {name for name, row in CLASSES.items() if row.opens_breaker}
    assert set(re.findall(r"`([a-z_]+)`", section)) == marked


def test_the_error_tree_is_drawn_whole() -> None:
    drawn = set(re.findall(r"[─ ]([A-Z]\w+)", errors.__doc__ or "")) | {"TaskQueueError"}
    assert {name for name, value in vars(errors).items() if isinstance(value, type)} <= drawn


def test_every_event_on_the_list_is_told_somewhere() -> None:
    code = "\n".join(path.read_text() for path in modules("taskqueue/") if path.name != "telemetry.py")
    assert [event.name for event in Event if f"Event.{event.name}" not in code] == []


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## Unreleased" in text or f"## {__version__}" in text


def _named(pattern: re.Pattern[str]) -> set[str]:
    return {name for path in documents() for name in pattern.findall(path.read_text())}
