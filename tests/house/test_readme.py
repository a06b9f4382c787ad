"""The README shows the examples as they are."""

from __future__ import annotations

import re

from tests.support.project import ROOT

_EXAMPLE = re.compile(r"```python\n# (examples/\w+\.py)\n(.*?)```", re.DOTALL)


def test_the_readme_shows_every_example_as_it_is() -> None:
    shown = dict(_EXAMPLE.findall((ROOT / "README.md").read_text()))
    kept = {f"examples/{path.name}": path.read_text() for path in (ROOT / "examples").glob("*.py")}
    assert shown == kept
