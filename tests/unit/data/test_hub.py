import sys

import pytest

from coplms.config.data import SourceConfig
from coplms.data.example import Example
from coplms.data.hub import is_cached, read
from coplms.data.sources import read_source
from coplms.errors import DataError, MissingExtraError


@pytest.fixture(autouse=True)
def _cache_in_tmp(tmp_path_factory, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(
        datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets_cache"))
    )
    datasets.disable_progress_bars()


def read_all(folder: object, split: str = "train") -> list[Example]:
    return list(read(SourceConfig(path=str(folder), format="hub", split=split)))


def test_a_local_folder_with_the_columns_of_jsonl_is_read(write_lines, tmp_path):
    test_row = {"instruction": "Do.", "input": "b", "references": ["y", "z"]}
    write_lines("pets/train.jsonl", {"instruction": "", "input": "a", "references": ["x"]})
    write_lines("pets/test.jsonl", test_row)
    folder = tmp_path / "pets"
    (train,) = read_all(folder)
    (test,) = read_all(folder, split="test")
    assert (train.domain, train.answer) == ("pets", "x")
    assert test == Example("Do.", "b", ("y", "z"), "pets", "pets", f"{folder}:test[0]")


def test_parquet_with_the_columns_of_mmlu_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {
        "question": ["Which is blue?"],
        "subject": ["high_school_art"],
        "choices": [["sky", "grass", "snow", "coal"]],
        "answer": [0],
    }
    (tmp_path / "mmlu").mkdir()
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "mmlu" / "test.parquet")
    (example,) = read_all(tmp_path / "mmlu", split="test")
    assert example.input == "Which is blue?\nA. sky\nB. grass\nC. snow\nD. coal"
    assert (example.references, example.domain) == (("A",), "high_school_art")


def test_the_columns_of_sni_are_read(write_lines, tmp_path):
    row = {"task_name": "task001_sum", "definition": "Add.", "inputs": "1 2"}
    write_lines("one/train.jsonl", row | {"targets": "3"})
    write_lines("many/train.jsonl", row | {"targets": ["3", "three"], "definition": ["Add."]})
    (one,) = read_all(tmp_path / "one")
    (many,) = read_all(tmp_path / "many")
    assert (one.instruction, one.input, one.references) == ("Add.", "1 2", ("3",))
    assert (one.task, one.domain) == ("task001_sum", "task001_sum")
    assert (many.instruction, many.references) == ("Add.", ("3", "three"))


def test_tasks_of_sni_are_chosen_by_name_or_number(write_lines, tmp_path):
    row = {"definition": "Add.", "inputs": "1 2", "targets": "3"}
    names = ("task001_sum", "task0012_sum", "task002_sum", "task003_sum")
    write_lines("sni/train.jsonl", *({"task_name": name, **row} for name in names))

    def read_tasks(*tasks: str) -> list[str]:
        source = SourceConfig(path=str(tmp_path / "sni"), format="hub", tasks=tasks)
        return [example.task for example in read_source(source)]

    assert read_tasks("task003_sum", "task001") == ["task001_sum", "task003_sum"]
    with pytest.raises(DataError, match=r"no SNI task 'task004' among those of .*sni'") as caught:
        read_tasks("task001", "task004")
    assert "Close names: " in str(caught.value)


def test_tasks_of_a_data_set_without_tasks_are_refused(write_lines, tmp_path):
    write_lines("pets/train.jsonl", {"input": "a", "output": "b"})
    source = SourceConfig(path=str(tmp_path / "pets"), format="hub", tasks=("task001",))
    with pytest.raises(DataError, match="no column `task_name`, so `tasks` chooses nothing"):
        list(read(source))


def test_a_data_set_is_cached_once_it_was_prepared(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    source = SourceConfig(path="Some/QuestionsFor:all", format="hub")
    (tmp_path / "Other___questions_for" / "all" / "0.0.0" / "abc").mkdir(parents=True)
    (tmp_path / "Some___questions_for" / "all" / "0.0.0").mkdir(parents=True)
    assert not is_cached(source)
    (tmp_path / "Some___questions_for" / "all" / "0.0.0" / "abc").mkdir(parents=True)
    assert is_cached(source)


def test_unlabelled_rows_are_read_where_no_answer_is_needed(write_lines, tmp_path):
    write_lines("pets/train.jsonl", {"input": "a"})
    source = SourceConfig(path=str(tmp_path / "pets"), format="hub")
    assert read_source(source, require_answer=False)[0].references == ()
    with pytest.raises(DataError, match=r"train\[0\]: no answer"):
        read_source(source)


def test_unknown_columns_are_refused(write_lines, tmp_path):
    write_lines("pets/train.jsonl", {"text": "a"})
    with pytest.raises(DataError, match="found the keys `text`"):
        read_all(tmp_path / "pets")


def test_a_choice_that_does_not_exist_is_refused(write_lines, tmp_path):
    row = {"question": "q", "choices": ["1", "2", "3", "4"], "answer": 4}
    write_lines("mmlu/train.jsonl", row)
    with pytest.raises(DataError, match=r"train\[0\]: `choices` must be"):
        read_all(tmp_path / "mmlu")


def test_an_unknown_split_is_refused(write_lines, tmp_path):
    write_lines("pets/train.jsonl", {"input": "a", "output": "b"})
    with pytest.raises(DataError, match="split 'dev', cannot be loaded"):
        read_all(tmp_path / "pets", split="dev")


def test_a_broken_data_set_is_refused_with_its_reason(write, tmp_path):
    write("pets/train.jsonl", "{broken\n")
    with pytest.raises(DataError, match=r"cannot be loaded: .*(parse|JSON)"):
        read_all(tmp_path / "pets")


def test_an_absent_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be loaded"):
        read_all(tmp_path / "absent")


def test_without_datasets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'coplms\[hub\]'"):
        read_all("someone/something")
