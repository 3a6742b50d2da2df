"""The phases of Co-PLMs and their settings; defaults are what docs/trials.md measured."""

from typing import Literal

from pydantic import Field

from coplms.config.base import Section


class OptimizerConfig(Section):
    """AdamW with warm-up and cosine decay, for every trained part."""

    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of LLM and SLMs."""
    proxy_learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate of the DPM; absent: `learning_rate`."""
    final_fraction: float = Field(0.1, ge=0, le=1)
    """The cosine ends at this part of the peak."""
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    """Part of a trained part's planned steps over which the rate rises from 0."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this L2 norm."""
    batch_size: int = Field(16, ge=1)
    """Examples per optimiser step."""
    accumulation: int = Field(1, ge=1)
    """Divides a batch into so many forward and backward passes."""


class DistillConfig(Section):
    """LLM -> DPM, once, before round 1, on the server's text."""

    steps: int = Field(200, ge=0)
    """More of them make a better DPM, and cost devices nothing. By LoRA much depends on them where
    the DPM is sliced, since the rest of it stays as distillation leaves it."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak; absent: the DPM's. All of the DPM learns here, which wants a lower rate than a LoRA
    adapter does."""
    text: tuple[str, ...] = ()
    """Further text files (JSONL or JSONL.gz) beside the server's examples; the zoo's text for mini
    models."""
    temperature: float = Field(1.0, gt=0)
    batch_size: int = Field(16, ge=1)
    block_tokens: int = Field(64, ge=8)
    """Tokens per sequence of `text`."""


class DstConfig(Section):
    """Domain-specific tuning: the DPM's domain adapter learns the device's data."""

    steps: int = Field(0, ge=0)
    """Optimiser steps per round, before SAML: the paper's."""
    last_steps: int = Field(90, ge=0)
    """Optimiser steps after the last round, on the aggregate, before the DPM answers the transfer
    set."""
    learning_rate: float | None = Field(None, gt=0)
    """Absent: the optimiser's."""


class SamlConfig(Section):
    """Structure-agnostic mutual learning: L = CE + lambda * tau^2 * KL(sg(peer) || own)."""

    steps: int = Field(40, ge=0)
    """Optimiser steps per round on a device."""
    server_steps: int = Field(20, ge=0)
    """Optimiser steps per round on the server."""
    proxy_steps: int = Field(160, ge=0)
    """Steps per round that the DPM's shared part takes alone on a device's text before SAML."""
    weight: float = Field(1.0, ge=0)
    """lambda: weight of the divergence, added to cross-entropy."""
    ramp_fraction: float = Field(0.5, ge=0, le=1)
    """Part of all planned steps over which lambda rises from 0 to `weight`."""
    temperature: float = Field(1.0, gt=0)
    """tau."""
    divergence: Literal["forward_kl", "reverse_kl", "jsd", "uld"] = "forward_kl"
    """Seen from the learner: forward KL is KL(peer || own). `uld` compares sorted probabilities of
    tokens in place of common classes (Boizard et al. 2024, arXiv:2402.12030); it needs all logits
    in memory."""
    direction: Literal["both", "to_proxy", "to_own"] = "both"
    """Who learns from the other: both, the DPM only, or the SLM and the LLM only."""
    gate: Literal["none", "sample", "chunk"] = "sample"
    """Learn from the peer everywhere, or only in samples (chunks) where it has fewer nats per
    byte."""
    fresh_passes: float = Field(2.0, ge=0)
    """How often a model may have seen its text and still be judged by it. After n passes a shut
    gate lets through 1 - fresh_passes / n, less where the peer is much worse on dev text: a low
    cost of known text is memory, not knowledge."""
    chunk_event: bool = True
    """Make the whole chunk an outcome of its own where chunks are not one-to-one."""
    server_proxy: Literal["train", "freeze"] = "freeze"
    """Whether mutual learning on the server's small text may change the aggregated DPM."""


