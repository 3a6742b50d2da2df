"""FedMKT (arXiv:2406.02224): LLM and SLMs exchange what they say of public text, not weights.

Each round:

    device   cross-entropy of the SLM on the device's text
             send, for each token of the public answers, the K most probable tokens' logits, and
             what each answer costs
    server   for each public answer keep the device with the least cost, where that is below the
             LLM's own (DualMinCE)
             the LLM learns: lambda CE + (1 - lambda) KD
             send the LLM's K most probable tokens likewise
    device   the SLM learns likewise, where the LLM's cost is below its own

KD is cross-entropy to softmax(top K / T), laid on the learner's tokens: tokens of the two
sequences are matched by dynamic programming over edit distances, and a teacher's token stands for
the one that is spelt the same, or most alike. Where tokens are not matched one to one, the target
is the token itself that is due.

What differs from the paper (docs/baselines.md): only answers are taught, as all methods here train
on answers only; costs are sums over the answer, for costs per token of two tokenizers cannot be
compared; a fallback target is the token that is due, not the one before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coplms.alignment.edit_distance import NO_TOKEN, load_vocabulary_map, match_tokens
from coplms.config.method import MethodConfig, OptimizerConfig
from coplms.consortium.journal import Journal, Label
from coplms.consortium.members import OWN
from coplms.consortium.messages import SERVER
from coplms.data.example import Example
from coplms.methods.baseline import Client, Parties, clients, part_of, visible
from coplms.models.load import vocab_size
from coplms.training.encoding import EncodedExample
from coplms.training.learner import Learner
from coplms.training.part import Part
from coplms.training.phases import Phase, learn_lessons, tune
from coplms.training.pools import Pool
from coplms.training.soft_targets import Lesson, SoftTargets, TopTokens, top_tokens
from coplms.transport.ledger import Direction


@dataclass(frozen=True)
class FedMkt:
    """The baseline of that name."""

    config: MethodConfig
    optimizer: OptimizerConfig
    bridges: "Bridges" = field(default_factory=lambda: Bridges())

    def round(self, number: int, parties: Parties, journal: Journal) -> None:
        """Tune, teach the LLM, teach the SLMs."""
        names = parties.drawn(number)
        for client in clients(parties, names):
            tune_locally(self.config, self.optimizer, number, client, parties, journal)
        llm, text = parties.llm, parties.server.train
        steps = part_of(self.config.server_steps, number, self.config.rounds)

        def learn(phase: Phase) -> dict[str, float]:
            own = self._tops(llm, text)
            best: list[Taught] = [Taught(top.nats, None) for top in own]
            for client in clients(parties, names):
                tops = self._sent(number, client.model, text, client.name, "up", parties)
                kinds = (client.model, client.group), (llm, SERVER)
                bridge = self.bridges.of(*kinds, text, parties.cache)
                best = better(best, tops, bridge, self.config.fedmkt.temperature)
            return self._learn(llm, llm.parts[OWN], text, best, steps, phase)

        journal.phase(Label(number, SERVER, "learn"), learn, [llm.parts[OWN]])
        self.teach(number, names, parties, journal)

    def teach(self, number: int, names: Sequence[str], parties: Parties, journal: Journal) -> None:
        """The LLM teaches the SLMs on public text."""
        llm, text, rounds = parties.llm, parties.public.labelled, self.config.rounds
        total = self.config.device_steps - local_steps(self.config)
        steps = part_of(total, number, rounds)
        tops: list[TopTokens] = []  # made once, for the first device that has not learnt yet
        for client in clients(parties, names):

            def learn(phase: Phase, client: Client = client) -> dict[str, float]:
                if not tops:
                    tops.extend(self._tops(llm, text))
                sent = carried(tops, parties, number, client.name, "down")
                own = [Taught(top.nats, None) for top in self._tops(client.model, text)]
                kinds = (llm, SERVER), (client.model, client.group)
                bridge = self.bridges.of(*kinds, text, parties.cache)
                best = better(own, sent, bridge, self.config.fedmkt.temperature)
                return self._learn(client.model, client.part, text, best, steps, phase)

            journal.phase(Label(number, client.name, "learn"), learn, [client.part])

    def _tops(self, model: Learner, text: Sequence[Example]) -> list[TopTokens]:
        return top_tokens(model, model.encoder(text), self.config.fedmkt.top_tokens)

    def _sent(
        self,
        number: int,
        model: Learner,
        text: Sequence[Example],
        device: str,
        direction: Direction,
        parties: Parties,
    ) -> list[TopTokens]:
        return carried(self._tops(model, text), parties, number, device, direction)

    def _learn(
        self,
        learner: Learner,
        part: Part,
        text: Sequence[Example],
        best: "Sequence[Taught]",
        steps: int,
        phase: Phase,
    ) -> dict[str, float]:
        encoded = learner.encoder(text)
        lessons = [Lesson(e, t.targets) for e, t in zip(encoded, best, strict=True)]
        weight = self.config.fedmkt.weight
        metrics = learn_lessons(learner, part, text, lessons, weight, steps, self.optimizer, phase)
        return {**metrics, "num_taught": sum(t.targets is not None for t in best)}


def local_steps(config: MethodConfig) -> int:
    """Of all steps of an SLM, those on the device's own text."""
    return round(config.fedmkt.local_share * config.device_steps)


def tune_locally(
    config: MethodConfig,
    optimizer: OptimizerConfig,
    number: int,
    client: Client,
    parties: Parties,
    journal: Journal,
) -> None:
    """Step 1 of a round: cross-entropy on the device's text."""
    steps = part_of(local_steps(config), number, config.rounds)

    def work(phase: Phase) -> dict[str, float]:
        pools = [Pool(visible(client, parties), optimizer.batch_size)]
        return tune(client.model, client.part, pools, steps, optimizer, phase)

    journal.phase(Label(number, client.name, "tune"), work, [client.part])


