"""A network and its tokenizer under one name."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass
class LanguageModel:
    """A causal language model that the consortium can tune and ask.

    Attributes:
        name: What messages and reports call it.
        network: The Hugging Face causal LM. PEFT layers are injected into it in place.
        tokenizer: Its fast tokenizer, with an EOS token and a padding token.
        path: Folder or hub name that it was loaded from.
    """

    name: str
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    path: str

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(self.network.parameters()).device
