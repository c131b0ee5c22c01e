from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.reference import find_reference
from tests.support.installed import declare

GOOD = """
from hlmat_bench.points import PointFormat

class Mine:
    name = "mine"
    points = PointFormat.named("xy1000")
    def __init__(self, level: int = 1, label: str = "a"):
        self.level, self.label = level, label
    async def reply(self, request):
        return []

MODELS = {"mine": Mine}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "my_model.py"
    path.write_text(GOOD)
    return path


def test_a_users_file_is_made_with_typed_options(good: Path) -> None:
    model = plugins.make("model", f"{good},level=3,label=x=y")
    assert (model.name, model.level, model.label) == ("mine", 3, "x=y")


TYPED = """
from __future__ import annotations
from typing import TYPE_CHECKING, Literal
if TYPE_CHECKING:
    from nowhere import Unknown

class Typed:
    def __init__(
        self, text: str = "", maybe: str | None = "x", either: str | int = "", word: Literal["a", "1"] = "a",
        whole: int = 0, part: float = 0.0, perhaps: float | None = 1.0, flag: bool = False, loose=None, UNKNOWN
    ):
        self.options = dict(locals())

MODELS = {"typed": Typed}
"""


@pytest.mark.parametrize("unknown", ["odd: int = 0", "odd: Unknown | None = None"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("text=2024-08-01", "2024-08-01"), ("text=1e5", "1e5"), ("text=on", "on"), ("text=007", "007"),
        ("text=null", "null"), ("text=4:2:0", "4:2:0"),
        ("text= a b ", "a b"), ("text=", ""), ("maybe=no", "no"), ("maybe=null", None),
        ("maybe=", None), ("either=444", "444"), ("word=1", "1"), ("whole=8", 8), ("part=8", 8), ("part=1e3", 1000.0),
        ("part=.5", 0.5), ("perhaps=null", None), ("perhaps=2.5", 2.5), ("flag=true", True), ("flag=off", False),
        ("loose=8", 8), ("loose=true", True), ("loose=2.5", 2.5), ("loose=word", "word"),
    ],
)  # fmt: skip
def test_an_option_is_read_as_its_annotation_says(option: str, value: object, unknown: str, tmp_path: Path) -> None:
    path = tmp_path / "typed.py"
    path.write_text(TYPED.replace("UNKNOWN", unknown))
    made = plugins.make("model", f"{path},{option}").options[option.partition("=")[0]]
    if option == "word=1" and "Unknown" in unknown:  # then nothing is known of what a Literal holds
        value = 1
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("whole=1.5", "whole=1.5 should be a whole number"), ("whole=true", "should be a whole number"),
        ("whole=many", "should be a whole number"), ("part=long", "part=long should be a number"),
        ("part=true", "should be a number"), ("flag=8", "flag=8 should be true or false"), ("whole=", "whole number"),
    ],
)  # fmt: skip
def test_an_option_of_another_kind_is_refused_in_one_sentence(option: str, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "typed.py"
    path.write_text(TYPED.replace("UNKNOWN", "odd: int = 0"))
    with pytest.raises(UsageError, match=wanted):
        plugins.make("model", f"{path},{option}")


def test_a_number_for_a_reference_player_is_a_number() -> None:
    assert find_reference("oracle", plugins.parse_spec("oracle,misplaced=0.25")[1]) is not None
    with pytest.raises(UsageError, match="a share from 0 to 1"):
        find_reference("oracle", plugins.parse_spec("oracle,misplaced=much")[1])


def test_threads_that_come_first_at_once_all_get_it(tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text("import time\ntime.sleep(0.2)\n" + GOOD)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda level: plugins.make("model", f"{path},level={level}"), range(4)))
    assert [model.level for model in made] == [0, 1, 2, 3]


def test_ours_are_found_by_name() -> None:
    assert {"scripted", "replay", "hf", "openai"} <= set(plugins.available("model"))
    assert {"graphcut", "sam_b", "sam_l", "sam_h"} <= set(plugins.available("segmenter"))


def test_an_installed_entry_point_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_package.py").write_text(GOOD)
    declare(tmp_path, "their-package", "[hlmat_bench.models]\ntheirs = their_package:Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert plugins.make("model", "theirs,level=2").level == 2
    assert plugins.available("model")["theirs"].origin == "their_package"


def test_a_file_says_what_its_segmenters_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "from hlmat_bench.interfaces import Facts\nfrom hlmat_bench.testing import DiscSegmenter\n"
        "SEGMENTERS = {'told': DiscSegmenter, 'untold': DiscSegmenter}\n"
        "FACTS = {'told': Facts(box=True, negative_clicks=True, previous_logits=False, licence='MIT')}\n"
    )
    (tmp_path / "their_segmenters.py").write_text(text)
    found = plugins.find("segmenter", f"{tmp_path / 'their_segmenters.py'}:told")
    assert found.facts is not None
    assert (found.facts.box, found.facts.previous_logits, found.facts.licence) == (True, False, "MIT")
    names = "".join(f"{name} = their_segmenters:DiscSegmenter\n" for name in ("told", "untold"))
    declare(tmp_path, "their-segmenters", f"[hlmat_bench.segmenters]\n{names}")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = plugins.available("segmenter")
    assert installed["told"].facts == found.facts
    assert installed["untold"].facts is None


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("scriptd", "no model called 'scriptd'. Did you mean scripted"),
        ("scripted,file", "must look like key=value"),
        ("scripted,fiel=x", "takes file, points"),
        ("./nowhere.py", "no plug-in file"),
    ],
)
def test_mistakes_are_one_sentence(spec: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        plugins.make("model", spec)


@pytest.mark.parametrize(
    ("text", "inner", "sentence"),
    [
        ("x = 1", "", "defines no MODELS"),
        ("x = = 1", "", "is not valid Python: invalid syntax in line 1"),
        (GOOD + "MODELS['other'] = Mine\n", "", "name one as"),
        (GOOD, ":mien", "Did you mean mine"),
    ],
)
def test_mistakes_in_a_file_are_one_sentence(tmp_path: Path, text: str, inner: str, sentence: str) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        plugins.make("model", f"{path}{inner}")


def test_what_a_plugin_misses_is_what_the_user_reads(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(GOOD + "def missing(name): return f'{name} needs a licence; ask for one.'\n")
    with pytest.raises(UsageError, match="mine needs a licence; ask for one."):
        plugins.make("model", str(path))
