"""`coplms.api.pairs`: common ground of two tokenizers on real answers."""

from pathlib import Path

import pytest
import torch

from coplms.api.pairs import check_pair
from coplms.data.example import Example
from coplms.models.language_model import LanguageModel
from coplms.models.load import load_model, vocab_size
from coplms.training.encoding import Encoder

EXAMPLES = [Example("", "thing", (answer,), "d", "d", "f:1") for answer in ("red", "yellow")]


def encoder(folder: Path) -> Encoder:
    return Encoder(load(folder), "{input}", 64)


def load(folder: Path) -> LanguageModel:
    return load_model(folder.name, str(folder), "float32", torch.device("cpu"))


def test_equal_tokenizers_have_everything_in_common(
    model_folders: dict[str, Path], tmp_path: Path
) -> None:
    one = encoder(model_folders["llm"])
    found = check_pair(("one", "slm"), one, encoder(model_folders["llm"]), EXAMPLES, tmp_path)
    assert found.num_classes == vocab_size(one.model)
    assert (found.dpm_own, found.model_own, found.one_to_one) == (1.0, 1.0, 1.0)
    assert (found.member, found.model, found.num_answers) == ("one", "slm", 2)


def test_other_tokenizers_have_less_and_the_classes_are_kept(
    model_folders: dict[str, Path], tmp_path: Path
) -> None:
    dpm, far = encoder(model_folders["llm"]), encoder(model_folders["far"])
    found = check_pair(("two", "slm"), dpm, far, EXAMPLES, tmp_path / "classes")
    strings = [{s for s in side.bytes.strings if s is not None} for side in (dpm, far)]
    common = len(strings[0] & strings[1])
    assert found.num_classes == common + 1
    assert found.dpm_own == pytest.approx(common / len(strings[0]))
    assert found.model_own == pytest.approx(common / len(strings[1]))
    assert 0 < found.dpm_own < found.model_own <= 1
    assert 0 < found.one_to_one < 1
    assert len(list((tmp_path / "classes").iterdir())) == 1