class TransferConfig(Section):
    """The aggregated DPM answers the transfer set; confident answers teach LLM and SLMs."""

    steps: int = Field(480, ge=0)
    """Optimiser steps on a device, after the last round."""
    server_steps: int = Field(540, ge=0)
    """Optimiser steps on the server, after the last round."""
    confidence: Literal["token", "answer"] = "token"
    """How probable the DPM finds an answer: its tokens, as geometric mean, or all of it at once,
    which is strict with long answers: for those of which a wrong token spoils all."""
    min_confidence: float = Field(0.7, ge=0, le=1)
    """Keep answers that the DPM finds at least so probable."""
    least_kept: float = Field(0.5, ge=0, le=1)
    """Where fewer are, keep those with the most probable tokens, up to this part of all answers."""
    weight: float = Field(1.0, ge=0)
    """lambda of the divergence from the DPM, beside cross-entropy on its answers; with 0 the DPM
    answers once and takes no part in the steps, which then cost a third less."""
    share: float = Field(0.75, ge=0, le=1)
    """Part of the examples taken from the answered transfer set, at most; in whole examples of a
    batch, and exact over every window of batches. The rest is the member's own text, as everything
    is where the DPM is no better than the learner on dev data."""
    repeats: float = Field(2.0, gt=0)
    """How often an answer is seen, at most, for each time that a text of the member's own is,
    before batches are rounded: few answers take less than `share`."""


class FedMktConfig(Section):
    """What FedMKT and LLM2SLM need beside steps (arXiv:2406.02224)."""

    top_tokens: int = Field(128, ge=1)
    """K: a teacher's most probable tokens that are sent for each token of the public text."""
    temperature: float = Field(1.0, gt=0)
    """The teacher's logits are divided by it."""
    weight: float = Field(0.9, ge=0, le=1)
    """lambda: weight of cross-entropy on public text; the rest is the teacher's."""
    local_share: float = Field(0.5, ge=0, le=1)
    """Part of an SLM's steps that it takes on the device's own text; the rest on public text."""


class FedCollmConfig(Section):
    """What FedCoLLM needs beside steps (arXiv:2411.11707)."""

    weight: float = Field(1.0, ge=0)
    """lambda: weight of the divergence, added to cross-entropy."""
    temperature: float = Field(1.0, gt=0)


MethodName = Literal[
    "coplms", "standalone", "fedlora", "llm2slm", "fedcollm", "fedmkt", "centralised"
]
"""Ours first; the others are what it is compared with (docs/baselines.md)."""


WITH_PROXY = frozenset({"fedcollm"})
"""Baselines whose devices tune the DPM in place of a model of their own."""


class MethodConfig(Section):
    """How models are tuned: Co-PLMs (arXiv:2511.11678), or a baseline with as many steps.

    A baseline takes rounds, `device_steps` and `server_steps` from here too, so that a change of
    `name` alone changes the method and nothing else.
    """

    name: MethodName = "coplms"
    rounds: int = Field(3, ge=1)
    """Exchanges; `dst.steps` and the steps in `saml` are those of one. More rounds of fewer steps
    learn more, and the more devices, the more so; `transport.form: int8` pays for four times as
    many."""
    participation: float = Field(1.0, gt=0, le=1)
    """Part of the devices that is drawn to take part in a round; at least one is."""
    aggregation: Literal["factors", "product"] = "factors"
    """How LoRA is averaged: its factors one by one, or what they stand for, B A, cut to the rank
    again; the same thing where weights themselves travel."""
    distill: DistillConfig = DistillConfig()
    dst: DstConfig = DstConfig()
    saml: SamlConfig = SamlConfig()
    transfer: TransferConfig = TransferConfig()
    fedmkt: FedMktConfig = FedMktConfig()
    fedcollm: FedCollmConfig = FedCollmConfig()

    @property
    def has_proxy(self) -> bool:
        """Whether the LLM is distilled into a DPM, of which every member has a copy."""
        return self.name == "coplms" or self.name in WITH_PROXY

    @property
    def has_slms(self) -> bool:
        """Whether devices tune models of their own."""
        return self.name not in WITH_PROXY

    @property
    def device_steps(self) -> int:
        """Optimiser steps of each SLM over the whole run."""
        return self.rounds * self.saml.steps + self.transfer.steps

    @property
    def server_steps(self) -> int:
        """Optimiser steps of the LLM over the whole run."""
        return self.rounds * self.saml.server_steps + self.transfer.server_steps

    @property
    def device_proxy_steps(self) -> int:
        """Optimiser steps of a device's shared part of the DPM over the whole run."""
        return self.rounds * (self.saml.proxy_steps + self.saml.steps)

    @property
    def server_proxy_steps(self) -> int:
        """Optimiser steps of the server's shared part of the DPM; 0 where it is frozen."""
        trains = self.saml.server_proxy == "train"
        return self.rounds * self.saml.server_steps if trains else 0

    @property
    def domain_steps(self) -> int:
        """Optimiser steps of a device's domain adapter over the whole run."""
        return self.rounds * self.dst.steps + self.dst.last_steps
