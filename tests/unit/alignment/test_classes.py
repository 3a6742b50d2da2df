import copy
import itertools

import numpy as np
import pytest
from tokenizers import normalizers

from coplms.alignment import classes
from coplms.alignment.classes import build_class_map, load_class_map
from coplms.alignment.token_bytes import TokenBytes, token_bytes
from coplms.errors import AlignmentError

LEFT = TokenBytes.of([None, b"2", b"20", b"201", b"a", b"the", b"a"], eos_id=0)
RIGHT = TokenBytes.of([b"2", b"a", b"th", b"0", b"t", None, None], eos_id=5)


def by_bytes(table, side):
    return {string: int(side[i]) for i, string in enumerate(table.strings) if string is not None}


def test_worked_example():
    class_map = build_class_map(LEFT, RIGHT, 8, 7)
    assert class_map.num_classes == 4
    assert (class_map.eos_class, class_map.other_class) == (2, 3)
    # "2" and "a" are common; "201" goes to "2"; "the" to "th", which the left has no piece of.
    assert class_map.left.tolist() == [2, 0, 0, 0, 1, 3, 1, 3]
    assert class_map.right.tolist() == [0, 1, 3, 3, 3, 2, 3]


def test_first_pieces_are_taken_of_either_side_in_turn():
    left = TokenBytes.of([None, b"abcd", b"ab", b"a"], eos_id=0)
    right = TokenBytes.of([None, b"abc", b"a"], eos_id=0)
    class_map = build_class_map(left, right, 4, 3)
    # "abcd" -> "abc" (right) -> "ab" (left) -> "a" (both)
    assert class_map.left.tolist() == [1, 0, 0, 0]
    assert class_map.right.tolist() == [1, 0, 0]


def first_token(kind, word):
    """The bytes of the first token of a word inside a text, cut by the whole tokenizer."""
    ids = kind.tokenizer.encode(f"x {word}", add_special_tokens=False)
    strings = [kind.bytes.strings[index] for index in ids]
    spelled = b""
    for string in strings:
        if spelled.strip() == b"x" and string.startswith(b" "):
            return string
        spelled += string or b""
    return None


WHOLE = (
    "byte_level",
    "byte_level_larger",
    "byte_level_nfc",
    "byte_level_prefix",
    "llama3_style",
    "unigram",
    "unigram_table",
    "fallback",
    "llama_style",
    "gemma_style",
)


def test_a_word_belongs_to_the_piece_that_the_other_tokenizer_really_begins_it_with(kinds):
    compared = 0
    for left, right in itertools.permutations((kinds[name] for name in WHOLE), 2):
        class_map = build_class_map(
            left.bytes, right.bytes, len(left.bytes.strings), len(right.bytes.strings)
        )
        numbers = by_bytes(right.bytes, class_map.right)
        for string, number in by_bytes(left.bytes, class_map.left).items():
            if not string.startswith(b" ") or not string[1:].isalpha() or string in numbers:
                continue
            piece = first_token(right, string[1:].decode())
            if piece is not None and piece in left.bytes.strings:
                assert number == numbers[piece], (string, piece)
                compared += 1
    assert compared > 1000


def test_a_piece_is_where_the_tokenizer_cuts_and_not_the_longest_token_that_fits():
    left = TokenBytes.of([None, b"translate", b"tr", b"trans"], eos_id=0)
    right = TokenBytes.of(
        [None, b"tr", b"trans", b"ans", b"late"], eos_id=0, cut=lambda text: b"tr", rules="merges"
    )
    class_map = build_class_map(left, right, 4, 5)
    assert class_map.left[1] == class_map.left[2] == class_map.right[1]
    assert class_map.left[1] != class_map.left[3]


def class_in(kinds, left, right, text):
    """The class that a text would have as a token of the left kind, and the right's classes."""
    table = TokenBytes.of([*kinds[left].bytes.strings, text.encode()], kinds[left].bytes.eos_id)
    peer = kinds[right].bytes
    class_map = build_class_map(table, peer, len(table.strings), len(peer.strings))
    return int(class_map.left[-1]), by_bytes(peer, class_map.right)


