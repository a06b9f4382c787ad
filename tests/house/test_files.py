"""Files: how long, how named, how opened, and what may not stand in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support.project import documents, modules, relative, texts, tree

LONGEST = 400
LONGER = {"taskqueue/client.py": 490}  # one file whatever it holds: callers copy it, and a Lambda layer carries it
SHAPELESS = frozenset({"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"})
# For each of these there is a word here: task, settle, claim, redrive, dead letter, run at, webhook.
FOREIGN_WORDS = frozenset({"job", "jobs", "ack", "nack", "dequeue", "requeue", "dlq", "eta", "callback"})
ENVIRONMENT = frozenset({"setenv", "delenv", "chdir", "syspath_prepend"})
# What is sought must not stand in this file itself, so each pattern is put together.
_MACHINE_PATH = re.compile("(?<![\\w.}])/" + "(?:work|root|home/[a-z]+|Users/[A-Za-z]+)/")
_UNFINISHED = re.compile("\\b(?:TO" + "DO|FIX" + "ME|XX" + "X)\\b")
_NAMELESS_IGNORE = re.compile("# type: " + "ignore(?!\\[)")


def test_no_module_is_longer_than_a_sitting() -> None:
    lengths = {relative(path): path.read_text().count("\n") for path in modules()}
    assert {name: length for name, length in lengths.items() if length > LONGER.get(name, LONGEST)} == {}


def test_no_module_is_named_after_nothing() -> None:
    assert [relative(path) for path in modules() if SHAPELESS & set(path.stem.split("_"))] == []


def test_every_module_opens_with_a_sentence_that_says_what_it_is() -> None:
    openings = {relative(path): (ast.get_docstring(tree(path)) or "").partition("\n")[0] for path in modules()}
    assert {path: line for path, line in openings.items() if not re.search(r"[.?!]( |$)", line)} == {}


def test_names_are_those_of_the_table_of_words() -> None:
    foreign = {
        f"{relative(path)}: {name}"
        for path in modules("taskqueue/")
        for name in _names(tree(path))
        if FOREIGN_WORDS & set(name.lower().split("_"))
    }
    assert foreign == set()


def test_nothing_is_left_unfinished() -> None:
    assert _holding(_UNFINISHED) == []


def test_no_path_of_anybodys_machine_is_written_down() -> None:
    assert _holding(_MACHINE_PATH) == []


def test_every_ignored_type_error_is_named() -> None:
    assert _holding(_NAMELESS_IGNORE) == []


def test_tests_mock_nothing_and_patch_nothing_but_the_environment() -> None:
    assert [f"{relative(path)}:{line}" for path in modules("tests/") for line in _patched(tree(path))] == []


def test_every_test_is_a_sentence() -> None:
    terse = [
        f"{relative(path)}: {node.name}"
        for path in modules("tests/")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_") and node.name.count("_") < 3
    ]
    assert terse == []


def test_there_are_documents_to_read() -> None:
    assert {"README.md", "CHANGELOG.md", "LICENSE"} <= {relative(path) for path in (*documents(), *texts())}


def _holding(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{relative(path)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]


def _patched(module: ast.Module) -> Iterator[int]:
    """Lines that import a mocking library or patch something else than the environment."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = {getattr(node, "module", None) or "", *(alias.name for alias in node.names)}
            if any(name in ("mock", "unittest.mock", "pytest_mock") for name in imported):
                yield node.lineno
        elif isinstance(node, ast.Attribute) and node.attr not in ENVIRONMENT and _named_monkeypatch(node.value):
            yield node.lineno


def _named_monkeypatch(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "monkeypatch"


def _names(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
