"""Server and devices: who holds which model and which text."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from coplms.alignment.classes import load_class_map
from coplms.consortium.messages import SERVER
from coplms.data.example import Example
from coplms.data.members import MemberData
from coplms.models.adapters import activate
from coplms.models.load import vocab_size
from coplms.training.learner import Learner
from coplms.training.pair import Pairing, pair

SHARED = "shared"
"""The DPM's part that travels; a LoRA adapter of this name, or all weights."""

DOMAIN = "domain"
"""The DPM's private adapter; never leaves its device."""

OWN = "own"
"""The trained part of an LLM or SLM."""


@dataclass(frozen=True)
class PublicText:
    """Text without privacy: every member may train on it, or is scored on it.

    Attributes:
        labelled: The server's examples.
        dev: The server's dev examples, to compare models on.
        test: Examples that all are asked; nobody trains on them.
        transfer: Inputs without answers.
    """

    labelled: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    transfer: tuple[Example, ...]

    @cached_property
    def domains(self) -> frozenset[str]:
        """Domains that everyone knows."""
        parts = (self.labelled, self.dev, self.test, self.transfer)
        return frozenset(example.domain for part in parts for example in part)


@dataclass(eq=False)
class Server:
    """The cloud's side.

    Attributes:
        llm: The large model; never leaves.
        dpm: The server's copy of the proxy.
        data: Its labelled text (public to the devices), and the test sets of all domains.
        public: What it sends to the devices once.
        pairing: The DPM (left) and the LLM (right); one vocabulary.
    """

    llm: Learner
    dpm: Learner
    data: MemberData
    public: PublicText
    pairing: Pairing

    name = SERVER


@dataclass(eq=False)
class Device:
    """One device.

    Attributes:
        name: Unique in the consortium.
        slm: Its own small model.
        dpm: Its copy of the proxy.
        data: Its private text.
        public: What the server sent once.
        pairing: The DPM (left) and the SLM (right).
    """

    name: str
    slm: Learner
    dpm: Learner
    data: MemberData
    public: PublicText
    pairing: Pairing


def pair_learners(left: Learner, right: Learner, cache: Path | None) -> Pairing:
    """The two learners with the common classes of their tokenizers (cached on disk)."""
    classes = load_class_map(
        left.model.tokenizer,
        right.model.tokenizer,
        vocab_size(left.model),
        vocab_size(right.model),
        cache,
    )
    return pair(left, right, classes)


def use_domain_adapter(dpm: Learner, *, on: bool) -> None:
    """Let the device's domain adapter act in the DPM, or leave the shared part alone."""
    adapters = [SHARED] if dpm.shared_is_adapter else []
    activate(dpm.model, [*adapters, DOMAIN] if on else adapters)
