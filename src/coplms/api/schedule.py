"""Which phases a run will have, and how many optimiser steps each takes."""

from coplms.config.participation import draw_devices
from coplms.config.run import RunConfig

_SERVER = "server"

Plan = dict[str, int]
"""A phase's name, such as `round-1/hospital/dst`, to its optimiser steps; 0 where none is taken."""


def plan(config: RunConfig) -> Plan:
    """The phases of a run in their order, as `docs/architecture.md` names them."""
    method = config.method
    if method.name != "coplms":
        return _baseline(config)
    last = method.rounds + 1
    phases: Plan = _alone(config, _SERVER, method.server_steps)
    phases[_name(0, _SERVER, "distill")] = method.distill.steps
    phases |= _scores(config, _SERVER, 0, "before", "llm", "dpm")
    for number in range(1, last):
        phases |= _round(config, number)
    phases[_name(last, _SERVER, "send")] = 0
    scored = config.scored
    for device in config.devices:
        phases |= _finish(config, device.name, last, scored=device.name in scored)
    phases[_name(last, _SERVER, "replies")] = 0
    phases[_name(last, _SERVER, "transfer")] = method.transfer.server_steps
    return phases | _scores(config, _SERVER, last, "after", "llm", "dpm")


def _baseline(config: RunConfig) -> Plan:
    """The phases that train, and those that score; a baseline's few others take no time."""
    method, names = config.method, [device.name for device in config.devices]
    scored = {_SERVER: ("llm",)} | {name: ("slm",) for name in names if name in config.scored}
    phases: Plan = {}
    if method.has_proxy:
        phases[_name(0, _SERVER, "distill")] = method.distill.steps
    for number in range(method.rounds + 1):
        if number:
            phases |= _baseline_round(config, number, names)
        when = {0: "before", method.rounds: "after"}.get(number, f"round-{number}")
        for name, models in scored.items():
            phases |= _scores(config, name, number, when, *models)
    return phases


def _baseline_round(config: RunConfig, number: int, names: list[str]) -> Plan:
    method = config.method
    taught = method.name in ("fedmkt", "llm2slm")
    local = method.fedmkt.local_share if taught else 1.0
    steps, server_steps = (s // method.rounds for s in (method.device_steps, method.server_steps))
    drawn = draw_devices(names, method.participation, config.seed, number)
    phases = {_name(number, name, "tune"): round(local * steps) for name in drawn}
    kind = {"fedmkt": "learn", "fedcollm": "mutual"}.get(method.name, "tune")
    phases[_name(number, _SERVER, kind)] = server_steps
    if taught:
        phases |= {_name(number, name, "learn"): round((1 - local) * steps) for name in drawn}
    return phases


def _alone(config: RunConfig, member: str, steps: int) -> Plan:
    if not config.alone:
        return {}
    return {_name(0, member, "alone"): steps, _name(0, member, "alone-evaluate"): 0}


def _round(config: RunConfig, number: int) -> Plan:
    saml, dst_steps = config.method.saml, config.method.dst.steps
    phases = {_name(number, _SERVER, "send"): 0}
    names = [device.name for device in config.devices]
    for name in draw_devices(names, config.method.participation, config.seed, number):
        phases[_name(number, name, "proxy")] = saml.proxy_steps
        if dst_steps:
            phases[_name(number, name, "dst")] = dst_steps
        phases[_name(number, name, "saml")] = saml.steps
        if config.evaluation.each_round:
            phases[_name(number, name, "evaluate-slm")] = 0
        phases[_name(number, name, "send")] = 0
    phases[_name(number, _SERVER, "replies")] = 0
    phases[_name(number, _SERVER, "aggregate")] = 0
    phases[_name(number, _SERVER, "saml")] = saml.server_steps
    phases[_name(number, _SERVER, "evaluate-dpm")] = 0
    if config.evaluation.each_round:
        phases[_name(number, _SERVER, "evaluate-llm")] = 0
    phases[_name(number, _SERVER, "end")] = 0
    return phases


def _finish(config: RunConfig, device: str, last: int, *, scored: bool) -> Plan:
    """A device's last phases, in their order."""
    phases = {
        _name(last, device, "dst"): config.method.dst.last_steps,
        _name(last, device, "transfer"): config.method.transfer.steps,
    }
    if scored:
        phases |= _scores(config, device, last, "after", "slm", "dpm")
    phases[_name(last, device, "save")] = 0
    if scored:
        phases |= _scores(config, device, 0, "before", "slm")
        phases |= _alone(config, device, config.method.device_steps)
    return phases


def _scores(config: RunConfig, member: str, number: int, when: str, *models: str) -> Plan:
    """A member's scores `before`, `after` or at a round's end, where they are asked for."""
    asked = {"before": config.evaluation.before, "after": True}
    if not asked.get(when, config.evaluation.each_round):
        return {}
    return {_name(number, member, f"evaluate-{when}-{model}"): 0 for model in models}


def _name(round_number: int, member: str, kind: str) -> str:
    return f"round-{round_number}/{member}/{kind}"
