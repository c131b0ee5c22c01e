"""Check values from files, command lines and other programs against a model, and say in a sentence what is wrong.

Two kinds of values are told apart. `validated` is for what a person wrote: its sentence quotes the value and names the
nearest known field. `checked` is for what a program wrote, possibly a stranger's: it never repeats the content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, with_config

from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.text import cut

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
_PREFIX = "Value error, "
#: What is expected, by the type of pydantic's error, whose own messages speak of types of Python.
_EXPECTED = {
    "greater_than_equal": "it should be at least {ge}",
    "greater_than": "it should be more than {gt}",
    "less_than_equal": "it should be at most {le}",
    "less_than": "it should be less than {lt}",
    "literal_error": "it should be {expected}",
    "finite_number": "it should be a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "it should be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "it should be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "it should be true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "it should be a list"),
    **dict.fromkeys(("dict_type", "mapping_type"), "it should be a section with fields"),
    "string_type": "it should be a text",
    "missing": "it is missing",
    "too_short": "it should have at least {min_length} items",
    "too_long": "it should have at most {max_length} items",
    "string_too_short": "it should have at least {min_length} characters",
    "string_too_long": "it should have at most {max_length} characters",
}


class Strict(BaseModel):
    """The base of settings and files: unknown fields are refused, and objects cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Exact(Strict):
    """The base of what programs exchange: besides, nothing is converted, and no number is infinite."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, serialize_by_alias=True, validate_by_name=True)


#: Decorates dataclasses that are read from what programs wrote: the rules of `Exact`.
exact = with_config(ConfigDict(strict=True, allow_inf_nan=False, extra="forbid"))


class Misfit(NamedTuple):
    """The first thing that does not fit a model.

    Attributes:
        place: the path of the field: names, keys and indexes, cut and without line breaks; empty for the whole value.
        message: what is expected, in one line without a full stop.
        kind: the type of pydantic's error.
    """

    place: tuple[str, ...]
    message: str
    kind: str

    def sentence(self, whole: str = "") -> str:
        """Return ``PLACE: MESSAGE`` for a line of text; ``whole`` replaces an empty place."""
        place = ".".join(self.place) or whole
        return f"{place}: {self.message[:200]}" if place else self.message[:200]


def misfit(error: ValidationError) -> Misfit:
    """Return the first misfit of a validation error, without the value that was given."""
    first = error.errors(include_input=False, include_url=False)[0]
    words = _EXPECTED.get(first["type"])
    message = words.format(**first.get("ctx", {})) if words else " ".join(first["msg"].split()).removeprefix(_PREFIX)
    message = re.sub("^(Input|String|List|Tuple|Dictionary|Value) should", "it should", message).rstrip(".")
    return Misfit(tuple(_printable(str(part)[:60]) for part in first["loc"]), message, first["type"])


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def checked(validate: Callable[[Any], T], value: Any, refuse: Callable[[Misfit], Exception]) -> T:
    """Return a value that a program wrote as an object of a model.

    Args:
        validate: pydantic's function for the model, e.g. ``Model.model_validate``.
        value: JSON values, or JSON.
        refuse: makes the exception to raise from the first misfit.
    """
    try:
        return validate(value)
    except ValidationError as error:
        raise refuse(misfit(error)) from None


def validated(
    model: type[M],
    value: Any,
    where: str,
    *,
    what: str = "field",
    section: str = "",
    known: Callable[[], Iterable[str]] | None = None,
    context: Mapping[str, Any] | None = None,
) -> M:
    """Return a value that a person wrote as an object of a model.

    Args:
        model: the class.
        value: JSON or YAML values.
        where: what holds the fields, e.g. ``"the catalogue my.yaml"``; empty where ``what`` says enough.
        what: what a field is called.
        section: the section of the file that the value stands in; it begins the names of fields.
        known: returns the full names of all fields; None: names are those of the model that has the unknown field.
        context: what the model's validators are told besides (pydantic's ``ValidationInfo.context``).

    Raises:
        UsageError: names the first field that does not fit, what it is and what is expected.
    """
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        first, given = misfit(error), error.errors(include_url=False, include_context=False)[0]["input"]
    except UnicodeEncodeError as error:  # pydantic cannot tell what is wrong with a value that is no valid Unicode
        raise UsageError(f"A text{f' of {where}' if where else ''} holds half a surrogate pair; correct it.") from error
    of = f" of {where}" if where else ""
    name = ".".join(filter(None, (section, *first.place)))
    message = first.message
    if first.kind == "model_type":  # pydantic's message names a class, which means nothing to a user
        message = f"it should hold fields such as {', '.join(_fields_at(model, (*first.place, ''))[:3])}"
    if not name:
        raise UsageError(f"The {what}s{of} do not fit: {message}.")
    if first.kind == "extra_forbidden":
        names = _fields_at(model, first.place) if known is None else list(known())
        shown = first.place[-1] if known is None else name
        raise unknown(f"{what}{of}", cut(shown), names, f"{what.capitalize()}s are {', '.join(names)}.")
    if first.kind == "missing":
        raise UsageError(f"The {what} {name}{of} is missing; add it.")
    raise UsageError(f"The {what} {name}{of} is {cut(repr(given))}, which does not fit: {message}.")


def _fields_at(model: type[BaseModel], place: tuple[str, ...]) -> list[str]:
    """Return the names of the fields that a file may have at the place of an unknown one."""
    models = [model]
    for part in place[:-1]:  # keys of dicts, indexes of lists and tags of unions are no fields: they lead nowhere else
        inner = [info.annotation for each in models for name, info in _named(each).items() if name == part]
        models = [found for annotation in inner for found in _models(annotation)] or models
    return list(dict.fromkeys(name for each in models for name in _named(each)))


def _named(model: type[BaseModel]) -> Mapping[str, Any]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in a type, e.g. `Model` of ``dict[str, Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models(argument)]
