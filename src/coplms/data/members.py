"""The configuration's data -> who holds what, checked."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from coplms.config.data import MemberDataConfig, PoolConfig, SourceConfig
from coplms.config.run import RunConfig
from coplms.data.draw import sample, stratified_shuffle
from coplms.data.example import Example
from coplms.data.partition import partition
from coplms.data.sources import read_source
from coplms.errors import ConfigError, DataError


@dataclass(frozen=True)
class MemberData:
    """What one member trains on and is asked."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]


@dataclass(frozen=True)
class ConsortiumData:
    """What every member holds.

    Attributes:
        server: Public labelled examples; its test covers all domains.
        transfer: Public examples without answers; may be empty.
        devices: Device name -> its private examples; its test covers its own domains.
        offered_test: The part of the server's test that may leave it: without what devices keep.
    """

    server: MemberData
    transfer: tuple[Example, ...]
    devices: dict[str, MemberData]
    offered_test: tuple[Example, ...]


def load_data(config: RunConfig) -> ConsortiumData:
    """Who holds what, decided by `config.data` and `config.seed`; far devices hold their own.

    No text (instruction and input) of a dev or test set stands in any training part or in the
    transfer set.

    Raises:
        DataError: If a source is missing, broken, or too small for what is asked of it.
        ConfigError: If the partition does not fit the data.
    """
    found = _load(config)
    return _asked_dev(found) if config.evaluation.split == "dev" else found


def _load(config: RunConfig) -> ConsortiumData:
    if config.data.pool is None:
        return _gather_members(config)
    names = [device.name for device in config.devices]
    found = _divide_pool(config.data.pool, names, config.seed)
    here = {name: held for name, held in found.devices.items() if name not in config.remote}
    return replace(found, devices=here)


def _asked_dev(data: ConsortiumData) -> ConsortiumData:
    """The same, where dev sets are asked in place of test sets."""

    def asked(held: MemberData) -> MemberData:
        return replace(held, test=held.dev)

    devices = {name: asked(held) for name, held in data.devices.items()}
    return replace(data, server=asked(data.server), devices=devices, offered_test=data.server.dev)


def load_device_data(data: MemberDataConfig, seed: int) -> MemberData:
    """A device's own text; files whose dev and test parts are given keep their order.

    Raises:
        DataError: If a source is missing, broken, or too small.
    """
    return _read_member(data, "data", seed)


def _divide_pool(pool: PoolConfig, names: Sequence[str], seed: int) -> ConsortiumData:
    where = "data.pool.train"
    parts = _read_parts(pool.train, pool.dev, pool.test, where, seed, shuffled=True)
    labelled, transfer, private = _cut(parts.train, pool, len(names))
    shares = partition(private, names, pool.partition, seed)
    dev = sample(parts.dev, pool.max_dev, seed)
    test = sample(parts.test, pool.max_test, seed)
    num_domains = len({example.domain for example in private})
    devices: dict[str, MemberData] = {}
    for name, train in shares.items():
        domains = own_domains(train, num_domains)
        own_test = _of_domains(test, domains)
        if not own_test:
            raise DataError(
                f"device '{name}' has no test example: its domains are "
                f"{', '.join(sorted(domains))}, which none of the {len(test)} test examples has.\n"
                f"  Raise data.pool.max_test, or give data.pool.test examples of these domains."
            )
        devices[name] = MemberData(train, _of_domains(dev, domains), own_test)
    return ConsortiumData(MemberData(labelled, dev, test), transfer, devices, test)


def own_domains(train: Sequence[Example], num_domains: int) -> set[str]:
    """Domains of which a device holds an even share of its examples, or nearly; at least one.

    Args:
        train: The device's examples; at least one.
        num_domains: Domains of all devices together. A domain counts where it is less than one
            example short of `len(train) / num_domains`; the device's largest domain always does.
    """
    counts = Counter(example.domain for example in train)
    largest = max(sorted(counts), key=counts.__getitem__)
    even = len(train) / num_domains
    return {largest} | {domain for domain, count in counts.items() if count + 1 > even}


