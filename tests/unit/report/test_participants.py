"""Who took part, as far as it was recorded."""

from collections.abc import Callable

from coplms.consortium.record import Json, RunHistory
from coplms.report.participants import participants

History = Callable[..., RunHistory]


def test_models_tuning_and_data_stand_beside_each_other(history: History) -> None:
    config: Json = {
        "llm": {"model": "mini/big", "tuning": {"kind": "lora", "rank": 4}},
        "dpm": {"model": None, "layers": 3, "domain_rank": 8},
        "devices": [{"name": "bank", "slm": {"model": "org/small", "tuning": None}}],
        "tuning": {"kind": "full"},
        "zoo": {
            "models": [
                {
                    "name": "big",
                    "architecture": "llama",
                    "layers": 5,
                    "hidden_size": 64,
                    "tokenizer": "unigram",
                }
            ]
        },
    }
    data = {"server": {"train": 9}, "devices": {"bank": {"train": 7, "domains": {"b": 3, "a": 4}}}}
    llm, dpm, slm = participants(history(config, data))
    assert (llm.label, llm.source, llm.tuning) == ("server LLM", "mini/big", "LoRA, rank 4")
    assert llm.architecture == "llama, 5 layers of 64, unigram tokenizer"
    assert llm.num_examples == {"train": 9}
    assert dpm.source == "the LLM with 3 of its layers"
    assert dpm.tuning == "all weights; domain adapter, rank 8"
    assert (slm.architecture, slm.tuning, slm.domains) == ("", "all weights", ["a", "b"])


def test_an_empty_configuration_still_names_server_and_proxy(history: History) -> None:
    llm, dpm = participants(history())
    assert (llm.source, llm.tuning, llm.num_examples) == ("", "", {})
    assert dpm.source == "the LLM with half of its layers"
