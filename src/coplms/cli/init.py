"""`coplms init`: a commented configuration for one's own models and data."""

from importlib.resources import files
from pathlib import Path

from coplms.cli.console import print_line
from coplms.errors import RunError

_TEMPLATES = {"consortium.yaml": "consortium.yaml", "data/README.md": "data.md"}
"""What is written, and what from."""


def init(folder: Path) -> Path:
    """The configuration's path, written into `folder` beside a note on the format of data.

    Raises:
        RunError: If one of the files exists, or the folder cannot be written to. Nothing has been
            changed then.
    """
    for name in _TEMPLATES:
        if (folder / name).exists():
            raise RunError(
                f"{folder / name} exists and is not overwritten. Give another folder "
                "(`coplms init FOLDER`), or move the file away."
            )
    templates = files("coplms.cli") / "templates"
    try:
        for name, template in _TEMPLATES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            text = (templates / template).read_text(encoding="utf-8")
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written to ({error.strerror}). Give another folder: "
            "`coplms init FOLDER`."
        ) from error
    print_line(f"wrote {folder / 'consortium.yaml'} and {folder / 'data' / 'README.md'}")
    print_line("fill in your models and data, then: coplms train consortium.yaml --dry-run")
    return folder / "consortium.yaml"
