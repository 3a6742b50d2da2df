"""Greedy answers equal transformers' own, however they are batched."""

import math
from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from coplms.errors import DataError
from coplms.evaluation.generate import generate_answers
from coplms.models.language_model import LanguageModel

MakeModel = Callable[..., LanguageModel]
MakeChain = Callable[[str], LanguageModel]
ARCHITECTURES = ["llama", "gpt_neox", "bloom", "gpt2", "phi", "qwen2"]
PROMPTS = [[40], [50, 60, 70, 80, 90, 100, 110], [44, 45, 46], [99, 98, 97, 96], [40, 41]]
NEW = 12


def official(model: LanguageModel, prompt: list[int], eos: int) -> list[int]:
    ids = torch.tensor([prompt])
    with torch.no_grad():
        output = model.network.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW,
            eos_token_id=eos,
            pad_token_id=0,
        )
    return list(output[0, len(prompt) :].tolist())


def teacher_forced(model: LanguageModel, prompt: list[int], answer: list[int]) -> float:
    with torch.no_grad():
        logits = model.network(torch.tensor([prompt + answer])).logits[0]
    log_p = logits.log_softmax(dim=-1)[len(prompt) - 1 : -1]
    return float(log_p.gather(-1, torch.tensor(answer)[:, None]).sum())


def assert_official(model: LanguageModel, batch_size: int) -> None:
    eos = model.tokenizer.eos_token_id
    expected = [official(model, prompt, eos) for prompt in PROMPTS]

    answers = generate_answers(model, PROMPTS, NEW, batch_size)

    for prompt, ids, answer in zip(PROMPTS, expected, answers, strict=True):
        assert answer.text == model.tokenizer.decode(ids, skip_special_tokens=True).strip()
        assert answer.num_tokens == len(ids)
        assert answer.finished == (ids[-1] == eos)
        forced = teacher_forced(model, prompt, ids)
        assert answer.log_probability == pytest.approx(forced, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_equal_those_of_transformers(make_model: MakeModel, architecture: str) -> None:
    assert_official(make_model(architecture), batch_size=3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_that_stop_early_leave_the_others_as_they_were(
    make_model: MakeModel, architecture: str
) -> None:
    model = make_model(architecture)
    never = model.tokenizer.eos_token_id
    stop = official(model, PROMPTS[1], never)[3]
    model.tokenizer.eos_token = model.tokenizer.convert_ids_to_tokens(stop)

    assert_official(model, batch_size=len(PROMPTS))
    lengths = {len(official(model, prompt, stop)) for prompt in PROMPTS}
    assert len(lengths) > 1


def test_injected_adapters_take_part(make_model: MakeModel) -> None:
    model = make_model("llama")
    before = [answer.text for answer in generate_answers(model, PROMPTS, NEW, 2)]
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    inject_adapter_in_model(lora, model.network)
    for name, parameter in model.network.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)

    assert_official(model, batch_size=2)
    assert [answer.text for answer in generate_answers(model, PROMPTS, NEW, 2)] != before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batching_changes_no_answer(make_model: MakeModel, architecture: str) -> None:
    model = make_model(architecture)

    alone = generate_answers(model, PROMPTS, NEW, 1)
    together = generate_answers(model, PROMPTS, NEW, 5)

    assert [answer.text for answer in alone] == [answer.text for answer in together]
    for one, other in zip(alone, together, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, rel=1e-4, abs=1e-4)


def test_an_answer_ends_at_eos(make_chain: MakeChain) -> None:
    model = make_chain("abcd")
    ids = model.tokenizer.convert_tokens_to_ids
    size = len(model.tokenizer)
    logit = 0.25 * math.sqrt(size)
    step = logit - math.log(math.exp(logit) + size - 1)

    early, late = generate_answers(model, [[ids("c")], [ids("x"), ids("a")]], 8, 2)

    assert (early.text, early.num_tokens, early.finished) == ("d", 2, True)
    assert (late.text, late.num_tokens, late.finished) == ("bcd", 4, True)
    assert early.log_probability == pytest.approx(2 * step, rel=1e-5)
    assert late.log_probability == pytest.approx(4 * step, rel=1e-5)


def test_an_answer_without_eos_is_cut_off(make_chain: MakeChain) -> None:
    model = make_chain("abcd")

    (answer,) = generate_answers(model, [[model.tokenizer.convert_tokens_to_ids("a")]], 2, 1)

    assert (answer.text, answer.num_tokens, answer.finished) == ("bc", 2, False)


def test_a_shipped_eos_ends_an_answer_only_if_it_is_a_special_token(make_chain: MakeChain) -> None:
    model = make_chain("ab")
    ids = model.tokenizer.convert_tokens_to_ids
    with torch.no_grad():
        model.network.lm_head.weight[:, ids("b")] = 0
        model.network.lm_head.weight[ids("<turn>"), ids("b")] = 1
    model.network.generation_config.eos_token_id = [ids("b"), ids("<turn>")]

    (answer,) = generate_answers(model, [[ids("a")]], 8, 1)

    assert (answer.text, answer.num_tokens, answer.finished) == ("b", 2, True)


def test_sampling_settings_that_a_model_ships_with_are_ignored(make_model: MakeModel) -> None:
    model = make_model("llama")
    greedy = generate_answers(model, PROMPTS, NEW, 2)
    model.network.generation_config.update(do_sample=True, temperature=9.0, repetition_penalty=5.0)

    assert generate_answers(model, PROMPTS, NEW, 2) == greedy


def test_modes_are_restored_and_dropout_is_off(make_model: MakeModel) -> None:
    model = make_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    expected = generate_answers(model, PROMPTS, NEW, 2)
    model.network.train()
    model.network.transformer.h[0].eval()

    assert generate_answers(model, PROMPTS, NEW, 2) == expected
    assert model.network.training
    assert not model.network.transformer.h[0].training
    assert model.network.transformer.h[1].training


def test_a_model_trains_on_after_it_answered(make_model: MakeModel) -> None:
    model = make_model("llama")
    generate_answers(model, PROMPTS, NEW, 2)

    ids = torch.tensor([[40, 41, 42]])
    model.network(ids, labels=ids).loss.backward()

    assert all(parameter.grad is not None for parameter in model.network.parameters())


def test_no_prompt_has_no_answer(make_model: MakeModel) -> None:
    assert generate_answers(make_model("gpt2"), [], NEW, 2) == []


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_prompts_beyond_the_positions_are_refused(make_model: MakeModel, architecture: str) -> None:
    model = make_model(architecture)
    generate_answers(model, [[40] * 60], 4, 1)

    with pytest.raises(DataError, match=r"has 64 positions, but prompt 1 of 61 tokens .* need 65"):
        generate_answers(model, [[40], [40] * 61], 4, 1)


def test_a_model_without_position_limit_takes_any_length(make_model: MakeModel) -> None:
    (answer,) = generate_answers(make_model("bloom"), [[40] * 100], 4, 1)

    assert answer.num_tokens == 4


def test_empty_prompts_and_sizes_below_one_are_refused(make_model: MakeModel) -> None:
    model = make_model("gpt2")
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        generate_answers(model, [[40], []], NEW, 1)
    with pytest.raises(ValueError, match="max_new_tokens and batch_size"):
        generate_answers(model, [[40]], 0, 1)
    with pytest.raises(ValueError, match="max_new_tokens and batch_size"):
        generate_answers(model, [[40]], NEW, 0)
