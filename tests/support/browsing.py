"""A real browser for tests of pages: what a visit notes, and a server with a sub-path."""

from __future__ import annotations

import importlib.resources
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def find_browser() -> str | None:
    """Return the browser that HLMAT_CHROMIUM names, or one on the path."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("HLMAT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@dataclass
class Visit:
    """A page, and what it did that nobody asked for.

    Attributes:
        problems: errors and warnings of the console, policy violations, uncaught errors, failed requests.
        requests: addresses that were asked for.
    """

    page: Page
    context: BrowserContext
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def names(self, part: str) -> list[str]:
        """Return the last parts of the addresses that hold a word."""
        return [address.rpartition("/")[2] for address in self.requests if part in address]


@contextmanager
def visit(browser: Browser, address: str, **options: Any) -> Iterator[Visit]:
    """Open a page; at the end it is closed."""
    context = browser.new_context(**options)
    page = context.new_page()
    made = Visit(page, context)

    def note(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            made.problems.append(said.text)

    def failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # which is the page's own doing: it shows another picture already
            made.problems.append(f"failed: {request.url}")

    page.on("console", note)
    page.on("pageerror", lambda error: made.problems.append(str(error)))
    page.on("requestfailed", failed)
    page.on("request", lambda request: made.requests.append(request.url))
    page.goto(address)
    yield made
    context.close()


class _Quiet(SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        prefix = "/some/where/"
        return super().translate_path(path.removeprefix(prefix.rstrip("/")) if path.startswith(prefix) else "/no")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the folder on http, under a sub-path, and give the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/some/where/"
    server.shutdown()
    server.server_close()


def open_sample(page: Page, sample: int) -> None:
    """Open a sample of a report in the player, by its row where that is in sight, else by its address."""
    page.locator(".samples .space .row").first.wait_for()
    row = page.locator(f'[data-sample="{sample}"]')
    if row.count():
        row.click()
    else:
        page.evaluate("(n) => { location.hash = new URLSearchParams({ sample: HL.gallery.index.ids[n] }); }", sample)
    page.wait_for_function("(n) => HL.gallery.player.sample === n && HL.gallery.player.episodes", arg=sample)


def accessibility(page: Page, *, every: bool = False) -> list[str]:
    """Return the serious and critical violations that axe-core finds, or those of every impact."""
    code = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text()
    page.evaluate(code)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    return [
        f"{rule['id']}: {node['html'][:160]}"
        for rule in found["violations"]
        if every or rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
