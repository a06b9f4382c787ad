"""The functions of the lab: their names, their handlers, and what each leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_HERE = "taskqueue.faultlab.handlers"


@dataclass(frozen=True, slots=True)
class Function:
    """What runs when its name is invoked."""

    handler: str  # module.function, found from the directory ``code``
    cls: str | None  # the outcome class it leads to; None: it is somebody's own
    code: Path


def own(handler: str) -> Function:
    """A handler of whoever started the lab, found from where it was started."""
    return Function(handler, None, Path.cwd())


def functions(directory: Path) -> Mapping[str, Function]:
    """Those of the lab. What cannot be loaded is written to ``directory``, for it could not be shipped."""
    (directory / "cannot_be_imported.py").write_text("import a_module_that_is_not_there\n")
    (directory / "has_a_syntax_error.py").write_text("def handler(event, context)\n    return event\n")
    handlers = {
        "returns": (f"{_HERE}.returns", "success"),
        "returns-an-error": (f"{_HERE}.returns_an_error", "success"),
        "raises": (f"{_HERE}.raises", "function_error"),
        "times-out": (f"{_HERE}.times_out", "function_timeout"),
        "runs-out-of-memory": (f"{_HERE}.runs_out_of_memory", "function_out_of_memory"),
        "exits": (f"{_HERE}.exits", "function_crashed"),
        "crashes": (f"{_HERE}.crashes", "function_crashed"),
        "cannot-be-imported": ("cannot_be_imported.handler", "function_init_failed"),
        "has-no-handler": (f"{_HERE}.no_such_handler", "function_init_failed"),
        "has-a-syntax-error": ("has_a_syntax_error.handler", "function_init_failed"),
        "returns-no-json": (f"{_HERE}.returns_no_json", "function_bad_result"),
        "returns-too-much": (f"{_HERE}.returns_too_much", "function_bad_result"),
    }
    return {name: Function(handler, cls, directory) for name, (handler, cls) in handlers.items()}
