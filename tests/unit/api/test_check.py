"""`coplms.api.check` and `refuse`: everything that can be known before training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from coplms.api import volume
from coplms.api.check import check_run
from coplms.api.facts import tokenizer_kind
from coplms.api.refuse import check_before_training
from coplms.config.run import RunConfig
from coplms.data.members import load_data
from coplms.errors import ConfigError, CoplmsError, DataError, ModelError, RunError
from coplms.models.zoo_tokenizers import TokenizerKind, train_tokenizer

MakeConfig = Callable[..., RunConfig]


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_sound_run_is_described_and_nothing_is_written_but_class_maps(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config()
    cache = tmp_path / "cache"
    found = check_run(config, cache, tmp_path / "run")
    assert found.refusal is None
    assert [model.name for model in found.models] == ["llm", "dpm", "one/slm", "two/slm"]
    assert [pair.member for pair in found.pairs] == ["one", "two"]
    assert [(held.member, held.train, held.dev, held.test) for held in found.data] == [
        ("server", 16, 2, 6),
        ("one", 16, 2, 2),
        ("two", 16, 2, 2),
    ]
    assert found.data[0].domains == {"server": 16}
    assert found.num_transfer == 20
    readers = [(reading.reader, reading.member) for reading in found.readings]
    assert readers == [
        ("llm", "server"),
        ("llm", "one"),
        ("llm", "two"),
        ("one/slm", "one"),
        ("one/slm", "server"),
        ("two/slm", "two"),
        ("two/slm", "server"),
    ]
    assert found.distill_steps == 7
    method = config.method
    assert found.alone_steps == method.server_steps + 2 * method.device_steps
    assert any("one: only 16 examples" in warning for warning in found.warnings)
    assert not (tmp_path / "run").exists()
    assert {Path(name).parts[0] for name in contents(cache)} == {"classes"}


def test_mini_models_that_are_absent_are_described_but_not_built(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    recipe = {"name": "a", "architecture": "llama", "tokenizer": "byte_bpe", "steps": 9}
    device = make_config().devices[0].model_dump() | {"slm": {"model": "mini/a"}}
    config = make_config(devices=[device], zoo={"models": [recipe]})
    found = check_run(config, tmp_path / "cache", tmp_path / "run")
    assert (found.models[2].state, found.models[2].build_steps) == ("build", 9)
    assert found.models[2].num_parameters > 0
    assert found.models[2].tokenizer == ""
    assert found.pairs == ()
    assert {reading.reader for reading in found.readings} == {"llm"}
    assert not (tmp_path / "cache" / "zoo").exists()


def long_answer(config: RunConfig, number: int) -> Path:
    """Puts an answer of 80 letters into the 7th line of a device's file."""
    data = config.devices[number].data
    assert data is not None
    path = Path(data.train.path)
    lines = path.read_text().splitlines()
    lines[6] = '{"input": "thing", "output": "' + "q" * 80 + '"}'
    path.write_text("\n".join(lines))
    return path


def test_an_answer_beyond_the_context_is_refused_alike_before_and_by_the_run(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config()
    path = long_answer(config, 0)
    found = check_run(config, tmp_path / "cache", tmp_path / "run")
    assert isinstance(found.refusal, DataError)
    assert str(found.refusal).startswith(f"{path}:7: the answer has 82 tokens")
    assert "raise data.max_length to 86" in str(found.refusal)
    with pytest.raises(DataError) as caught:
        start(config, tmp_path)
    assert str(caught.value) == str(found.refusal)


def start(config: RunConfig, folder: Path) -> None:
    check_before_training(config, load_data(config), {}, folder / "classes", folder / "run")


def test_a_full_disk_is_refused_alike(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = volume.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(volume.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    config = make_config()
    found = check_run(config, tmp_path / "cache", tmp_path / "run")
    assert isinstance(found.refusal, RunError)
    assert "the disk has 1.0 kB left" in str(found.refusal)
    with pytest.raises(RunError, match=r"the disk has 1\.0 kB left"):
        start(config, tmp_path)


def test_a_sound_run_may_start_and_its_class_maps_are_ready(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    start(make_config(), tmp_path)
    assert len(contents(tmp_path / "classes")) == 2
    assert not (tmp_path / "run").exists()


def test_another_runs_folder_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        check_run(make_config(), tmp_path / "cache", tmp_path / "run")


def changed(config: RunConfig, section: str, **values: object) -> RunConfig:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


BAD: dict[str, tuple[Callable[[RunConfig], RunConfig], type[CoplmsError], str]] = {
    "no room for prompts": (
        lambda config: changed(config, "evaluation", max_new_tokens=60),
        ConfigError,
        "leaves 4 tokens for prompts",
    ),
    "text to distil on": (
        lambda config: changed(
            config, "method", distill=config.method.distill.model_copy(update={"text": ("no.txt",)})
        ),
        DataError,
        "no file at 'no.txt'",
    ),
    "absent model": (
        lambda config: changed(config, "llm", model="./absent"),
        ModelError,
        "there is no folder './absent'",
    ),
    "model's context": (
        lambda config: changed(config, "data", max_length=2000),
        ConfigError,
        "reads at most 1024 tokens",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_would_fail_later_is_refused_now(
    make_config: MakeConfig, tmp_path: Path, case: str
) -> None:
    spoil, kind, message = BAD[case]
    config = spoil(make_config())
    for attempt in (
        lambda: check_run(config, tmp_path / "cache", tmp_path / "run"),
        lambda: start(config, tmp_path),
    ):
        with pytest.raises(kind, match=message):
            attempt()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("byte_bpe", "byte-level BPE"),
        ("unigram", "Unigram"),
        ("fallback_bpe", "BPE with byte fallback"),
    ],
)
def test_kinds_of_tokenizers_are_named(kind: TokenizerKind, name: str) -> None:
    assert tokenizer_kind(train_tokenizer(kind, 300, ["a b c"])) == name
