"""Writes the tables of `hlmat-bench suite tiny` and of evaluate.py into docs/tiny.md.

    python examples/tiny/tables.py runs/tiny runs/tiny-judge/hlmat-tiny-scores-0-1000.json

A table stands in the page between ``<!-- NAME -->`` and ``<!-- end -->``. What its paired
gains say stands below it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluate import markdown

from hlmat_bench.core.tables import escape_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tiny.md"


def suite_tables(document: Mapping[str, Any], text: str) -> dict[str, str]:
    """Return the tables of a suite by name, as its table.md (``text``) has them, with what their gains say."""
    sections = [part.partition("\n\n")[2].strip() for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    notes = [escape_markdown(note) for note in document["notes"]]
    made = {}
    for table, section in zip(document["tables"], sections, strict=True):
        paragraphs = [part for part in section.split("\n\n") if part not in notes]
        said = "\n".join(f"- {sentence}" for sentence in gains(table["cells"]))
        made[table["name"]] = "\n\n".join([*paragraphs, *([said] if said else [])])
    return made


def gains(cells: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each paired difference."""
    found = []
    for cell in cells:
        shown = cell["scores"].get("miou")
        if cell["minus"] is None or shown is None or shown["ci"] is None:
            continue
        value, (low, high) = shown["value"], shown["ci"]
        verdict = "a gain" if low > 0 else "a loss" if high < 0 else f"no difference that {cell['n']} samples show"
        place = f"{cell['row']}, {cell['column']}"
        found.append(escape_markdown(f"{place}: {value:+.1f} points ({low:+.1f} to {high:+.1f}): {verdict}."))
    return found


def filled(page: str, tables: Mapping[str, str]) -> str:
    """Return the page with these tables in the places of their names; other places stay as they are.

    Raises:
        SystemExit: when a table has no place.
    """
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not place.search(page):
            raise SystemExit(f"{PAGE.name} has no line <!-- {name} -->; add it where the table belongs.")
        page = place.sub(lambda found, shown=table: f"{found[1]}\n{shown}\n\n{found[2]}", page)
    return page


def main(argv: Sequence[str] | None = None) -> None:
    """Read the folder of the suite and the scores, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", type=Path, help="the folder of hlmat-bench suite tiny")
    parser.add_argument("scores", type=Path, nargs="?", help="the JSON file of evaluate.py")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write (default: docs/tiny.md)")
    given = parser.parse_args(argv)
    document = json.loads((given.suite / "table.json").read_text(encoding="utf-8"))
    tables = suite_tables(document, (given.suite / "table.md").read_text(encoding="utf-8"))
    if given.scores:
        tables["evaluate"] = markdown(json.loads(given.scores.read_text(encoding="utf-8"))).strip()
    page = filled(given.page.read_text(encoding="utf-8"), tables)
    given.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
