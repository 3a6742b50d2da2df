"""How two tokenizers meet: the places where both end a token, and the classes both can predict.

    python examples/align_two_tokenizers.py --text "the bill was due on monday"
    python examples/align_two_tokenizers.py --left models/a --right organisation/b

Without --left and --right, two small tokenizers of different kinds are trained first.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from coplms.alignment.classes import build_class_map
from coplms.alignment.places import align, encode_answer
from coplms.alignment.token_bytes import token_bytes
from coplms.data.text import read_text
from coplms.models.zoo_tokenizers import train_tokenizer


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--left", help="folder or hub name of a tokenizer")
    parser.add_argument("--right", help="folder or hub name of another")
    parser.add_argument("--text", default="play quiet music and book two seats to lisbon")
    parser.add_argument("--train-on", default="demo", help="text for tokenizers that are trained")
    options = parser.parse_args(arguments)
    left = load(options.left, "byte_bpe", options.train_on)
    right = load(options.right, "unigram", options.train_on)

    # Each side's tokens with the byte at which they end; the last one is EOS.
    tables = token_bytes(left), token_bytes(right)
    left_ids, left_ends = encode_answer(tables[0], left, options.text)
    right_ids, right_ends = encode_answer(tables[1], right, options.text)

    # Chunks run between places that both sides have. One text here, so every sample is 0.
    chunks = align(left_ends, np.zeros_like(left_ends), right_ends, np.zeros_like(right_ends))
    print("chunk by chunk, left | right")
    for number in range(len(chunks.sample)):
        a = span(chunks.left_first[number], chunks.left_count[number])
        b = span(chunks.right_first[number], chunks.right_count[number])
        print(f"  {show(left, left_ids[a])} | {show(right, right_ids[b])}")

    # Classes: tokens with the same bytes; all others belong to the first piece that the other
    # tokenizer cuts from them.
    classes = build_class_map(*tables, len(left), len(right))
    print(f"{classes.num_classes} classes of {len(left)} and {len(right)} tokens; for example")
    for index in dict.fromkeys(left_ids):
        partners = np.flatnonzero(classes.right == classes.left[index])
        shared = ", ".join(show(right, [int(partner)]) for partner in partners[:4])
        print(f"  {show(left, [index])} is compared with {shared or 'nothing'}")


def load(path: str | None, kind: str, text: str) -> PreTrainedTokenizerFast:
    if path is not None:
        return AutoTokenizer.from_pretrained(path)
    return train_tokenizer(kind, 800, read_text([text]))


def span(first: int, count: int) -> slice:
    return slice(first, first + count)


def show(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return "+".join(repr(token) for token in tokenizer.convert_ids_to_tokens(ids))


if __name__ == "__main__":
    main()
