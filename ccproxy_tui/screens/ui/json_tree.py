"""A JSON value as folding lines: long strings and images are folded to their size, deep parts to their count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ccproxy_tui.core.text.escape import escape_block, escape_line
from ccproxy_tui.screens.ui.words import crop, size

LONG = 240
MANY = 200
_IMAGE_KEYS = ("data", "url", "image_url", "file_data")


@dataclass(slots=True, eq=False)
class Node:
    """One value: what stands before it, itself, and its children once it was opened."""

    label: str
    value: Any
    depth: int
    open: bool = False
    children: list[Node] | None = None
    shown: int = MANY
    parent_value: Any = None

    @property
    def foldable(self) -> bool:
        return (isinstance(self.value, dict | list) and bool(self.value)) or self.is_long

    @property
    def is_long(self) -> bool:
        if not isinstance(self.value, str) or _image(self.value, self):
            return False
        return len(self.value) > LONG or "\n" in self.value

    def grow(self) -> list[Node]:
        """The children, made on first use."""
        if self.children is None:
            self.children = list(self._make())
        return self.children

    def _make(self) -> Iterator[Node]:
        if isinstance(self.value, dict):
            for key, value in self.value.items():
                yield Node(f'"{key}": ', value, self.depth + 1, parent_value=self.value)
        elif isinstance(self.value, list):
            for value in self.value:
                yield Node("", value, self.depth + 1, parent_value=self.value)


@dataclass(slots=True)
class TreeLine:
    """One visible line. `kind` names its colour."""

    node: Node
    text: str
    kind: str = "text"
    more: bool = field(default=False)


class JsonTree:
    """`lines` is what is visible; folding rebuilds it. Values far down are not touched until they are opened."""

    def __init__(self, value: Any, *, depth: int = 2) -> None:
        self.root = Node("", value, 0)
        self.lines: list[TreeLine] = []
        self.fold_to(depth)

    def fold_to(self, depth: int) -> None:
        """Open everything above `depth`, close the rest."""
        _open_to(self.root, depth)
        self._rebuild()

    def toggle(self, index: int) -> None:
        if not 0 <= index < len(self.lines):
            return
        line = self.lines[index]
        if line.more:
            line.node.shown += MANY * 5
        elif line.node.foldable:
            line.node.open = not line.node.open
        else:
            return
        self._rebuild()

    def _rebuild(self) -> None:
        self.lines = list(_lines(self.root, last=True))

    def find(self, text: str, start: int, step: int = 1) -> int | None:
        """The next line from `start` on that holds `text`, opening what hides it. None when nothing does."""
        needle = text.lower()
        self._open_matches(needle)
        count = len(self.lines)
        for offset in range(1, count + 1):
            index = (start + offset * step) % count
            if needle in self.lines[index].text.lower():
                return index
        return None

    def _open_matches(self, needle: str) -> None:
        if _open_where(self.root, needle):
            self._rebuild()


def _open_to(node: Node, depth: int) -> None:
    node.open = node.depth < depth and isinstance(node.value, dict | list)
    if node.open:
        for child in node.grow():
            _open_to(child, depth)
    elif node.children is not None:
        for child in node.children:
            _open_to(child, depth)


def _open_where(node: Node, needle: str) -> bool:
    """Open the way to every match. Whether there is one in or below `node`."""
    if isinstance(node.value, dict | list):
        found = [_open_where(child, needle) for child in node.grow()] if _holds(node.value, needle) else []
        if any(found):
            node.open = True
            place = max(index for index, hit in enumerate(found) if hit)
            node.shown = max(node.shown, place + 1)
        return any(found) or needle in node.label.lower()
    if needle in node.label.lower():
        return True
    hit = (isinstance(node.value, str) and needle in node.value.lower()) or needle in str(node.value).lower()
    if hit and node.is_long:
        node.open = True
    return hit


def _holds(value: Any, needle: str) -> bool:
    return needle in json.dumps(value, ensure_ascii=False, default=str).lower()


def _lines(node: Node, *, last: bool) -> Iterator[TreeLine]:
    pad = "  " * node.depth
    comma = "" if last else ","
    label = escape_line(node.label)
    value = node.value
    if isinstance(value, dict | list) and value:
        yield from _container(node, pad, label, comma)
    elif node.is_long and node.open:
        yield TreeLine(node, f"{pad}- {label}", "key")
        for line in escape_block(value).expandtabs(4).split("\n"):
            yield TreeLine(node, f"{pad}  | {line}", "string")
    else:
        mark = "+ " if node.foldable else "  "
        yield TreeLine(node, f"{pad}{mark}{label}{scalar(value, node)}{comma}", _kind(value))


def _container(node: Node, pad: str, label: str, comma: str) -> Iterator[TreeLine]:
    value = node.value
    brackets = "{}" if isinstance(value, dict) else "[]"
    if not node.open:
        inside = summary(value)
        yield TreeLine(node, f"{pad}+ {label}{brackets[0]} {inside} {brackets[1]}{comma}", "folded")
        return
    yield TreeLine(node, f"{pad}- {label}{brackets[0]}", "key")
    children = node.grow()
    for place, child in enumerate(children[: node.shown]):
        yield from _lines(child, last=place == len(children) - 1)
    if len(children) > node.shown:
        yield TreeLine(node, f"{pad}  … {len(children) - node.shown} more (enter shows some)", "folded", more=True)
    yield TreeLine(node, f"{pad}  {brackets[1]}{comma}", "key")


def summary(value: Any) -> str:
    """What stands in a folded object or list, in a few words."""
    if isinstance(value, list):
        return f"{len(value)} item{'s' * (len(value) != 1)}"
    kind = value.get("type") or value.get("role") or value.get("name")
    words = f'"{escape_line(crop(kind, 40))}" ' if isinstance(kind, str) else ""
    text = value.get("text") or value.get("content")
    if isinstance(text, str) and text:
        return f"{words}{escape_line(crop(text, 60))}"
    return f"{words}{len(value)} key{'s' * (len(value) != 1)}"


def scalar(value: Any, node: Node | None = None) -> str:
    """A value on one line. Images are named by type and size, long strings by their beginning and size."""
    if isinstance(value, str):
        image = _image(value, node)
        if image:
            return image
        if len(value) > LONG or "\n" in value:
            start = json.dumps(escape_line(value[:60]), ensure_ascii=False)[:-1]
            return f"{start}…  ({size(len(value.encode('utf-8', 'replace')))})"
        return escape_line(json.dumps(value, ensure_ascii=False))
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "[]"
    return json.dumps(value)


def _image(value: str, node: Node | None) -> str:
    if len(value) < LONG:
        return ""
    if value.startswith("data:") and ";base64," in value[:100]:
        return f"<{escape_line(value[5 : value.index(';')])} {size(len(value) * 3 // 4)}>"
    parent = node.parent_value if node is not None else None
    if isinstance(parent, dict) and isinstance(parent.get("media_type"), str) and parent.get("type") == "base64":
        return f"<{escape_line(parent['media_type'])} {size(len(value) * 3 // 4)}>"
    return ""


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else "word"
