"""The page as a browser lays it out: narrow and wide, light and dark."""

import base64
import html
import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from coplms.report.html import write_report

WIDTHS = (400, 1400)
SCHEMES = ("light", "dark")

BROKEN_PAGE = """<!doctype html><body style="color:#999;background:#fff"><main>
<p style="width:3000px">Too wide and too pale</p><p style="margin-top:-30px">Laid over</p>
<svg width="100" height="50"><text x="90" y="20" font-size="5">Cut off</text></svg></main>"""
"""Has every fault that the measurements look for."""
FAULTS = ("smallPictures", "overlaps", "cutTexts", "leftOver", "tinyTexts", "paleTexts")


@pytest.fixture(scope="module")
def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip(f"no browser on PATH: looked for {', '.join(names)}")
    return found


@pytest.fixture(scope="module")
def layouts(
    chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, object]]:
    """`400 light` and so on -> what the browser measured."""
    folder = tmp_path_factory.mktemp("report")
    write_sample_run = runpy.run_path(str(Path(__file__).parents[1] / "report_run.py"))[
        "write_sample_run"
    ]
    write_sample_run(
        folder / "run", name="Consortium_of_hospital_factory_and_bank_in_one_long_word"
    )
    page = write_report(folder / "run").read_text(encoding="utf-8")
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    cases = {f"{width} {scheme}": (width, scheme, page) for width in WIDTHS for scheme in SCHEMES}
    cases["broken"] = (400, "light", BROKEN_PAGE)
    frames = "".join(
        f'<iframe width="{width}" height="900" style="border:0;color-scheme:{scheme}" '
        f'srcdoc="{html.escape(content)}"></iframe>'
        for width, scheme, content in cases.values()
    )
    wrapper = folder / "wrapper.html"
    wrapper.write_text(
        f'<!doctype html><meta charset="utf-8"><script>{script}</script>'
        f'{frames}<pre id="found"></pre>',
        encoding="utf-8",
    )
    profile = folder / "profile"
    dom = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            wrapper.as_uri(),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    ).stdout.decode()
    encoded = re.search(r'<pre id="found">([^<]+)</pre>', dom)
    assert encoded, "the browser measured nothing"
    found = json.loads(base64.b64decode(encoded[1]))
    return dict(zip(cases, found, strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_laid_out_whole(
    layouts: dict[str, dict[str, object]], width: int, scheme: str
) -> None:
    found = layouts[f"{width} {scheme}"]
    assert found["width"] == width
    assert found["isDark"] == (scheme == "dark")
    assert found["sideways"] == 0
    assert found["numPictures"] == 10
    for fault in FAULTS:
        assert found[fault] == [], fault


def test_the_measurements_see_every_fault(layouts: dict[str, dict[str, object]]) -> None:
    found = layouts["broken"]
    assert isinstance(found["sideways"], int)
    assert found["sideways"] > 2000
    for fault in FAULTS:
        assert found[fault], fault
