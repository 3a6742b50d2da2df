"""The documents say what is so: links resolve, names exist, defaults and files are real."""

import importlib
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from coplms.config.run import RunConfig

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "coplms"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`]+)`")


def rows_below(text: str, header: str) -> Iterator[list[str]]:
    """The cells of a table's rows; the table starts with the line `header`."""
    lines = text.split(f"\n{header}\n", maxsplit=1)[1].splitlines()[1:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def anchors(document: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in words}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{document.name}: {link}"


def test_every_document_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for document in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{document.name})" in readme


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_tables_are_what_the_kept_cells_say(page: str) -> None:
    written = (ROOT / page).read_text(encoding="utf-8")
    generator = runpy.run_path(str(ROOT / "docs" / "generate_results.py"))
    assert written == generator["render"](written), "run: python docs/generate_results.py"
    block = generator["TABLES"].search(written)[0]
    changed = written.replace(block, block.replace("| coplms |", "| other |"))
    assert changed != written
    assert generator["render"](changed) == written


def test_all_kept_cells_stand_in_the_results() -> None:
    written = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "bench").glob("*.jsonl"):
        assert f"<!-- begin: bench/{path.name} -->" in written


def test_the_configuration_document_is_up_to_date() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    fresh = runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))["render"]()
    assert written == fresh, "run: python docs/generate_configuration.py"


def test_equations_name_functions_that_exist() -> None:
    text = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    rows = list(rows_below(text, "| Equation | Function |"))
    names = [name for row in rows for name in SPAN.findall(row[1])]
    assert len(names) >= len(rows) > 10
    for name in names:
        assert callable(_find(name)), name


def _find(name: str) -> object:
    """What `losses.divergence` or `methods.coplms.CoPLMs.download` names below `coplms`."""
    parts = name.split(".")
    modules = len(parts)
    while not (SOURCE.joinpath(*parts[:modules]).with_suffix(".py")).is_file():
        modules -= 1
        assert modules, f"there is no module of '{name}'"
    found: object = importlib.import_module(".".join(["coplms", *parts[:modules]]))
    for part in parts[modules:]:
        found = getattr(found, part)
    return found


def test_the_paper_document_tells_the_real_defaults() -> None:
    text = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    generator = runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))
    rows = list(rows_below(text, "| Key | Default | Reason |"))
    assert len(rows) > 10
    for key, default, reason in rows:
        *sections, name = key.strip("`").split(".")
        section: type[BaseModel] = RunConfig
        for part in sections:
            section = type(section.model_fields[part].default)
        assert default == generator["_default"](section.model_fields[name]), key
        assert reason


def test_every_method_setting_has_a_reason() -> None:
    text = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    told = {row[0].strip("`") for row in rows_below(text, "| Key | Default | Reason |")}
    method = type(RunConfig.model_fields["method"].default)
    for phase in ("saml", "transfer"):
        for name in type(method.model_fields[phase].default).model_fields:
            assert f"method.{phase}.{name}" in told


def test_the_architecture_document_lists_every_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed: set[Path] = set()
    for row in rows_below(text, "| Path | Idea |"):
        folder = Path()
        for span in SPAN.findall(row[0]):
            if "/" in span:
                folder = Path(span).parent if span.endswith(".py") else Path(span)
            if span.endswith(".py"):
                listed.add(folder / Path(span).name)
            else:
                listed |= {path.relative_to(SOURCE) for path in (SOURCE / span).rglob("*.py")}
    real = {path.relative_to(SOURCE) for path in SOURCE.rglob("*.py")}
    hidden = {path for path in real if path.name == "__init__.py"}
    assert real - listed - hidden == set(), "add these to the Files table of architecture.md"
    assert listed - real == set(), "these are in architecture.md, but no files"


def test_the_readmes_tree_is_the_repositorys() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("## Files\n\n```\n")[1].split("```")[0]
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    real = {
        path.name
        for path in SOURCE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert named == real - {"__init__.py"}
    for line in tree.splitlines():
        if not line.startswith("  "):
            assert (ROOT / line.split()[0]).exists(), line


def test_results_have_a_place_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    results = text.split("\n## Results\n")[1].split("\n## ")[0]
    assert results.index("<!-- results:begin -->") < results.index("<!-- results:end -->")
