"""Prices: from a file, exactly as it says, and unknown where it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError
from hlmat_bench.models.api import prices
from hlmat_bench.models.api.prices import Price

FILE = """
- {model: "big-*", input: 3, output: 15}
- {model: "big-small-*", input: 4, output: 16}
- {model: big-one, input: 1.5, output: 0}
"""


def test_a_name_goes_before_a_pattern_and_an_earlier_pattern_before_a_later_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    file = tmp_path / "mine.yaml"
    assert prices.find("big-one", file) == Price(1.5, 0.0)
    assert prices.find("big-two", file) == Price(3, 15)
    assert prices.find("big-small-1", file) == Price(3, 15)
    assert prices.find("BIG-two", file) is None
    assert prices.find("gpt-4o", file) is None


def test_a_price_is_per_million_tokens_and_unknown_where_tokens_are() -> None:
    price = Price(input=2.5, output=10)
    assert price.of(1_000_000, 0) == 2.5
    assert price.of(355, 12) == pytest.approx(0.0010075)  # 355 * 2.5e-6 + 12 * 1e-5
    assert price.of(0, 0) == 0
    assert price.of(None, 12) is None
    assert price.of(355, None) is None


def test_our_own_file_names_a_source_and_a_date_for_each_price() -> None:
    entries = yaml.safe_load((folder("adapters") / "models" / "prices.yaml").read_text())
    names = [entry["model"] for entry in entries]
    assert len(set(names)) == len(names)
    for entry in entries:
        assert entry["source"].startswith("https://")
        assert entry["date"].year >= 2025
        assert prices.find(entry["model"]) == Price(entry["input"], entry["output"])
    assert prices.find("some-local-model") is None


@pytest.mark.parametrize(
    "text",
    [
        "model: m",
        "- m",
        "- {model: m, input: 1}",
        "- {model: m, input: 1, output: -1}",
        "- {model: m, input: 1, output: .inf}",
        "- {model: m, input: 1, output: .nan}",
        "- {model: m, input: true, output: 1}",
        "- {model: m, input: free, output: 1}",
        "- {model: 4, input: 1, output: 1}",
        "{",
    ],
)
def test_a_file_that_is_none_is_refused_with_what_to_do(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        prices.find("m", tmp_path / "mine.yaml")
    with pytest.raises(UsageError, match="prices="):
        prices.find("m", tmp_path / "absent.yaml")
