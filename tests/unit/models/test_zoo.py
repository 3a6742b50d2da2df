"""`coplms.models.zoo`: folders that load, repeat, and continue after a kill."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from coplms.config.model import ZooConfig, ZooModelConfig
from coplms.errors import ConfigError, DataError
from coplms.models import zoo_training
from coplms.models.zoo import build_zoo, pack, texts_digest, zoo_folder
from coplms.models.zoo_tokenizers import train_tokenizer

TEXTS = [f"the {a} fox counts {n} dogs\nAnswer: {a}" for a in ("quick", "lazy") for n in range(40)]


def tiny(name: str = "a", architecture: str = "llama", **changes: object) -> ZooModelConfig:
    recipe = {"tokenizer": "byte_bpe", "vocab_size": 300, "hidden_size": 16, "layers": 1}
    recipe |= {"heads": 2, "steps": 3, "name": name, "architecture": architecture}
    return ZooModelConfig.model_validate(recipe | changes)


def zoo(*models: ZooModelConfig, **changes: object) -> ZooConfig:
    return ZooConfig.model_validate(
        {"models": models, "batch_size": 4, "block_tokens": 16, **changes}
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def assert_same_weights(left: Path, right: Path) -> None:
    a, b = weights(left), weights(right)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


KINDS = ["byte_bpe", "unigram", "fallback_bpe"]
PAIRS = [(a, t) for a in ("llama", "gpt_neox", "bloom", "gpt2", "phi") for t in KINDS]


@pytest.mark.parametrize(("architecture", "tokenizer"), [*PAIRS, ("qwen2", "byte_bpe")])
def test_every_architecture_loads_with_every_tokenizer(
    tmp_path: Path, architecture: str, tokenizer: str
) -> None:
    model = tiny("m", architecture, tokenizer=tokenizer)
    folder = build_zoo(zoo(model), TEXTS, tmp_path)["m"]
    network = AutoModelForCausalLM.from_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    trained = train_tokenizer(model.tokenizer, 300, TEXTS)
    assert network.config.model_type == architecture
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
    assert loaded.is_fast
    assert loaded.decode(loaded(TEXTS[7]).input_ids) == TEXTS[7]
    assert loaded.tokenize(TEXTS[7]) == trained.tokenize(TEXTS[7])
    assert network.config.eos_token_id == loaded.eos_token_id
    assert network.config.vocab_size == len(loaded)


def test_two_builds_give_identical_weights(tmp_path: Path) -> None:
    config = zoo(tiny())
    first = build_zoo(config, TEXTS, tmp_path / "1")["a"]
    second = build_zoo(config, TEXTS, tmp_path / "2")["a"]
    assert first.name == second.name
    assert_same_weights(first, second)


def test_a_second_call_trains_nothing(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []

    def note(name: str, step: int, steps: int, loss: float) -> None:
        assert loss > 0
        calls.append((name, step, steps))

    config = zoo(tiny())
    first = build_zoo(config, TEXTS, tmp_path, note)
    assert calls == [("a", 3, 3)]
    assert build_zoo(config, TEXTS, tmp_path, note) == first
    assert calls == [("a", 3, 3)]


class Killed(BaseException):
    """Stands for a signal: nothing in the program catches it."""


def test_a_killed_build_resumes_to_identical_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo_training, "CHECKPOINT_STEPS", 2)
    monkeypatch.setattr(zoo_training, "REPORT_STEPS", 1)
    config = zoo(tiny("a", steps=6, copies=1))
    whole = build_zoo(config, TEXTS, tmp_path / "whole")["a"]
    steps: list[int] = []

    def kill(name: str, step: int, steps_planned: int, loss: float) -> None:
        if step == 5:
            raise Killed

    def note(name: str, step: int, steps_planned: int, loss: float) -> None:
        steps.append(step)

    with pytest.raises(Killed):
        build_zoo(config, TEXTS, tmp_path / "cut", kill)
    resumed = build_zoo(config, TEXTS, tmp_path / "cut", note)["a"]
    assert steps == [5, 6]
    assert_same_weights(whole, resumed)
    left = {path.name.split("-")[0] for path in (tmp_path / "cut").iterdir()}
    assert left == {"a", "tokenizer"}


def test_a_broken_checkpoint_is_thrown_away(tmp_path: Path) -> None:
    config = zoo(tiny())
    folder = zoo_folder(config, config.models[0], texts_digest(TEXTS), tmp_path)
    checkpoint = tmp_path / f"{folder.name}.checkpoint.safetensors"
    checkpoint.write_bytes(b"not tensors")
    built = build_zoo(config, TEXTS, tmp_path)["a"]
    assert_same_weights(built, build_zoo(config, TEXTS, tmp_path / "clean")["a"])


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses: list[float] = []
    build_zoo(
        zoo(tiny(steps=60), learning_rate=1e-2),
        TEXTS,
        tmp_path,
        lambda name, step, steps, loss: losses.append(loss),
    )
    assert len(losses) == 3
    assert losses[-1] < losses[0] < 6.0


def test_models_of_one_kind_and_size_share_their_tokenizer(tmp_path: Path) -> None:
    models = (tiny("a"), tiny("b", "gpt2"), tiny("c", tokenizer="unigram"))
    folders = build_zoo(zoo(*models), TEXTS, tmp_path)
    content = {name: (folder / "tokenizer.json").read_bytes() for name, folder in folders.items()}
    assert content["a"] == content["b"]
    assert content["a"] != content["c"]
    assert len(list(tmp_path.glob("tokenizer-*"))) == 2


def test_the_folder_name_follows_recipe_and_text(tmp_path: Path) -> None:
    base = zoo(tiny())
    names = {
        zoo_folder(config, config.models[0], digest, tmp_path).name
        for config in (
            base,
            zoo(tiny(steps=4)),
            zoo(tiny(), seed=1),
            zoo(tiny(), batch_size=5),
            zoo(tiny(copies=1)),
        )
        for digest in (texts_digest(["ab", "c"]), texts_digest(["a", "bc"]))
    }
    assert len(names) == 10
    assert all(name.startswith("a-") for name in names)


def test_blocks_overlap_by_the_one_token_that_is_only_a_target() -> None:
    tokenizer = train_tokenizer("byte_bpe", 300, ["x"])
    a, b, eos = *tokenizer("ab").input_ids, tokenizer.eos_token_id
    blocks = pack(tokenizer, ["ab", "b", "a"], 2)
    assert blocks.tolist() == [[a, b, eos], [eos, b, eos], [eos, a, eos]]


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"less than one block of 16.*zoo\.block_tokens"):
        build_zoo(zoo(tiny()), ["a"], tmp_path)


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hidden_size 16 does not divide into 3 heads"):
        build_zoo(zoo(tiny("fits"), tiny(heads=3)), TEXTS, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_may_stay_untrained(tmp_path: Path) -> None:
    assert weights(build_zoo(zoo(tiny(steps=0)), TEXTS, tmp_path)["a"])


def test_a_qwen2_that_transformers_would_garble_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Qwen2 .* 'unigram' would be garbled"):
        build_zoo(zoo(tiny("a", "qwen2", tokenizer="unigram")), TEXTS, tmp_path)
