"""A proxy and a front end of different ages understand each other, as far as both know the same fields."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import pytest

from ccproxy_tui.core.control import frames
from ccproxy_tui.core.control.frames import PROTOCOL, Frame, Row, Segment, Status, TextFrame

TYPES = [
    one
    for _, one in inspect.getmembers(frames, inspect.isclass)
    if issubclass(one, msgspec.Struct) and one.__module__ == frames.__name__
]


def example(kind: msgspec.inspect.Type) -> Any:
    match kind:
        case msgspec.inspect.StructType() | msgspec.inspect.DataclassType():
            return wire(kind.cls)
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
            return [example(kind.item_type)]
        case msgspec.inspect.TupleType():
            return [example(item) for item in kind.item_types]
        case msgspec.inspect.DictType():
            return {"x": example(kind.value_type)}
        case msgspec.inspect.UnionType():
            return example(kind.types[0])
        case msgspec.inspect.LiteralType():
            return kind.values[0]
        case msgspec.inspect.NoneType():
            return None
    return {"IntType": 1, "FloatType": 1.5, "BoolType": True, "StrType": "x", "AnyType": 1}[type(kind).__name__]


def wire(one: type[msgspec.Struct], *, required: bool = False) -> Any:
    """An example as JSON would have it; the required fields alone as an older program sends it."""
    info = msgspec.inspect.type_info(one)
    assert isinstance(info, msgspec.inspect.StructType)
    found = [field for field in info.fields if field.required or not required]
    if info.array_like:
        return [example(field.type) for field in found]
    return {field.encode_name: example(field.type) for field in found}


@pytest.mark.parametrize("one", TYPES, ids=lambda one: one.__name__)
def test_an_older_and_a_newer_program_are_understood(one: type[msgspec.Struct]) -> None:
    now = wire(one)
    newer = [*now, "of later"] if isinstance(now, list) else {**now, "of_later": {"x": 1}}
    known = msgspec.convert(now, one)
    assert msgspec.json.decode(msgspec.json.encode(newer), type=one) == known
    assert isinstance(msgspec.json.decode(msgspec.json.encode(wire(one, required=True)), type=one), one)


def test_fields_of_a_list_are_only_ever_added_at_its_end() -> None:
    """Rows and frames have names; these have none: another order would be read as another thing."""
    assert Segment.__struct_fields__[:4] == ("block", "kind", "text", "title")
    assert frames.MarkView.__struct_fields__[:3] == ("at", "name", "detail")
    assert frames.NoteView.__struct_fields__[:5] == ("action", "field", "reason", "count", "example")
    assert frames.LogView.__struct_fields__[:6] == ("seq", "time", "level", "logger", "message", "exchange")


def test_a_frame_of_an_older_proxy_is_shown() -> None:
    """As protocol 2 sends it: rows with a field that is gone since."""
    row = {"id": "a", "seq": 1, "started": 1.0, "state": "live", "tools": 3}
    raw = msgspec.json.encode({"revision": 3, "reset": True, "status": {"protocol": 2, "cost": 1.5}, "rows": [row]})
    frame = msgspec.json.decode(raw, type=Frame)
    assert frame == Frame(3, reset=True, status=Status(protocol=PROTOCOL), rows=[Row("a", 1, 1.0, "live")])
    assert msgspec.json.decode(msgspec.json.encode(TextFrame("a")), type=TextFrame) == TextFrame("a")
