from pathlib import Path

import pytest

from coplms.config.load import dump_config, load_config
from coplms.errors import ConfigError

GOOD = """\
name: clinics
llm:
  model: mini/large
devices:
  - name: a
    slm: {model: mini/bloom}
  - name: b
    slm:
      model: mini/llama
data:
  pool:
    train: {path: x.jsonl}
    partition:
      kind: dirichlet
      concentration: 0.1
"""


@pytest.fixture
def write(tmp_path: Path):
    def write_file(text: str | bytes) -> Path:
        path = tmp_path / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


def refusal(path: Path, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


def test_a_file_becomes_a_configuration_with_defaults(write):
    config = load_config(write(GOOD))
    assert config.name == "clinics"
    assert config.devices[1].slm.model == "mini/llama"
    assert config.data.pool.partition.concentration == 0.1
    assert config.method.rounds == 3


def test_a_dumped_configuration_loads_to_an_equal_one(write):
    config = load_config(write(GOOD), ["optimizer.learning_rate=1e-5", "name='yes'"])
    assert load_config(write(dump_config(config))) == config


def test_a_dumped_file_layout_loads_to_an_equal_one(write):
    text = """\
llm: {model: m}
devices:
  - {name: a, slm: {model: s, tuning: {kind: full}}, data: {train: {path: "é: #x"}}}
data:
  server: {train: {path: s.jsonl}}
  template: "{instruction}\\n\\t{input}: "
"""
    config = load_config(write(text))
    assert load_config(write(dump_config(config))) == config


def test_sizes_keep_the_types_that_they_are_written_in(write):
    sizes = "{model_type: llama, hidden_size: 8, tie_word_embeddings: false, rms_norm_eps: 1.0e-5}"
    config = load_config(write(GOOD), [f"llm.sizes={sizes}", "devices.0.slm.sizes.model_type=x"])
    assert config.llm.sizes == {
        **{"model_type": "llama", "hidden_size": 8, "tie_word_embeddings": False},
        "rms_norm_eps": 1e-5,
    }
    assert load_config(write(dump_config(config))) == config


def test_overrides_reach_keys_and_list_items_and_the_last_wins(write):
    config = load_config(
        write(GOOD),
        ["method.rounds=9", "method.rounds=2", "devices.0.name=law", "devices[1].name=finance"],
    )
    assert config.method.rounds == 2
    assert [device.name for device in config.devices] == ["law", "finance"]


def test_an_override_replaces_a_whole_section(write):
    config = load_config(write(GOOD), ["data.pool.partition={kind: iid}", "alone=false"])
    assert config.data.pool.partition.kind == "iid"
    assert config.alone is False


def test_anchors_and_merge_keys_work(write):
    text = GOOD + "optimizer: &o {batch_size: 4}\nevaluation:\n  <<: *o\n  max_new_tokens: 5\n"
    config = load_config(write(text))
    assert (config.evaluation.batch_size, config.evaluation.max_new_tokens) == (4, 5)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("      model: mini/llama", "      modle: mini/llama", "line 9: devices[1].slm.modle is"),
        ("      model: mini/llama", "      modle: mini/llama", "Did you mean 'model'? Known: mod"),
        (
            "      model: mini/llama",
            "      modle: mini/llama",
            "line 8: devices[1].slm.model is mi",
        ),
        ("mini/llama", "5", "line 9: devices[1].slm.model is 5: it must be a valid string."),
        ("mini/llama", "5", "(`mini/NAME` (built offline), a local folder"),
        ("name: b", "name: a", "line 4: devices: the name 'a' occurs twice"),
        ("name: b", "name: b/c", "line 7: devices[1].name is 'b/c': String should match"),
        ("concentration: 0.1", "concentration: 0", "data.pool.partition.concentration is 0: it mu"),
        ("concentration: 0.1", "concentraton: 1", "concentraton is unknown. Did you mean 'concen"),
        ("kind: dirichlet", "kind: dirchlet", "line 13: data.pool.partition has 'kind': 'dirchl"),
        ("kind: dirichlet", "kind: dirchlet", "Known: 'dirichlet', 'iid', 'domain'."),
        ("      kind: dirichlet\n", "", "partition does not say which kind it is. Add the key 'ki"),
        (
            "{model: mini/bloom}",
            "mini/bloom",
            "line 6: devices[0].slm is 'mini/bloom': must be a s",
        ),
        ("{model: mini/bloom}", "mini/bloom", "Known: model, sizes, tuning, dtype, device."),
        ("name: clinics", "seed: [1]", "line 1: seed is [1]: it must be a valid integer."),
        ("name: clinics", "dtype: half", "dtype is 'half': it must be 'float32' or 'bfloat16'."),
        (
            "  model: mini/large",
            "  model: a\n  device: tpu",
            "llm.device is 'tpu': String should mat",
        ),
        (
            "  model: mini/large",
            "  model: a/b\n  sizes: {hidden_size: 8}",
            "line 4: llm.sizes is {'hidden_size': 8}: has no `model_type`, such as llama",
        ),
        ("name: clinics", "dpm: {sizes: {model_type: llama}}", "dpm is {'sizes': "),
        ("name: clinics", "dpm: {sizes: {model_type: llama}}", "has `sizes` and no `model`"),
        ("name: clinics", "compute: {teraflops: 0}", "compute.teraflops is 0: it must be greater"),
        ("name: clinics", "compute: {loss: fast}", "compute.loss is 'fast': it must be 'auto', 'f"),
        ("name: clinics", "compute: {loss_memory_mib: 0}", "loss_memory_mib is 0: it must be gr"),
        ("name: clinics", "seed: 1.5", "line 1: seed is 1.5: it must be a valid integer"),
        ("{path: x.jsonl}", "{path: x, tasks: t}", "data.pool.train.tasks is 't': must be a list"),
        ("  pool:", "  server: {train: {path: p}}\n  pool:", "line 12: data.pool divides one body"),
    ],
)
def test_a_mistake_is_named_with_line_key_and_remedy(write, old, new, expected):
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_all_mistakes_stand_in_one_error(write):
    message = refusal(write("sede: 1\nllm: {model: 2}\n"))
    assert "4 mistakes" in message.splitlines()[0]
    assert len(message.splitlines()) == 5


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("method.rounds", "is not KEY=VALUE"),
        ("=2", "is not KEY=VALUE"),
        ("a..b=2", "is not KEY=VALUE"),
        ("devices.2.name=x", "devices is a list of 2 items, and '2' is none of them"),
        ("devices.law.name=x", "devices is a list of 2 items, and 'law' is none of them"),
        ("devices.0.name.x=1", "devices[0].name is 'a' and has no keys"),
        ("name={a", "is not valid YAML"),
        ("name={a: 1, a: 2}", "occurs twice"),
        ("method.rounds=0", "--set method.rounds=0: method.rounds is 0: it must be greater"),
        ("method.round=1", "--set method.round=1: method.round is unknown. Did you mean 'rounds'"),
        ("llm.model=", "--set llm.model=: llm.model is empty"),
    ],
)
def test_a_mistaken_override_is_named(write, override, expected):
    assert expected in refusal(write(GOOD), (override,))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n", ":1: holds a list"),
        ("llm: {model: x\ndata: 1\n", ":2: is not valid YAML"),
        ("llm:\n\tmodel: x\n", ":2: is not valid YAML"),
        ("llm: 1\n---\nllm: 2\n", ":2: is not valid YAML"),
        ("seed: 1\nllm:\n  model: a\n  model: b\n", ":4: the key 'model' occurs twice, first in"),
        ("seed: &a [*a]\n", ":1: an alias contains itself"),
        ("x: !!python/object/apply:os.getcwd []\n", "is not supported"),
        ("x: !!python/name:os.getcwd ''\n", "is not valid YAML"),
        ("a: 1\nx: 2024-13-45\n", ":2: '2024-13-45' is no valid timestamp"),
        ("x: !!bool maybe\n", "is no valid bool"),
        ("name: x\n1: x\n", ":2: the key '1' is read as int. Put it in quotes."),
        ("? [a]\n: 1\n", "a key is a list or mapping"),
        (b"a: 1\nb: \xff\n", ":2: is not UTF-8"),
        ("a: 1\nb: \x01\n", ":2: holds a character that YAML forbids"),
        ("[" * 3000, "is nested too deeply"),
    ],
)
def test_a_broken_file_is_named_with_its_line(write, text, expected):
    path = write(text)
    message = refusal(path)
    assert message.startswith(str(path))
    assert expected in message


