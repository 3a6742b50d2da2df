import itertools
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coplms.alignment.offsets import offset_ends
from coplms.alignment.places import align, encode_answer, encode_answers, spelled_ends
from coplms.alignment.token_bytes import TokenBytes
from coplms.errors import AlignmentError

TRICKY = [
    "",
    "yes",
    " ",
    "  two  spaces  ",
    "transfer money",
    "café crème",
    "cafe\u0301 au lait",
    "e\u0301\u0301 x",
    "👩‍👩‍👧 family 👍🏽",
    "我们学习 语言模型。",
    "ﬁne … ½ x",
    "ÉCOLE İstanbul",
    "\u1112\u1161\u11ab 한",
    "line\nbreak\tand\r\n",
    "▁ literal metaspace",
    "</s> in an answer",
    "<0x41> literal",
    "a\u00a0b\u200bc\x00d",
]
WORDS = st.sampled_from(
    ["the", "201", " ", "  ", "é", "e\u0301", "👩‍👩‍👧", "我们", "playing", "…", "İ", "ﬁ"]
)
ANSWERS = st.one_of(st.text(max_size=20), st.lists(WORDS, max_size=8).map("".join))
PROPERTY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
LOSSLESS = ("byte_level", "byte_level_larger", "fallback", "llama_style")


def encode(kind, answers):
    encoded = [encode_answer(kind.bytes, kind.tokenizer, answer) for answer in answers]
    ids = [index for one, _ in encoded for index in one]
    ends = np.concatenate([ends for _, ends in encoded])
    samples = np.repeat(np.arange(len(answers)), [len(one) for one, _ in encoded])
    return ids, ends, samples


def pairs(chunks):
    """Chunks as ((sample, left tokens, right tokens), ...)."""
    columns = zip(
        chunks.sample,
        chunks.left_first,
        chunks.left_count,
        chunks.right_first,
        chunks.right_count,
        strict=True,
    )
    return [(int(s), tuple(range(a, a + m)), tuple(range(b, b + n))) for s, a, m, b, n in columns]


def spans(ends, samples, tokens_of_chunks):
    """(start, end) in bytes of each chunk on one side; starts count from the chunk before."""
    result, before = [], {}
    for tokens in tokens_of_chunks:
        sample = int(samples[tokens[-1]])
        result.append((sample, before.get(sample, 0), int(ends[tokens[-1]])))
        before[sample] = int(ends[tokens[-1]])
    return result


def check(left, right, answers):
    return check_encoded(encode(left, answers), encode(right, answers))


def check_encoded(left, right):
    left_ids, left_ends, left_samples = left
    right_ids, right_ends, right_samples = right
    chunks = pairs(align(left_ends, left_samples, right_ends, right_samples))
    # EOS ends every sample on both sides, so chunks cover all tokens, each of them once.
    assert [t for _, tokens, _ in chunks for t in tokens] == list(range(len(left_ids)))
    assert [t for _, _, tokens in chunks for t in tokens] == list(range(len(right_ids)))
    left_spans = spans(left_ends, left_samples, [c[1] for c in chunks])
    assert left_spans == spans(right_ends, right_samples, [c[2] for c in chunks])
    swapped = pairs(align(right_ends, right_samples, left_ends, left_samples))
    assert swapped == [(s, b, a) for s, a, b in chunks]
    return chunks


def one_by_one(kind, answer):
    """An answer's ids and ends, worked out for itself, step by step."""
    table, text = kind.bytes, f" {answer}"

    def spelled(ids):
        pieces = [table.strings[index] for index in ids]
        return None if None in pieces else b"".join(pieces)

    ids, ends = [], []
    if answer:
        ids = kind.tokenizer(answer, add_special_tokens=False)["input_ids"]
        if spelled(ids) != text.encode():
            both = kind.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            ids = both["input_ids"]
        if spelled(ids) == text.encode():
            ends = list(itertools.accumulate(len(table.strings[index]) for index in ids))
        else:
            pieces = [table.strings[index] for index in ids]
            ends = offset_ends(pieces, text, both["offset_mapping"]).tolist()
    return [*ids, table.eos_id], [*ends, len(text.encode()) + 1]


def test_many_answers_at_once_are_encoded_as_one_by_one(kinds):
    for kind in kinds.values():
        together = encode_answers(kind.bytes, kind.tokenizer, TRICKY)
        assert [(ids, ends.tolist()) for ids, ends in together] == [
            one_by_one(kind, answer) for answer in TRICKY
        ]
        assert {ends.dtype for _, ends in together} == {np.dtype(np.int64)}


