"""Attachments as URLs: what both OpenAI dialects put images and files into."""

from __future__ import annotations

import base64
import re

from ccproxy_tui.core.formats.misfit import Misfit
from ccproxy_tui.core.formats.request import Source

_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+=-]+)*?)(;base64)?,", re.ASCII)
_TYPES = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "text/json",
}


def read_url(url: str, *path: str | int, media_type: str = "") -> Source:
    """A data URL as its bytes, any other URL as it is. Raises Misfit for data that is not base64."""
    if not url.startswith("data:"):
        return Source("url", url)
    head = _DATA.match(url)
    if head is None or head[3] is None:
        raise Misfit("A data URL must be of the form data:TYPE;base64,DATA.", *path)
    return Source("base64", url[head.end() :], head[1] or media_type)


def write_url(source: Source) -> str:
    """The source as one URL; text becomes base64 of its UTF-8."""
    if source.kind == "url":
        return source.value
    if source.kind == "text":
        return f"data:{source.media_type or 'text/plain'};base64,{base64.b64encode(source.value.encode()).decode()}"
    return f"data:{source.media_type or 'application/octet-stream'};base64,{source.value}"


def guess_type(filename: str) -> str:
    """The media type that a file's name tells; PDF when it tells none."""
    return _TYPES.get(filename.rpartition(".")[2].lower(), "application/pdf")


def read_file(data: str, filename: str, *path: str | int) -> Source:
    """`file_data` of either dialect: a data URL, or bare base64 with the type told by the name."""
    if data.startswith("data:"):
        return read_url(data, *path, media_type=guess_type(filename))
    return Source("base64", data, guess_type(filename))
