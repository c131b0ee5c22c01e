"""BibTeX of the benchmark, of its paper, of a task's data, and of an entry of the leaderboard."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hlmat_bench.core.tables import escape_latex
from hlmat_bench.core.text import clean, safe_link
from hlmat_bench.reports.pages.frame import version

#: The paper that the benchmark follows, as the proceedings print it.
SEGAGENT = """\
@inproceedings{zhu2025segagent,
  title = {{SegAgent}: Exploring Pixel Understanding Capabilities in {MLLMs} by Imitating Human Annotator Trajectories},
  author = {Zhu, Muzhi and Tian, Yuzhuo and Chen, Hao and Zhou, Chunluan and Guo, Qingpei and Liu, Yang and Yang, Ming
    and Shen, Chunhua},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {3686--3696},
  year = {2025},
  eprint = {2503.08625},
  archiveprefix = {arXiv},
}
"""

# "Ke, Ye, Danelljan. Segment Anything in High Quality. NeurIPS 2023": how task files cite.
_CITATION = re.compile(r"(?P<authors>[^.]+?)(?P<more> et al)?\. (?P<title>.+)\. (?P<venue>[^.]+) (?P<year>\d{4})\.?")


def benchmark(date: str = "") -> str:
    """Return the BibTeX of the benchmark in this version, with that of its paper.

    Args:
        date: the date of the page, whose year is given; empty: none is.
    """
    own = {
        "title": "{hlmat-bench}: Do Multimodal {LLMs} Know Which Pixels Belong to the Object You Name?",
        "author": "{The hlmat-bench contributors}",
        "version": version(),
        "year": date[:4],
    }
    return _entry("software", "hlmatbench", own) + "\n" + SEGAGENT


def data(name: str, citation: str, homepage: str = "") -> str:
    """Return the BibTeX of a task's data; empty where it needs no citation.

    A citation that is BibTeX already is returned as it is. Task files write one as a line,
    "Authors. Title. Venue Year", with family names alone; it becomes a ``@misc``. A citation of any other form
    becomes its note.

    Args:
        name: name of the task.
        citation, homepage: those of the task file.

    >>> print(data("x", "Lin et al. Microsoft COCO. ECCV 2014"), end="")
    @misc{x,
      title = {Microsoft COCO},
      author = {Lin and others},
      howpublished = {ECCV},
      year = {2014},
    }
    """
    text = citation.strip()
    if not text or text.startswith("none needed"):
        return ""
    if text.startswith("@"):
        return text + "\n"
    found = _CITATION.fullmatch(" ".join(text.split()))
    if found is None:
        return _entry("misc", name, {"note": escape_latex(clean(text, 500)), "url": safe_link(homepage) or ""})
    authors = found["authors"].split(", ") + (["others"] if found["more"] else [])
    fields = {
        "title": escape_latex(found["title"]),
        "author": " and ".join(f"{{{escape_latex(each)}}}" if " " in each else escape_latex(each) for each in authors),
        "howpublished": escape_latex(found["venue"]),
        "year": found["year"],
        "url": safe_link(homepage) or "",
    }
    return _entry("misc", name, fields)


def leaderboard_entry(
    entry_id: str, *, title: str, submitter: str, submitted: str, task: str, url: str | None = None
) -> str:
    """Return the BibTeX of an entry of the leaderboard; texts come from a submitter, and are cleaned and escaped here.

    Args:
        entry_id: id of the entry, letters, digits and hyphens.
        title, submitter: as handed in.
        submitted: date, ``2026-11-26``.
        task: title of the task.
        url: first link of the entry; None: none.
    """
    fields = {
        "title": f"{escape_latex(clean(title))} on {escape_latex(clean(task))}",
        "author": f"{{{escape_latex(clean(submitter))}}}",
        "howpublished": "Leaderboard of {hlmat-bench}",
        "year": submitted[:4],
        "note": f"Entry {escape_latex(entry_id)}, submitted on {submitted}",
        "url": (safe_link(url) or "") if url else "",
    }
    return _entry("misc", f"hlmat-{entry_id}", fields)


def _entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    lines = [f"  {name} = {{{value}}},\n" for name, value in fields.items() if value]
    return f"@{kind}{{{re.sub(r'[^A-Za-z0-9_:-]', '', key)},\n{''.join(lines)}}}\n"
