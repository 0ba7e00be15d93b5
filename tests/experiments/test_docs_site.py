"""The site of the pages: what belongs to it, where links lead, and that faults end the build."""

import html.parser
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from experiments import docs_site

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path):
    """A small one: a page that leads to a folder, a Python file, a figure and another page."""
    links = "[a](../code) [b](../code/run.py) ![c](../results/figure.png) [d](other.md#more)"
    files = {
        "README.md": "# Start\n\n[page](docs/page.md)\n",
        "CHANGELOG.md": "# Changes\n",
        "docs/page.md": f"# Page\n\n{links} [e](https://example.org) [f](#page)\n",
        "docs/other.md": "# Other\n\n## More\n",
        "code/run.py": '"""Runs.\n\nMore."""\n\ntext = "[not](a/link.md)"\n',
        "code/__pycache__/run.pyc": "",
        "results/figure.png": "",
        "results/unlinked.png": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def _build(repository):
    """With the settings of the real site, but for what its pages need."""
    folders = {"docs_dir": str(repository / "docs"), "site_dir": str(repository / "site")}
    config = load_config(str(_ROOT / "mkdocs.yml"), nav=["README.md"], plugins=[], **folders)
    assert config.strict
    build(config)


def test_what_pages_lead_to_is_found(repository):
    found = docs_site.linked(repository, ["README.md", "docs/missing.md"])
    places = {"README.md", "docs/page.md", "docs/other.md", "code", "code/run.py"}
    assert found == places | {"results/figure.png"}


def test_links_lead_to_pages_in_the_site(repository):
    _build(repository)
    page = (repository / "site" / "docs" / "page.html").read_text(encoding="utf-8")
    for link in ("../code/index.html", "../code/run.py.html", "../results/figure.png"):
        assert f'"{link}"' in page
    folder = (repository / "site" / "code" / "index.html").read_text(encoding="utf-8")
    assert 'href="run.py.html"' in folder and "Runs." in folder and "More." not in folder
    source = (repository / "site" / "code" / "run.py.html").read_text(encoding="utf-8")
    assert "[not](a/link.md)" in source
    assert not (repository / "site" / "results" / "unlinked.png").exists()


@pytest.mark.parametrize(
    "link", ["gone.md", "other.md#gone", "../code/gone.py", "../gone", "#gone"]
)
def test_a_broken_link_ends_the_build(repository, link):
    with (repository / "docs" / "page.md").open("a", encoding="utf-8") as file:
        file.write(f"\n[broken]({link})\n")
    with pytest.raises(Abort, match="strict mode"):
        _build(repository)


class _Reader(html.parser.HTMLParser):
    """Collects where a page leads, what it loads, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors = set(), set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values.get("id"), values.get("name")}
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])
        loaded = values.get("href") if tag == "link" else values.get("src")
        self.loaded |= {loaded} if loaded else set()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    pages = {path: _Reader(path) for path in tmp_path.rglob("*.html") if path.name != "404.html"}
    assert {"index.html", "docs/api.html", "compad_jax/agent.py.html"} <= {
        str(path.relative_to(tmp_path)) for path in pages
    }
    for path, page in pages.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme:
                assert link not in page.loaded, (path, link)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), (path, link)
            if parts.fragment and target in pages and parts.fragment != "__skip":
                assert unquote(parts.fragment) in pages[target].anchors, (path, link)
    api = (tmp_path / "docs" / "api.html").read_text(encoding="utf-8")
    for name in ("agent.Agent.step", "models.memory.protocol.MemoryRule.write", "types.History"):
        assert f'id="compad_jax.{name}"' in api
    for page in ("design", "performance", "results", "settings", "summary", "why_it_failed"):
        text = (tmp_path / "docs" / f"{page}.html").read_text(encoding="utf-8")
        assert "<table>" in text and "| --- |" not in text
