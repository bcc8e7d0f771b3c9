"""Hooks of mkdocs: pages of the repository's root, reference pages, links and formulas.

Files outside of ``docs`` stay where readers of the repository look for them; the site shows the
same files. Formulas become MathML when the site is built, so pages need no script, no font and no
network for them.
"""

import html
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert as to_mathml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "project/architecture.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "results/README.md": "results.md",
}
# packages with public names, by the order of their pages; a name has its page where it comes first
PACKAGES = {
    "functional": "Functions",
    "losses": "Losses",
    "imbalance": "Weights, smoothing and resampling",
    "metrics": "Metrics",
    "integrations.lightning": "Lightning callbacks",
    "integrations.sklearn": "scikit-learn",
    "models": "Networks",
    "models.estimators": "Estimators",
    "data": "Splits and texts",
    "inference": "Saved models",
    "exceptions": "Exceptions",
}
SHORT_PATHS = {"sklearn": "integrations.sklearn"}  # the same names at a shorter import path
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


@cache
def load_package() -> griffe.Module:
    """Read the source of ranksim, without importing it."""
    package = griffe.load("ranksim", search_paths=[ROOT / "src"], allow_inspection=False)
    assert isinstance(package, griffe.Module)
    return package


def list_names(name: str = "") -> list[str]:
    """Return the public names of a package, relative to ``ranksim``."""
    module = load_package()[name] if name else load_package()
    classes = [m for m, value in module.members.items() if not value.is_alias and value.is_class]
    exports = map(str, module.exports or classes)
    return [f"{name}.{export}".lstrip(".") for export in exports]


@cache
def plan_reference() -> dict[str, list[str]]:
    """Return the names that each page of the reference documents; key "" is the top package."""
    pages: dict[str, list[str]] = {}
    documented: set[str] = set()
    for package in (*PACKAGES, ""):
        names = [name for name in list_names(package) if not name.endswith("__version__")]
        new = [name for name in names if _definition(name) not in documented]
        modules = [name for name in new if name in PACKAGES]
        documented |= {_definition(name) for name in new}
        pages[package] = [name for name in new if name not in modules]
    return pages


def _definition(name: str) -> str:
    value = load_package()[name]
    return value.final_target.path if value.is_alias else value.path  # type: ignore[union-attr]


def write_reference() -> dict[str, str]:
    """Return the pages of the reference by their path."""
    pages = {}
    where = {_definition(name): name for names in plan_reference().values() for name in names}
    for package, title in PACKAGES.items():
        names = plan_reference()[package]
        path = f"ranksim.{package}"
        summary = load_package()[package].docstring
        lines = [f"# {title}: `{path}`", "", _first_line(summary), ""]
        lines += [f"::: ranksim.{name}\n" for name in names]
        pages[f"reference/{package.replace('.', '-')}.md"] = "\n".join(lines)
    rows = ["| name | page | what it is |", "| --- | --- | --- |"]
    for name in list_names():
        if name == "__version__":
            continue
        target = where.get(_definition(name), name)
        page = "" if target in PACKAGES else target.rpartition(".")[0]
        link = f"[`{name}`][ranksim.{target}]"
        if target in PACKAGES:
            link = f"[`{name}`]({target.replace('.', '-')}.md)"
        text = _first_line(load_package()[name].docstring).replace("|", "\\|")
        rows.append(f"| {link} | `ranksim{'.' * bool(page)}{page}` | {text} |")
    others = [
        f"`ranksim.{short}` has the names of `ranksim.{long}`."
        for short, long in SHORT_PATHS.items()
    ]
    top = [f"::: ranksim.{name}\n" for name in plan_reference()[""]]
    lines = [
        "# API reference",
        "",
        "What `import ranksim` offers:",
        "",
        *rows,
        "",
        *others,
        "",
        *top,
    ]
    pages["reference/index.md"] = "\n".join(lines)
    return pages


def _first_line(docstring: griffe.Docstring | None) -> str:
    from scripts.site_docstrings import convert_docstring

    return convert_docstring(docstring.value.splitlines()[0]) if docstring else ""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the parts of the navigation that have generated or many pages."""
    gallery = sorted(path.stem for path in (ROOT / "docs/gallery").glob("*.md"))
    titles = {title: f"reference/{name.replace('.', '-')}.md" for name, title in PACKAGES.items()}
    parts: dict[str, list[Any]] = {
        "API": ["reference/index.md", *({title: path} for title, path in titles.items())],
        "Gallery": [f"gallery/{name}.md" for name in sorted(gallery, key=lambda n: n != "index")],
    }
    for item in config.nav or []:
        for title in item:
            if title in parts:
                item[title] = parts[title]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of ``docs``, and the reference."""
    for source, target in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=text))
    for target, text in write_reference().items():
        files.append(File.generated(config, target, content=text))
    for path in (ROOT / "docs").glob("*.html"):  # report pages
        if files.get_file_from_path(path.name) is None:
            files.append(File.generated(config, path.name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files of the repository at their page, or at the repository."""
    sources = {target: source for source, target in ROOT_PAGES.items()}
    uri = page.file.src_uri
    source = sources.get(uri, f"docs/{uri}")

    def rewrite(match: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", match[2]):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        target = ROOT_PAGES.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(target) is None:
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"{match[1]}{config.extra['repository']}/{kind}/main/{path}{match[3]}"
        return match[1] + posixpath.relpath(target, posixpath.dirname(uri) or ".") + match[3]

    return markdown if uri.startswith("reference/") else _LINK.sub(rewrite, markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace formulas by MathML, and let wide tables scroll."""

    def convert(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return to_mathml(html.unescape(match[2]).strip(), display=display)

    return _FORMULA.sub(convert, content)
