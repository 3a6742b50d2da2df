from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coplms.alignment import edit_distance
from coplms.alignment.edit_distance import (
    NO_TOKEN,
    load_vocabulary_map,
    match_tokens,
    token_distance,
    vocabulary_map,
)
from coplms.alignment.token_bytes import TokenBytes

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
TOKENS = st.lists(st.sampled_from([b"a", b"ab", b"abc", b" b", b"c", None]), max_size=4)


def distance(left, right):
    return token_distance(left or b"</s>", right or b"</s>")


def cheapest(left, right, row=0, column=0):
    """The least cost of all ways from a pair to the last one, by trying each of them."""
    cost = distance(left[row], right[column])
    steps = [(row + 1, column + 1), (row + 1, column), (row, column + 1)]
    rests = [cheapest(left, right, i, j) for i, j in steps if i < len(left) and j < len(right)]
    return cost + min(rests, default=0)


def test_edit_distance_counts_insertions_deletions_and_replacements() -> None:
    assert token_distance(b"cat", b"cat") == 0
    assert token_distance(b"cat", b"cart") == 1
    assert token_distance(b"cart", b"cat") == 1
    assert token_distance(b"cat", b"cut") == 1
    assert token_distance(b"cat", b"act") == 2
    assert token_distance(b"", b"cat") == 3
    assert token_distance(b"cats", b" dog") == 4


def test_edit_distance_counts_bytes() -> None:
    assert token_distance("é".encode(), "è".encode()) == 1
    assert token_distance("é".encode(), b"e") == 2


def test_equal_sequences_match_one_to_one_and_cost_nothing() -> None:
    tokens = [b" the", b" cat", b" sat", b".", None]
    matching = match_tokens(tokens, tokens)
    assert matching.cost == 0
    assert matching.rights() == [[0], [1], [2], [3], [4]]


def test_split_tokens_are_matched_with_the_whole() -> None:
    left = [b" the", b" cat", b" sat", b" down", b"."]
    right = [b" the", b" ca", b"t", b" sat", b" down."]
    matching = match_tokens(left, right)
    # " cat" with " ca" 1 and with "t" 3; " down" with " down." 1, "." with " down." 5
    assert matching.cost == 1 + 3 + 1 + 5
    assert matching.rights() == [[0], [1, 2], [3], [4], [4]]
    assert matching.lefts() == [[0], [1], [1], [2], [3, 4]]


def test_a_matching_never_crosses_itself() -> None:
    # "b" stands before "a" on the right: only one of them can meet its like.
    matching = match_tokens([b"aa", b"bb", b"c", b"d", None], [b"bb", b"aa", b"c", b"d", None])
    assert matching.cost == 4
    # both ways with one equal pair cost 4, and so does the one where both sides always move on
    assert matching.rights() == [[0], [1], [2], [3], [4]]


def test_tokens_without_text_match_each_other() -> None:
    matching = match_tokens([b"a", b"b", None], [b"ab", None])
    assert matching.rights() == [[0], [0], [1]]
    assert matching.cost == 2
    assert match_tokens([b"a", None], [b"a", b"bcdef", None]).rights() == [[0, 1], [2]]


def test_of_equally_cheap_ways_the_left_side_moves_on_last() -> None:
    # Going back from the last pair, (1, 2) and (2, 1) cost 4 both, and (1, 1) costs 8.
    matching = match_tokens([b"aaaa", b"bbbb", b"aaaa"], [b"bbbb", b"aaaa", b"bbbb"])
    assert matching.cost == 8
    assert matching.pairs == ((0, 0), (0, 1), (1, 2), (2, 2))


def test_nothing_is_matched_with_an_empty_sequence() -> None:
    assert match_tokens([], [b"a"]).pairs == ()
    assert match_tokens([b"a"], []).rights() == []


