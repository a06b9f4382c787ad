"""Reading one value of a request: decoded by its type, or refused in words a caller understands."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import UnsetType

from taskqueue.core.errors import InvalidTask
from taskqueue.web import scan, spans
from taskqueue.web.problems import Faults

Reader = Callable[[bytes, str, Faults], Any]
FAULTY: Any = object()  # what a reader returns once it has left a fault
SHOWN_NAME = 40
_SHORT_LIST = 10  # texts that are all named


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
    if listed := [part for part in _parts(kind) if get_origin(_bare(part)[0]) is list]:
        (name,) = set(_parts(kind)) - set(listed)
        return _name_or_list_reader(_decoding_reader(name, _bare(name)[1]), reader_of(listed[0], nested), name)
    return _decoding_reader(annotation, metas)


def textual(annotation: Any) -> bool:
    """Whether a query parameter of this type is a text even if it looks like a number."""
    kind, _ = _bare(annotation)
    return kind not in (int, float, bool, timedelta)


def _decoding_reader(annotation: Any, metas: Iterable[msgspec.Meta] = ()) -> Reader:
    decode = msgspec.json.Decoder(annotation).decode
    metas = list(metas)
    choices = _choices(annotation, metas)
    hint = next(_extras(metas, "hint"), "")
    checks = list(_extras(metas, "check"))
    expected = _expected(annotation, metas, choices)

    def reader(text: bytes, pointer: str, faults: Faults) -> Any:
        try:
            value = decode(text)
        except msgspec.ValidationError as error:
            chosen = choices and text.startswith(b'"')
            faults.add(pointer, _not_among(text, choices, hint) if chosen else _explained(error, expected))
        except msgspec.DecodeError:  # well formed, so it can only be this
            faults.add(pointer, "a text here may not hold half of a surrogate pair")
        else:
            if choices and value not in choices:
                faults.add(pointer, _not_among(text, choices, hint))
            elif _passes(checks, value, pointer, faults):
                return value
        return FAULTY

    return reader


def _passes(checks: Iterable[Callable[[Any, str], None]], value: Any, pointer: str, faults: Faults) -> bool:
    try:
        for check in checks:
            check(value, pointer)
    except InvalidTask as error:
        faults.add(error.pointer, error.detail)
        return False
    return True


def _span_reader(metas: Iterable[msgspec.Meta]) -> Reader:
    limits = {name: limit for meta in metas for name, limit in (meta.extra or {}).items()}
    least, most = limits["least"], limits["most"]
    decode = _decoding_reader(float | str)
    words = f"{spans.in_words(timedelta(seconds=least))} to {spans.in_words(timedelta(seconds=most))}"
    expected = f"expected a span from {words} ({least:.15g} to {most:.15g} seconds)"

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
        faults.add(pointer, expected)
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
            faults.add(pointer, f"expected {least} to {most} items, got {len(elements)}")
            return FAULTY
        values = [read_value(value, f"{pointer}/{index}", faults) for index, value in enumerate(elements)]
        return [value for value in values if value is not FAULTY]

    return reader


def _name_or_list_reader(read_name: Reader, read_list: Reader, name: Any) -> Reader:
    kind, metas = _bare(name)
    expected = _not_among(b"", _choices(kind, metas), next(_extras(metas, "hint"), ""))

    def reader(text: bytes, pointer: str, faults: Faults) -> Any:
        if text.startswith((b'"', b"[")):
            return (read_list if text.startswith(b"[") else read_name)(text, pointer, faults)
        faults.add(pointer, expected)
        return FAULTY

    return reader


def _parts(kind: Any) -> tuple[Any, ...]:
    """What a union is made of; nothing for any other type."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()


def _bare(annotation: Any) -> tuple[Any, list[msgspec.Meta]]:
    """A type without its ``Annotated`` and without the mark of an absent field."""
    metas: list[msgspec.Meta] = []
    if get_origin(annotation) is Annotated:
        annotation, *metas = get_args(annotation)
    rest = [part for part in _parts(annotation) if part is not UnsetType]
    if len(rest) == 1:
        kind, more = _bare(rest[0])
        return kind, [*metas, *more]
    return annotation, metas


def _extras(metas: Iterable[msgspec.Meta], name: str) -> Iterator[Any]:
    return (meta.extra[name] for meta in metas if meta.extra and name in meta.extra)


def _choices(annotation: Any, metas: Iterable[msgspec.Meta]) -> tuple[str, ...]:
    """The texts a value may be; empty where there are no such."""
    kind, _ = _bare(annotation)
    if get_origin(kind) is Literal:
        return get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(choice.value) for choice in kind)
    return tuple(choice for choices in _extras(metas, "choices") for choice in choices)


def _not_among(text: bytes, choices: tuple[str, ...], hint: str) -> str:
    """What to choose instead of a JSON text: all there is, or of a long list what is like it."""
    if len(choices) > _SHORT_LIST:
        sought = text[1 : SHOWN_NAME + 1].decode(errors="replace").rstrip('"').lower()
        if near := difflib.get_close_matches(sought, choices, n=3, cutoff=0.6):
            return f"there is no such value; did you mean {' or '.join(near)}?"
    return f"expected one of: {', '.join(choices)}{hint}"


def _expected(annotation: Any, metas: Iterable[msgspec.Meta], choices: tuple[str, ...]) -> str | None:
    """What a value must be, with its bounds, where msgspec's own words would leave them out or repeat the value."""
    kind, _ = _bare(annotation)
    for meta in metas:
        if meta.extra and "expected" in meta.extra:
            return str(meta.extra["expected"])
        if meta.ge is not None and meta.le is not None:
            return f"{'an integer' if kind is int else 'a number'} from {meta.ge:g} to {meta.le:g}"
        if meta.max_length is not None:
            return f"a text of {meta.min_length or 0} to {meta.max_length} characters"
    if kind is datetime:
        return "an RFC 3339 time with its offset, such as 2030-01-31T08:00:00Z"
    return f"one of: {', '.join(choices)}" if choices else None


_WORDS = {
    "str": "a text",
    "int": "an integer",
    "float": "a decimal number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
    "float | str": 'a number of seconds or a duration such as "1m30s"',
}
_OTHER_TYPE = re.compile(r"Expected `(.+?)`(?:.*, got `(.+?)`)?.*", re.DOTALL)


def _explained(error: msgspec.ValidationError, expected: str | None) -> str:
    found = _OTHER_TYPE.fullmatch(str(error))
    theirs, got = found.groups() if found else (None, None)
    sentence = f"expected {expected or _WORDS.get(theirs or '', 'another value')}"
    return f"{sentence}, got {_WORDS[got]}" if got in _WORDS else sentence


def below(pointer: str, key: str) -> str:
    """A pointer to a member whose name the caller chose; long names are cut."""
    name = key if len(key) <= SHOWN_NAME else key[:SHOWN_NAME] + "…"
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
