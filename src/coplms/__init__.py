"""Co-tune a cloud LLM and devices' SLMs through a distilled proxy model.

The names below are loaded when they are first used, so that `import coplms` stays quick.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coplms.api.ask import load_tuned
    from coplms.api.consortium import Consortium
    from coplms.api.export import export_models
    from coplms.config.load import load_config
    from coplms.config.run import RunConfig
    from coplms.errors import CoplmsError
    from coplms.report.html import write_report

    __version__: str

__all__ = [
    "Consortium",
    "CoplmsError",
    "RunConfig",
    "__version__",
    "export_models",
    "load_config",
    "load_tuned",
    "write_report",
]

_HOMES = {
    "Consortium": "coplms.api.consortium",
    "CoplmsError": "coplms.errors",
    "RunConfig": "coplms.config.run",
    "export_models": "coplms.api.export",
    "load_config": "coplms.config.load",
    "load_tuned": "coplms.api.ask",
    "write_report": "coplms.report.html",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("coplms")
    if name not in _HOMES:
        raise AttributeError(f"module 'coplms' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
