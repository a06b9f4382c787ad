"""Reading one value of a request: decoded by its type, or refused in words a caller understands."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import UnsetType

from taskqueue.web import scan, spans
from taskqueue.web.problems import Faults

Reader = Callable[[bytes, str, Faults], Any]
FAULTY: Any = object()  # what a reader returns once it has left a fault
SHOWN_NAME = 40


def reader_of(annotation: Any, nested: Callable[[type], Reader]) -> Reader:
    """How to read a value of this type; ``nested`` says how to read one that is a model of its own."""
    kind, metas = _bare(annotation)
    if kind is msgspec.Raw:
        return lambda text, _pointer, _faults: msgspec.Raw(text)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return nested(kind)
    if kind is timedelta:
        return _span_reader(metas)
    if kind is datetime:
        return _instant_reader(annotation)
    if get_origin(kind) is dict:
        return _dict_reader(_decoding_reader(get_args(kind)[1]))
    if get_origin(kind) is list:
        return _list_reader(reader_of(get_args(kind)[0], nested), metas)
    return _decoding_reader(annotation, metas)


def textual(annotation: Any) -> bool:
    """Whether a query parameter of this type is a text even if it looks like a number."""
    kind, _ = _bare(annotation)
    return kind not in (int, float, bool, timedelta)


def _decoding_reader(annotation: Any, metas: Iterable[msgspec.Meta] = ()) -> Reader:
    decode = msgspec.json.Decoder(annotation).decode
    expected = _expected(annotation, metas)

    def reader(text: bytes, pointer: str, faults: Faults) -> Any:
        try:
            return decode(text)
        except msgspec.ValidationError as error:
            faults.add(pointer, _explained(error, expected))
        except msgspec.DecodeError:  # well formed, so it can only be this
            faults.add(pointer, "a text here may not hold half of a surrogate pair")
        return FAULTY

    return reader


def _span_reader(metas: Iterable[msgspec.Meta]) -> Reader:
    limits = {name: limit for meta in metas for name, limit in (meta.extra or {}).items()}
    least, most = limits["least"], limits["most"]
    decode = _decoding_reader(float | str)
    words = f"{spans.in_words(timedelta(seconds=least))} to {spans.in_words(timedelta(seconds=most))}"

    def reader(text: bytes, pointer: str, faults: Faults) -> Any:
        value = decode(text, pointer, faults)
        if value is FAULTY:
            return FAULTY
        try:
            length = spans.seconds(value)
        except ValueError as error:
            faults.add(pointer, str(error))
            return FAULTY
        if least <= length <= most:
            return timedelta(seconds=length)
        faults.add(pointer, f"expected a span of {words}")
        return FAULTY

    return reader


def _instant_reader(annotation: Any) -> Reader:
    decode = _decoding_reader(annotation)

    def reader(text: bytes, pointer: str, faults: Faults) -> Any:
        value = decode(text, pointer, faults)
        if value is FAULTY:
            return FAULTY
        try:
            # PostgreSQL refuses offsets of 16 hours and more, which RFC 3339 allows.
            return value.astimezone(UTC)
        except OverflowError:
            faults.add(pointer, "expected a time that in UTC is in the years 1 to 9999")
            return FAULTY

    return reader


def _dict_reader(read_value: Reader) -> Reader:
    def reader(text: bytes, pointer: str, faults: Faults) -> Any:
        try:
            members = scan.members(text)
        except scan.NotThatKind:
            faults.add(pointer, "expected an object")
            return FAULTY
        values = {key: read_value(value, below(pointer, key), faults) for key, value in members.items()}
        return {key: value for key, value in values.items() if value is not FAULTY}

    return reader


def _list_reader(read_value: Reader, metas: Iterable[msgspec.Meta]) -> Reader:
    least = max((meta.min_length or 0 for meta in metas), default=0)
    most = min(meta.max_length for meta in metas if meta.max_length is not None)

    def reader(text: bytes, pointer: str, faults: Faults) -> Any:
        try:
            elements = scan.elements(text)
        except scan.NotThatKind:
            faults.add(pointer, "expected an array")
            return FAULTY
        if not least <= len(elements) <= most:
            faults.add(pointer, f"expected {least} to {most} items")
            return FAULTY
        values = [read_value(value, f"{pointer}/{index}", faults) for index, value in enumerate(elements)]
        return [value for value in values if value is not FAULTY]

    return reader


def _bare(annotation: Any) -> tuple[Any, list[msgspec.Meta]]:
    """A type without its ``Annotated`` and without the mark of an absent field."""
    metas: list[msgspec.Meta] = []
    if get_origin(annotation) is Annotated:
        annotation, *metas = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [kind for kind in get_args(annotation) if kind is not UnsetType]
        if len(rest) == 1:
            kind, more = _bare(rest[0])
            return kind, [*metas, *more]
    return annotation, metas


def _expected(annotation: Any, metas: Iterable[msgspec.Meta]) -> str | None:
    """What a text must be, where msgspec's own words would show a pattern or repeat the value."""
    kind, _ = _bare(annotation)
    if get_origin(kind) is Literal:
        return "one of: " + ", ".join(str(choice) for choice in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of: " + ", ".join(str(choice.value) for choice in kind)
    return next((meta.extra["expected"] for meta in metas if meta.extra and "expected" in meta.extra), None)


_WORDS = {
    "`str`": "a string",
    "`int`": "an integer",
    "`float`": "a number",
    "`bool`": "true or false",
    "`array`": "an array",
    "`object`": "an object",
    "`null`": "null",
    "`datetime`": "an RFC 3339 time",
    "`float | str`": "a number or a string",
}


def _explained(error: msgspec.ValidationError, expected: str | None) -> str:
    text = str(error)
    if expected is not None and (
        text.startswith("Invalid enum value") or "matching regex" in text or text == "Invalid UUID"
    ):
        return f"expected {expected}"
    if text.startswith("Invalid RFC3339"):
        return "expected an RFC 3339 time such as 2030-01-31T08:00:00Z"
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text[:1].lower() + text[1:]


def below(pointer: str, key: str) -> str:
    """A pointer to a member whose name the caller chose; long names are cut."""
    name = key if len(key) <= SHOWN_NAME else key[:SHOWN_NAME] + "…"
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
