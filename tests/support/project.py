"""The project's own files, for the tests that hold them to the house rules."""

from __future__ import annotations

import ast
import subprocess
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_MADE = frozenset(
    {".git", ".venv", ".taskqueue", "__pycache__", "build", "dist"}
    | {".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache"}
)
_BINARY = frozenset({".png", ".ico", ".woff2", ".zip", ".whl"})


@lru_cache(maxsize=1)
def files() -> tuple[Path, ...]:
    """Every file that is tracked, or would be: what git ignores is left out. A copy without git is looked through."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        paths = [ROOT / line for line in listed.splitlines()]
    except (FileNotFoundError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not _MADE & set(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in paths if path.is_file()))


def modules(*folders: str) -> list[Path]:
    """The Python files under ``folders``, or all of them."""
    wanted = [path for path in files() if path.suffix == ".py"]
    return [path for path in wanted if not folders or relative(path).startswith(folders)]


def texts() -> list[Path]:
    return [path for path in files() if path.suffix not in _BINARY]


def documents() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@lru_cache(maxsize=512)
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))
