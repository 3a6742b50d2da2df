"""Which of a proxy's answers may teach."""

import math
from collections.abc import Sequence

from coplms.config.method import TransferConfig
from coplms.evaluation.generate import Answer


def confident(answers: Sequence[Answer], config: TransferConfig) -> list[int]:
    """Places of the answers to learn from, in order.

    Confidence is the geometric mean of the tokens' probabilities. Answers that are empty, or were
    cut at their longest, teach nothing.

    Args:
        answers: A proxy's, one for each input of the transfer set.
        config: `min_confidence`, and `least_kept` of all answers: where text may be said in many
            ways a good answer, too, has improbable tokens, and the best ones are kept.

    >>> likely, unlikely = Answer("yes", -0.2, 2, True), Answer("no", -4.0, 2, True)
    >>> confident([unlikely, likely, unlikely, unlikely], TransferConfig(least_kept=0.5))
    [0, 1]
    """
    means = {
        place: answer.log_probability / answer.num_tokens
        for place, answer in enumerate(answers)
        if answer.finished and answer.text
    }
    best = sorted(means, key=lambda place: -means[place])
    least = math.log(config.min_confidence) if config.min_confidence else -math.inf
    sure = sum(mean >= least for mean in means.values())
    return sorted(best[: max(sure, math.ceil(config.least_kept * len(answers)))])
