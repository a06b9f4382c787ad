"""From a JSON object to a model, with every fault of the object found and pointed at."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UnsetType

from taskqueue.web import scan
from taskqueue.web.problems import Faults
from taskqueue.web.values import FAULTY, SHOWN_NAME, Reader, below, reader_of, textual

M = TypeVar("M", bound="Model")
T = TypeVar("T")
D = TypeVar("D")
_MOST_PARAMETERS = 50
_NUMBER_OR_TRUTH = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?|true|false")


class Model(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True, dict=True):
    """A request object; it knows where in the request it stood. Every field but the required ones has a default."""

    ALIASES: ClassVar[Mapping[str, str]] = {}  # other spelling -> our spelling
    REFUSED: ClassVar[Mapping[str, str]] = {}  # fields that others have -> why there is none here
    NOT_BUILT: ClassVar[frozenset[str]] = frozenset()  # documented, but refused until it does something

    @property
    def pointer(self) -> str:
        """The JSON pointer to the object itself."""
        pointer: str = self.__dict__["pointer"]
        return pointer

    def at(self, name: str) -> str:
        """The JSON pointer to a field, spelled as the caller did."""
        return f"{self.pointer}/{self.__dict__['spelled'].get(name, name)}"

    def given(self, *names: str) -> list[str]:
        """Those of these fields that the caller gave."""
        return [name for name in names if name in self.__dict__["spelled"]]

    @property
    def all_given(self) -> frozenset[str]:
        """The fields that the caller gave, by our spelling."""
        return frozenset(self.__dict__["spelled"])

    @property
    def text(self) -> bytes:
        """The object as it was sent, byte for byte."""
        text: bytes = self.__dict__["text"]
        return text


def either(value: T | UnsetType, default: D) -> T | D:
    """``value`` if the caller gave it, else ``default``."""
    return default if isinstance(value, UnsetType) else value


def lent(asked: M, lender: Model, names: Iterable[str], *, at: str | None = None) -> M:
    """A copy of ``asked`` with the fields ``names`` as the ``lender`` has them. A fault in one of them is pointed at
    where the lender spelled it or, with ``at``, at that field of ``asked``, which brought them."""
    names = list(names)
    fields, theirs = _shape(type(asked)).fields, _shape(type(lender)).fields
    found = msgspec.structs.replace(
        asked, **{fields[name].attribute: getattr(lender, theirs[name].attribute) for name in names}
    )
    spelled = {name: at or lender.__dict__["spelled"][name] for name in names}
    found.__dict__.update(asked.__dict__, spelled={**asked.__dict__["spelled"], **spelled})
    return found


def replaced(asked: M, **parts: Any) -> M:
    """A copy of ``asked`` with other values of what the caller gave, by attribute."""
    found = msgspec.structs.replace(asked, **parts)
    found.__dict__.update(asked.__dict__)
    return found


def read(text: bytes, model: type[M], faults: Faults, *, pointer: str = "") -> M | None:
    """Read a checked JSON object; what is wrong goes into ``faults``, and ``None`` means that too much is."""
    try:
        members = scan.members(text)
    except scan.NotThatKind:
        faults.add(pointer, "expected an object")
        return None
    found = _assemble(members, model, faults, pointer)
    if found is not None:
        found.__dict__["text"] = text
    return found


def read_query(query: str, model: type[M], faults: Faults) -> M | None:
    """Read a query string as if its parameters were the members of an object."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        faults.add("", f"the query string is not UTF-8 or has more than {_MOST_PARAMETERS} parameters")
        return None
    members: dict[str, bytes] = {}
    for name, value in pairs:
        if name in members:
            faults.add(below("", name), "this parameter is given twice")
        field = _shape(model).fields.get(name)
        bare = field is not None and not field.textual and _NUMBER_OR_TRUTH.fullmatch(value)
        members[name] = value.encode() if bare else msgspec.json.encode(value)
    return _assemble(members, model, faults, "", noun="parameter")


def _assemble(
    members: Mapping[str, bytes], model: type[M], faults: Faults, pointer: str, *, noun: str = "field"
) -> M | None:
    shape, spelled = _shape(model), dict[str, str]()
    values: dict[str, Any] = {}
    for key, value in members.items():
        name = model.ALIASES.get(key, key)
        field = shape.fields.get(name)
        if field is None:
            faults.add(below(pointer, key), _unknown(key, model, noun))
        elif name in spelled:
            faults.add(f"{pointer}/{key}", f"{spelled[name]} and {key} are the same field; give one of them")
        else:
            spelled[name] = key
            values[field.attribute] = field.read(value, f"{pointer}/{key}", faults)
    sound = {attribute: value for attribute, value in values.items() if value is not FAULTY}
    lacking = [name for name, attribute in shape.required.items() if attribute not in sound]
    for name in lacking:
        if name not in spelled:
            faults.add(f"{pointer}/{name}", "this field is required")
    if lacking:
        return None
    read = model(**sound)
    read.__dict__.update(pointer=pointer, spelled=spelled)
    return read


@dataclass(frozen=True, slots=True)
class _Field:
    attribute: str
    textual: bool
    read: Reader


@dataclass(frozen=True, slots=True)
class _Shape:
    fields: Mapping[str, _Field]  # by their names in requests
    required: Mapping[str, str]  # name -> attribute


@lru_cache(maxsize=64)
def _shape(model: type[Model]) -> _Shape:
    fields = msgspec.structs.fields(model)
    return _Shape(
        fields={f.encode_name: _Field(f.name, textual(f.type), reader_of(f.type, _model_reader)) for f in fields},
        required={f.encode_name: f.name for f in fields if f.required},
    )


def _model_reader(model: type[Model]) -> Reader:
    def reader(text: bytes, pointer: str, faults: Faults) -> Any:
        found = read(text, model, faults, pointer=pointer)
        return FAULTY if found is None else found

    return reader


def _unknown(key: str, model: type[Model], noun: str) -> str:
    if key in model.NOT_BUILT:
        return f"{key} is not built yet; leave it out"
    if key in model.REFUSED:
        return model.REFUSED[key]
    known = [*_shape(model).fields, *model.ALIASES]
    if not known:
        return f"unknown {noun}; there are none here, leave it out"
    plain = {name.lower(): name for name in known}
    near = difflib.get_close_matches(key[:SHOWN_NAME].replace("_", "").lower(), plain, n=1, cutoff=0.75)
    if near:
        return f"unknown {noun}; did you mean {plain[near[0]]}?"
    return f"unknown {noun}; there are: {', '.join(known)}"
