"""Logging by rank: people read stderr of rank 0, programs read log.jsonl in the results folder."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

LOGGER_NAME = "hpcthermo"
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({})))


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, message, and whatever was passed as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        extra = {k: v for k, v in vars(record).items() if k not in _STANDARD_FIELDS and k not in ("message", "asctime")}
        return json.dumps({**entry, **extra}, default=str)


def get_logger() -> logging.Logger:
    """The program's logger."""
    return logging.getLogger(LOGGER_NAME)


def set_up_logging(rank: int, folder: Path | None = None, quiet: bool = False) -> logging.Logger:
    """Send messages of rank 0 to stderr and to ``folder/log.jsonl``, and those of other ranks nowhere unless errors.

    Parameters
    ----------
    rank : int
    folder : Path, optional
        Results folder, present already; lines are appended to its log.
    quiet : bool
        Only warnings and errors on stderr.
    """
    logger = get_logger()
    close_logging()
    logger.propagate = False
    logger.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(logging.Formatter("%(message)s" if rank == 0 else f"[rank {rank}] %(message)s"))
    screen.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.addHandler(screen)
    if rank == 0 and folder is not None:
        lines = logging.FileHandler(folder / "log.jsonl")
        lines.setFormatter(JsonLines())
        logger.addHandler(lines)
    return logger


def close_logging() -> None:
    """Close the log file and forget all handlers."""
    logger = get_logger()
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
