"""A finished run of three devices and three rounds, written as a run writes it."""

import json
from pathlib import Path

import yaml

from coplms.consortium.record import RunRecord

DOMAINS = ("banking", "credit_cards", "diagnosis", "machines", "small_talk", "travel")
OWN = {
    "hospital": {"diagnosis": 620, "small_talk": 310},
    "factory": {"machines": 710, "travel": 180},
    "bank": {"banking": 540, "credit_cards": 460},
}
ROUNDS = 3
_ARCHITECTURES = {"hospital": "llama", "factory": "gpt_neox", "bank": "bloom"}
_FINAL = {  # (exact match before, alone, after); Rouge-L lies 7 above
    ("server", "llm"): (1.8, 27.3, 42.4),
    ("hospital", "slm"): (0.9, 46.0, 46.7),
    ("factory", "slm"): (0.4, 43.3, 51.1),
    ("bank", "slm"): (1.1, 48.2, 47.6),
}
_DPM = (1.2, 38.5, 57.4, 67.9)


def write_sample_run(folder: Path, *, name: str = "Regional consortium") -> RunRecord:
    """The record of the run in `folder`."""
    record = RunRecord(folder)
    record.write_text("config.yaml", yaml.safe_dump(_config(name), sort_keys=False))
    record.write_json("environment.json", _environment())
    record.write_json("data.json", _data())
    _write_phases(record)
    _write_evaluations(record)
    record.write_text("ledger.jsonl", "".join(json.dumps(row) + "\n" for row in _ledger()))
    return record


def _config(name: str) -> dict[str, object]:
    zoo = [
        {
            "name": f"{kind}-small",
            "architecture": kind,
            "tokenizer": tokenizer,
            "vocab_size": 2048,
            "hidden_size": 128,
            "layers": 3,
            "heads": 4,
            "steps": 2200,
        }
        for kind, tokenizer in (
            ("llama", "unigram"),
            ("gpt_neox", "byte_bpe"),
            ("bloom", "unigram"),
        )
    ]
    zoo.append(
        {
            "name": "qwen2-large",
            "architecture": "qwen2",
            "tokenizer": "byte_bpe",
            "vocab_size": 4096,
            "hidden_size": 256,
            "layers": 5,
            "heads": 4,
            "steps": 2200,
        }
    )
    return {
        "name": name,
        "seed": 0,
        "llm": {"model": "mini/qwen2-large", "tuning": None, "dtype": None},
        "dpm": {"model": None, "layers": 3, "tuning": None, "domain_rank": 8},
        "devices": [
            {"name": device, "slm": {"model": f"mini/{kind}-small", "tuning": None}}
            for device, kind in _ARCHITECTURES.items()
        ],
        "tuning": {"kind": "full", "rank": 16, "alpha": 32.0},
        "method": {"name": "coplms", "rounds": ROUNDS, "saml": {"steps": 100, "gate": "sample"}},
        "alone": True,
        "zoo": {"models": zoo},
        "threads": 2,
    }


def _environment() -> dict[str, object]:
    return {
        "packages": {"coplms": "1.0.0", "torch": "2.13.0"},
        "python": "3.11.9",
        "machine": {"system": "Linux", "processor": "x86_64", "cores": 2},
        "seed": 0,
        "threads": 2,
    }


def _data() -> dict[str, object]:
    return {
        "server": {"train": 450, "dev": 50, "test": 900},
        "devices": {
            device: {"train": sum(own.values()), "dev": 100, "test": 900, "domains": own}
            for device, own in OWN.items()
        },
        "transfer": 1500,
    }


def _write_phases(record: RunRecord) -> None:
    _write_training(record, 0, "server", "distill", start=4.1, seconds=41.0)
    for member in ("server", *OWN):
        _write_training(record, 0, member, "alone", start=4.8, seconds=74.9)
        _write_phase(record, 0, member, "alone-evaluate", seconds=5.8)
    for t in range(1, ROUNDS + 1):
        for device in OWN:
            _write_training(record, t, device, "dst", start=3.6 / t, seconds=6.4)
            _write_training(record, t, device, "saml", start=5.2 / t, seconds=31.0)
        _write_training(record, t, "server", "saml", start=4.4 / t, seconds=52.5)
        _write_phase(record, t, "server", "evaluate-dpm", seconds=7.5)
        _write_phase(record, t, "server", "end", seconds=0.0)
    for member in ("server", *OWN):
        _write_training(record, ROUNDS + 1, member, "transfer", start=1.9, seconds=38.2)
        _write_phase(record, ROUNDS + 1, member, "evaluate-after", seconds=6.1)


