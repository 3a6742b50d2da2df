"""What a result depends on beside its configuration: the processor, and the state of the code."""

import hashlib
import platform
from functools import cache
from pathlib import Path

import coplms


def processor_name() -> str:
    """The processor's model where Linux tells it, else its architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@cache
def code_digest() -> str:
    """Of this package's Python files; equal where the same state of the code ran."""
    root = Path(coplms.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
