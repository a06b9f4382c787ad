"""The project's own files, for the tests that hold them to the house rules."""

from __future__ import annotations

import ast
import subprocess
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BINARY = frozenset({".png", ".ico", ".woff2", ".zip", ".whl"})


@lru_cache(maxsize=1)
def files() -> tuple[Path, ...]:
    """Every file that is tracked, or would be: what git ignores is left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / line for line in listed.stdout.splitlines())
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
