"""A language model in training, and the rows of its predictions that count."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from coplms.models.language_model import LanguageModel
from coplms.training.batches import Batch
from coplms.training.encoding import Encoder
from coplms.training.part import Part


@dataclass(eq=False)
class Learner:
    """A model, its encoder, and the parts of it that can be trained.

    Attributes:
        model: Network and tokenizer.
        encoder: Examples in the model's tokens.
        parts: `own` for an LLM or SLM; `shared` and `domain` for a DPM.
        shared_is_adapter: Whether a DPM's shared part is LoRA (else it is all its weights).
    """

    model: LanguageModel
    encoder: Encoder
    parts: dict[str, Part] = field(default_factory=dict)
    shared_is_adapter: bool = False

    @property
    def pad(self) -> int:
        """Padding token; its rows never count."""
        return int(self.model.tokenizer.pad_token_id)

    @property
    def eos(self) -> int:
        """The token that ends an answer."""
        return int(self.model.tokenizer.eos_token_id)


def row_logits(model: LanguageModel, batch: Batch) -> Tensor:
    """Logits of the batch's answer rows, `[rows, vocabulary]`.

    The rows are selected from the hidden states before the output head, by a hook on the head, so
    whatever an architecture does to its logits afterwards (scaling, soft-capping) still happens,
    and `[batch, sequence, vocabulary]` never exists.
    """
    head: torch.nn.Module = model.network.get_output_embeddings()  # type: ignore[no-untyped-call]

    def select(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[batch.rows], *inputs[1:])

    hook = head.register_forward_pre_hook(select)
    try:
        output = model.network(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        )
    finally:
        hook.remove()
    logits: Tensor = output.logits
    return logits