def _write_training(
    record: RunRecord, round_number: int, member: str, kind: str, start: float, seconds: float
) -> None:
    num_steps = 150 if kind == "alone" else 100
    for step in range(10, num_steps + 1, 10):
        wiggle = 0.12 * ((step * 7 + len(member + kind)) % 5 - 2)
        loss = start * 0.35 + start * 0.65 / (1 + step / 25) + wiggle * start / 5
        phase = f"round-{round_number}/{member}/{kind}"
        row = {"phase": phase, "step": step, "steps": num_steps, "loss": round(loss, 4)}
        record.append("metrics", row)
    _write_phase(record, round_number, member, kind, seconds)


def _write_phase(
    record: RunRecord, round_number: int, member: str, kind: str, seconds: float
) -> None:
    row = {
        "phase": f"round-{round_number}/{member}/{kind}",
        "round": round_number,
        "member": member,
        "kind": kind,
        "seconds": seconds,
        "metrics": {},
    }
    record.append("phases", row)


def _write_evaluations(record: RunRecord) -> None:
    for (member, model), scores in _FINAL.items():
        for when, exact_match in zip(("before", "alone", "after"), scores, strict=True):
            _write_evaluation(record, when, member, model, exact_match)
    for t, exact_match in enumerate(_DPM):
        when = "before" if t == 0 else f"round-{t}"
        _write_evaluation(record, when, "server", "dpm", exact_match)
        _write_evaluation(record, when, "server", "llm", 1.8 + 4.1 * t)
        for device, start in (("hospital", 29.0), ("factory", 27.5), ("bank", 33.0)):
            if t > 0:
                _write_evaluation(record, when, device, "slm", start + 4.0 * t)
    for member in ("server", *OWN):
        _write_evaluation(record, "after", member, "dpm", _DPM[-1])


def _write_evaluation(
    record: RunRecord, when: str, member: str, model: str, exact_match: float
) -> None:
    own = OWN.get(member, {})
    by_domain = {}
    for place, domain in enumerate(DOMAINS):
        bonus = {"alone": 24.0, "after": 15.0}.get(when, 0.0) if domain in own else 0.0
        score = min(100.0, max(0.0, exact_match + bonus + 3.0 * (place % 3 - 1)))
        by_domain[domain] = {
            "exact_match": score,
            "rougeL": min(100.0, score + 7.0),
            "num_examples": 150,
        }
    row = {
        "when": when,
        "member": member,
        "model": model,
        "scope": "all",
        "num_examples": 900,
        "exact_match": exact_match,
        "rougeL": exact_match + 7.0,
        "by_domain": by_domain,
    }
    record.append("evaluation", row)
    if own:
        found = {domain: by_domain[domain] for domain in own}
        mean = sum(scores["exact_match"] for scores in found.values()) / len(found)
        record.append(
            "evaluation",
            {
                **row,
                "scope": "own",
                "num_examples": 300,
                "by_domain": found,
                "exact_match": mean,
                "rougeL": mean + 7.0,
            },
        )


def _ledger() -> list[dict[str, object]]:
    rows = []
    for device in OWN:
        rows.append(_message(0, device, "down", {"base": 4_310_000, "transfer": 181_000}))
        for t in range(1, ROUNDS + 1):
            rows.append(_message(t, device, "down", {"shared": 1_260_000}))
            rows.append(_message(t, device, "up", {"shared": 1_260_000}))
        rows.append(_message(ROUNDS + 1, device, "down", {"shared": 1_260_000, "answers": 52_000}))
    return rows


def _message(
    round_number: int, device: str, direction: str, content: dict[str, int]
) -> dict[str, object]:
    size = sum(content.values())
    return {
        "round": round_number,
        "device": device,
        "direction": direction,
        "bytes": size + 412,
        "tensor_bytes": size,
        "content": content,
    }
