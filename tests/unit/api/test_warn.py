"""`coplms.api.warn`: what is said, and what is not worth saying."""

import pytest
import torch

from coplms.api.facts import DataCheck, ModelCheck
from coplms.api.memory import MemoryCheck
from coplms.api.pairs import PairCheck
from coplms.api.reading import Reading
from coplms.api.volume import DiskCheck
from coplms.api.warn import warn_data, warn_disk, warn_memory, warn_models, warn_pairs


@pytest.mark.parametrize(("num_classes", "count"), [(99, 1), (100, 0)])
def test_few_common_classes_are_warned_of(num_classes: int, count: int) -> None:
    found = list(warn_pairs([PairCheck("bank", "slm", num_classes, 0.1, 0.1, 0.1, 9)]))
    assert len(found) == count
    assert all("bank: DPM and SLM share only 99 classes" in text for text in found)


@pytest.mark.parametrize(
    ("member", "train", "count"), [("bank", 49, 1), ("bank", 50, 0), ("server", 5, 0)]
)
def test_a_device_with_few_examples_is_warned_of(member: str, train: int, count: int) -> None:
    found = list(warn_data([DataCheck(member, train, 1, 1, {})], []))
    assert len(found) == count
    assert all("bank: only 49 examples" in text for text in found)


@pytest.mark.parametrize(("num_cut", "count"), [(6, 1), (5, 0)])
def test_many_cut_prompts_are_warned_of(num_cut: int, count: int) -> None:
    found = list(warn_data([], [Reading("llm", "bank", 100, num_cut, 9, 9, 900, 500, ())]))
    assert len(found) == count
    assert all("llm cuts 6 of 100 prompts of bank" in text for text in found)


@pytest.mark.parametrize(("needed", "count"), [(801, 1), (800, 0), (1001, 0)])
def test_a_tight_disk_is_warned_of_and_a_full_one_is_an_error(needed: int, count: int) -> None:
    assert len(list(warn_disk(DiskCheck(needed, 0, 0, 0, free=1000)))) == count


@pytest.mark.parametrize(("peak", "count"), [(1001, 1), (1000, 0)])
def test_too_little_memory_is_warned_of(peak: int, count: int) -> None:
    found = list(warn_memory(MemoryCheck((), torch.device("cuda", 1), peak, 1000)))
    assert len(found) == count
    assert all("1.0 kB on cuda:1, and 1.0 kB are available" in text for text in found)


@pytest.mark.parametrize(("state", "count"), [("download", 1), ("ready", 0), ("build", 0)])
def test_a_download_is_announced(state: str, count: int) -> None:
    model = ModelCheck("llm", "org/name", state, 0, "llama", 1, None, 1, 1, "BPE")
    found = list(warn_models([model]))
    assert len(found) == count
    assert all("the weights of 'org/name' are not on this machine" in text for text in found)


@pytest.mark.parametrize(("written", "count"), [(None, 0), (7, 0), (8, 1)])
def test_sizes_that_are_not_the_models_are_warned_of(written: int | None, count: int) -> None:
    model = ModelCheck("dpm", "org/name", "ready", 0, "llama", 7, written, 1, 1, "BPE")
    found = list(warn_models([model]))
    assert len(found) == count
    assert all("has 7 parameters, and by its `sizes` it would have 8" in text for text in found)