def _cut(
    train: Sequence[Example], pool: PoolConfig, num_devices: int
) -> tuple[tuple[Example, ...], tuple[Example, ...], tuple[Example, ...]]:
    """Labelled, transfer and private part of the shuffled examples; no two share a text."""
    labelled = tuple(train[: pool.public_labelled])
    rest = without(train[pool.public_labelled :], labelled)
    transfer = tuple(unique(rest)[: pool.public_unlabelled])
    rest = without(rest, transfer)
    private = tuple(rest[: pool.private])
    asked = pool.private or num_devices
    found = (len(labelled), len(transfer), len(private))
    if found[:2] != (pool.public_labelled, pool.public_unlabelled) or found[2] < asked:
        at_least = "" if pool.private else "at least "
        raise DataError(
            f"data.pool.train: {len(train)} examples are too few (dev and test apart): "
            f"public_labelled {pool.public_labelled}, public_unlabelled {pool.public_unlabelled} "
            f"and {at_least}{asked} private ones are asked; {found[0]}, {found[1]} and {found[2]} "
            f"were found.\n  Lower these numbers, or give more text. An example whose text stands "
            f"in an earlier part does not count."
        )
    return labelled, tuple(replace(example, references=()) for example in transfer), private


def _gather_members(config: RunConfig) -> ConsortiumData:
    seed = config.seed
    server = _read_member(config.data.server, "data.server", seed)
    devices = {
        device.name: _read_member(device.data, f"devices.{device.name}.data", seed)
        for device in config.devices
        if device.slm is not None
    }
    members = (server, *devices.values())
    tests = unique(example for member in members for example in member.test)
    held_out = [*tests, *(example for member in members for example in member.dev)]
    clean = {name: _clean(member, held_out, name) for name, member in devices.items()}
    own_test = server.test
    server = _clean(replace(server, test=tuple(tests)), held_out, "server")
    transfer: tuple[Example, ...] = ()
    if config.data.transfer is not None:
        found = read_source(config.data.transfer, seed, require_answer=False)
        public = without(unique(found), (*held_out, *server.train))
        transfer = tuple(replace(example, references=()) for example in public)
    return ConsortiumData(server, transfer, clean, tuple(unique(own_test)))


def _read_member(data: MemberDataConfig | None, where: str, seed: int) -> MemberData:
    if data is None:
        raise ConfigError(f"{where}: absent. Give `train` a source.")
    return _read_parts(data.train, data.dev, data.test, f"{where}.train", seed)


def _read_parts(
    train: SourceConfig,
    dev: SourceConfig | None,
    test: SourceConfig | None,
    where: str,
    seed: int,
    *,
    shuffled: bool = False,
) -> MemberData:
    """Three parts that share no text; absent ones are a tenth of the shuffled train each."""
    rest: Sequence[Example] = read_source(train, seed)
    if shuffled or dev is None or test is None:
        rest = stratified_shuffle(rest, seed)
    tenth = max(1, len(rest) // 10)
    num_read = len(rest)
    if test is not None:
        test_part = read_source(test, seed)
    else:
        test_part, rest = tuple(rest[:tenth]), rest[tenth:]
    rest = without(rest, test_part)
    if dev is not None:
        dev_part = without(read_source(dev, seed), test_part)
    else:
        dev_part, rest = tuple(rest[:tenth]), rest[tenth:]
    rest = without(rest, dev_part)
    if not rest or (dev is None and not dev_part):
        raise DataError(
            f"{where}: nothing of its {num_read} examples is left to train on after dev and test "
            f"were set aside or their texts removed.\n  Give more examples, or other ones for "
            f"dev and test."
        )
    return MemberData(rest, dev_part, test_part)


def _clean(member: MemberData, held_out: Sequence[Example], name: str) -> MemberData:
    train = without(member.train, held_out)
    if not train:
        raise DataError(
            f"'{name}': all {len(member.train)} training examples stand in a dev or test set of "
            f"the consortium too.\n  Give it text that nobody is tested on."
        )
    return replace(member, train=train)


def without(examples: Iterable[Example], others: Iterable[Example]) -> tuple[Example, ...]:
    """Examples whose instruction and input no other example has."""
    texts = {other.text for other in others}
    return tuple(example for example in examples if example.text not in texts)


def unique(examples: Iterable[Example]) -> list[Example]:
    """The first example of every instruction and input."""
    first: dict[tuple[str, str], Example] = {}
    for example in examples:
        first.setdefault(example.text, example)
    return list(first.values())


def _of_domains(examples: Sequence[Example], domains: set[str]) -> tuple[Example, ...]:
    return tuple(example for example in examples if example.domain in domains)
