"""A log in the state folder, and nowhere else."""

import logging
from pathlib import Path

from coplms.runtimes.flower.child import MAX_LOG_BYTES


def file_logger(path: Path) -> logging.Logger:
    """A logger of its own that appends to a file; close it with `close_logger`."""
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_suffix(".old.log"))
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.Logger(path.stem)
    logger.addHandler(handler)
    return logger


def close_logger(logger: logging.Logger) -> None:
    """Close the file; a later line opens it again."""
    for handler in logger.handlers:
        handler.close()
