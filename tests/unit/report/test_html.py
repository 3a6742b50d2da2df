"""The page tells what was recorded, and says what was not."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from coplms.consortium.record import RunHistory, RunRecord
from coplms.errors import RunError
from coplms.report.html import render, write_report

EVIL = "</style><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Tags, text and ids of a page, after checking that every element is closed."""

    VOID = frozenset({"meta"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [
            value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}
        ]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_finished_run_is_told_in_full(sample_run: RunRecord) -> None:
    path = write_report(sample_run.folder)
    assert path == sample_run.folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    for words in (
        "Regional consortium",
        "3 of 4 models answer better",
        "llama, 3 layers of 128, unigram tokenizer",
        "credit_cards",
        "40.1 MB",
        "At the end",
        "coplms train config.yaml",
        "rank: 16",
        "2.13.0",
        "1,500 examples",
    ):
        assert words in page.text
    assert "not finished" not in page.text
    assert page.tags.count("svg") == 10
    assert len(page.ids) == len(set(page.ids))


def test_a_page_needs_nothing_but_itself(sample: RunHistory) -> None:
    html = render(sample)
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_equal_runs_give_equal_pages(sample: RunHistory) -> None:
    assert render(sample) == render(sample)


def test_names_and_settings_cannot_become_markup(sample_run: RunRecord) -> None:
    config = yaml.safe_load((sample_run.folder / "config.yaml").read_text())
    config["name"] = EVIL
    config["llm"]["model"] = EVIL
    config["devices"][0]["name"] = EVIL
    sample_run.write_text("config.yaml", yaml.safe_dump(config))
    sample_run.write_json("environment.json", {EVIL: {"versions": EVIL}})
    sample_run.write_json("data.json", {"devices": {EVIL: {"train": 1, "domains": {EVIL: 1}}}})
    scores = {"exact_match": 1.0, "rougeL": 1.0, "by_domain": {EVIL: {"exact_match": 1.0}}}
    row = {"when": "after", "member": EVIL, "model": EVIL, "scope": EVIL, **scores}
    sample_run.append("evaluation", row)
    sample_run.append("evaluation", row | {"when": "round-1", "scope": "all"})
    sample_run.append("phases", {"phase": EVIL, "member": EVIL, "kind": EVIL, "seconds": 1.0})
    sample_run.append("metrics", {"phase": EVIL, "step": 1, "steps": 1, "loss": 1.0})
    ledger = f'{{"round": 1, "device": "x", "direction": "{"<script>"}", "bytes": 1}}\n'
    sample_run.write_text("ledger.jsonl", ledger)

    page = Page(write_report(sample_run.folder).read_text(encoding="utf-8"))

    assert not {"script", "img"} & set(page.tags)
    assert EVIL in page.text


def test_a_run_that_has_just_begun_says_what_is_missing(tmp_path: Path) -> None:
    RunRecord(tmp_path).write_text("config.yaml", "method: {rounds: 3}\n")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    for words in (
        "This run is not finished. It has reached round 0 of 3.",
        "No model has been scored yet.",
        "No scores by domain were recorded.",
        "No model was scored between the rounds.",
        "No training step was recorded.",
        "No message was recorded.",
        "No phase has finished yet.",
        "No environment was recorded.",
    ):
        assert words in page.text
    assert "svg" not in page.tags


def test_a_run_without_tuning_alone_claims_no_gain(sample_run: RunRecord) -> None:
    path = sample_run.folder / "evaluation.jsonl"
    kept = [line for line in path.read_text().splitlines(True) if '"alone"' not in line]
    path.write_text("".join(kept))
    page = Page(write_report(sample_run.folder).read_text(encoding="utf-8"))
    assert "No model was tuned alone" in page.text
    assert "points over tuning alone" not in page.text


def test_a_run_in_its_second_round_shows_what_there_is(sample_run: RunRecord) -> None:
    path = sample_run.folder / "evaluation.jsonl"
    kept = [line for line in path.read_text().splitlines(True) if '"after"' not in line]
    path.write_text("".join(kept))
    page = Page(write_report(sample_run.folder).read_text(encoding="utf-8"))
    assert "This run is not finished. It has reached round 3 of 3." in page.text
    assert "No model has been scored after co-tuning yet." in page.text
    assert "svg" in page.tags


def test_a_version_that_is_no_version_stays_out_of_the_command(sample_run: RunRecord) -> None:
    sample_run.write_json("environment.json", {"packages": {"coplms": "1'; rm -rf ~; '"}})
    page = Page(write_report(sample_run.folder).read_text(encoding="utf-8"))
    assert "pip install 'coplms[report]'\n" in page.text


def test_many_domains_are_counted_rather_than_listed(sample_run: RunRecord) -> None:
    domains = {f"domain {letter}": 1 for letter in "abcdefghij"}
    sample_run.write_json("data.json", {"devices": {"bank": {"domains": domains}}})
    page = Page(write_report(sample_run.folder).read_text(encoding="utf-8"))
    assert "domain h and 2 more" in page.text


def test_a_folder_that_is_no_run_gets_no_page(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(RunError):
        write_report(absent)
    assert not absent.exists()


def test_the_legend_of_losses_names_only_phases_that_train(sample: RunHistory) -> None:
    page = render(sample)
    start = page.index("<h2>Training loss</h2>")
    section = page[start : page.index("<section>", start)]
    assert ">saml</li>" in section
    assert ">evaluate</li>" not in section
    assert ">evaluate</li>" in page[page.index("<h2>Time</h2>") :]
