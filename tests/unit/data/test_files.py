from pathlib import Path

import pytest

from coplms.data.files import expand, find_files
from coplms.errors import DataError


def test_variables_and_home_are_expanded(monkeypatch):
    monkeypatch.setenv("PLACE", "/data")
    monkeypatch.setenv("HOME", "/home/anna")
    assert expand("${PLACE}/x/${PLACE}") == "/data/x//data"
    assert expand("~/x") == "/home/anna/x"


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_refused_with_a_remedy(monkeypatch, value):
    monkeypatch.delenv("COPLMS_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("COPLMS_DATA", value)
    with pytest.raises(DataError, match="COPLMS_DATA, which is not set") as error:
        expand("${COPLMS_DATA}/x.jsonl")
    assert "Set it or pass --data-root DIR" in str(error.value)


def test_a_folder_gives_its_files_of_the_right_kind_sorted(write, tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz", "c.txt", "inner/d.jsonl"):
        write(name, "")
    found = find_files(str(tmp_path), (".jsonl", ".jsonl.gz"))
    assert [path.name for path in found] == ["a.jsonl.gz", "b.jsonl"]


def test_a_pattern_descends_into_folders(write, tmp_path, monkeypatch):
    write("a/train.json", "")
    write("b/train.json", "")
    write("b/test.json", "")
    assert [path.parent.name for path in find_files(f"{tmp_path}/*/train.json", ())] == ["a", "b"]
    assert len(find_files(f"{tmp_path}/**/*.json", ())) == 3
    monkeypatch.chdir(tmp_path)
    assert find_files("*/test.json", ()) == [Path("b/test.json")]


def test_a_file_whose_name_looks_like_a_pattern_is_read(write):
    path = write("a[1].jsonl", "")
    assert find_files(path, ()) == [Path(path)]


@pytest.mark.parametrize("path", ["absent.jsonl", "*.absent"])
def test_a_missing_file_is_named(tmp_path, path):
    with pytest.raises(DataError, match="no file at") as error:
        find_files(f"{tmp_path}/{path}", (".jsonl",))
    assert path in str(error.value)


def test_a_folder_without_files_names_its_folders(write, tmp_path):
    write("dev/x.csv", "")
    with pytest.raises(DataError, match=r"holds no \.csv file(.|\n)*dev"):
        find_files(str(tmp_path), (".csv",))
