"""What the network costs: seconds per round, idle memory, and bytes beside other methods.

    python benchmarks/network.py
    python benchmarks/network.py --rounds 8 --seeds 0 1 --output network.json

The quick start's models and devices (`--config`) with few steps, so that the network is seen. Every
row is a run of its own in a new process, with three devices: `local` are devices in the server's
process, `network` is SuperLink and gate on loopback and a process for each device, as
`coplms server --local-devices` starts them. A round is counted at the server, from the first byte
sent to the last answer on its disk. In one process the devices work one after another, over a
network side by side: the engine's share is what is left of a round when the work that devices
report is taken off, the sum of theirs in one process, the longest over a network.
`echo` does no work at all: devices send back what they got, over the same gate and SuperLink.

Memory is /proc's smaps_rollup of processes that wait: PSS shares the pages that several processes
have in common among them, RSS counts them in each.

Bytes of other methods are computed for the same models: see `--help` for FedMKT's settings.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import describe_machine

if TYPE_CHECKING:
    from coplms.api.plan import ModelPlan
    from coplms.config.run import RunConfig
    from coplms.data.example import Example
    from coplms.runtimes.flower.hub import Hub

ROOT = Path(__file__).parents[1]
FORMS = ("lossless", "bfloat16", "int8")
KINDS = ("lora", "full")
LOGIT_BYTES = 4 + 8
"""FedMKT's code sends a float32 logit and an int64 id for each of K."""
FLOAT_BYTES = 4


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.child:
        from coplms.cli.console import begin_heavy_work

        begin_heavy_work()
        (case, *rest), seed = json.loads(options.child)
        print(json.dumps(CASES[case](options, seed, *rest)))
        return
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        options.folder = Path(folder)
        rows = [run_apart(options, case, seed) for case in cases(options) for seed in options.seeds]
        others = run_apart(options, ("others",), options.seeds[0])
    result = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "machine": {**describe_machine(), "threads": options.threads, "load_at_start": load},
        "seeds": options.seeds,
        "rounds": options.rounds,
        "steps": options.steps,
        "rows": rows,
        "others": others,
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_tables(result))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "quickstart.yaml")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--echoes", type=int, default=10, help="rounds without work")
    parser.add_argument("--steps", type=int, default=2, help="of each phase")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--top", type=int, nargs="+", default=[16, 128], help="FedMKT's K")
    parser.add_argument("--set", action="append", default=[], help="changes the configuration")
    parser.add_argument("--folder", type=Path, help="where runs are written; then removed")
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def cases(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """What is run: with lossless messages everything, with others over the network alone."""
    for kind in options.kinds:
        yield ("local", kind, "lossless")
        for form in options.forms:
            yield ("network", kind, form)
        yield ("echo", kind, "lossless")


def run_apart(options: argparse.Namespace, case: Sequence[str], seed: int) -> dict[str, Any]:
    """What a case finds in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps([case, seed])]
    for name in ("config", "folder", "rounds", "echoes", "steps", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    for setting in options.set:
        command += ["--set", setting]
    command += ["--top", *map(str, options.top)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    names = dict(zip(("case", "kind", "form"), case, strict=False))
    return {**names, "seed": seed, **found}


# Runs ----------------------------------------------------------------------------------------


def configuration(
    options: argparse.Namespace, seed: int, kind: str, form: str, port: int = 0
) -> "RunConfig":
    """The quick start with few steps and examples."""
    from coplms.config.load import load_config

    few = options.steps
    changes = {
        "seed": seed,
        "alone": "false",
        "threads": options.threads,
        "tuning": f"{{kind: {kind}}}",
        "transport.form": form,
        "network.listen": f"'127.0.0.1:{port}'",
        "method.rounds": options.rounds,
        "method.distill.steps": few,
        "method.dst.steps": few,
        "method.saml": f"{{steps: {few}, server_steps: {few}, proxy_steps: {few}}}",
        "method.transfer": f"{{steps: {few}, server_steps: {few}}}",
        "evaluation.max_devices": 1,
        "data.pool.max_dev": 60,
        "data.pool.max_test": 60,
    }
    settings = [f"{key}={value}" for key, value in changes.items()]
    return load_config(options.config, (*settings, *options.set))


class RoundTimes:
    """Watches a run: seconds of each round's exchange, and of the work in it.

    Attributes:
        seconds: Round -> from the download's being packed to the last answer.
        work: Round -> device -> seconds of its phases.
    """

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self.work: dict[int, dict[str, float]] = {}
        self._sent: dict[int, float] = {}

    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: dict[str, Any], *, again: bool) -> None:
        number, member, kind = row["round"], row["member"], row["kind"]
        if (member, kind) == ("server", "send"):
            self._sent[number] = time.perf_counter()
        elif (member, kind) == ("server", "replies"):
            self.seconds[number] = time.perf_counter() - self._sent[number]
            reports = row["result"].get("reports", [])
            found = {r["phases"][0]["member"]: r["phases"] for r in reports if r["phases"]}
            self.work[number] = {
                name: sum(float(phase["seconds"]) for phase in phases)
                for name, phases in found.items()
            }

    def rows(self, rounds: int, *, together: bool) -> list[dict[str, float]]:
        """A row per round; `together`: the devices work side by side."""
        rows = []
        for number in range(1, rounds + 1):
            work = list(self.work[number].values()) or [0.0]
            busy = max(work) if together else sum(work)
            rows.append({"seconds": self.seconds[number], "work": busy})
        return rows


def run_local(options: argparse.Namespace, seed: int, kind: str, form: str) -> dict[str, Any]:
    from coplms.api.consortium import Consortium

    config = configuration(options, seed, kind, form)
    folder = options.folder / f"local-{kind}-{form}-{seed}"
    times = RoundTimes()
    Consortium(config).train(folder, times)
    return {"rounds": times.rows(options.rounds, together=False), "bytes": ledger(folder)}


def run_network(options: argparse.Namespace, seed: int, kind: str, form: str) -> dict[str, Any]:
    from coplms.api.consortium import Consortium
    from coplms.api.post import Network

    folder = options.folder / f"network-{kind}-{form}-{seed}"
    memory: dict[str, Any] = {}
    times = RoundTimes()
    with serving(options, folder, seed, kind, form) as (config, hub):

        def wait(devices: Sequence[str]) -> None:
            hub.wait_for(devices, config.network.join_seconds, lambda _: None)
            time.sleep(2)
            memory["before"] = memory_of(hub)

        Consortium(config).serve(folder / "run", Network(hub.link, wait), times)
        time.sleep(2)
        memory["after"] = memory_of(hub)
    rounds = times.rows(options.rounds, together=True)
    return {"rounds": rounds, "bytes": ledger(folder / "run"), "memory": memory}


@contextmanager
def serving(
    options: argparse.Namespace, folder: Path, seed: int, kind: str, form: str
) -> "Iterator[tuple[RunConfig, Hub]]":
    """A hub and `coplms device` for every device, while the block runs."""
    from coplms.cli.local_devices import start_devices
    from coplms.runtimes.flower.hub import Hub
    from coplms.runtimes.flower.loopback import free_port

    config = configuration(options, seed, kind, form, free_port())
    names = [device.name for device in config.devices]
    sys.stdout.flush()
    with (
        Hub(folder / "state", config.network, config.name, names) as hub,
        start_devices(config, hub, folder / "devices"),
    ):
        yield config, hub


def ledger(run: Path) -> dict[str, float]:
    """Bytes of a round and device, both ways together: medians over rounds and devices."""
    sums: dict[tuple[int, str], dict[str, float]] = {}
    for line in (run / "ledger.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        entry = sums.setdefault(
            (row["round"], row["device"]), {"bytes": 0, "tensor_bytes": 0, "wire_bytes": 0}
        )
        for name in entry:
            entry[name] += row.get(name) or 0
    last = max(number for number, _ in sums)
    middle = [entry for (number, _), entry in sums.items() if 0 < number < last]
    first = [entry for (number, _), entry in sums.items() if number == 0]
    found = {name: statistics.median(each[name] for each in middle) for name in middle[0]}
    found["once"] = statistics.median(each["bytes"] for each in first)
    return found


# Rounds without work -------------------------------------------------------------------------


def run_echo(options: argparse.Namespace, seed: int, kind: str, form: str) -> dict[str, Any]:
    """Seconds of exchanges with devices that send back what they get."""
    from coplms.runtimes.flower.hub import Hub
    from coplms.runtimes.flower.loopback import free_port
    from coplms.runtimes.local import LocalLink

    config = configuration(options, seed, kind, form, free_port())
    names = [device.name for device in config.devices]
    message = os.urandom(shared_bytes(config))
    local = LocalLink(lambda _: lambda data: data, names, strict=True)
    folder = options.folder / f"echo-{kind}-{seed}"
    found = {"message_bytes": len(message), "local": echoes(local, message, names, options.echoes)}
    with Hub(folder / "state", config.network, config.name, names) as hub:
        processes = [start_echo(hub, name, folder / name) for name in names]
        try:
            hub.wait_for(names, 300, lambda _: None)
            found["network"] = echoes(hub.link, message, names, options.echoes)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)
    return found


def echoes(link: Any, message: bytes, names: Sequence[str], repeats: int) -> list[float]:
    """Seconds until all have answered; the first exchange, which connects, does not count."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        replies = list(link.exchange(message, names, 300.0, 2 * len(message)))
        seconds.append(time.perf_counter() - started)
        assert all(reply.content == message for reply in replies), replies
    return seconds[1:]


def start_echo(hub: "Hub", name: str, folder: Path) -> subprocess.Popen[bytes]:
    from coplms.runtimes.network.bundle import write_bundle

    folder.mkdir(parents=True)
    write_bundle(hub.invite(name), folder / "bundle.join")
    child = json.dumps([["echo-device"], str(folder)])
    return subprocess.Popen([sys.executable, __file__, "--child", child])


def serve_echo(_: argparse.Namespace, folder: str) -> dict[str, Any]:
    """A device without models, until SIGTERM."""
    import signal
    import threading

    from coplms.runtimes.flower.device import FlowerDevice
    from coplms.runtimes.network.bundle import read_bundle
    from coplms.runtimes.network.client import enrol
    from coplms.runtimes.network.keys import device_key

    home, stop = Path(folder), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    bundle, key = read_bundle(home / "bundle.join"), device_key(home / "key")
    enrol(bundle, key)
    (home / "ca.pem").write_text(bundle.ca, encoding="ascii")
    address, name = bundle.invitation.address, bundle.invitation.device
    device = FlowerDevice(home / "flower", address, home / "ca.pem", key.path, name, lambda d: d)
    device.serve(stop)
    return {}


def shared_bytes(config: "RunConfig") -> int:
    """Of the DPM's shared part by itself: what a round's message holds."""
    return plans_of(config)[1].parts[0].size.num_bytes


def plans_of(config: "RunConfig") -> "list[ModelPlan]":
    from coplms.api.cache import default_cache
    from coplms.api.plan import plan_models
    from coplms.api.zoo import ensure_zoo

    return plan_models(config, ensure_zoo(config, default_cache()))


# Other methods, computed ---------------------------------------------------------------------


def compute_others(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Bytes of a round and device, both ways together, for the same models.

    FedAvg of a model sends all its weights each way. FedMKT sends, for each token of each public
    example, K logits with their ids: the device its SLM's, the server its LLM's.
    """
    from coplms.data.members import load_data

    config = configuration(options, seed, "full", "lossless")
    plans = plans_of(config)
    llm, dpm = plans[:2]
    public = load_data(config).server.train
    slms = {plan.member: plan for plan in plans if plan.role == "slm"}
    tokens = {plan.member: count_tokens(config, plan, public) for plan in (llm, *slms.values())}
    up = statistics.mean(tokens[name] for name in slms)
    return {
        "public_examples": len(public),
        "tokens": tokens,
        "weights": {"dpm": dpm.weights.num_bytes, "llm": llm.weights.num_bytes}
        | {name: plan.weights.num_bytes for name, plan in slms.items()},
        "fedavg_dpm": 2 * dpm.weights.num_bytes,
        "fedavg_slm": {name: 2 * plan.weights.num_bytes for name, plan in slms.items()},
        "fedmkt": {str(top): (up + tokens["server"]) * top * LOGIT_BYTES for top in options.top},
        "fedmkt_per_token": {str(top): top * LOGIT_BYTES for top in options.top},
    }


def count_tokens(config: "RunConfig", plan: "ModelPlan", examples: "Sequence[Example]") -> int:
    """Tokens of all examples: prompt, answer and end."""
    from coplms.data.prompt import render_prompt

    tokenizer = plan.outline.model.tokenizer
    texts = [
        f"{render_prompt(each, config.data.template, tokenizer)} {each.references[0]}"
        for each in examples
    ]
    return sum(len(tokenizer(text)["input_ids"]) + 1 for text in texts)


# Memory --------------------------------------------------------------------------------------


def memory_of(hub: "Hub") -> dict[str, list[dict[str, float]]]:
    """Kind of process -> MB of each: this one is the server's."""
    found: dict[str, list[dict[str, float]]] = {"server": [resident(os.getpid())]}
    for pid in children(os.getpid()):
        command = command_of(pid)
        if "launch superlink" in command:
            found.setdefault("SuperLink", []).append(resident(pid))
        elif " device --join " in command:
            found.setdefault("device", []).append(resident(pid))
            nodes = [child for child in children(pid) if "launch supernode" in command_of(child)]
            found.setdefault("SuperNode", []).extend(map(resident, nodes))
    return found


def resident(pid: int) -> dict[str, float]:
    """MB (10^6 bytes) of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    rows = (line.split() for line in text.splitlines()[1:])
    kilobytes = {row[0]: int(row[1]) for row in rows if len(row) == 3}
    return {name: kilobytes[f"{name.title()}:"] * 1024 / 1e6 for name in ("rss", "pss")}


def children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(status.parent.name))
    return found


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


CASES = {
    "local": run_local,
    "network": run_network,
    "echo": run_echo,
    "echo-device": serve_echo,
    "others": compute_others,
}


# Tables --------------------------------------------------------------------------------------


def as_tables(result: dict[str, Any]) -> str:
    machine = result["machine"]
    loads = f"load {machine['load_at_start']} to {machine['load_average']}"
    seeds = ", ".join(map(str, result["seeds"]))
    head = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} thread a process; "
        f"{loads}, torch {machine['torch']}, no GPU; loopback; seeds {seeds}; "
        f"{result['rounds']} rounds of {result['steps']} steps a phase"
    )
    parts = (times_table(result), echo_table(result), bytes_table(result), memory_table(result))
    return "\n\n".join((head, *parts))


def rows_of(result: dict[str, Any], case: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Kind and form -> what a case found with each seed."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        if row["case"] == case:
            found.setdefault((row["kind"], row["form"]), []).append(row)
    return found


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`1.20 (1.10-1.43)`: the median, the least and the most."""
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def times_table(result: dict[str, Any]) -> str:
    lines = [
        "| DPM, form | Link | A round, s | Of that training, s | The link's share, s |",
        "|---|---|---|---|---|",
    ]
    for case in ("local", "network"):
        for (kind, form), found in rows_of(result, case).items():
            rounds = [each for row in found for each in row["rounds"]]
            columns = [
                [each["seconds"] for each in rounds],
                [each["work"] for each in rounds],
                [each["seconds"] - each["work"] for each in rounds],
            ]
            cells = " | ".join(map(spread, columns))
            lines.append(f"| {kind}, {form} | {case} | {cells} |")
    return "\n".join(lines)


def echo_table(result: dict[str, Any]) -> str:
    lines = ["| Message each way | Local, s | Network, s |", "|---|---|---|"]
    for found in rows_of(result, "echo").values():
        local = spread([each for row in found for each in row["local"]], 5)
        network = spread([each for row in found for each in row["network"]])
        lines.append(f"| {found[0]['message_bytes']:,} bytes | {local} | {network} |")
    return "\n".join(lines)


def bytes_table(result: dict[str, Any]) -> str:
    others = result["others"]
    whole = others["fedavg_dpm"]
    lines = [
        "| | Bytes | Tensors by themselves | On the wire | Of FedAvg of the DPM |",
        "|---|---|---|---|---|",
    ]
    for (kind, form), found in rows_of(result, "network").items():
        sums = {
            name: statistics.median(row["bytes"][name] for row in found)
            for name in ("bytes", "tensor_bytes", "wire_bytes")
        }
        cells = " | ".join(f"{value:,.0f}" for value in sums.values())
        lines.append(f"| coplms, {kind}, {form} | {cells} | {100 * sums['bytes'] / whole:.1f} % |")
    computed = {"FedAvg of the DPM, computed": whole}
    computed |= {f"FedAvg of {n}'s SLM, computed": v for n, v in others["fedavg_slm"].items()}
    computed |= {f"FedMKT, K = {top}, computed": v for top, v in others["fedmkt"].items()}
    for name, value in computed.items():
        lines.append(f"| {name} | {value:,.0f} | {value:,.0f} | - | {100 * value / whole:.1f} % |")
    return "\n".join(lines)


def memory_table(result: dict[str, Any]) -> str:
    lines = ["| Process | When | RSS, MB | PSS, MB |", "|---|---|---|---|"]
    words = {"before": "before a device knows the run", "after": "after the last round"}
    for name in ("server", "SuperLink", "device", "SuperNode"):
        for when, text in words.items():
            found = [
                each
                for row in result["rows"]
                if row["case"] == "network"
                for each in row["memory"][when].get(name, [])
            ]
            if found:
                cells = [spread([each[kind] for each in found], 0) for kind in ("rss", "pss")]
                lines.append(f"| {name} | {text} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
