"""Examples in place of a hub data set that is not to be had, as many as the configuration says."""

from collections.abc import Iterator

from coplms.api.hub import Hub
from coplms.config.data import SourceConfig
from coplms.config.run import RunConfig
from coplms.data.example import Example
from coplms.data.members import ConsortiumData, MemberData
from coplms.errors import DataError
from coplms.methods.baseline import part_of

BYTES_PER_TOKEN = 4
"""Of English text, about, for the vocabularies of large models."""


def missing_sources(config: RunConfig, hub: Hub) -> list[str]:
    """The hub data sets of a run that are not to be had, each once.

    Raises:
        MissingExtraError: If `datasets` is not installed.
    """
    found = (source.path for source in _sources(config) if hub.lacks_data(source))
    return list(dict.fromkeys(found))


def stand_ins(config: RunConfig, missing: str, silence: str) -> ConsortiumData:
    """As many examples as `data.pool` says, evenly divided, as long as they may be.

    Only their numbers and the bytes of the public ones mean anything.

    Args:
        config: The run's.
        missing: The data set that is not to be had, for the message.
        silence: Why nothing is heard of the hub, likewise.

    Raises:
        DataError: If the configuration does not say how many there are.
    """
    pool = config.data.pool
    if pool is None or pool.private is None or pool.max_dev is None or pool.max_test is None:
        raise DataError(
            f"hub data set '{missing}' is not on this machine, and {silence}. Check the network. A "
            "dry run goes on without, where data.pool.private, data.pool.max_dev and "
            "data.pool.max_test say how many examples there would be."
        )
    dev = _examples("dev", pool.max_dev, config)
    test = dev if config.evaluation.split == "dev" else _examples("test", pool.max_test, config)
    labelled = _examples("labelled", pool.public_labelled, config)
    transfer = _examples("transfer", pool.public_unlabelled, config, answered=False)
    devices = {name: MemberData(train, dev, test) for name, train in _shares(config, pool.private)}
    return ConsortiumData(MemberData(labelled, dev, test), transfer, devices, test)


def _sources(config: RunConfig) -> Iterator[SourceConfig]:
    data = config.data
    for held in (data.pool, data.server, *(device.data for device in config.devices)):
        if held is not None:
            yield from (each for each in (held.train, held.dev, held.test) if each is not None)
    if data.transfer is not None:
        yield data.transfer


def _shares(config: RunConfig, private: int) -> Iterator[tuple[str, tuple[Example, ...]]]:
    """Private text, which stays where it is: its examples need no length."""
    example = Example("", "private", ("x",), "unknown", "unknown", "private")
    for number, device in enumerate(config.devices, start=1):
        yield device.name, (example,) * part_of(private, number, len(config.devices))


def _examples(
    part: str, count: int, config: RunConfig, *, answered: bool = True
) -> tuple[Example, ...]:
    """Public text that differs, and is as many bytes as its tokens may be."""
    answer = BYTES_PER_TOKEN * config.evaluation.max_new_tokens
    prompt = BYTES_PER_TOKEN * config.data.max_length - answer
    references = ("x" * answer,) if answered else ()
    return tuple(
        Example("", f"{part} {place} ".ljust(prompt, "x"), references, "unknown", "unknown", part)
        for place in range(count)
    )
