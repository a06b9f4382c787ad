"""Imports point down, and what is imported from outside is declared."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.support.project import ROOT, modules, relative, tree


def test_every_import_contract_is_kept() -> None:
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    checked = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert checked.returncode == 0, checked.stdout


def test_the_package_itself_imports_nothing() -> None:
    body = tree(ROOT / "taskqueue" / "__init__.py").body
    assert not [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]


def test_every_third_party_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {_name(line) for line in project["dependencies"]}
    for extra in ("postgres", "lambda", "faultlab"):
        declared |= {_name(line) for line in project["optional-dependencies"][extra]}
    distributions = packages_distributions()
    undeclared = {
        f"{relative(path)} imports {package}"
        for path in modules("taskqueue/", "migrations/")
        for package in _imported(path) - {"taskqueue", "_typeshed", *sys.stdlib_module_names}
        if not {_name(name) for name in distributions.get(package, ())} & declared
    }
    # Flask brings werkzeug: the two are one project, and naming a version here could only contradict it.
    assert {line for line in undeclared if not line.endswith("imports werkzeug")} == set()


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")
