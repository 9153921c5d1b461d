"""Pages of the site that are written elsewhere: files of the repository, and reference pages from conf/ and docstrings.

MkDocs runs these hooks. Links in Markdown are those between files of the repository; here they become links between
pages, and a link to a file without a page becomes its name.
"""

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

import yaml
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {  # file of the repository -> page
    "conf/README.md": "reference/configuration.md",
    "benchmarks/README.md": "results.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
PUBLIC = {  # what reference/python.md shows, by its place in the package
    "Trainings and recipes": [f"commands.from_python.{name}" for name in ("train", "Run", "callbacks")],
    "Models": ["models.pretrained.load", "models.pretrained.save_model", "models.teacher.Teacher"],
    "Other trainings": ["modifiers.trainer_callback.ModifierCallback", "training.random_state.RandomState"],
    "Deployments": ["deployment.pipeline.open_pipeline"],
}
PROPERTIES = {"commands.from_python.Run": ["metrics", "model"]}  # that are shown too
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from elsewhere, and the pictures that they show."""
    pages = {page: (ROOT / source).read_text() for source, page in PAGES.items()}
    pages |= {"reference/recipes.md": recipes(), "reference/modifiers.md": modifiers(), "reference/python.md": python()}
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    for picture in (ROOT / "benchmarks").glob("*.png"):
        files.append(File.generated(config, picture.name, content=picture.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The Markdown with links between pages."""
    place = page.file.src_uri
    source = next((source for source, its_page in PAGES.items() if its_page == place), f"docs/{place}")
    return _LINK.sub(lambda found: _link(found, posixpath.dirname(source), posixpath.dirname(place)), markdown)


def _link(found: re.Match[str], here: str, page_folder: str) -> str:
    picture, text, target = found.groups()
    path, _, anchor = target.partition("#")
    if not path or ":" in path:
        return found[0]
    file = posixpath.normpath(posixpath.join(here, path))
    if file.startswith("docs/"):
        page = file.removeprefix("docs/")
    elif file.endswith(".png"):
        page = posixpath.basename(file)
    elif file in PAGES:
        page = PAGES[file]
    else:
        return f"`{file}`" if text in (path, file) else f"{text} (`{file}`)"
    return f"{picture}[{text}]({posixpath.relpath(page, page_folder or '.')}{'#' + anchor if anchor else ''})"


def recipes() -> str:
    """The files of conf/recipe, each with its comment and what it adds to the files that it starts from."""
    parts = ["# Recipes\n\nThe files of `conf/recipe/`. Numbers in a name are yours: `prune85`, `layers5`, `fast3`.\n"]
    for file in sorted((ROOT / "conf/recipe").glob("*.yaml")):
        comment, rest = _commented(file)
        parts.append(f"## {file.stem}\n\n{comment}\n\n```yaml\n{rest}```\n")
    return "\n".join(parts)


def modifiers() -> str:
    """The files of conf/modifier, each with the docstring of its class and its settings."""
    parts = ["# Modifiers\n\nThe files of `conf/modifier/`: every setting with its default.\n"]
    for file in sorted((ROOT / "conf/modifier").glob("*.yaml")):
        comment, rest = _commented(file)
        target = yaml.safe_load(file.read_text()).get("_target_")
        doc = f"\n{_docstring(target)}\n" if target else ""
        parts.append(f"## {file.stem}\n\n{comment}\n{doc}\n```yaml\n{rest}```\n")
    return "\n".join(parts)


def _commented(file: Path) -> tuple[str, str]:
    """The comment at the top of a YAML file without the name of the file, and the rest."""
    lines = file.read_text().splitlines(keepends=True)
    count = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    comment = " ".join(line.lstrip("# ").strip() for line in lines[:count])
    comment = comment.partition(".yaml: ")[2] or comment
    return comment[:1].upper() + comment[1:], "".join(lines[count:])


def _docstring(target: str) -> str:
    """The docstring of a class, without its arguments."""
    module, _, name = target.rpartition(".")
    tree = ast.parse((ROOT / "src" / f"{module.replace('.', '/')}.py").read_text())
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return (ast.get_docstring(found) or "").partition("\n\nArgs:")[0]


def python() -> str:
    """Names for mkdocstrings, which reads the docstrings."""
    parts = ["# Python\n\nAll of these are names of the package `winnow`.\n"]
    for title, names in PUBLIC.items():
        shown = (f"\n    options: {{members: {PROPERTIES[name]}}}" if name in PROPERTIES else "" for name in names)
        parts += [f"## {title}\n", *(f"::: winnow.{name}{more}\n" for name, more in zip(names, shown, strict=True))]
    return "\n".join(parts)