@PROPERTY
@given(TOKENS, TOKENS)
def test_no_way_through_both_sequences_is_cheaper(left, right) -> None:
    matching = match_tokens(left, right)
    if not left or not right:
        assert matching.pairs == ()
        return
    pairs = matching.pairs
    assert matching.cost == cheapest(left, right)
    assert matching.cost == sum(distance(left[i], right[j]) for i, j in pairs)
    assert pairs[0] == (0, 0)
    assert pairs[-1] == (len(left) - 1, len(right) - 1)
    steps = {(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(pairs)}
    assert steps <= {(1, 1), (1, 0), (0, 1)}


def test_a_vocabulary_maps_by_equal_spelling_then_by_the_least_edit_distance() -> None:
    source = TokenBytes.of([b"cat", b"cats", b" dog", b"z", None], eos_id=4)
    target = TokenBytes.of([None, b"cat", b"dog", b"cut", b"x"], eos_id=0)
    assert vocabulary_map(source, target, 5, 5).tolist() == [1, 1, 2, 4, 0]
    assert vocabulary_map(target, source, 5, 5).tolist() == [4, 0, 2, 0, 3]


def test_the_lowest_id_stands_for_tokens_that_are_equally_near() -> None:
    source = TokenBytes.of([b"bat", b"cat", None], eos_id=2)
    target = TokenBytes.of([b"bart", b"hat", b"rat", b"cat", b"cat", None], eos_id=5)
    assert vocabulary_map(source, target, 3, 6).tolist() == [0, 3, 5]


def test_a_token_of_another_length_can_be_the_nearest() -> None:
    source = TokenBytes.of([b"walked", None], eos_id=1)
    target = TokenBytes.of([b"garden", b"walk", b"walkers", None], eos_id=3)
    assert vocabulary_map(source, target, 2, 4).tolist() == [1, 3]


def test_special_tokens_and_padded_columns_have_no_counterpart() -> None:
    source = TokenBytes.of([None, b"a", None], eos_id=2)
    target = TokenBytes.of([b"ab", None, b"a"], eos_id=1)
    assert vocabulary_map(source, target, 5, 3).tolist() == [NO_TOKEN, 2, 1, NO_TOKEN, NO_TOKEN]


def test_tokens_that_a_model_cannot_predict_are_not_mapped_to() -> None:
    source = TokenBytes.of([b"a", None], eos_id=1)
    target = TokenBytes.of([None, b"abc", b"a"], eos_id=0)
    assert vocabulary_map(source, target, 2, 2).tolist() == [1, 0]


def test_the_map_of_real_tokenizers_is_that_of_every_pair(kinds) -> None:
    """Also that it has a row per column and no others."""
    left, right = kinds["byte_level"].bytes, kinds["fallback"].bytes
    sizes = len(left.strings), len(right.strings)
    ids = vocabulary_map(left, right, *sizes)
    assert ids.shape == (sizes[0],)
    others = [(string, index) for index, string in enumerate(right.strings) if string is not None]
    for index, string in enumerate(left.strings):
        if index == left.eos_id:
            assert ids[index] == right.eos_id
        elif string is None:
            assert ids[index] == NO_TOKEN
        elif index % 7 == 0:  # every pair in plain Python is slow
            _, nearest = min((token_distance(string, other), at) for other, at in others)
            assert ids[index] == nearest
    assert np.all(ids < sizes[1])


SOURCE = TokenBytes.of([b"cat", b"cats", None], eos_id=2)
TARGET = TokenBytes.of([None, b"dog", b"cat"], eos_id=0)


def test_a_kept_map_is_read_back_and_not_built_again(tmp_path, monkeypatch) -> None:
    plain = load_vocabulary_map(SOURCE, TARGET, 4, 3, None)
    first = load_vocabulary_map(SOURCE, TARGET, 4, 3, tmp_path / "maps")
    monkeypatch.delattr(edit_distance, "vocabulary_map")
    second = load_vocabulary_map(SOURCE, TARGET, 4, 3, tmp_path / "maps")
    assert plain.tolist() == first.tolist() == second.tolist() == [2, 2, 0, NO_TOKEN]
    with pytest.raises(NameError):  # other sizes, and the other direction, are other maps
        load_vocabulary_map(SOURCE, TARGET, 5, 3, tmp_path / "maps")
    with pytest.raises(NameError):
        load_vocabulary_map(TARGET, SOURCE, 4, 3, tmp_path / "maps")


@pytest.mark.parametrize("ids", [[2, 2, 0], [2, 2, 3, -1], [2, 2, 0, -2], [2.0, 2.0, 0.0, -1.0]])
def test_a_damaged_kept_map_is_built_anew(tmp_path, ids) -> None:
    good = load_vocabulary_map(SOURCE, TARGET, 4, 3, tmp_path)
    (path,) = tmp_path.iterdir()
    np.savez(path, ids=np.array(ids))
    assert load_vocabulary_map(SOURCE, TARGET, 4, 3, tmp_path).tolist() == good.tolist()
    with np.load(path) as stored:
        assert stored["ids"].tolist() == good.tolist()
