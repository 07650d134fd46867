"""What all tables of the settings have in common, and the kinds of values that more than one of them has."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ccproxy_tui.core.routing import check_pattern

LIVE: dict[str, Any] = {"live": True}  # marks a field whose change needs no restart


def _split(value: object) -> object:
    """Lists may be written as comma-separated text, as the older programs allow."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


StrList = Annotated[list[str], BeforeValidator(_split)]
PathPattern = Annotated[str, AfterValidator(check_pattern)]


def check_url(value: str) -> str:
    """A base URL without its trailing slash. Raises ValueError when it can't be called."""
    url = value.strip().rstrip("/")
    if not url.startswith(("http://", "https://")) or not url.split("://", 1)[1].split("/")[0]:
        raise ValueError("must start with http:// or https:// and name a host")
    return url


class Section(BaseModel):
    model_config = ConfigDict(extra="ignore", validate_default=True, use_attribute_docstrings=False)


class Reachable(Section):
    """A provider whose account clients reach by path."""

    extra_paths: Annotated[list[PathPattern], BeforeValidator(_split)] = Field(
        default_factory=list,
        description="Operations to open besides inference, models, files, batches and usage, as `GET v1/skills/*`; * "
        "is one segment, ** the rest. Each client can then use them with the account.",
        json_schema_extra=LIVE,
    )