@PROPERTY
@given(st.lists(ANSWERS, max_size=4))
def test_any_answers_at_once_are_encoded_as_one_by_one(kinds, answers):
    for kind in kinds.values():
        together = encode_answers(kind.bytes, kind.tokenizer, answers)
        assert [(ids, ends.tolist()) for ids, ends in together] == [
            one_by_one(kind, answer) for answer in answers
        ]


def test_both_ways_to_the_ends_are_taken(kinds):
    answers = {"byte_level_lower": "Été", "word_piece": "É 人工", "unigram_table": "ﬁ"}
    for name, answer in answers.items():
        ids, _ = encode_answer(kinds[name].bytes, kinds[name].tokenizer, answer)
        assert spelled_ends(kinds[name].bytes, [ids[:-1]], [f" {answer}".encode()]) == [None]


def test_lengths_that_fit_by_chance_are_no_ends():
    table = TokenBytes.of([b" ", b"ab", b"ba", b"c", None], eos_id=4)
    found = spelled_ends(table, [[0, 1], [0, 2], [], [0, 1, 4], [0, 3, 3]], [b" ab"] * 5)
    assert [None if ends is None else ends.tolist() for ends in found] == [
        [1, 3],
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("answer", TRICKY)
def test_tricky_answers_partition_for_every_pair_of_kinds(kinds, answer):
    encoded = [encode(kind, [answer, "yes", answer]) for kind in kinds.values()]
    for left, right in itertools.combinations(encoded, 2):
        check_encoded(left, right)


@PROPERTY
@given(st.lists(ANSWERS, min_size=1, max_size=4))
def test_any_answers_partition_for_every_pair_of_kinds(kinds, answers):
    encoded = [encode(kind, answers) for kind in kinds.values()]
    for left, right in itertools.combinations(encoded, 2):
        check_encoded(left, right)


@PROPERTY
@given(ANSWERS)
def test_ends_rise_strictly_and_eos_is_last(kinds, answer):
    size = len(f" {answer}".encode())
    for kind in kinds.values():
        ids, ends = encode_answer(kind.bytes, kind.tokenizer, answer)
        places = ends[ends >= 0]
        assert len(ids) == len(ends)
        assert np.all(np.diff(places) > 0)
        assert ids[-1] == kind.bytes.eos_id
        assert places[-1] == size + 1
        assert places[0] > 0
        assert np.all(places[:-1] <= size)


@PROPERTY
@given(ANSWERS)
def test_chunks_of_lossless_kinds_spell_the_same_bytes(kinds, answer):
    assume("▁" not in answer)  # a metaspace tokenizer reads it as a space
    for left, right in itertools.combinations((kinds[name] for name in LOSSLESS), 2):
        left_ids, left_ends, left_samples = encode(left, [answer])
        right_ids, right_ends, right_samples = encode(right, [answer])
        if np.any(left_ends < 0) or np.any(right_ends < 0):
            continue
        for _, a, b in pairs(align(left_ends, left_samples, right_ends, right_samples))[:-1]:
            ours = b"".join(left.bytes.strings[left_ids[t]] for t in a)
            assert ours == b"".join(right.bytes.strings[right_ids[t]] for t in b)


@PROPERTY
@given(st.lists(ANSWERS, min_size=1, max_size=3))
def test_identical_tokenizers_align_one_to_one_where_tokens_make_boundaries(kinds, answers):
    for kind in kinds.values():
        ids, ends, samples = encode(kind, answers)
        chunks = pairs(align(ends, samples, ends, samples))
        assert all(a == b for _, a, b in chunks)
        if np.all(ends >= 0):
            assert [a for _, a, _ in chunks] == [(t,) for t in range(len(ids))]


@PROPERTY
@given(st.text(max_size=20))
def test_byte_level_tokens_all_make_boundaries(kinds, answer):
    if "<" not in answer:
        _, ends = encode_answer(kinds["byte_level"].bytes, kinds["byte_level"].tokenizer, answer)
        assert np.all(ends > 0)


@PROPERTY
@given(st.lists(ANSWERS, min_size=2, max_size=4))
def test_chunks_of_a_sample_do_not_depend_on_its_batch(kinds, answers):
    left, right = kinds["byte_level_nfc"], kinds["unigram_nfkc"]
    together = check(left, right, answers)
    reversed_batch = check(left, right, answers[::-1])
    for place, answer in enumerate(answers):
        alone = [(len(a), len(b)) for _, a, b in check(left, right, [answer])]
        mirrored = len(answers) - 1 - place
        assert [(len(a), len(b)) for s, a, b in together if s == place] == alone
        assert [(len(a), len(b)) for s, a, b in reversed_batch if s == mirrored] == alone


def test_tokens_without_a_place_at_a_samples_end_change_nothing():
    ends, samples = np.array([1, 3, 1, 2]), np.array([0, 0, 1, 1])
    padded_ends = np.array([1, 3, -1, -1, 1, 2, -1])
    padded_samples = np.array([0, 0, 0, 0, 1, 1, 1])
    plain = align(ends, samples, ends, samples)
    padded = align(padded_ends, padded_samples, ends, samples)
    assert padded.left_first.tolist() == [0, 1, 4, 5]
    assert padded.left_count.tolist() == plain.left_count.tolist()
    assert padded.right_first.tolist() == plain.right_first.tolist()


def test_worked_batch():
    #          sample 0: ab|c|d    sample 2: x (no place)|yz|rest
    left_ends = np.array([2, 3, 4, -1, 3, 9])
    left_samples = np.array([0, 0, 0, 2, 2, 2])
    #          sample 0: a|bc|d    sample 1: only here    sample 2: xyz|other
    right_ends = np.array([1, 3, 4, 5, 3, 8])
    right_samples = np.array([0, 0, 0, 1, 2, 2])
    chunks = align(left_ends, left_samples, right_ends, right_samples)
    assert pairs(chunks) == [(0, (0, 1), (0, 1)), (0, (2,), (2,)), (2, (3, 4), (4,))]
    assert {column.dtype for column in vars(chunks).values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("empty", ["left", "right", "both"])
def test_a_side_without_tokens_gives_no_chunks(empty):
    none, some = np.empty(0, dtype=np.int64), np.array([1, 2])
    left = none if empty != "right" else some
    right = none if empty != "left" else some
    chunks = align(left, np.zeros_like(left), right, np.zeros_like(right))
    assert all(len(column) == 0 for column in vars(chunks).values())


@pytest.mark.parametrize(
    ("ends", "samples"), [([2, 1], [0, 0]), ([1, 1], [0, 0]), ([1, 2], [1, 0]), ([1], [0, 0])]
)
def test_places_out_of_order_are_refused(ends, samples):
    with pytest.raises(ValueError, match=r"left: "):
        align(np.array(ends), np.array(samples), np.array([1]), np.array([0]))


def test_an_empty_answer_is_eos_alone(kinds):
    for kind in kinds.values():
        ids, ends = encode_answer(kind.bytes, kind.tokenizer, "")
        assert (ids, ends.tolist()) == ([kind.bytes.eos_id], [2])


def test_one_space_precedes_the_answer_in_every_kind(kinds):
    for name, kind in kinds.items():
        ids, ends = encode_answer(kind.bytes, kind.tokenizer, "the dog")
        assert b"".join(kind.bytes.strings[i] for i in ids[:-1]) == b" the dog", name
        assert np.all(ends > 0)
        assert ends[-2:].tolist() == [8, 9]


def test_tokenizers_that_prepend_do_not_get_a_second_space(kinds):
    kind = kinds["llama_style"]
    doubled = kind.tokenizer(" yes", add_special_tokens=False)["input_ids"]
    ids, _ = encode_answer(kind.bytes, kind.tokenizer, "yes")
    assert b"".join(kind.bytes.strings[i] for i in doubled) == b"  yes"
    assert b"".join(kind.bytes.strings[i] for i in ids[:-1]) == b" yes"


def test_composed_characters_end_after_their_combining_marks(kinds):
    answer = "cafe\u0301 x"  # " cafe" is 5 bytes, its accent 2 more
    assert unicodedata.normalize("NFC", answer) != answer
    for name in ("byte_level_nfc", "unigram_nfkc"):
        _, ends = encode_answer(kinds[name].bytes, kinds[name].tokenizer, answer)
        assert 5 not in ends
        assert 7 in ends


def test_unknown_tokens_end_where_their_text_ends(kinds):
    kind = kinds["word_piece"]
    ids, ends = encode_answer(kind.bytes, kind.tokenizer, "yes 👍 no")
    unknown = ids.index(kind.tokenizer.unk_token_id)
    assert ends[unknown] == len(" yes 👍".encode())


def test_tokens_added_after_the_bytes_were_read_are_refused(kinds):
    kind = kinds["byte_level"]
    table = TokenBytes.of(kind.bytes.strings[:10], eos_id=1)
    with pytest.raises(AlignmentError, match=r"'byte_level' made token \d+, but had only 10"):
        encode_answer(table, kind.tokenizer, "a")
