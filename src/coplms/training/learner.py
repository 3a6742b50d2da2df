"""A language model in training."""

import logging
from dataclasses import dataclass, field
from functools import cached_property

import torch

from coplms.config.compute import ComputeConfig
from coplms.errors import ModelError
from coplms.losses.plan import WIDEST, WIDEST_ON_CPU, BlockSizes
from coplms.models.language_model import LanguageModel
from coplms.models.load import vocab_size
from coplms.training.encoding import Encoder
from coplms.training.head import HeadForm, read_head
from coplms.training.part import Part

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Learner:
    """A model, its encoder, and the parts of it that can be trained.

    Attributes:
        model: Network and tokenizer.
        encoder: Examples in the model's tokens.
        parts: `own` for an LLM or SLM; `shared` and `domain` for a DPM.
        shared_is_adapter: Whether a DPM's shared part is LoRA (else it is all its weights).
        compute: How its steps are computed.
    """

    model: LanguageModel
    encoder: Encoder
    parts: dict[str, Part] = field(default_factory=dict)
    shared_is_adapter: bool = False
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    @property
    def pad(self) -> int:
        """Padding token; its rows never count."""
        return int(self.model.tokenizer.pad_token_id)

    @property
    def eos(self) -> int:
        """The token that ends an answer."""
        return int(self.model.tokenizer.eos_token_id)

    @cached_property
    def head(self) -> HeadForm | None:
        """What a fused loss needs to know of the output head; None for the plain way.

        Raises:
            ModelError: If the fused way is asked for and the head is of an unknown form.
        """
        if self.compute.loss == "plain":
            return None
        form = read_head(self.model)
        if form is None:
            network = type(self.model.network).__name__
            found = (
                f"model '{self.model.name}': the output head of {network} is of a form that the "
                "fused loss does not know (linear, with LoRA or bias, a factor and a cap)"
            )
            if self.compute.loss == "fused":
                raise ModelError(f"{found}. Write compute.loss: auto, which takes the plain way")
            _LOG.warning("%s, so its losses take the plain way: more memory and time", found)
        return form

    def block_sizes(self, peer_vocab_size: int, num_classes: int) -> BlockSizes:
        """Blocks of a fused loss that stay within the memory.

        Args:
            peer_vocab_size: Columns of the other model's logits; 0 where there is none.
            num_classes: Common classes.
        """
        device = self.model.device
        item = 8 if self.model.network.dtype == torch.float64 else 4
        vocab_sizes = (vocab_size(self.model), peer_vocab_size)
        return BlockSizes.within(
            self.compute.loss_memory_bytes(device.type),
            vocab_sizes,
            num_classes,
            item,
            WIDEST_ON_CPU if device.type == "cpu" else WIDEST,
        )
