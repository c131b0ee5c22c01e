"""What MkDocs needs besides mkdocs.yml: pages of the files outside docs/, and a check of the finished site.

The pages are written for GitHub, where ``../examples/worker.py`` is a link to a file of the repository. On the site
such a file is a page, too: Markdown as it is, everything else as a block of code. README.md is the first page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
#: Files outside docs/ that stand in the navigation.
IN_NAVIGATION = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
_LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?(?=\))")
_CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_LOADED = re.compile(r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\ssrc=["']?((?:https?:)?//[^"'\s>]+)""")
_STYLES = re.compile(
    r"""<link\b(?=[^>]*\brel=["']?(?:stylesheet|icon|preload|preconnect|prefetch|modulepreload)\b)"""
    r"""[^>]*?\shref=["']?((?:https?:)?//[^"'\s>]+)"""
)
_IN_STYLE = re.compile(r"""(?:url\(|@import\s)\s*["']?((?:https?:)?//[^"')\s]+)""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside docs/ that is in the navigation or that a page links to."""
    wanted = [*IN_NAVIGATION]
    sources = {f"docs/{file.src_uri}": Path(file.abs_src_path or "") for file in files.documentation_pages()}
    sources |= {name: ROOT / name for name in IN_NAVIGATION}
    for source, path in sources.items():
        wanted += [target for target, _ in _targets(source, path.read_text(encoding="utf-8"))]
    for name in sorted(set(wanted)):
        if not name.startswith("docs/") and (ROOT / name).is_file():
            files.append(File.generated(config, _page_of(name), content=_content(name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead to pages of the site."""
    uri = page.file.src_uri
    source = next((name for name in IN_NAVIGATION if _page_of(name) == uri), f"docs/{uri}")

    def replaced(match: re.Match[str]) -> str:
        there = _page_of(_resolved(source, match[1]))
        return posixpath.relpath(there, posixpath.dirname(uri) or ".") + (match[2] or "")

    return _outside_code(markdown, lambda text: _LINK.sub(replaced, text))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Give the theme's dialog for searching a name that screen readers read."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def on_post_build(config: MkDocsConfig) -> None:
    """Raise PluginError where a page or a style sheet loads something from another host."""
    site = Path(config.site_dir)
    found = [f"{path.relative_to(site)}: {address}" for path in sorted(site.rglob("*")) for address in foreign(path)]
    if found:
        raise PluginError("The site loads files of other hosts:\n" + "\n".join(found))


def foreign(path: Path) -> list[str]:
    """Return the addresses on other hosts that a page or a style sheet loads files from."""
    if path.suffix == ".html":
        text = path.read_text(encoding="utf-8")
        return _LOADED.findall(text) + _STYLES.findall(text)
    if path.suffix == ".css":
        return _IN_STYLE.findall(path.read_text(encoding="utf-8"))
    return []


def _targets(source: str, markdown: str) -> list[tuple[str, str]]:
    """Return the file of the repository and the anchor of each link."""
    found: list[tuple[str, str]] = []

    def note(text: str) -> str:
        found.extend((_resolved(source, link), anchor) for link, anchor in _LINK.findall(text))
        return text

    _outside_code(markdown, note)
    return found


def _resolved(source: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _page_of(name: str) -> str:
    """Return the page, relative to docs/, that shows a file of the repository."""
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if name == "README.md":
        return "index.md"
    return name if name.endswith(".md") else f"{name}.md"


def _content(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".md"):
        return text
    language = {".py": "python", ".sh": "bash", ".yaml": "yaml"}.get(Path(name).suffix, "text")
    return f"---\nsearch: {{exclude: true}}\n---\n\n# {name}\n\n~~~~{language}\n{text}\n~~~~\n"


def _outside_code(markdown: str, change: Any) -> str:
    """Apply a function to what is no code."""
    parts, end = [], 0
    for code in _CODE.finditer(markdown):
        parts += [change(markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(markdown[end:])])
