"""The curl commands of a document, read as far as the document uses curl, and sent without it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from string import Template
from urllib.parse import urlsplit

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^curl .*?(?=^curl |\Z)", re.DOTALL | re.MULTILINE)
_EXPECTED = re.compile(r"\s+# (\d{3})\s*\Z")


@dataclass
class Curl:
    """One command: what it sends, and which status the document says it gets (``None``: success)."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    expected: int | None = None

    def path(self, variables: Mapping[str, str]) -> str:
        """Path and query, the variables of the shell filled in."""
        parts = urlsplit(Template(self.url).substitute(variables))
        return parts.path + (f"?{parts.query}" if parts.query else "")


def sections(text: str) -> Iterator[tuple[str, list[Curl]]]:
    """Each section of a Markdown document by its heading, with its commands."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, rest = section.partition("\n")
        yield heading, [_read(command) for block in _BLOCK.findall(rest) for command in _COMMAND.findall(block)]


def _read(command: str) -> Curl:
    expected = _EXPECTED.search(command)
    words = iter(shlex.split(command[: expected.start()] if expected else command))
    method: str | None = None
    assert next(words) == "curl"
    found = Curl(url="", expected=int(expected[1]) if expected else None)
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-H":
                name, _, value = next(words).partition(": ")
                found.headers[name] = value
            case "--json":
                found.method, found.body = "POST", next(words).encode()
                found.headers["Content-Type"] = "application/json"
            case url if url.startswith("$API"):
                found.url = url
            case other:
                raise AssertionError(f"the document uses curl in a way this reader does not know: {other}")
    found.method = method or found.method
    return found
