"""Every file of the real data folder is read whole."""

import pytest

from coplms.config.data import SourceConfig
from coplms.data.sources import read_source
from coplms.data.text import read_text


def test_all_sni_files_are_read(data_root):
    tasks = read_source(SourceConfig(path=f"{data_root}/sni/tasks", format="sni"))
    divided = read_source(SourceConfig(path=f"{data_root}/sni/split_tasks/*/*.json", format="sni"))
    files = {example.origin.split("[")[0] for example in (*tasks, *divided)}
    assert len(files) == 334
    assert len({example.task for example in tasks}) == 314
    assert len({example.task for example in divided}) == 10
    assert len(tasks) + len(divided) == 58_000 - 1  # one output is blank
    assert all(example.instruction and example.input for example in (*tasks, *divided))
    assert "unknown" not in {example.domain for example in (*tasks, *divided)}


@pytest.mark.parametrize(("split", "num"), [("dev", 285), ("val", 1531), ("test", 14_042)])
def test_all_mmlu_questions_are_read(data_root, split, num):
    examples = read_source(SourceConfig(path=f"{data_root}/mmlu/{split}", format="mmlu"))
    assert len(examples) == num
    assert len({example.domain for example in examples}) == 57


@pytest.mark.parametrize(
    ("name", "num_domains", "sizes"),
    [
        ("clinc150", 10, (15_000, 3_000, 4_500)),
        ("text2sql", 8, (7_100, 691, 1_299)),
        ("sgd_nlg", 16, (13_533, 674, 1_913)),
        ("webnlg", 10, (14_670, 709, 1_552)),
    ],
)
def test_the_domain_data_sets_are_read(data_root, name, num_domains, sizes):
    paths = [f"{data_root}/domains/{name}/{split}.jsonl" for split in ("train", "dev", "test")]
    train, dev, test = (read_source(SourceConfig(path=path)) for path in paths)
    assert (len(train), len(dev), len(test)) == sizes
    assert len({example.domain for example in train}) == num_domains


def test_a_reference_that_is_blank_is_passed_over(data_root):
    path = f"{data_root}/domains/sgd_nlg/test_new_services.jsonl"
    examples = read_source(SourceConfig(path=path))
    assert len(examples) == 1_440
    assert all(reference.strip() for example in examples for reference in example.references)


def test_the_corpus_is_read(data_root):
    assert sum(1 for _ in read_text([f"{data_root}/corpus"])) == 36 + 3_976 + 120
