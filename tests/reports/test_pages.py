"""What all pages share: harmless texts and links, deterministic files, plots that are safe without styles."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import clean, neutral, safe_link
from hlmat_bench.reports.pages import templates
from hlmat_bench.reports.pages.data import csv_text, json_text, script
from hlmat_bench.reports.pages.site import Site

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}\u202eevil"


@given(st.text(max_size=300), st.integers(1, 50))
def test_a_clean_name_is_short_and_hides_nothing(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in shown)
    assert not any(unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI") for c in shown)


def test_a_long_name_says_that_it_is_cut() -> None:
    assert clean("a" * 10, 10) == "a" * 10
    assert clean("a" * 1_000_000, 10) == "a" * 9 + "…"
    assert clean("  two\twords\u200f ") == "two words"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "//host/x", "/path", "x", "",
        "http://", "http://user:word@host/", "http://ho st/", "http://host/\n", "https://host/<b>", "http://[::1",
        "ftp://host/", "file:///etc/passwd", "https://hos\u202et/", "http://" + "a" * 600,
    ],
)  # fmt: skip
def test_links_that_are_none(url: str) -> None:
    assert safe_link(url) is None
    assert templates.link("words", url) == "words"


def test_a_link_says_nothing_of_where_it_comes_from() -> None:
    assert templates.link("<b>", "https://example.org/a?b=c&d=e") == (
        '<a href="https://example.org/a?b=c&amp;d=e" rel="noopener nofollow">&lt;b&gt;</a>'
    )


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_a_cell_is_no_formula(cell: str) -> None:
    assert neutral(cell) == "'" + cell
    [_, row] = csv.reader(io.StringIO(csv_text(["a", "b", "c"], [[cell, -0.1, None]]), newline=""))
    assert row == ["'" + cell, "-0.1", ""]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@given(VALUES)
def test_a_data_script_holds_its_value_whole(value: object) -> None:
    text = script("s0", json_text(value))
    assert text.isascii()
    found = re.fullmatch(r'HL\.put\("s0", ("[^\n]*")\);\n', text)
    assert json.loads(json.loads(found[1])) == value


def test_json_has_no_nan_and_one_order() -> None:
    assert json_text({"b": 1, "a": [2]}) == '{"a":[2],"b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        json_text([float("nan")])


def test_templates_escape_and_miss_nothing() -> None:
    environment = templates.environment()
    shown = environment.from_string("{{ name }}|{{ number|number }}").render(name=HOSTILE, number=None)
    assert shown == "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;{{7*7}}\u202eevil|–"
    with pytest.raises(UndefinedError):
        environment.from_string("{{ nothing }}").render()


def test_every_template_compiles_and_none_switches_escaping_off() -> None:
    environment = templates.environment()
    for name in environment.list_templates():
        source = environment.loader.get_source(environment, name)[0]
        assert "safe" not in re.findall(r"\|\s*(\w+)", source), name
        assert "autoescape" not in source, name
        assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", source), name
        environment.get_template(name)


def test_a_site_is_written_whole_with_its_checksums(tmp_path: Path) -> None:
    out = tmp_path / "site"
    for _ in range(2):
        with Site(out) as site:
            site.write("index.html", "ä")
            site.write("data/a.json", b"{}")
    lines = (out / "SHA256SUMS").read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256(b'{}').hexdigest()}  data/a.json",
        f"{hashlib.sha256('ä'.encode()).hexdigest()}  index.html",
    ]
    with pytest.raises(ValueError, match="no new file"), Site(out) as site:
        site.write("/index.html", "other")
    assert (out / "index.html").read_text() == "ä"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\x", "twice"])
def test_a_site_keeps_to_its_folder(tmp_path: Path, name: str) -> None:
    with Site(tmp_path / "site") as site:
        site.write("twice", "")
        with pytest.raises(ValueError, match="no new file"):
            site.write(name, "")


def test_a_site_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with Site(Path()) as site:
        site.write("index.html", "")
    assert (tmp_path / "here" / "index.html").exists()


def test_a_site_replaces_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    with pytest.raises(UsageError, match="other files than pages"), Site(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "kept"
