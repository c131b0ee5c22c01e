"""One sentence for the first thing that is wrong, whoever wrote the value."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.validation import Misfit, Strict, checked, validated


class Wheel(Strict):
    size: int = Field(28, ge=1)


class Cart(Strict):
    schema_: Literal["cart/1"] = Field(alias="schema")
    colour: str = "red"
    wheels: tuple[Wheel, ...] = ()
    parts: dict[str, Wheel] = Field(default_factory=dict)

    @field_validator("colour")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("red", "blue"):
            raise ValueError("it is red or blue.")
        return value


GOOD = {"schema": "cart/1"}


def test_what_fits_is_returned() -> None:
    assert validated(Cart, GOOD | {"wheels": [{"size": 3}]}, "the cart").wheels == (Wheel(size=3),)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "The field schema of the cart is missing; add it."),
        (
            {"schema": "cart/2"},
            "The field schema of the cart is 'cart/2', which does not fit: it should be 'cart/1'.",
        ),
        (GOOD | {"colour": "green"}, "The field colour of the cart is 'green', which does not fit: it is red or blue."),
        (
            GOOD | {"wheels": [{}, {"size": 0}]},
            "The field wheels.1.size of the cart is 0, which does not fit: it should be at least 1.",
        ),
        (
            GOOD | {"color": "red"},
            "There is no field of the cart called 'color'. Did you mean colour? "
            "Fields are schema, colour, wheels, parts.",
        ),
        (
            GOOD | {"wheels": [{"sice": 3}]},
            "There is no field of the cart called 'sice'. Did you mean size? Fields are size.",
        ),
        (
            GOOD | {"parts": {"left": {"sice": 3}}},
            "There is no field of the cart called 'sice'. Did you mean size? Fields are size.",
        ),
        ([1], "The fields of the cart do not fit: it should hold fields such as schema, colour, wheels."),
        (
            GOOD | {"parts": {"a\nb": 3}},
            "The field parts.'a\\nb' of the cart is 3, which does not fit: it should hold fields such as size.",
        ),
        (
            GOOD | {"wheels": [3]},
            "The field wheels.0 of the cart is 3, which does not fit: it should hold fields such as size.",
        ),
    ],
)
def test_the_first_thing_that_is_wrong_is_one_sentence(value: object, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        validated(Cart, value, "the cart")
    assert str(caught.value) == sentence


def test_names_begin_with_the_section_and_may_be_those_of_the_command_line() -> None:
    with pytest.raises(UsageError, match="^The field data.size of the task is 0, which does not fit"):
        validated(Wheel, {"size": 0}, "the task", section="data")
    with pytest.raises(UsageError, match="^There is no setting called 'wheels.0.sise'. Did you mean wheels.0.size"):
        validated(Cart, GOOD | {"wheels": [{"sise": 1}]}, "", what="setting", known=lambda: ["wheels.0.size"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["\n", "a", "size"]), inner),
    max_leaves=8,
)


@given(VALUES, VALUES, VALUES)
def test_any_value_is_taken_or_refused_in_one_short_line(colour: object, wheels: object, parts: object) -> None:
    said = ""
    try:
        validated(Cart, GOOD | {"colour": colour, "wheels": wheels, "parts": parts}, "the cart")
    except UsageError as error:
        said = str(error)
    assert not {"\n", "\r"} & set(said)
    assert len(said) < 2000


def test_what_a_program_wrote_is_never_repeated() -> None:
    def refuse(misfit: Misfit) -> UsageError:
        return UsageError(f"The reply: {misfit.sentence('all of it')}")

    secret = "x" * 1000
    for value in (GOOD | {"colour": secret}, GOOD | {"wheels": [{"size": secret}]}, secret, GOOD | {secret: 1}):
        with pytest.raises(UsageError) as caught:
            checked(Cart.model_validate, value, refuse)
        assert secret[:61] not in str(caught.value)
    with pytest.raises(UsageError, match="^The reply: all of it: "):
        checked(Cart.model_validate, [], refuse)
