from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.settings import ProtocolSettings, digest, setting_names
from tests.support.protocol_settings import OTHERS


def test_dots_lead_into_a_section_and_colours_have_names() -> None:
    settings = ProtocolSettings.build({"overlay.color": "blue", "overlay.alpha": 0.3, "history": True, "budget": 3})
    assert settings.overlay.color == (0, 0, 255)
    assert (settings.overlay.alpha, settings.history, settings.budget) == (0.3, True, 3)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"overlay.colour": "blue"}, "no setting called 'overlay.colour'. Did you mean overlay.color"),
        ({"overlay.color": "mauve"}, "setting overlay.color is 'mauve', which does not fit"),
        ({"overlay.color": [0, 0, 256]}, "each part of a colour is 0 to 255"),
        ({"overlay.alpha": 1.5}, "setting overlay.alpha is 1.5, which does not fit"),
        ({"budget": 0}, "setting budget is 0, which does not fit"),
        ({"candidates": 3}, "strategy greedy does not use candidates"),
        ({"strategy": "prm", "candidates": 3}, "strategy prm does not use candidates"),
        ({"strategy": "tree", "prm": "oracle", "correlation": 0.5}, "strategy tree does not use correlation"),
        (
            {"strategy": "tree", "prm": "oracle", "temperature": 0},
            "tree draws different candidates",
        ),
        ({"strategy": "tree", "prm": "truth"}, "setting prm is 'truth', which does not fit"),
    ],
)
def test_what_does_not_fit_is_one_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace("[", r"\[").replace(".", r"\.")) as caught:
        ProtocolSettings.build(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "most"),
    [
        ({"budget": 5}, 5),
        ({"budget": 5, "initial": "model-box", "track": "box+point"}, 6),
        ({"strategy": "box-only", "track": "box+point"}, 1),
        ({"budget": 5, "strategy": "prm", "prm": "reply"}, 6),
        ({"budget": 5, "strategy": "prm", "prm": "ask"}, 11),
        ({"budget": 5, "strategy": "tree", "candidates": 3, "prm": "ask"}, 21),
        ({"budget": 5, "strategy": "tree", "candidates": 3, "prm": "oracle"}, 5),
    ],
)
def test_what_a_limit_sets_aside_for_an_episode(values: dict[str, object], most: int) -> None:
    """A request for each step, and for each mask that a search judges, the given one among them; and for a box."""
    assert ProtocolSettings.build(values).most_requests() == most


def test_no_setting_is_left_out_where_all_are_tested() -> None:
    """test_fingerprint.py plays with each of them."""
    assert set(OTHERS) == set(setting_names())


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()))
def test_the_digest_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))
