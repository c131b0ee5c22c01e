"""Readers of foreign input give a value or one sentence, whatever they read; `make fuzz` looks for more."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutate
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # of images that were damaged on purpose

CORPUS = Path(__file__).with_name("corpus")
EXAMPLES = int(os.environ.get("HLMAT_FUZZ_EXAMPLES", "60"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_valid_inputs_are_read(target: Target) -> None:
    for seed in target.seeds():
        target.read(seed)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_changed_inputs_are_read_or_refused_in_one_sentence(target: Target) -> None:
    seeds = list(target.seeds())

    # The same inputs each time: chance finds nothing here that another change would be blamed for.
    @settings(max_examples=EXAMPLES, derandomize=True, database=None)
    @given(st.integers(0, 2**32))
    def read(number: int) -> None:
        data = mutate(seeds, target.form, Random(number))
        note(repr(data[:2000]))
        target(data)

    read()


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_stays_mended(path: Path) -> None:
    {target.name: target for target in TARGETS}[path.parent.name](path.read_bytes())
