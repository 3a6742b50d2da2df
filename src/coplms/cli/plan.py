"""Which phases a run will have, and how long those that are left may take."""

from collections.abc import Callable, Mapping
from statistics import fmean

from coplms.config.participation import draw_devices
from coplms.config.run import RunConfig

_SERVER = "server"

Plan = dict[str, int]
"""A phase's name, such as `round-1/hospital/dst`, to its optimiser steps; 0 where none is taken."""


def plan(config: RunConfig) -> Plan:
    """The phases of a run in their order, as `docs/architecture.md` names them."""
    method = config.method
    last = method.rounds + 1
    phases: Plan = _alone(config, _SERVER, method.server_steps)
    phases[_name(0, _SERVER, "distill")] = method.distill.steps
    phases |= _scores(_SERVER, 0, "before", "llm", "dpm")
    for number in range(1, last):
        phases |= _round(config, number)
    phases[_name(last, _SERVER, "send")] = 0
    for device in config.devices:
        phases |= _finish(config, device.name, last)
    phases[_name(last, _SERVER, "replies")] = 0
    phases[_name(last, _SERVER, "transfer")] = method.transfer.server_steps
    return phases | _scores(_SERVER, last, "after", "llm", "dpm")


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


def _alone(config: RunConfig, member: str, steps: int) -> Plan:
    if not config.alone:
        return {}
    return {_name(0, member, "alone"): steps, _name(0, member, "alone-evaluate"): 0}


def _round(config: RunConfig, number: int) -> Plan:
    saml = config.method.saml
    phases = {_name(number, _SERVER, "send"): 0}
    names = [device.name for device in config.devices]
    for name in draw_devices(names, config.method.participation, config.seed, number):
        phases[_name(number, name, "dst")] = config.method.dst.steps
        if saml.proxy_steps:
            phases[_name(number, name, "proxy")] = saml.proxy_steps
        phases[_name(number, name, "saml")] = saml.steps
        phases[_name(number, name, "send")] = 0
    phases[_name(number, _SERVER, "replies")] = 0
    phases[_name(number, _SERVER, "aggregate")] = 0
    phases[_name(number, _SERVER, "saml")] = saml.server_steps
    phases[_name(number, _SERVER, "evaluate-dpm")] = 0
    phases[_name(number, _SERVER, "end")] = 0
    return phases


def _finish(config: RunConfig, device: str, last: int) -> Plan:
    """A device's last phases, in their order."""
    phases = {_name(last, device, "transfer"): config.method.transfer.steps}
    scored = config.is_scored(device)
    if scored:
        phases |= _scores(device, last, "after", "slm", "dpm")
    phases[_name(last, device, "save")] = 0
    if scored:
        phases |= _scores(device, 0, "before", "slm")
        phases |= _alone(config, device, config.method.device_steps)
    return phases


def _scores(member: str, number: int, when: str, *models: str) -> Plan:
    return {_name(number, member, f"evaluate-{when}-{model}"): 0 for model in models}


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
