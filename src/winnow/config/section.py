"""A section of the configuration: a pydantic model whose errors are one short message for the user."""

from collections.abc import Container, Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from winnow.errors import UserError, nearest


class Section(BaseModel):
    """Settings with their types, ranges and rules; unknown settings are refused.

    A rule over several fields is a ``model_validator(mode="after")`` that raises `broken_rule`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, node: Any, path: str = "", typed: Container[str] = ()) -> Self:
        """The section from plain values.

        Args:
            node: a mapping, as Hydra composed it.
            path: full name of the section, e.g. ``recipe.pruning``; '' for the whole configuration.
            typed: full names of settings from which others may follow.

        Raises:
            UserError: for a setting that is unknown, missing or not what it must be: the first one that was typed,
                otherwise the first one.
        """
        try:
            return cls.model_validate(node)
        except ValidationError as error:
            raise UserError(_message(error, path, typed)) from error

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, node: Any) -> Any:
        if isinstance(node, BaseModel):
            return node
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if not isinstance(node, Mapping):
            raise PydanticCustomError("not_a_section", "", {"known": list(known)})
        for name in node:
            if name not in known and cls.model_config["extra"] == "forbid":
                raise PydanticCustomError("unknown_setting", "", {"name": str(name), "known": list(known)})
        return node


def broken_rule(message: str) -> PydanticCustomError:
    """An error of several fields together; the message follows ``SECTION:`` or, with ``{path}``, names it itself."""
    return PydanticCustomError("broken_rule", "", {"message": message})


def check_names(node: Mapping[str, Any], known: Iterable[str], path: str = "") -> None:
    """Refuse a mapping with an unknown name."""
    known = list(known)
    for name in node:
        if name not in known:
            raise UserError(_unknown(str(name), known, path))


def _unknown(name: str, known: Iterable[str], path: str) -> str:
    full = f"{path}.{name}" if path else name
    where = path or "the configuration"
    return f"{full} is not a setting; {where} has {', '.join(sorted(known))}.{nearest(name, known)}"


def _message(error: ValidationError, path: str, typed: Container[str]) -> str:
    named = [(".".join(filter(None, [path, *map(str, each["loc"])])), each) for each in error.errors()]
    here, first = next((pair for pair in named if pair[0] in typed), named[0])
    context: dict[str, Any] = first.get("ctx", {})
    match first["type"]:
        case "expected":
            return f"{here} must be {first['msg']}."
        case "missing":
            return f"{here} must be given: add {here}=VALUE to the command."
        case "unknown_setting":
            return _unknown(context["name"], context["known"], here)
        case "not_a_section":
            known = ", ".join(sorted(context["known"]))
            return f"{here} must be a group of settings ({known}), got {first['input']!r}."
        case "list_type":
            return f"{here} must be a list, got {first['input']!r}."
        case "dict_type":
            return f"{here} must be a mapping, got {first['input']!r}."
        case "broken_rule":
            message: str = context["message"]
            return message.replace("{path}", here) if "{path}" in message else f"{here}: {message}"
    return f"{here}: {first['msg']}, got {first['input']!r}."
