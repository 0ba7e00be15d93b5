"""Shapes the site of these pages like the repository: a page's links are right in both.

    pip install .[docs]
    python -m mkdocs build --strict

A hook of MkDocs, see `mkdocs.yml`. The site has README.md, the changelog and what lies in `docs/`,
and all that they link to: Markdown as pages, a Python file as a page with its text, a folder as a
page that lists it, and other files as they are.
"""

import ast
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_STARTS = ("README.md", "CHANGELOG.md")
_LINK = re.compile(r"(?<=\]\()([^()\s#:]+)(?=[#)])")  # The path in `[text](path#anchor)`.
_NO_SEARCH = "---\nsearch:\n  exclude: true\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replaces what MkDocs found in `docs/` by all files of the site, named from the root."""
    root, docs = Path(config.docs_dir).parent, Path(config.docs_dir)
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    own = [str(path.relative_to(root)) for path in _visible(docs, deep=True)]
    for place in sorted(linked(root, [*_STARTS, *own])):
        files.append(_file_of(root, place, config))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads links to Python files and folders to the pages that show them."""
    root, folder = Path(config.docs_dir).parent, posixpath.dirname(page.file.src_uri)

    def lead(match: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(folder, match[0]))
        return posixpath.relpath(_page_of(root, place), folder or ".")

    return _LINK.sub(lead, markdown)


def linked(root: Path, starts: list[str]) -> set[str]:
    """The files and folders of a repository that pages lead to, and these pages.

    Args:
        root: of the repository.
        starts: paths in it.

    Returns:
        Paths in it. Where a link leads nowhere there is none: MkDocs will say so.
    """
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        place = waiting.pop()
        if place not in found and (root / place).exists() and not place.startswith(".."):
            found.add(place)
            waiting += _links(root, place)
    return found


def _links(root: Path, place: str) -> Iterator[str]:
    """Where a Markdown file or the list of a folder leads."""
    path = root / place
    if path.is_dir():
        yield from (str(file.relative_to(root)) for file in _visible(path))
    elif path.suffix == ".md":
        for link in _LINK.findall(path.read_text(encoding="utf-8")):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def _visible(folder: Path, *, deep: bool = False) -> Iterator[Path]:
    """The files in a folder, and those of the folders in it if `deep`, by name."""
    paths = folder.rglob("*") if deep else folder.iterdir()
    for path in sorted(paths):
        if path.is_file() and not any(x.startswith((".", "__pycache__")) for x in path.parts[1:]):
            yield path


def _page_of(root: Path, place: str) -> str:
    """The name in the site of what shows a path of the repository."""
    path = root / place
    if path.is_dir():
        return f"{place}/index.md"
    return f"{place}.md" if path.is_file() and path.suffix == ".py" else place


def _file_of(root: Path, place: str, config: MkDocsConfig) -> File:
    path, name = root / place, _page_of(root, place)
    if name == place:
        return File.generated(config, name, abs_src_path=os.fspath(path))
    page = _folder_page(path, place) if path.is_dir() else _python_page(path, place)
    return File.generated(config, name, content=page)


def _folder_page(folder: Path, place: str) -> str:
    """A list of the files of a folder, Python files with what they are for."""
    lines = [
        f"- [`{path.name}`]({path.name}) {_purpose(path)}".rstrip() for path in _visible(folder)
    ]
    return "\n".join([f"{_NO_SEARCH}# {place}/", "", *lines])


def _python_page(path: Path, place: str) -> str:
    return f"{_NO_SEARCH}# {place}\n\n~~~~ python\n{path.read_text(encoding='utf-8')}~~~~\n"


def _purpose(path: Path) -> str:
    """The first line of a module's docstring; "" where there is none."""
    if path.suffix != ".py":
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
