"""Rouge-L as the official script of Super-NaturalInstructions computes it.

That is `src/compute_metrics.py` of yizhongw/Tk-Instruct, default track: the F-measure of the
`rouge-score` library with Porter stemming, over lower-cased ASCII letters and digits.
"""

from collections.abc import Sequence
from functools import cache

from rouge_score.rouge_scorer import RougeScorer


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """Rouge-L F-measure in percent against the reference that fits best.

    Text without ASCII letters and digits scores 0, even against itself: it has no tokens.

    Args:
        prediction: The answer of a model.
        references: Acceptable answers, at least one.

    Raises:
        ValueError: If there is no reference.

    >>> round(rouge_l("the cats sat", ["a dog", "The cat sat down."]), 4)
    85.7143
    """
    if not references:
        raise ValueError("Rouge-L needs at least one reference")
    scorer = _scorer()
    return 100.0 * max(
        float(scorer.score(target=reference, prediction=prediction)["rougeL"].fmeasure)
        for reference in references
    )


@cache
def _scorer() -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=True)
