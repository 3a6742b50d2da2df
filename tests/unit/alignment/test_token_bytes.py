import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from coplms.alignment.token_bytes import TokenBytes, token_bytes
from coplms.errors import AlignmentError


def spelled(kind, text):
    ids = kind.tokenizer(text, add_special_tokens=False)["input_ids"]
    return [kind.bytes.strings[index] for index in ids]


def fast(model, pre_tokenizer=None, **special):
    tokenizer = Tokenizer(model)
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


LOSSLESS = [
    "byte_level",
    "byte_level_prefix",
    "llama3_style",
    "fallback",
    "fallback_special",
    "gemma_style",
]


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("text", [" the café", " 👩‍👩‍👧 x", " 我们\n\tend", " a  b"])
def test_bytes_of_lossless_kinds_spell_the_text(kinds, name, text):
    assert b"".join(spelled(kinds[name], text)) == text.encode()


def test_metaspace_writes_a_space(kinds):
    assert b"".join(spelled(kinds["unigram"], "the dog")) == b" the dog"
    assert b" the" in kinds["unigram"].bytes.strings


def test_word_starts_of_wordpiece_get_a_space_and_continuations_none(kinds):
    pieces = spelled(kinds["word_piece"], "playing playground")
    assert b"".join(pieces) == b" playing playground"
    assert pieces[0].startswith(b" play")


@pytest.mark.parametrize("name", ["fallback", "fallback_special"])
def test_byte_tokens_stand_for_their_byte_even_when_marked_special(kinds, name):
    index = kinds[name].tokenizer.convert_tokens_to_ids("<0xE4>")
    assert kinds[name].bytes.strings[index] == b"\xe4"
    assert kinds[name].bytes.lengths[index] == 1


def test_a_byte_token_in_a_byte_level_vocabulary_is_literal():
    vocabulary = {"</s>": 0, "<0x41>": 1, "Ġa": 2}
    tokenizer = fast(models.BPE(vocabulary, []), pre_tokenizers.ByteLevel(), eos_token="</s>")
    assert token_bytes(tokenizer).strings == (None, b"<0x41>", b" a")


def test_special_tokens_have_no_bytes(kinds):
    for kind in kinds.values():
        for token in ("<s>", "</s>", "<unk>", "<pad>"):
            index = kind.tokenizer.convert_tokens_to_ids(token)
            assert kind.bytes.strings[index] is None
            assert kind.bytes.lengths[index] == -1
        assert kind.bytes.eos_id == kind.tokenizer.eos_token_id


def test_added_tokens_are_literal_and_special_ones_have_no_bytes():
    vocabulary = {"</s>": 0, "a": 1, "Ġ": 2}
    tokenizer = fast(models.BPE(vocabulary, []), pre_tokenizers.ByteLevel(), eos_token="</s>")
    tokenizer.add_tokens(["  ", "Ġé"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    table = token_bytes(tokenizer)
    assert table.strings == (None, b"a", b" ", b"  ", "Ġé".encode(), None)
    assert table.lengths.tolist() == [-1, 1, 1, 2, 4, -1]


def test_an_unknown_token_that_is_not_marked_special_has_no_bytes():
    vocabulary = {"</s>": 0, "[U]": 1, "▁a": 2}
    model = models.BPE(vocabulary, [], unk_token="[U]")
    tokenizer = fast(model, pre_tokenizers.Metaspace(), eos_token="</s>")
    assert token_bytes(tokenizer).strings == (None, None, b" a")


def test_a_run_of_marks_that_is_an_added_token_stands_for_spaces(kinds):
    kind = kinds["gemma_style"]
    index = kind.tokenizer.convert_tokens_to_ids("▁▁")
    assert kind.bytes.strings[index] == b"  "
    assert spelled(kind, "a  b") == [b"a", b"  ", b"b"]


def test_a_word_that_is_a_token_is_taken_whole_where_merges_are_ignored(kinds):
    kind = kinds["llama3_style"]
    assert spelled(kind, " transformation") == [b" transformation"]
    assert kind.bytes.first_piece(b" transformations") == spelled(kind, " transformations")[0]


@pytest.mark.parametrize("name", ["llama_style", "gemma_style", "unigram_table"])
def test_spaces_that_a_normaliser_adds_or_marks_are_no_part_of_a_token(kinds, name):
    first_piece = kinds[name].bytes.first_piece
    assert first_piece(b"then the dog").startswith(b"t")
    assert first_piece(b" then the dog").startswith(b" t")


def test_byte_level_code_covers_every_byte_once(kinds):
    single = [s for s in kinds["byte_level"].bytes.strings if s is not None and len(s) == 1]
    assert sorted(single) == [bytes([byte]) for byte in range(256)]


def test_digest_tells_content_apart():
    table = TokenBytes.of([b"a", b"bc", None], eos_id=2)
    assert table.digest == TokenBytes.of([b"a", b"bc", None], eos_id=2).digest
    others = [([b"ab", b"c", None], 2), ([b"a", b"bc", None, None], 2), ([b"a", b"bc", None], 1)]
    assert table.digest not in {TokenBytes.of(strings, eos).digest for strings, eos in others}


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({"</s>": 0, "<unk>": 1}, unk_token="<unk>"),
        models.BPE({"</s>": 0, "a</w>": 1}, [], end_of_word_suffix="</w>"),
        models.BPE({"</s>": 0, "a": 1}, []),
    ],
)
def test_unknown_kinds_are_refused_by_name(model):
    with pytest.raises(AlignmentError, match=r"\(\w+\) writes .* Supported: byte-level"):
        token_bytes(fast(model, pre_tokenizers.Whitespace(), eos_token="</s>"))


def test_a_tokenizer_without_eos_is_refused():
    with pytest.raises(AlignmentError, match="has no EOS token"):
        token_bytes(fast(models.BPE({"a": 0}, []), pre_tokenizers.ByteLevel()))
