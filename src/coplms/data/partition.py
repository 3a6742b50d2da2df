"""Examples -> device name -> examples: disjoint and complete."""

import random
from collections.abc import Sequence

import numpy as np

from coplms.config.data import DirichletPartition, DomainPartition, IidPartition, Partition
from coplms.data.draw import apportion, positions_by_domain
from coplms.data.example import Example
from coplms.errors import ConfigError, DataError

Shares = dict[str, list[int]]
"""Device name -> positions of its examples."""


def partition(
    examples: Sequence[Example], names: Sequence[str], how: Partition, seed: int
) -> dict[str, tuple[Example, ...]]:
    """Every device's examples, in the order they were given.

    Args:
        examples: What is divided.
        names: Devices, each once; at least one.
        how: The rule.
        seed: Decides everything that the rule leaves open.

    Raises:
        ConfigError: If listed domains do not fit devices and data.
        DataError: If a device would hold nothing.
    """
    positions = positions_by_domain(examples)
    match how:
        case IidPartition():
            shares = _evenly(positions, names, seed)
        case DirichletPartition():
            shares = _dirichlet(positions, names, how.concentration, seed)
        case DomainPartition():
            shares = _by_domain(positions, names, how.domains)
    _refuse_empty(shares, how, len(examples))
    return {name: tuple(examples[index] for index in sorted(shares[name])) for name in names}


def _evenly(positions: dict[str, list[int]], names: Sequence[str], seed: int) -> Shares:
    """Deals every domain's shuffled examples in turn, the next domain where the last one ended."""
    shares: Shares = {name: [] for name in names}
    generator = random.Random(seed)
    dealt = 0
    for members in positions.values():
        for index in generator.sample(members, len(members)):
            shares[names[dealt % len(names)]].append(index)
            dealt += 1
    return shares


def _dirichlet(
    positions: dict[str, list[int]], names: Sequence[str], concentration: float, seed: int
) -> Shares:
    """Cuts every domain by proportions from Dirichlet (Hsu et al. 2019, arXiv:1909.06335)."""
    shares: Shares = {name: [] for name in names}
    generator = np.random.default_rng(seed)
    for members in positions.values():
        proportions = generator.dirichlet([concentration] * len(names))
        if not np.isfinite(proportions).all():  # every gamma draw underflowed to 0
            proportions = np.eye(len(names))[generator.integers(len(names))]
        shuffled = generator.permutation(members).tolist()
        start = 0
        for name, count in zip(names, apportion(len(members), proportions.tolist()), strict=True):
            shares[name] += shuffled[start : start + count]
            start += count
    return shares


def _by_domain(
    positions: dict[str, list[int]], names: Sequence[str], listed: dict[str, tuple[str, ...]]
) -> Shares:
    if listed:
        owners = _owners(listed, names, known=set(positions))
    else:
        owners = {domain: names[turn % len(names)] for turn, domain in enumerate(positions)}
    shares: Shares = {name: [] for name in names}
    for domain, members in positions.items():
        shares[owners[domain]] += members
    return shares


def _owners(
    listed: dict[str, tuple[str, ...]], names: Sequence[str], known: set[str]
) -> dict[str, str]:
    owners: dict[str, str] = {}
    for device, domains in listed.items():
        if device not in names:
            raise ConfigError(
                f"data.pool.partition.domains: there is no device '{device}'. "
                f"Devices: {', '.join(names)}."
            )
        for domain in domains:
            _refuse_domain(domain, device, owners, known)
            owners[domain] = device
    unassigned = sorted(known - set(owners))
    if unassigned:
        raise ConfigError(
            f"data.pool.partition.domains: no device has the domain '{unassigned[0]}'"
            f"{f' (and {len(unassigned) - 1} more)' if len(unassigned) > 1 else ''}. "
            f"Give it to a device, or leave it out with data.pool.train.domains."
        )
    return owners


def _refuse_domain(domain: str, device: str, owners: dict[str, str], known: set[str]) -> None:
    if domain in owners:
        raise ConfigError(
            f"data.pool.partition.domains: '{domain}' is listed for '{owners[domain]}' and "
            f"'{device}'. Give every domain to one device."
        )
    if domain not in known:
        raise ConfigError(
            f"data.pool.partition.domains.{device}: the data has no domain '{domain}'. "
            f"Known: {', '.join(sorted(known))}."
        )


def _refuse_empty(shares: Shares, how: Partition, num_examples: int) -> None:
    empty = [name for name, members in shares.items() if not members]
    if empty:
        raise DataError(
            f"device '{empty[0]}' gets none of the {num_examples} private examples "
            f"(partition '{how.kind}', {len(shares)} devices).\n"
            f"  Take another `seed`, a larger `concentration`, or more data."
        )
