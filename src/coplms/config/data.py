"""Where the text comes from, who holds what, and how it is written for a model."""

from typing import Annotated, Literal

from pydantic import Field

from coplms.config.base import Section


class SourceConfig(Section):
    """Examples from files, a hub data set, or the built-in generator."""

    path: str
    """File, folder or glob pattern (`${NAME}` is replaced from the environment); the hub name with
    `format: hub`; ignored with `format: demo`."""
    format: Literal["jsonl", "sni", "mmlu", "hub", "demo"] = "jsonl"
    tasks: tuple[str, ...] = ()
    """SNI, of files or of the hub: task names to read, such as `task957` or the whole file name;
    empty reads all."""
    definition: Literal["full", "first_sentence", "none"] = "full"
    """SNI: how much of a task's definition stands in the prompt."""
    split: str = "train"
    """Hub data sets: which split. Demo: `train`, `dev` or `test`."""
    limit_per_domain: int | None = Field(None, ge=1)
    """Keep at most so many examples of each domain, chosen by the run's seed."""
    domains: tuple[str, ...] = ()
    """Keep these domains only; empty keeps all."""
    max_answer_bytes: int | None = Field(None, ge=1)
    """Leave out examples whose answer has more UTF-8 bytes; absent keeps all. Answers are never
    cut."""


class MemberDataConfig(Section):
    """One member's own files."""

    train: SourceConfig
    dev: SourceConfig | None = None
    """Absent: a tenth of `train` is set aside."""
    test: SourceConfig | None = None
    """Absent: a tenth of `train` is set aside."""


class DirichletPartition(Section):
    """Every domain is divided among the devices with proportions drawn from Dirichlet(lambda)."""

    kind: Literal["dirichlet"] = "dirichlet"
    concentration: float = Field(0.5, gt=0)
    """lambda: small values give each device few domains, large ones come close to IID."""


class IidPartition(Section):
    """Every device draws evenly from all domains."""

    kind: Literal["iid"] = "iid"


class DomainPartition(Section):
    """Whole domains go to devices, listed or in turn."""

    kind: Literal["domain"] = "domain"
    domains: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Device name to its domains; empty: sorted domains are dealt in turn."""


Partition = Annotated[
    DirichletPartition | IidPartition | DomainPartition, Field(discriminator="kind")
]


class PoolConfig(Section):
    """One body of text that is divided among server and devices (experiments)."""

    train: SourceConfig
    dev: SourceConfig | None = None
    """Absent: a tenth of `train` is set aside."""
    test: SourceConfig | None = None
    """Absent: a tenth of `train` is set aside."""
    partition: Partition = DirichletPartition()
    public_labelled: int = Field(450, ge=1)
    """Examples of `train` that the server holds, with answers; every member may train on them."""
    public_unlabelled: int = Field(1500, ge=0)
    """Examples of `train` whose inputs are public, and whose answers nobody sees: the transfer
    set."""
    private: int | None = Field(None, ge=1)
    """Private examples of all devices together; absent: all that remain of `train`."""
    max_dev: int | None = Field(None, ge=1)
    """Use at most so many dev examples, chosen by the run's seed."""
    max_test: int | None = Field(None, ge=1)
    """Use at most so many test examples, chosen by the run's seed."""


class DataConfig(Section):
    """Either `pool`, divided by `pool.partition`, or `server` here and `data` in every device."""

    pool: PoolConfig | None = None
    server: MemberDataConfig | None = None
    """The server's own labelled text; public to the devices."""
    transfer: SourceConfig | None = None
    """Public inputs without answers (answers in the file are ignored): the transfer set."""
    template: str = "{instruction}\n{input}\nAnswer:"
    """Prompt for tokenizers without a chat template; the answer follows after one space."""
    max_length: int = Field(256, ge=8)
    """Tokens of prompt and answer together; longer prompts lose their middle, answers never."""
