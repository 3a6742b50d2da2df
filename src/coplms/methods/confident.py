"""Which of a proxy's answers may teach, and how much."""

import math
from collections.abc import Sequence

from coplms.config.method import TransferConfig
from coplms.evaluation.generate import Answer


def confident(answers: Sequence[Answer], config: TransferConfig) -> list[int]:
    """Places of the answers to learn from, in order.

    Where fewer than `least_kept` of all are as probable as they should be, because text may be said
    in many ways, those with the most probable tokens (geometric mean, which does not fall with
    length) are kept. Answers that are empty, or were cut at their longest, teach nothing.

    Args:
        answers: A proxy's, one for each input of the transfer set.
        config: `confidence`, `min_confidence`, and `least_kept` of all answers.

    >>> likely, unlikely = Answer("yes", -0.2, 2, True), Answer("no", -4.0, 2, True)
    >>> confident([unlikely, likely, unlikely, unlikely], TransferConfig(least_kept=0.5))
    [0, 1]
    """
    least = math.log(config.min_confidence) if config.min_confidence else -math.inf
    whole = config.confidence == "answer"
    ranks = {}
    for place, answer in enumerate(answers):
        if answer.finished and answer.text:
            mean = answer.log_probability / answer.num_tokens
            ranks[place] = ((answer.log_probability if whole else mean) >= least, mean)
    best = sorted(ranks, key=lambda place: ranks[place], reverse=True)
    sure = sum(is_sure for is_sure, _ in ranks.values())
    return sorted(best[: max(sure, math.ceil(config.least_kept * len(answers)))])


def share_of_answers(num_answers: int, num_own: int, config: TransferConfig) -> float:
    """Part of a learner's examples that are answers, 0 to 1.

    Args:
        num_answers: Answers that may teach.
        num_own: Texts of the learner's own.
        config: `share`, and `repeats`, which lowers it where answers are few.

    >>> [share_of_answers(count, 300, TransferConfig()) for count in (0, 150, 900)]
    [0.0, 0.5, 0.75]
    """
    if not num_answers:
        return 0.0
    seen = config.repeats * num_answers
    return min(config.share, seen / (seen + num_own))
