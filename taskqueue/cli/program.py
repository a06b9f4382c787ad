"""This program by name, for hints that can be typed as they are printed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def program() -> str:
    """As it was called: ``taskqueue`` where that is on the path, else the way to it, as ``.venv/bin/taskqueue``."""
    called, found = Path(sys.argv[0]), shutil.which("taskqueue")
    if called.name != "taskqueue" or not called.exists() or (found and os.path.samefile(found, called)):
        return "taskqueue"
    near = os.path.relpath(called)
    return str(called.absolute()) if near.startswith("..") else near


def as_called(sentence: str) -> str:
    """A hint from a deeper layer, which does not know how this program was called, or that it was."""
    return sentence.replace("run: taskqueue ", f"run: {program()} ").replace('send "force": true', "add --force")
