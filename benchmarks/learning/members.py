"""The benchmark's models: built, tuned, cached and opened."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from torch import autograd

from coplms.config.method import OptimizerConfig
from coplms.consortium.members import pair_learners
from coplms.data.example import Example
from coplms.models.adapters import base_parameters, set_trainable
from coplms.models.load import load_model, resolve_device
from coplms.models.zoo import build_zoo
from coplms.training.encoding import Encoder
from coplms.training.learner import Learner
from coplms.training.loop import training
from coplms.training.pair import Pairing
from coplms.training.part import Part
from coplms.training.pools import Pool, draw
from coplms.training.sft import nats_per_byte, sft_step
from learning.scales import WARM_UP, Recipe, Scale
from learning.texts import plain_text, read_task

TEMPLATE = "{input} =>"
MAX_LENGTH = 512
TUNING_RATE = 1e-3
"""Peak learning rate of models that are tuned before the benchmark; it falls by a cosine."""


def build(name: str, data: Path, scale: Scale, cache: Path) -> Path:
    """The model's folder, made now or found in the cache."""
    recipe = scale.recipes[name]
    texts = plain_text([data / text for text in recipe.texts], scale.characters)
    base = build_zoo(recipe.zoo(scale.block_tokens), texts, cache)[name]
    return _tuned(recipe, base, data, scale) if recipe.tuned else base


def _tuned(recipe: Recipe, base: Path, data: Path, scale: Scale) -> Path:
    """The model after cross-entropy on text that no run sees; its folder names what made it."""
    examples = read_task(data, scale).teacher
    made_of = [scale.teacher_steps, scale.batch_size, TUNING_RATE, TEMPLATE]
    made_of += [(example.input, example.answer) for example in examples]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    folder = base.with_name(f"{base.name}-{digest}")
    if not folder.is_dir():
        learner = open_learner(recipe.model.name, base)
        _tune(learner, examples, scale)
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        learner.model.network.save_pretrained(fresh)
        learner.model.tokenizer.save_pretrained(fresh)
        shutil.move(fresh, folder)
    return folder


def _tune(learner: Learner, examples: Sequence[Example], scale: Scale) -> None:
    steps = scale.teacher_steps
    part = Part("own", base_parameters(learner.model), OptimizerConfig(), TUNING_RATE, steps)
    with training([part]):
        pools = [Pool(examples, scale.batch_size)]
        for [batch] in draw(learner.encoder, pools, steps, seed=0, pieces=1):
            autograd.backward(sft_step(learner, batch).total)
            part.step()


def open_learner(name: str, folder: Path) -> Learner:
    """The model, all of it frozen."""
    model = load_model(name, str(folder), "float32", resolve_device("cpu"))
    set_trainable(model, ())
    return Learner(model, Encoder(model, TEMPLATE, MAX_LENGTH))


def open_pair(names: Sequence[str], data: Path, scale: Scale, cache: Path) -> Pairing:
    """Two models, the peer first."""
    left, right = (open_learner(name, build(name, data, scale, cache)) for name in names)
    return pair_learners(left, right, cache)


def own_part(learner: Learner, learning_rate: float, steps: int) -> Part:
    """All weights of a model; after the warm-up their learning rate stays."""
    config = OptimizerConfig(final_fraction=1.0, warmup_fraction=min(0.5, WARM_UP / steps))
    return Part(learner.model.name, base_parameters(learner.model), config, learning_rate, steps)


def held_out(learner: Learner, examples: Sequence[Example]) -> float:
    """Nats per byte of the answers."""
    return nats_per_byte(learner, learner.encoder(examples), batch_size=64)
