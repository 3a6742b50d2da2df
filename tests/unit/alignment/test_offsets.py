import pytest

from coplms.alignment.offsets import offset_ends


def test_tokens_end_where_their_characters_do_in_bytes():
    assert offset_ends([b" i", b"x"], " İ€", [(0, 2), (2, 3)]).tolist() == [3, 6]


def test_tokens_that_spell_one_characters_bytes_make_boundaries_inside_it():
    # A capital became small, so byte lengths alone do not count; the accent's two bytes do.
    tokens = [b" ", b"a", b"\xc3", b"\xaf", b"b"]
    offsets = [(0, 1), (1, 2), (2, 3), (2, 3), (3, 4)]
    assert offset_ends(tokens, " Aïb", offsets).tolist() == [1, 2, 3, 4, 5]


def test_tokens_that_spell_other_bytes_make_a_boundary_at_the_characters_end_only():
    # "…" is three bytes, and so is the "..." that a normaliser made of it.
    tokens = [b" ", b".", b".", b".", b"b"]
    offsets = [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]
    assert offset_ends(tokens, " …b", offsets).tolist() == [1, -1, -1, 4, 5]


def test_tokens_without_bytes_make_a_boundary_at_the_characters_end_only():
    assert offset_ends([b" ", None, b"b"], " é", [(0, 1), (1, 2), (1, 2)]).tolist() == [1, -1, 3]


def test_zero_width_tokens_make_no_boundary():
    tokens, offsets = [b" ", b"a", b" ", b"b"], [(0, 0), (1, 2), (2, 2), (2, 3)]
    assert offset_ends(tokens, " ab", offsets).tolist() == [-1, 2, -1, 3]


def test_characters_that_no_token_claims_belong_to_the_token_before_and_spaces_to_the_next():
    # "e" and a combining accent became one character; the space before "x" was trimmed.
    text, offsets = " e\u0301 x", [(0, 2), (4, 5)]
    assert offset_ends([" é".encode(), b" x"], text, offsets).tolist() == [4, 6]


def test_tokens_and_offsets_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="1 tokens cannot have 0 offsets"):
        offset_ends([b"a"], " a", [])
