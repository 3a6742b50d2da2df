"""Which phases a run will have, and how long those that are left may take."""

from collections.abc import Callable, Mapping
from statistics import fmean

from coplms.config.run import RunConfig

_SERVER = "server"

Plan = dict[str, int]
"""A phase's name, such as `round-1/hospital/dst`, to its optimiser steps; 0 where none is taken."""


def plan(config: RunConfig) -> Plan:
    """The phases of a run in their order, as `docs/architecture.md` names them."""
    method = config.method
    last = method.rounds + 1
    phases: Plan = {}
    if config.alone:
        phases |= _alone(config)
    phases[_name(0, _SERVER, "distill")] = method.distill.steps
    phases |= _scores(config, 0, "before")
    for number in range(1, last):
        phases |= _round(config, number)
    phases |= {_name(last, d.name, "transfer"): method.transfer.steps for d in config.devices}
    phases[_name(last, _SERVER, "transfer")] = method.transfer.server_steps
    return phases | _scores(config, last, "after")


def seconds_left(planned: Plan, seconds: Mapping[str, float]) -> float | None:
    """Estimate for the planned phases that are not done; None before anything was trained.

    A phase takes as long as finished ones of its kind did; of a new kind, as long as its optimiser
    steps did on average, or as an average scoring.

    Args:
        planned: All phases.
        seconds: Finished phase -> how long it took.
    """
    steps = sum(planned.get(name, 0) for name in seconds)
    if not steps:
        return None
    per_step = sum(taken for name, taken in seconds.items() if planned.get(name)) / steps
    alike = _means(seconds, _kind)
    scorings = {n: s for n, s in seconds.items() if _is_scoring(n)}
    scoring = fmean(scorings.values()) if scorings else 0.0

    def estimate(name: str) -> float:
        if _kind(name) in alike:
            return alike[_kind(name)]
        return scoring if _is_scoring(name) else planned[name] * per_step

    return sum(estimate(name) for name in planned if name not in seconds)


def _alone(config: RunConfig) -> Plan:
    phases = {}
    steps = {_SERVER: config.method.server_steps}
    steps |= {device.name: config.method.device_steps for device in config.devices}
    for member, count in steps.items():
        phases[_name(0, member, "alone")] = count
        phases[_name(0, member, "alone-evaluate")] = 0
    return phases


def _round(config: RunConfig, number: int) -> Plan:
    saml = config.method.saml
    phases = {}
    for device in config.devices:
        phases[_name(number, device.name, "dst")] = config.method.dst.steps
        if saml.proxy_steps:
            phases[_name(number, device.name, "proxy")] = saml.proxy_steps
        phases[_name(number, device.name, "saml")] = saml.steps
    phases[_name(number, _SERVER, "aggregate")] = 0
    phases[_name(number, _SERVER, "saml")] = saml.server_steps
    phases[_name(number, _SERVER, "evaluate-dpm")] = 0
    phases[_name(number, _SERVER, "end")] = 0
    return phases


def _scores(config: RunConfig, number: int, when: str) -> Plan:
    models = [(_SERVER, "llm"), (_SERVER, "dpm")]
    for device in config.devices:
        models.append((device.name, "slm"))
        if when == "after":
            models.append((device.name, "dpm"))
    return {_name(number, member, f"evaluate-{when}-{model}"): 0 for member, model in models}


def _name(round_number: int, member: str, kind: str) -> str:
    return f"round-{round_number}/{member}/{kind}"


def _kind(name: str) -> str:
    """What phases that take equally long share."""
    _, member, kind = name.split("/")
    return f"server {kind}" if member == _SERVER else kind


def _is_scoring(name: str) -> bool:
    return "evaluate" in name.rpartition("/")[2]


def _means(seconds: Mapping[str, float], key: Callable[[str], str]) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for name, taken in seconds.items():
        groups.setdefault(key(name), []).append(taken)
    return {group: fmean(values) for group, values in groups.items()}
