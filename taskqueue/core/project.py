"""Projects: whose a task is. Nobody sees or touches what belongs to another project."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

PROJECT = r"^[a-z0-9][a-z0-9-]{0,62}"
PROJECT_NAME = "a name of 1 to 63 lower-case letters, digits and hyphens that starts with a letter or digit"
_NAME = re.compile(PROJECT)


@dataclass(frozen=True, slots=True)
class Project:
    """One tenant of the service."""

    name: str
    created_at: datetime


def is_project_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None
