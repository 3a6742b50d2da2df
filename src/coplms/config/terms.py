"""What the server tells a device at first contact: how the run trains, and what to fetch."""

from typing import Literal

from pydantic import Field

from coplms.config.base import Section
from coplms.config.method import MethodConfig, OptimizerConfig
from coplms.config.model import DpmConfig, TuningConfig
from coplms.config.run import RunConfig
from coplms.config.training import EvaluationConfig
from coplms.config.transport import TransportConfig

DpmFile = Literal[
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
]
"""Names that a DPM's folder may hold; a device writes no other file."""

TextPart = Literal["labelled", "dev", "test", "transfer"]
"""The kinds of public text."""


class Blob(Section):
    """A file that the server offers."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of its content, in hexadecimal: its name."""
    size: int = Field(ge=0, le=2**40)
    """Bytes."""


class Terms(Section):
    """What a run's devices agree to; a device's own paths and means are not in it."""

    run: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Names the run, so that messages of two runs are told apart."""
    name: str
    """The consortium's name."""
    seed: int
    dpm: DpmConfig
    tuning: TuningConfig
    optimizer: OptimizerConfig
    method: MethodConfig
    transport: TransportConfig
    evaluation: EvaluationConfig
    dtype: Literal["float32", "bfloat16"]
    template: str
    max_length: int = Field(ge=8)
    alone: bool
    """Whether devices tune their SLM alone too."""
    files: dict[DpmFile, Blob]
    """The DPM's folder."""
    texts: dict[TextPart, Blob]
    """Public text, as JSON."""


def terms_of(
    config: RunConfig, run: str, files: dict[DpmFile, Blob], texts: dict[TextPart, Blob]
) -> Terms:
    """The terms of a run, without the server's own paths."""
    distill = config.method.distill.model_copy(update={"text": ()})
    return Terms(
        run=run,
        name=config.name,
        seed=config.seed,
        dpm=config.dpm.model_copy(update={"model": None, "sizes": None, "device": None}),
        tuning=config.tuning,
        optimizer=config.optimizer,
        method=config.method.model_copy(update={"distill": distill}),
        transport=config.transport,
        evaluation=config.evaluation,
        dtype=config.dtype,
        template=config.data.template,
        max_length=config.data.max_length,
        alone=config.alone,
        files=files,
        texts=texts,
    )