# What travels --------------------------------------------------------------------------------


def carried(
    tops: Sequence[TopTokens],
    parties: Parties,
    number: int,
    device: str,
    direction: Direction,
) -> list[TopTokens]:
    """What the receiver makes of a message; it knows the sender's tokenizer, so not its lengths."""
    message = {
        "logits": torch.cat([top.logits for top in tops]),
        "ids": torch.cat([top.ids for top in tops]).int(),
        "nats": torch.tensor([top.nats for top in tops]),
    }
    found: Mapping[str, Tensor] = parties.carry(number, device, direction, message)
    sizes = [len(top.logits) for top in tops]
    parts: Iterator[tuple[Tensor, Tensor, Tensor]] = zip(
        found["logits"].split_with_sizes(sizes),
        found["ids"].long().split_with_sizes(sizes),
        found["nats"],
        strict=True,
    )
    return [TopTokens(logits, ids, float(nats)) for logits, ids, nats in parts]


# Selection and alignment ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Taught:
    """The least cost of a public answer so far, and what whoever has it says of it.

    Attributes:
        nats: Of the whole answer.
        targets: In the learner's tokens; None where it is the learner itself.
    """

    nats: float
    targets: SoftTargets | None


def better(
    best: Sequence[Taught], tops: Sequence[TopTokens], bridge: "Bridge", temperature: float
) -> list[Taught]:
    """The best with one more teacher; one whose cost is not a number teaches nothing."""
    found = list(best)
    for place, top in enumerate(tops):
        if top.nats < best[place].nats:
            found[place] = Taught(top.nats, bridge.targets(place, top, temperature))
    return found


@dataclass(frozen=True, eq=False)
class Bridge:
    """From a teacher's tokens to a learner's, for one text.

    Attributes:
        tokens: The learner's token for each of the teacher's, `[teacher's vocabulary]`; `NO_TOKEN`
            where there is none.
        rows: For each example the teacher's answer token for each of the learner's; -1 where they
            are not matched one to one.
        due: For each example the learner's answer tokens.
    """

    tokens: Tensor
    rows: Sequence[NDArray[np.int64]]
    due: Sequence[Tensor]

    def targets(self, place: int, top: TopTokens, temperature: float) -> SoftTargets:
        """What the teacher says of an example, in the learner's tokens.

        Args:
            place: The example's.
            top: What it says, in its own.
            temperature: T.
        """
        rows, due = torch.from_numpy(self.rows[place]), self.due[place]
        ids = self.tokens[top.ids]
        logits = (top.logits / temperature).masked_fill(ids == NO_TOKEN, -torch.inf)
        said, found = torch.softmax(logits, dim=1)[rows], ids[rows].clamp_min(0)
        silent = (rows < 0) | (ids == NO_TOKEN).all(1)[rows]
        said = torch.where(silent[:, None], torch.zeros_like(said), said)
        found = torch.where(silent[:, None], due[:, None].expand_as(found), found)
        said[silent, 0] = 1.0
        return SoftTargets(found, said)


@dataclass(frozen=True)
class Bridges:
    """Bridges between models, each built once; those of equal tokenizers are shared."""

    known: dict[tuple[str, str, int], Bridge] = field(default_factory=dict)

    def of(
        self,
        teacher: tuple[Learner, str],
        learner: tuple[Learner, str],
        text: Sequence[Example],
        cache: Path | None,
    ) -> Bridge:
        """From a teacher to a learner, each with the name of its kind of model."""
        (one, one_kind), (other, other_kind) = teacher, learner
        key = (one_kind, other_kind, hash(tuple(text)))
        if key not in self.known:
            self.known[key] = build_bridge(one, other, text, cache)
        return self.known[key]


def build_bridge(
    teacher: Learner, learner: Learner, text: Sequence[Example], cache: Path | None = None
) -> Bridge:
    """The bridge for a text: quadratic in the length of answers and in the vocabularies.

    Args:
        teacher: From whose tokens.
        learner: To whose tokens.
        text: What is said about.
        cache: Folder of vocabulary maps; None keeps none.
    """
    tokens = load_vocabulary_map(
        teacher.encoder.bytes,
        learner.encoder.bytes,
        vocab_size(teacher.model),
        vocab_size(learner.model),
        cache,
    )
    pairs = zip(teacher.encoder(text), learner.encoder(text), strict=True)
    rows = [one_to_one(spellings(teacher, a), spellings(learner, b)) for a, b in pairs]
    due = [torch.tensor(each.answer) for each in learner.encoder(text)]
    return Bridge(torch.from_numpy(tokens), rows, due)


def spellings(learner: Learner, example: EncodedExample) -> list[bytes | None]:
    """The bytes of an answer's tokens; None for the one that ends it."""
    return [learner.encoder.bytes.strings[token] for token in example.answer]


def one_to_one(
    teacher: Sequence[bytes | None], learner: Sequence[bytes | None]
) -> NDArray[np.int64]:
    """For each token of the learner the teacher's, where these two have each other alone.

    >>> one_to_one([b"pay", b" the", None], [b"pay", b" t", b"he", None]).tolist()
    [0, -1, -1, 2]
    """
    matching = match_tokens(teacher, learner)
    rights, lefts = matching.rights(), matching.lefts()
    return np.array(
        [found[0] if len(found) == 1 and len(rights[found[0]]) == 1 else -1 for found in lefts],
        dtype=np.int64,
    )
