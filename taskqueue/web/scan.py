"""The first look at a request's bytes: is it JSON as RFC 8259 has it, and where in it does each value stand?

The bytes are passed over a fixed number of times, by compiled code alone, so that neither size nor nesting makes it
slow. What a value holds is left as it was sent: numbers of any size, escaped NUL and lone surrogates included.
"""

from __future__ import annotations

import re

import msgspec

MAX_DEPTH = 64

_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_arrays = msgspec.json.Decoder(list[msgspec.Raw])
_strings = msgspec.json.Decoder(str)
_any_value = msgspec.json.Decoder(msgspec.Raw)

_KEY = re.compile(rb'[ \t\n\r]*[{,][ \t\n\r]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_END_OF_OBJECT = re.compile(rb"[ \t\n\r]*(?:\{[ \t\n\r]*)?\}[ \t\n\r]*")
_BEFORE_ELEMENT = re.compile(rb"[ \t\n\r]*[\[,][ \t\n\r]*")

_QUOTED = re.compile(rb'"[^"]*"?')
_ONLY_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS_NOR_QUOTES = bytes(set(range(256)) - set(b'[]{}"'))


class UnreadableJson(Exception):
    """The bytes are not JSON this service accepts; the text says why and where, without repeating them."""


class NotThatKind(Exception):
    """The value is well formed, but not an object or not an array."""


def check(text: bytes) -> None:
    """Raise ``UnreadableJson`` unless ``text`` is one JSON value in UTF-8, nested at most 64 deep."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise UnreadableJson(f"the body is not UTF-8 (byte {error.start})") from None
    _check_depth(text)
    try:
        _any_value.decode(_decodable(text))
    except msgspec.DecodeError as error:
        raise UnreadableJson(_why(error)) from None
    except RecursionError:
        raise _too_deep() from None


def members(text: bytes) -> dict[str, bytes]:
    """The members of a checked JSON object, each value byte for byte; ``UnreadableJson`` when a key comes twice."""
    decodable = _decodable(text)
    try:
        values = _objects.decode(decodable)
    except msgspec.ValidationError:
        raise NotThatKind from None
    found: dict[str, bytes] = {}
    at = 0
    # msgspec keeps the last of two equal keys, so a value that is not where the walk expects it betrays a second one.
    while key := _KEY.match(decodable, at):
        name = _strings.decode(key[1])
        value = bytes(values[name])
        at = key.end()
        if name in found or not decodable.startswith(value, at):
            raise UnreadableJson(f"the key {_shown(name)} comes twice in one object")
        found[name] = text[at : (at := at + len(value))]
    if not _END_OF_OBJECT.fullmatch(decodable, at):
        raise UnreadableJson("a key comes twice in one object")
    return found


def elements(text: bytes) -> list[bytes]:
    """The elements of a checked JSON array, each byte for byte."""
    decodable = _decodable(text)
    try:
        values = _arrays.decode(decodable)
    except msgspec.ValidationError:
        raise NotThatKind from None
    if decodable is text:
        return [bytes(value) for value in values]
    found: list[bytes] = []
    at = 0
    for value in values:
        before = _BEFORE_ELEMENT.match(decodable, at)
        assert before is not None, "an element of a well-formed array follows a bracket or a comma"
        at = before.end()
        found.append(text[at : (at := at + len(bytes(value)))])
    return found


def _check_depth(text: bytes) -> None:
    brackets = text
    if b"\\" in brackets:
        brackets = brackets.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes in a row enclose no bracket or part no string from the next: without them the rest means the same.
    brackets = brackets.translate(_ONLY_BRACKETS, _NOT_BRACKETS_NOR_QUOTES).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _QUOTED.sub(b"", brackets)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return
        # One level goes with each round; mismatched brackets stay behind, for the parser to name.
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):
            return
        brackets = outer
    if brackets:
        raise _too_deep()


def _decodable(text: bytes) -> bytes:
    """``text``, or an equally long one whose escapes name no surrogates: msgspec refuses lone ones."""
    if b"\\ud" in text or b"\\uD" in text:
        return text.replace(b"\\ud", b"\\ue").replace(b"\\uD", b"\\uE")
    return text


def _why(error: msgspec.DecodeError) -> str:
    return "the body is not JSON: " + str(error).removeprefix("JSON is malformed: ").lower()


def _too_deep() -> UnreadableJson:
    return UnreadableJson(f"the body is nested deeper than {MAX_DEPTH}")


def _shown(name: str) -> str:
    return repr(name[:40])
