"""Secrets in values of settings: which they are, and the values without them. Pure.

A name that speaks of a secret hides its value. So does a table that is one of variables or headers: nothing there is
worth being shown. Addresses lose their user information and secret parameters, program arguments the values of options
that take a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from ccproxy_tui.core.text.redact import is_secret_name, redact_text, redact_url

MASKED = "********"
# What follows in long options with one dash. After `-p`, MySQL's tools and others take a password.
_WORDS_OF_P = frozenset({"ath", "ort", "rint", "rint0", "rune", "rofile", "roject", "lugin", "lugins", "refix", "ipe"})
_TABLES = frozenset({"env", "environment", "headers", "http_headers", "env_http_headers", "query_params"})


def masked_value(value: Any, name: str = "", *, hides: bool = False) -> Any:
    """Return `value` of the setting or key `name` as plain data with secrets masked; `hides` masks all of it."""
    hides = hides or _is_hidden_table(value, name) or (isinstance(value, str) and is_secret_name(name))
    match value:
        case SecretStr():
            return MASKED if value.get_secret_value() else ""
        case BaseModel():
            return {key: masked_value(getattr(value, key), key, hides=hides) for key in type(value).model_fields}
        case Mapping():
            return {str(key): masked_value(inner, str(key), hides=hides) for key, inner in value.items()}
        case list() | tuple():
            if hides or is_secret_name(name):
                return [masked_value(item, hides=True) for item in value]
            return _masked_arguments([masked_value(item) for item in value])
        case None | bool():
            return value
        case int() | float():
            return MASKED if hides else value
    text = str(value)
    if hides:
        return MASKED if text else ""
    return redact_url(text) if "://" in text and not any(map(str.isspace, text)) else redact_text(text)


def _is_hidden_table(value: Any, name: str) -> bool:
    return isinstance(value, Mapping) and name.lower() in _TABLES


def _masked_arguments(items: list[Any]) -> list[Any]:
    """A program's arguments, without the values of options such as `--api-key` and `--header`."""
    found: list[Any] = []
    before = ""
    for item in items:
        text = item if isinstance(item, str) else ""
        option, sign, value = text.partition("=")
        if _takes_secret(before) and not text.startswith("-"):
            item = MASKED
        elif _glues_secret(text):
            item = f"{text[:2]}{MASKED}"
        elif value and (_takes_secret(option) or is_secret_name(option)):
            item = f"{option}{sign}{MASKED}"
        found.append(item)
        before = text
    return found


def _takes_secret(option: str) -> bool:
    name = option.lstrip("-")
    return option.startswith("-") and (is_secret_name(name) or name.lower() in ("header", "h", "env", "e", "u", "user"))


def _glues_secret(argument: str) -> bool:
    """Return whether a short option has its secret attached: `-pSECRET`, `-uNAME:PASSWORD`, `-HAuthorization: x`."""
    option, given = argument[:2], argument[2:]
    match option:
        case "-p":
            return bool(given) and given not in _WORDS_OF_P and not given.replace(":", "").isdigit()
        case "-u" | "-H":
            return ":" in given
        case "-e":
            return "=" in given
    return False


def secrets_of(value: Any, name: str = "") -> Iterator[str]:
    """The secrets that `masked_value` hides whole, for `learn_secret`; of variables those whose names speak of one."""
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            for key in type(value).model_fields:
                yield from secrets_of(getattr(value, key), key)
        case Mapping():
            for key, inner in value.items():
                yield from secrets_of(inner, str(key))
        case list() | tuple():
            for item in value:
                yield from secrets_of(item)
        case str() if is_secret_name(name):
            yield value.rpartition(" ")[2]  # without "Bearer"
        case str() if "://" in value and "@" in value:
            yield value.partition("://")[2].rpartition("@")[0].partition(":")[2]
