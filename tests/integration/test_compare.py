"""`coplms compare` on a tiny consortium: cells made once, failures told, one table of all."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from coplms.config.load import load_bench
from coplms.errors import ConfigError
from tests.integration.test_run import write_config

NO_DST = {"method.dst": {"steps": 0, "last_steps": 0}}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def write_bench(folder: Path, **more: object) -> Path:
    write_config(folder)
    bench = {
        "name": "Tiny bench",
        "data": [{"name": "requests", "config": "consortium.yaml"}],
        "methods": [
            "coplms",
            "standalone",
            {
                "name": "no-dst",
                "method": "coplms",
                "set": NO_DST,
                "like": "coplms",
            },
        ],
        "seeds": [0],
        **more,
    }
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(bench))
    return path


def compare(bench: Path, cache: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "coplms.cli.main", "compare", str(bench), *more]
    command += ["--output", str(bench.parent / "out"), "--jobs", "2"]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COPLMS_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
    )


def rows(bench: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((bench.parent / "out" / "results.csv").read_text().splitlines()))


def test_the_only_learning_rate_is_taken(tmp_path: Path, cache: Path) -> None:
    bench = write_bench(tmp_path, methods=["standalone"], learning_rates=[0.0037])
    for _ in range(2):  # the second time beside what the first one left
        found = compare(bench, cache)
        assert found.returncode == 0, found.stdout + found.stderr
    (config,) = (tmp_path / "out").rglob("seed-0/config.yaml")
    assert yaml.safe_load(config.read_text())["optimizer"]["learning_rate"] == 0.0037


def test_models_that_any_cell_needs_are_built_before_the_first(tmp_path: Path, cache: Path) -> None:
    partitions = [{"name": f"zoo-{seed}", "set": {"zoo.seed": seed}} for seed in (0, 1)]
    names = [each["name"] for each in partitions]
    data = [{"name": "requests", "config": "consortium.yaml", "partitions": names}]
    bench = write_bench(tmp_path, methods=["standalone"], partitions=partitions, data=data)
    found = compare(bench, cache)
    assert found.returncode == 0, found.stdout + found.stderr
    logs = [path.read_text() for path in (tmp_path / "out").rglob("seed-0.log")]
    assert len(logs) == 2
    assert not any("mini model" in log for log in logs)  # a cell that builds one says so


@pytest.mark.slow
def test_parts_of_a_bench_share_rates_and_tables(tmp_path: Path, cache: Path) -> None:
    rates = [0.001, 0.0037]
    bench = write_bench(tmp_path, methods=["standalone"], learning_rates=rates, seeds=[0, 1])
    for seed in ("0", "1"):
        found = compare(bench, cache, "--seed", seed)
        assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("learning-rates/requests") == 0  # the first part chose them
    assert {row["seed"] for row in rows(bench)} == {"0", "1"}
    (chosen,) = json.loads((tmp_path / "out" / "learning-rates.json").read_text())
    assert chosen["method"] == "standalone"
    assert chosen["tried"].keys() == {str(rate) for rate in rates}


def test_cells_are_made_once_failures_are_told_and_a_mended_bench_goes_on(
    tmp_path: Path, cache: Path
) -> None:
    no_dst = {"name": "no-dst", "method": "coplms", "set": NO_DST}
    broken = {"name": "broken", "method": "standalone", "set": {"data.max_length": 9}}
    found = compare(write_bench(tmp_path, methods=[no_dst, broken, "standalone"]), cache)
    assert found.returncode == 2
    assert "broken/seed-0: failed" in found.stdout
    assert "1 of 3 cells failed" in found.stderr + found.stdout
    bench, out = tmp_path / "bench.yaml", tmp_path / "out"
    assert {row["method"] for row in rows(bench)} == {"no-dst", "standalone"}
    assert "1 cell is not finished" in (out / "report.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")}
    assert len(before) == 2

    broken["set"] = {}
    (out / "cells/requests/as-given/broken").rename(tmp_path / "broken")
    found = compare(write_bench(tmp_path, methods=[no_dst, broken, "standalone"]), cache)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("requests/as-given/") == 1
    after = {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")}
    assert len(after) == 3
    assert before.items() <= after.items()

    table = rows(bench)
    assert {row["method"] for row in table} == {"no-dst", "broken", "standalone"}
    scores = [
        [row["rougeL"] for row in table if row["method"] == name]
        for name in ("broken", "standalone")
    ]
    assert scores[0] == scores[1] != []
    whens = {(row["when"], row["model"]) for row in table if row["method"] == "no-dst"}
    assert {("round-1", "slm"), ("round-1", "llm"), ("after", "slm"), ("after", "llm")} <= whens
    assert "no-dst" in (out / "results.md").read_text()
    page = (out / "report.html").read_text()
    assert "Tiny bench" in page
    assert "not finished" not in page
    phases = (out / "cells/requests/as-given/no-dst/seed-0/phases.jsonl").read_text()
    dst = [json.loads(line) for line in phases.splitlines() if '"dst"' in line]
    assert dst
    assert all(row["metrics"] == {} for row in dst)

    assert compare(bench, cache, "--tables").returncode == 0
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copytree(tmp_path / "out", moved / "out")
    shutil.copy(tmp_path / "consortium.yaml", moved)
    shutil.copy(bench, moved)
    assert compare(moved / "bench.yaml", cache, "--tables").returncode == 0

    # Another machine takes what is done from its lines, and makes nothing.
    there = tmp_path / "there"
    same = [{"name": "requests", "config": str(tmp_path / "consortium.yaml")}]
    write_bench(there, methods=[no_dst, broken, "standalone"], data=same)
    known = ("--known", str(out / "cells.jsonl"))
    empty = tmp_path / "no-models"
    found = compare(there / "bench.yaml", empty, *known)
    assert not (empty / "zoo").exists()
    assert found.returncode == 0, found.stdout + found.stderr
    assert not (there / "out" / "cells").exists()
    assert rows(there / "bench.yaml") == table
    lines = (out / "cells.jsonl").read_text()
    assert (there / "out" / "cells.jsonl").read_text() == lines
    write_bench(there, methods=["standalone"], data=same, set={"method.rounds": 1})
    found = compare(there / "bench.yaml", cache, *known, "--tables")
    assert "the known cell has another configuration (method.rounds is 2 there, 1 here" in " ".join(
        found.stdout.split()
    )
    assert not (there / "out" / "cells").exists()

    for change in ("bench", "configuration"):
        more = {"set": {"method.rounds": 1}} if change == "bench" else {}
        write_bench(tmp_path, methods=["standalone"], **more)
        config = yaml.safe_load((tmp_path / "consortium.yaml").read_text())
        if change == "configuration":
            config["method"]["rounds"] = 1
        (tmp_path / "consortium.yaml").write_text(yaml.safe_dump(config))
        found = compare(bench, cache)
        assert found.returncode == 2
        said = (found.stderr + found.stdout).replace("\n", " ")
        assert "another configuration (method.rounds is" in said


@pytest.mark.slow
def test_learning_rates_are_chosen_on_dev_text_for_each_method(tmp_path: Path, cache: Path) -> None:
    alike = {"name": "alike", "method": "standalone", "like": "standalone"}
    bench = write_bench(tmp_path, learning_rates=[1e-9, 0.01], methods=["standalone", alike])
    config = yaml.safe_load((tmp_path / "consortium.yaml").read_text())
    config["method"]["saml"] |= {"steps": 30, "server_steps": 30}
    (tmp_path / "consortium.yaml").write_text(yaml.safe_dump(config))
    found = compare(bench, cache)
    assert found.returncode == 0, found.stdout + found.stderr
    chosen = json.loads((tmp_path / "out" / "learning-rates.json").read_text())
    assert {row["method"]: row["chosen"] for row in chosen} == {"standalone": 0.01}
    commands = {row["method"]: row["command"] for row in rows(bench)}
    assert commands.keys() == {"standalone", "alike"}
    assert all("optimizer.learning_rate=0.01" in command for command in commands.values())
    assert all("evaluation.split" not in command for command in commands.values())
    logs = (tmp_path / "out/cells/learning-rates/requests/as-given/standalone").glob("*.log")
    assert {path.name for path in logs} == {"rate-1e-09.log", "rate-0.01.log"}
    dev = tmp_path / "out/cells/learning-rates/requests/as-given/standalone/rate-0.01/config.yaml"
    assert yaml.safe_load(dev.read_text())["evaluation"]["split"] == "dev"
    table = (tmp_path / "out" / "results.md").read_text()
    assert "| Method | seed | 1e-09 | 0.01 |" in table
    (line,) = (
        each for each in table.splitlines() if each.startswith("| requests, standalone | 0 |")
    )
    assert line.split(" | ")[3].startswith("**")


@pytest.mark.slow
def test_sigterm_ends_the_cells_and_the_bench_goes_on(tmp_path: Path, cache: Path) -> None:
    long = {"method.saml.steps": 4000, "evaluation.each_round": False}
    bench = write_bench(tmp_path, methods=["standalone", "centralised"], set=long)
    log = tmp_path / "out/cells/requests/as-given/standalone/seed-0.log"
    command = [sys.executable, "-m", "coplms.cli.main", "compare", str(bench)]
    command += ["--output", str(tmp_path / "out"), "--jobs", "2"]
    env = {**os.environ, "COPLMS_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=env)
    deadline = time.monotonic() + 120
    while not (log.exists() and "tune" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.terminate()
    assert process.wait(30) == 0
    assert not list((tmp_path / "out").rglob("cell.json"))
    cells = str(tmp_path / "out" / "cells")
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if cells in command_line(p)]
    assert left == []


def command_line(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"methods": ["fedprox"]}, "fedprox"),
        ({"methods": ["coplms", "coplms"]}, "occurs twice"),
        ({"data": [{"name": "a", "config": "x.yaml", "partitions": ["iid"]}]}, "'iid'"),
        ({"methods": [{"name": "a", "method": "coplms", "like": "b"}]}, "like 'b'"),
        ({"seeds": []}, "seeds"),
        ({"rates_from": "mmlu"}, "no data set 'mmlu'"),
        ({"set": {"optimizer.learning_rate": 0.1}, "learning_rates": [0.2]}, "set: sets optimizer"),
        (
            {
                "methods": [{"name": "fedmkt", "set": {"optimizer": {"learning_rate": 0.1}}}],
                "learning_rates": [0.2, 0.3],
            },
            "methods 'fedmkt': sets optimizer.learning_rate, which `learning_rates` sets too",
        ),
    ],
)
def test_mistakes_are_told_by_name(tmp_path: Path, more: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_bench(write_bench(tmp_path, **more))
