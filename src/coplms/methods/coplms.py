"""Co-PLMs, top to bottom (Liu et al. 2025, arXiv:2511.11678; docs/paper.md has the details).

Before round 1 the server distils its LLM into the DPM. Then, each round:

    device   proxy  the DPM's shared part learns the device's text, without domain adapter (ours)
             DST    the DPM's domain adapter learns the private data (not by default)
             SAML   DPM and SLM teach each other
             send   the DPM's shared part; the domain adapter and the data stay
    server   average the shared parts into its own DPM
             SAML   DPM and LLM teach each other
             send   the DPM's shared part

After the last round the domain adapter learns the private data on the aggregate; then the
aggregated DPM, on a device with the domain adapter, answers the transfer set, and what it is
confident of teaches the LLM and the SLMs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coplms.config.method import MethodConfig, OptimizerConfig
from coplms.consortium.aggregate import weighted_mean, weighted_product
from coplms.consortium.inbox import Uploads
from coplms.consortium.journal import Journal, Label
from coplms.consortium.members import DOMAIN, OWN, SHARED, Device, Server, use_domain_adapter
from coplms.consortium.messages import Download, Upload
from coplms.data.example import Example
from coplms.evaluation.generate import generate_answers
from coplms.losses.mutual import Exchange
from coplms.methods.confident import confident, share_of_answers
from coplms.training.learner import Learner
from coplms.training.pair import Pairing
from coplms.training.part import Part
from coplms.training.phases import Phase, mutual_learn, tune
from coplms.training.pools import Pool
from coplms.training.saml import Standing, exchange_of
from coplms.training.sft import nats_per_byte


@dataclass(frozen=True)
class CoPLMs:
    """The paper's method.

    Attributes:
        config: Its phases.
        optimizer: Batches and AdamW.
        max_new_tokens: Longest answer to an input of the transfer set.
    """

    config: MethodConfig
    optimizer: OptimizerConfig
    max_new_tokens: int

    def download(self, server: Server, round_number: int) -> Download:
        """The aggregated shared part."""
        return Download(round_number, server.dpm.parts[SHARED].values())

    def device_round(self, device: Device, download: Download, journal: Journal) -> Upload:
        """Proxy, DST and SAML on the device's text; only the shared part is sent."""
        shared, domain, own = (
            device.dpm.parts[SHARED],
            device.dpm.parts[DOMAIN],
            device.slm.parts[OWN],
        )
        text = [*device.data.train, *device.public.labelled]
        batch = self.optimizer.batch_size

        def proxy(phase: Phase) -> dict[str, float]:
            shared.load_values(download.shared)
            use_domain_adapter(device.dpm, on=False)
            steps = self.config.saml.proxy_steps
            return tune(device.dpm, shared, [Pool(text, batch)], steps, self.optimizer, phase)

        def dst(phase: Phase) -> dict[str, float]:
            return self._dst(device, self.config.dst.steps, phase)

        def saml(phase: Phase) -> dict[str, float]:
            use_domain_adapter(device.dpm, on=True)
            costs = self._costs(device.pairing, [*device.data.dev, *device.public.dev])
            return mutual_learn(
                device.pairing,
                (shared, own),
                [Pool(text, batch)],
                self.config.saml.steps,
                lambda: self._exchange((shared, own), len(text), costs),
                self.optimizer,
                phase,
            )

        number = download.round_number
        journal.phase(Label(number, device.name, "proxy"), proxy, [shared])
        if self.config.dst.steps:
            journal.phase(Label(number, device.name, "dst"), dst, [domain])
        journal.phase(Label(number, device.name, "saml"), saml, [shared, own])
        return Upload(number, device.name, shared.values(), len(device.data.train))

    def server_round(self, server: Server, uploads: Uploads, journal: Journal) -> None:
        """Aggregate, then SAML between DPM and LLM on the server's text."""
        shared, own = server.dpm.parts[SHARED], server.llm.parts[OWN]
        proxy = shared if self.config.saml.server_proxy == "train" else None

        def aggregate(_: Phase) -> dict[str, float]:
            mean = weighted_product if self.config.aggregation == "product" else weighted_mean
            shared.load_values(mean(uploads))
            return {"num_devices": len(uploads)}

        def saml(phase: Phase) -> dict[str, float]:
            text = server.data.train
            costs = self._costs(server.pairing, server.data.dev)
            return mutual_learn(
                server.pairing,
                (proxy, own),
                [Pool(text, self.optimizer.batch_size)],
                self.config.saml.server_steps,
                lambda: self._exchange((proxy, own), len(text), costs),
                self.optimizer,
                phase,
            )

        number = uploads.round_number
        trained = [shared, own] if proxy else [own]
        journal.phase(Label(number, server.name, "aggregate"), aggregate, [shared])
        journal.phase(Label(number, server.name, "saml"), saml, trained)

    def device_finish(self, device: Device, download: Download, journal: Journal) -> None:
        """The DPM, aggregate and domain adapter together, teaches the SLM on the transfer set.

        The domain adapter learns before, where it has something to add: in a round the shared part
        has just learnt the same text, of which the aggregate has lost some.
        """
        shared, domain = device.dpm.parts[SHARED], device.dpm.parts[DOMAIN]
        own_text = [*device.data.train, *device.public.labelled]
        dev = [*device.data.dev, *device.public.dev]

        def dst(phase: Phase) -> dict[str, float]:
            shared.load_values(download.shared)
            return self._dst(device, self.config.dst.last_steps, phase)

        def transfer(phase: Phase) -> dict[str, float]:
            use_domain_adapter(device.dpm, on=True)
            steps = self.config.transfer.steps
            return self._transfer(
                device.pairing, device.public.transfer, own_text, dev, steps, phase
            )

        number = download.round_number
        journal.phase(Label(number, device.name, "dst"), dst, [shared, domain])
        journal.phase(Label(number, device.name, "transfer"), transfer, [device.slm.parts[OWN]])

    def server_finish(self, server: Server, round_number: int, journal: Journal) -> None:
        """The aggregated DPM teaches the LLM on the transfer set, beside the server's text."""

        def transfer(phase: Phase) -> dict[str, float]:
            steps, data = self.config.transfer.server_steps, server.data
            return self._transfer(
                server.pairing, server.public.transfer, data.train, data.dev, steps, phase
            )

        label = Label(round_number, server.name, "transfer")
        journal.phase(label, transfer, [server.llm.parts[OWN]])

    def _dst(self, device: Device, steps: int, phase: Phase) -> dict[str, float]:
        """The domain adapter learns the private data, on the shared part as it is."""
        use_domain_adapter(device.dpm, on=True)
        pools = [Pool(device.data.train, self.optimizer.batch_size)]
        domain = device.dpm.parts[DOMAIN]
        return tune(device.dpm, domain, pools, steps, self.optimizer, phase)

    def _exchange(
        self,
        parts: tuple[Part | None, Part],
        num_examples: int,
        costs: tuple[float, float] | None,
    ) -> Exchange:
        """The exchange of the coming step between two parts (left, right) on so much text."""
        own = parts[1]
        progress = own.steps_taken / max(1, own.planned_steps)
        if costs is None:
            return exchange_of(self.config.saml, progress)
        left, right = (
            Standing(0.0 if part is None else self._passes(part, num_examples), cost)
            for part, cost in zip(parts, costs, strict=True)
        )
        return exchange_of(self.config.saml, progress, left, right)

    def _passes(self, part: Part, num_examples: int) -> float:
        return part.steps_taken * self.optimizer.batch_size / num_examples

    def _transfer(
        self,
        pairing: Pairing,
        inputs: Sequence[Example],
        own_text: Sequence[Example],
        dev: Sequence[Example],
        steps: int,
        phase: Phase,
    ) -> dict[str, float]:
        """The DPM (left) answers `inputs` and teaches the other model, if it knows more."""
        proxy, learner = pairing.left, pairing.right
        batch = self.optimizer.batch_size
        costs = self._costs(pairing, dev or own_text)
        better = costs is not None and costs[0] < costs[1]
        answered = self._answered(proxy, learner, inputs) if better else []
        share = share_of_answers(len(answered), len(own_text), self.config.transfer)
        taken = round(share * batch)
        pools = [Pool(own_text, batch - taken), Pool(answered, taken)]
        own, weight = learner.parts[OWN], self.config.transfer.weight
        num_examples = len(own_text) + len(answered)

        def exchange() -> Exchange:
            found = self._exchange((None, own), num_examples, costs)
            return replace(found, weight=weight, heard=(0.0, 1.0))

        if weight:
            metrics = mutual_learn(
                pairing, (None, own), pools, steps, exchange, self.optimizer, phase
            )
        else:
            metrics = tune(learner, own, pools, steps, self.optimizer, phase)
        return {**metrics, "num_answers": len(answered), "proxy_is_better": float(better)}

    def _costs(self, pairing: Pairing, text: Sequence[Example]) -> tuple[float, float] | None:
        """Nats per byte of both models; None without text."""
        if not text:
            return None
        left, right = (
            nats_per_byte(side, side.encoder(text), 64) for side in (pairing.left, pairing.right)
        )
        return left, right

    def _answered(
        self, proxy: Learner, learner: Learner, inputs: Sequence[Example]
    ) -> list[Example]:
        """The inputs with the proxy's answers, where they are confident and fit the learner."""
        prompts = proxy.encoder.prompts(inputs, self.max_new_tokens)
        answers = generate_answers(proxy.model, prompts, self.max_new_tokens, batch_size=64)
        kept = [
            replace(inputs[place], references=(answers[place].text,))
            for place in confident(answers, self.config.transfer)
        ]
        return learner.encoder.fitting(kept)
