"""What changed on a leaderboard: the list of the last 30 days, and a feed (Atom, RFC 4287)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple
from xml.etree import ElementTree

from hlmat_bench.core.text import clean
from hlmat_bench.reports.leaderboard.repository import Repository

FEED = "changes.xml"
_ATOM = "http://www.w3.org/2005/Atom"
_NAMES = uuid.UUID("6f2c0a4e-5d1b-4c39-9b8a-1f6f0f3c7a52")
_DAYS = 30
_MOST = 50


class Change(NamedTuple):
    """An entry that was submitted, or withdrawn.

    Attributes:
        date: the day, ISO 8601.
        kind: ``submitted`` or ``withdrawn``.
        id, title: of the entry.
        task: its name.
        about: who submitted it with which mIoU, or why it was withdrawn.
    """

    date: str
    kind: str
    id: str
    title: str
    task: str
    about: str


def changes(repository: Repository) -> list[Change]:
    """Return all changes, the newest first."""
    found = [
        Change(
            each.entry.submitted,
            "submitted",
            each.entry.id,
            clean(each.entry.title, 60),
            each.entry.manifest.task.name,
            f"{100 * each.entry.answer.miou:.1f} % mIoU, by {clean(each.entry.submitter, 60)}",
        )
        for each in repository.listed
    ]
    found += [
        Change(each.date, "withdrawn", each.id, clean(each.title, 60), each.task, clean(each.reason, 500))
        for each in repository.withdrawn
    ]
    return sorted(found, key=lambda change: (change.date, change.kind, change.id), reverse=True)


def updated(found: Sequence[Change]) -> str | None:
    """Return the day of the newest change, ISO 8601; None where there is none. It is the date of the pages.

    Pages have no other date, so that two builds of one folder are the same.
    """
    return found[0].date if found else None


def recent(found: Sequence[Change]) -> list[Change]:
    """Return the changes of the 30 days up to the newest one, at most 50."""
    days = [_day(change) for change in found]
    newest = max(days, default=date.min)
    return [change for change, day in zip(found, days, strict=True) if newest - day <= timedelta(_DAYS)][:_MOST]


def _day(change: Change) -> date:
    """Return the day; what the pattern of dates allows but no calendar has is the first of its year."""
    try:
        return date.fromisoformat(change.date)
    except ValueError:
        return date(int(change.date[:4]), 1, 1)


def feed(found: Sequence[Change]) -> str:
    """Return the newest changes as an Atom feed; its links are relative to the feed."""
    ElementTree.register_namespace("", _ATOM)
    root = ElementTree.Element(f"{{{_ATOM}}}feed")
    _add(root, "title", "hlmat-bench leaderboard: changes")
    _add(root, "id", f"urn:uuid:{uuid.uuid5(_NAMES, 'feed')}")
    _add(root, "updated", _moment(found[0]) if found else "2000-01-01T00:00:00Z")
    _add(root, "link", href=FEED, rel="self")
    _add(root, "link", href="index.html")
    author = ElementTree.SubElement(root, f"{{{_ATOM}}}author")
    _add(author, "name", "hlmat-bench leaderboard")
    for change in found[:_MOST]:
        item = ElementTree.SubElement(root, f"{{{_ATOM}}}entry")
        _add(item, "title", f"{change.title} on {change.task}: {change.kind}")
        _add(item, "id", f"urn:uuid:{uuid.uuid5(_NAMES, f'{change.kind} {change.id} {change.date}')}")
        _add(item, "updated", _moment(change))
        _add(item, "link", href=f"entries/{change.id}.html")
        _add(item, "summary", change.about)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _moment(change: Change) -> str:
    return f"{_day(change).isoformat()}T00:00:00Z"


def _add(parent: ElementTree.Element, tag: str, text: str | None = None, **attributes: str) -> None:
    ElementTree.SubElement(parent, f"{{{_ATOM}}}{tag}", attributes).text = text
