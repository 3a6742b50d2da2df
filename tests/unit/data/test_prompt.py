import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from coplms.data.example import Example
from coplms.data.prompt import encode_prompt, encode_prompts, render_prompt

TEMPLATE = "{instruction}\n{input}\nAnswer:"
CHAT = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
WORDS = ["[B]", "[E]", "do", "it", "now", "Answer", ":", "<", ">", "user", "assistant", "?"]


def tokenizer(chat: str | None = None, **special: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?", **special)
    fast.chat_template = chat
    return fast


def example(instruction: str = "do", question: str = "it") -> Example:
    return Example(instruction, question, ("now",), "d", "t", "")


@pytest.mark.parametrize(
    ("instruction", "question", "text"),
    [
        ("do", "it", "do\nit\nAnswer:"),
        ("", "it", "it\nAnswer:"),
        ("do", "", "do\nAnswer:"),
        ("", "", "Answer:"),
        ("do {input}", "{x} {", "do {input}\n{x} {\nAnswer:"),
        ("do", "one\n\ntwo", "do\none\n\ntwo\nAnswer:"),
    ],
)
def test_the_plain_template_drops_lines_of_empty_fields_only(instruction, question, text):
    assert render_prompt(example(instruction, question), TEMPLATE, tokenizer()) == text


def test_empty_lines_and_other_braces_of_the_template_stay():
    template = '{"a": {instruction}}\n\n> {input}'
    assert render_prompt(example(), template, tokenizer()) == '{"a": do}\n\n> it'


def test_a_chat_template_takes_the_question_as_the_users_message():
    chat = tokenizer(CHAT)
    assert render_prompt(example(), TEMPLATE, chat) == "<user>do\nit<assistant>"
    assert render_prompt(example(instruction=""), TEMPLATE, chat) == "<user>it<assistant>"


def test_bos_is_added_where_there_is_one():
    assert encode_prompt(tokenizer(), example(), TEMPLATE, 9) == [2, 3, 5, 6]
    assert encode_prompt(tokenizer(bos_token="[B]"), example(), TEMPLATE, 9) == [0, 2, 3, 5, 6]


def test_a_template_that_writes_bos_itself_gets_no_second_one():
    chat = tokenizer("{{ bos_token }}" + CHAT, bos_token="[B]")
    ids = encode_prompt(chat, example(), TEMPLATE, 20)
    assert ids == [0, 7, 9, 8, 2, 3, 7, 10, 8]


def test_a_tokenizer_that_adds_bos_itself_adds_one():
    from tokenizers import processors

    fast = tokenizer(bos_token="[B]")
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[B] $A", special_tokens=[("[B]", 0)]
    )
    assert encode_prompt(fast, example(), TEMPLATE, 9) == [0, 2, 3, 5, 6]


@pytest.mark.parametrize(
    ("most", "ids"),
    [(5, [0, 2, 3, 5, 6]), (4, [0, 2, 5, 6]), (3, [0, 5, 6]), (2, [0, 6]), (1, [6])],
)
def test_a_long_prompt_loses_its_middle(most, ids):
    assert encode_prompt(tokenizer(bos_token="[B]"), example(), TEMPLATE, most) == ids


def test_an_empty_prompt_is_eos():
    nothing = example("", "")
    assert encode_prompt(tokenizer(eos_token="[E]"), nothing, "{input}", 9) == [1]
    assert encode_prompt(tokenizer(bos_token="[B]", eos_token="[E]"), nothing, "{input}", 9) == [0]


def test_an_empty_prompt_without_bos_and_eos_is_refused():
    with pytest.raises(ValueError, match="needs a tokenizer with BOS or EOS"):
        encode_prompt(tokenizer(), example("", ""), "{input}", 9)


def test_no_room_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        encode_prompt(tokenizer(), example(), TEMPLATE, 0)


@pytest.mark.parametrize("chat", [None, CHAT])
@pytest.mark.parametrize("special", [{"bos_token": "[B]"}, {"eos_token": "[E]"}])
def test_many_prompts_at_once_are_encoded_as_one_by_one(chat, special):
    fast = tokenizer(chat, **special)
    examples = [example(), example("do it now"), example("", ""), example("it", "do now do it")]
    rooms = [9, 2, 1, 4]
    assert encode_prompts(fast, examples, TEMPLATE, rooms) == [
        encode_prompt(fast, each, TEMPLATE, room)
        for each, room in zip(examples, rooms, strict=True)
    ]
    assert encode_prompts(fast, [], TEMPLATE, []) == []


def test_one_prompt_without_room_is_refused_among_many():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        encode_prompts(tokenizer(), [example(), example()], TEMPLATE, [5, 0])


FAST = tokenizer(bos_token="[B]", eos_token="[E]")


@given(st.text(), st.text(), st.integers(1, 12))
def test_any_text_gives_one_to_the_most_tokens(instruction, question, most):
    ids = encode_prompt(FAST, example(instruction, question), TEMPLATE, most)
    assert 1 <= len(ids) <= most
    assert ids[-1] == 6