def test_an_absent_file_names_its_neighbours(write, tmp_path):
    write(GOOD)
    assert "there are: run.yaml" in refusal(tmp_path / "rum.yaml")


def test_a_folder_is_no_configuration(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_a_models_own_settings_come_before_the_runs(write):
    text = GOOD.replace("  model: mini/large", "  model: a\n  dtype: bfloat16\n  device: cpu")
    config = load_config(write(text), ["dpm.device='cuda:1'", "device=cuda"])
    assert (config.dtype_of(config.llm), config.device_of(config.llm)) == ("bfloat16", "cpu")
    slm = config.devices[0].slm
    assert (config.dtype_of(slm), config.device_of(slm)) == ("float32", "cuda")
    assert config.device_of(config.dpm) == "cuda:1"


def test_tuning_of_a_model_is_its_own_or_the_runs(write):
    config = load_config(write(GOOD), ["dpm.tuning.kind=full", "dpm.domain_rank=4"])
    assert config.tuning_of(config.dpm).kind == "full"
    assert config.tuning_of(config.llm) == config.tuning
    domain = config.domain_tuning
    assert (domain.kind, domain.rank, domain.alpha) == ("lora", 4, 8.0)


def test_steps_of_the_dpm_are_counted_over_all_rounds(write):
    settings = ["rounds=3", "dst.steps=5", "dst.last_steps=6", "saml.steps=7", "saml.proxy_steps=2"]
    settings += ["saml.server_steps=4"]
    config = load_config(write(GOOD), [f"method.{setting}" for setting in settings])
    method = config.method
    assert (method.device_proxy_steps, method.domain_steps) == (3 * (7 + 2), 3 * 5 + 6)
    assert method.server_proxy_steps == 0
    trained = load_config(write(dump_config(config)), ["method.saml.server_proxy=train"])
    assert trained.method.server_proxy_steps == 3 * 4


@pytest.mark.parametrize(
    ("given", "device", "mebibytes"),
    [("null", "cpu", 32), ("null", "cuda", 1024), ("5", "cuda", 5)],
)
def test_the_fused_loss_has_a_budget_for_each_kind_of_device(write, given, device, mebibytes):
    config = load_config(write(GOOD), [f"compute.loss_memory_mib={given}"])
    assert config.compute.loss_memory_bytes(device) == mebibytes * 2**20
