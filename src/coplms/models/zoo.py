"""Mini models and tokenizers from scratch, cached by content."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from coplms.config.model import ZooConfig, ZooModelConfig
from coplms.errors import DataError
from coplms.models.zoo_networks import build_network, check_recipe
from coplms.models.zoo_tokenizers import train_tokenizer
from coplms.models.zoo_training import Losses, Pretraining, pretrain

Progress = Callable[[str, int, int, float], None]
"""Gets a model's name, step, steps and loss (nats per token)."""

CPU = torch.device("cpu")
LOSSES = "losses.jsonl"
"""In a model's folder: its losses (nats per token) every 20 steps; steps that were repeated after a
kill stand there twice."""
_RECIPE_VERSION = 1  # raised when this code would make other weights from the same recipe


def build_zoo(
    config: ZooConfig,
    texts: Sequence[str],
    cache: Path,
    on_progress: Progress | None = None,
    device: torch.device = CPU,
) -> dict[str, Path]:
    """Model name -> its Hugging Face folder, trained now or found in the cache.

    Models of one tokenizer kind and vocabulary size share one tokenizer. A build that was killed
    continues at its last checkpoint, to the same weights.

    Args:
        config: The models and how they are trained.
        texts: Documents to train tokenizers and models on.
        cache: Folder of finished models, named by their content; made if absent.
        on_progress: Called every 20 steps of every model that is trained now.
        device: Where models are trained.

    Raises:
        DataError: If the texts hold less than one block of tokens.
        ConfigError: If a model's recipe gives no usable model; nothing was trained then.
        ModelError: If a vocabulary is too small for the texts.
    """
    for model in config.models:
        check_recipe(model)
    digest = texts_digest(texts)
    cache.mkdir(parents=True, exist_ok=True)
    corpora: dict[tuple[str, int], _Corpus] = {}
    folders = {}
    for model in config.models:
        folder = zoo_folder(config, model, digest, cache)
        if not folder.is_dir():
            key = (model.tokenizer, model.vocab_size)
            if key not in corpora:
                corpora[key] = _Corpus(config, model, texts, digest, cache)
            _build(config, model, corpora[key], folder, on_progress, device)
        folders[model.name] = folder
    return folders


def texts_digest(texts: Sequence[str]) -> str:
    """SHA-256 of the texts and their borders, in hexadecimal."""
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()


def zoo_folder(config: ZooConfig, model: ZooModelConfig, texts_digest: str, cache: Path) -> Path:
    """Where a model lies in the cache: its name, and a digest of all that makes its weights."""
    recipe = {
        "version": _RECIPE_VERSION,
        "model": model.model_dump(exclude={"name", "copies"}),
        "batch_size": config.batch_size,
        "block_tokens": config.block_tokens,
        "learning_rate": config.learning_rate,
        "seed": config.seed,
        "texts": texts_digest,
    }
    if model.copies:
        recipe["copies"] = model.copies
    return cache / f"{model.name}-{_digest(recipe)}"


class _Corpus:
    """A tokenizer, and the texts cut into blocks of its tokens."""

    def __init__(
        self,
        config: ZooConfig,
        model: ZooModelConfig,
        texts: Sequence[str],
        digest: str,
        cache: Path,
    ) -> None:
        self.tokenizer = _shared_tokenizer(model, texts, digest, cache)
        self.blocks = pack(self.tokenizer, texts, config.block_tokens)


def pack(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], block_tokens: int
) -> Int[Tensor, "blocks tokens_plus_one"]:
    """All texts as one stream of token ids, each text ended by EOS, cut into blocks.

    A block has `block_tokens` inputs, and one token more as its last target: the first input of
    the next block. A rest that fills no block is dropped.

    Raises:
        DataError: If the texts do not fill one block.
    """
    ids: list[int] = []
    for encoding in tokenizer.backend_tokenizer.encode_batch_fast(
        list(texts), add_special_tokens=False
    ):
        ids.extend(encoding.ids)
        ids.append(tokenizer.eos_token_id)
    if len(ids) <= block_tokens:
        raise DataError(
            f"zoo.text: all texts together have {len(ids)} tokens, less than one block of "
            f"{block_tokens}. Give more text, or lower zoo.block_tokens."
        )
    return torch.tensor(ids).unfold(0, block_tokens + 1, block_tokens)


def _build(
    config: ZooConfig,
    model: ZooModelConfig,
    corpus: _Corpus,
    folder: Path,
    on_progress: Progress | None,
    device: torch.device,
) -> None:
    losses = folder.with_name(f"{folder.name}.{LOSSES}")

    def report(step: int, steps: int, found: Losses) -> None:
        row = {"step": step, **{name: round(loss, 4) for name, loss in found.items()}}
        with losses.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if on_progress:
            on_progress(model.name, step, steps, next(iter(found.values())))

    network = build_network(model, corpus.tokenizer, config.seed)
    nn.Module.to(network, device)
    recipe = Pretraining(
        model.steps, config.batch_size, config.learning_rate, config.seed, model.copies
    )
    checkpoint = folder.with_name(f"{folder.name}.checkpoint.safetensors")
    pretrain(network, corpus.blocks, recipe, checkpoint, report)
    with _appearing(folder) as fresh:
        network.save_pretrained(fresh)
        corpus.tokenizer.save_pretrained(fresh)
        if losses.exists():
            losses.replace(fresh / LOSSES)
    checkpoint.unlink(missing_ok=True)


def _shared_tokenizer(
    model: ZooModelConfig, texts: Sequence[str], digest: str, cache: Path
) -> PreTrainedTokenizerFast:
    recipe = {"version": _RECIPE_VERSION, "texts": digest}
    folder = cache / f"tokenizer-{model.tokenizer}-{model.vocab_size}-{_digest(recipe)}"
    if not folder.is_dir():
        tokenizer = train_tokenizer(model.tokenizer, model.vocab_size, texts)
        with _appearing(folder) as fresh:
            tokenizer.save_pretrained(fresh)
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return loaded


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the name `folder` once it is whole; the first of two builds wins."""
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _digest(recipe: dict[str, object]) -> str:
    content = json.dumps(recipe, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]