@pytest.mark.parametrize(
    ("right", "text", "read"),
    [
        ("byte_level_lower", " The", " the"),
        ("word_piece", " The", " the"),
        ("word_piece_cased", " The", " The"),
        ("word_piece", "É", "e"),
        ("unigram_nfkc", "ﬁ", "f"),
        ("unigram_table", "ﬁ", "f"),
        ("unigram_table", "…", "."),
        ("unigram_table", "\u3000", " "),
        ("byte_level_nfc", "e\u0301", "é"),
    ],
)
def test_a_token_belongs_to_what_the_other_tokenizers_normaliser_makes_of_it(
    kinds, right, text, read
):
    number, classes = class_in(kinds, "byte_level_larger", right, text)
    pieces = [string for string, own in classes.items() if own == number]
    assert any(piece.startswith(read.encode()) for piece in pieces), pieces


def test_a_character_that_wordpiece_cuts_off_is_no_words_beginning(kinds):
    for name in ("word_piece", "word_piece_cased"):
        strings = kinds[name].bytes.strings
        assert b"," in strings
        assert b" ," not in strings
        assert "人".encode() in strings
        assert b" a" in strings
        for text in (",", " ,", ",a", " ,a"):
            number, classes = class_in(kinds, "byte_level", name, text)
            assert number == classes[b","]


def test_changes_that_undo_each_other_end():
    lower = TokenBytes.of([None, b"x", b"ab"], eos_id=0, read=bytes.lower)
    upper = TokenBytes.of([None, b"x", b"AB"], eos_id=0, read=bytes.upper)
    class_map = build_class_map(lower, upper, 3, 3)
    assert class_map.left.tolist() == [1, 0, class_map.other_class]
    assert class_map.right.tolist() == [1, 0, class_map.other_class]


def test_another_normaliser_is_another_tokenizer(kinds):
    plain = kinds["byte_level"].tokenizer
    changed = copy.deepcopy(plain)
    changed.backend_tokenizer.normalizer = normalizers.NFKC()
    assert token_bytes(changed).strings == kinds["byte_level"].bytes.strings
    assert token_bytes(changed).digest != kinds["byte_level"].bytes.digest


def test_other_rules_of_cutting_are_another_tokenizer():
    one, other = (TokenBytes.of([None, b"a"], eos_id=0, rules=rules) for rules in ("a", "b"))
    assert one.digest != other.digest


def test_tokens_of_equal_bytes_share_a_class():
    class_map = build_class_map(LEFT, RIGHT, 7, 7)
    assert class_map.left[4] == class_map.left[6] == class_map.right[1]


def test_201_goes_to_2_between_real_tokenizers(kinds):
    left, right = kinds["byte_level_larger"].bytes, kinds["fallback"].bytes
    table = TokenBytes.of([*left.strings, b"201"], left.eos_id)
    if b"201" in right.strings or b"20" in right.strings:
        right = TokenBytes.of(
            [None if s in (b"201", b"20") else s for s in right.strings], right.eos_id
        )
    class_map = build_class_map(table, right, len(table.strings), len(right.strings))
    assert class_map.left[-1] == class_map.right[right.strings.index(b"2")]


def test_equal_tokenizers_get_a_class_per_token(kinds):
    for kind in kinds.values():
        table, size = kind.bytes, len(kind.bytes.strings)
        class_map = build_class_map(table, table, size + 3, size)
        assert np.array_equal(class_map.left[:size], class_map.right)
        assert sorted(class_map.right.tolist()) == list(range(size))
        assert class_map.right[table.eos_id] == class_map.eos_class
        assert class_map.left[size:].tolist() == [class_map.other_class] * 3


def test_every_pair_is_total_symmetric_and_deterministic(kinds):
    for left, right in itertools.permutations((kind.bytes for kind in kinds.values()), 2):
        sizes = len(left.strings) + 5, len(right.strings)
        class_map = build_class_map(left, right, *sizes)
        again, swapped = (
            build_class_map(left, right, *sizes),
            build_class_map(right, left, *sizes[::-1]),
        )
        assert np.array_equal(class_map.left, again.left)
        assert np.array_equal(class_map.left, swapped.right)
        assert np.array_equal(class_map.right, swapped.left)
        for table, side in ((left, class_map.left), (right, class_map.right)):
            assert side.min() >= 0
            assert side.max() < class_map.num_classes
            assert np.flatnonzero(side == class_map.eos_class).tolist() == [table.eos_id]
        assert set(class_map.left[:-5]) | {class_map.other_class} == set(class_map.right) | {
            class_map.other_class
        }


