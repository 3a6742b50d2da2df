"""Pictures stand in a page: its ink, its fonts, ids of their own."""

import re
import sys
import xml.etree.ElementTree as ET

import pytest

from coplms.errors import MissingExtraError
from coplms.report.costs import TimeRow, TrafficRow
from coplms.report.curves import LossCurve, ScoreCurve
from coplms.report.plots import (
    comparison_plot,
    lines_plot,
    loss_plot,
    score_plot,
    time_plot,
    traffic_plot,
)
from coplms.report.tables import Stages


def pictures() -> dict[str, str]:
    """One of each kind."""
    curve = ScoreCurve("server DPM", "dpm", [(0, 1.0), (1, 40.0), (2, 60.0)])
    loss = LossCurve("alone/bank", "alone", True, [(1.0, 4.0), (2.0, 3.0)])
    return {
        "models": comparison_plot("models", "Exact match", [("bank SLM", Stages(1.0, 48.0, 47.0))]),
        "rounds": score_plot("rounds", "Exact match", [curve], ["server DPM"], 1),
        "loss-0": loss_plot("loss-0", "bank", [loss], ["alone"]),
        "traffic": traffic_plot([TrafficRow("bank", "down", {0: 2_000_000, 1: 500})]),
        "time": time_plot([TimeRow("dst", {"bank": 3.0})], ["bank"]),
    }


@pytest.mark.parametrize("name", ["models", "rounds", "loss-0", "traffic", "time"])
def test_a_picture_is_well_formed_named_and_takes_the_pages_colours(name: str) -> None:
    picture = pictures()[name]
    root = ET.fromstring(picture.replace("xlink:href", "href"))
    assert root.tag == "svg"
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == root.findtext("title") != ""
    assert "width" not in root.attrib
    assert "currentColor" in picture
    assert "var(--" in picture
    assert not re.search(r"#01\d{4}", picture), "a stand-in colour was left"
    assert "DejaVu" not in picture
    ids = [found.attrib["id"] for found in root.iter() if "id" in found.attrib]
    assert len(ids) == len(set(ids))
    assert all(found.startswith(f"{name}-") for found in ids)
    references = re.findall(r'(?:url\(#|href="#)([^)"]+)', picture)
    assert set(references) <= set(ids)


def test_points_close_to_each_other_stand_whole_under_the_upper_edge() -> None:
    picture = lines_plot("g", "t", "x", [[(3.0, 73.0)], [], [(4.0, 76.2)]])
    dots = [float(y) for y in re.findall(r'<use [^>]*y="([\d.]+)" style="[^"]*series', picture)]
    assert len(dots) == 2
    assert min(dots) > 8 + 2  # the margin above the axes, a dot's radius


def test_equal_pictures_have_equal_bytes() -> None:
    assert pictures() == pictures()


def test_names_are_text_not_markup_or_mathematics() -> None:
    picture = comparison_plot("models", "Exact match", [("<b>$a$ 漢", Stages(1.0, 2.0, 3.0))])
    assert "&lt;b&gt;$a$ 漢" in picture


def test_long_names_lose_their_middle() -> None:
    picture = time_plot([TimeRow("dst", {"a" * 30 + "z": 3.0})], ["a" * 30 + "z"])
    assert "aaaaaaaa\u2026aaaaaaaz" in picture


def test_a_missing_matplotlib_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'coplms\[report\]'"):
        time_plot([TimeRow("dst", {"bank": 3.0})], ["bank"])