def test_common_tokens_meet_and_all_others_lie_in_a_prefix_of_theirs(kinds):
    left, right = kinds["byte_level"].bytes, kinds["unigram_nfkc"].bytes
    class_map = build_class_map(left, right, len(left.strings), len(right.strings))
    ours, theirs = by_bytes(left, class_map.left), by_bytes(right, class_map.right)
    common = ours.keys() & theirs.keys()
    assert {ours[s]: s for s in common} == {theirs[s]: s for s in common}
    name = {ours[s]: s for s in common}
    for string, number in [*ours.items(), *theirs.items()]:
        assert string.startswith(name.get(number, b""))


def test_folding_preserves_mass(kinds):
    left, right = kinds["byte_level"].bytes, kinds["word_piece"].bytes
    class_map = build_class_map(left, right, len(left.strings) + 9, len(right.strings))
    p = np.random.default_rng(0).dirichlet(np.ones(len(class_map.left)))
    folded = np.bincount(class_map.left, weights=p, minlength=class_map.num_classes)
    assert abs(folded.sum() - 1) < 1e-12


def test_byte_tokens_marked_special_are_not_in_other(kinds):
    left, right = kinds["fallback_special"], kinds["byte_level"]
    sizes = len(left.bytes.strings), len(right.bytes.strings)
    class_map = build_class_map(left.bytes, right.bytes, *sizes)
    ids = left.tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(256)])
    assert class_map.other_class not in class_map.left[ids]


def test_tokens_beyond_the_logits_are_in_no_class():
    class_map = build_class_map(LEFT, RIGHT, 4, 7)
    assert class_map.left.tolist() == [1, 0, 0, 0]
    assert class_map.right.tolist() == [0, 2, 2, 2, 2, 1, 2]


def test_vocabularies_without_a_common_token_are_refused():
    other = TokenBytes.of([None, b"x"], eos_id=0)
    with pytest.raises(AlignmentError, match="no token in common"):
        build_class_map(LEFT, other, 7, 2)


def test_an_eos_beyond_the_logits_is_refused():
    with pytest.raises(AlignmentError, match="EOS token has id 5, but the model predicts only 5"):
        build_class_map(LEFT, RIGHT, 7, 5)


def load(kinds, cache, extra=0):
    left, right = kinds["byte_level"].tokenizer, kinds["unigram"].tokenizer
    return load_class_map(left, right, len(left) + extra, len(right), cache)


def test_cached_map_is_read_back_and_not_built_again(kinds, tmp_path, monkeypatch):
    plain, first = load(kinds, None), load(kinds, tmp_path / "maps")
    monkeypatch.delattr(classes, "build_class_map")
    second = load(kinds, tmp_path / "maps")
    for found in (first, second):
        assert np.array_equal(found.left, plain.left)
        assert np.array_equal(found.right, plain.right)
        assert found.num_classes == plain.num_classes
    assert [path.suffix for path in (tmp_path / "maps").iterdir()] == [".npz"]


def test_sizes_are_part_of_the_cache_key(kinds, tmp_path):
    assert len(load(kinds, tmp_path).left) + 2 == len(load(kinds, tmp_path, extra=2).left)


@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "wrong_size", "out_of_range"])
def test_a_damaged_cache_file_is_built_anew(kinds, tmp_path, damage):
    plain = load(kinds, tmp_path)
    (path,) = tmp_path.iterdir()
    bad = plain.left[:-1] if damage == "wrong_size" else plain.left + 10**6
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "text":
        path.write_text("not an archive")
    elif damage == "pickle":
        objects = np.array([{}], dtype=object)
        np.savez(path, left=objects, right=plain.right, num_classes=plain.num_classes)
    else:
        np.savez(path, left=bad, right=plain.right, num_classes=plain.num_classes)
    assert np.array_equal(load(kinds, tmp_path).left, plain.left)
    with np.load(path) as stored:
        assert np.array_equal(stored["left"], plain.left)
