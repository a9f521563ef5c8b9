"""One log for all that is said during a run, whoever says it."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.logging import MMLogger
from mmengine.runner import Runner

from stt_mm.engine.cli import process_rank

_SOURCES = ('stt_mm', 'py.warnings')


class RunLog(logging.Handler):
    """Hands what modules of this package and Python's ``warnings`` say to MMEngine's current logger.

    What is said before the run has its log file goes to the console of the first rank at once, and into the file by
    :meth:`attach`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._early: list[logging.LogRecord] = []
        self._attached = False

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over one record with its whole message, as MMEngine's loggers say no warning of one template twice."""
        record.msg, record.args = record.getMessage(), ()
        logger = MMLogger.get_current_instance()
        if self._attached:
            logger.handle(record)
            return
        self._early.append(record)
        if process_rank() == 0:
            # In a process with an earlier run, the current logger still has the file of that one.
            _hand_over(record, set(logger.handlers) - set(_files(logger)))

    def attach(self, runner: Runner) -> None:
        """Write what was said so far into the log file of a run, and go on there.

        Of a rank that has none, as all but the first, warnings go into a file of its own beside that of the first.
        """
        logger = runner.logger
        if not _files(logger):
            path = Path(runner.log_dir, f'{runner.timestamp}_rank{runner.rank}.log')
            handler = logging.FileHandler(path, delay=True)
            handler.setLevel(logging.WARNING)
            handler.setFormatter(logging.Formatter('%(asctime)s - %(name)s - %(levelname)s - %(message)s'))
            logger.addHandler(handler)
        for record in self._early:
            _hand_over(record, _files(logger))
        self._early.clear()
        self._attached = True


@contextmanager
def run_log() -> Iterator[RunLog]:
    """Inside, all warnings reach the log of the run, once; afterwards everything is as it was."""
    handler = RunLog()
    loggers = [logging.getLogger(name) for name in _SOURCES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield handler
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        logging.captureWarnings(False)


def _files(logger: logging.Logger) -> list[logging.Handler]:
    return [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]


def _hand_over(record: logging.LogRecord, handlers: Iterable[logging.Handler]) -> None:
    for handler in handlers:
        if record.levelno >= handler.level:
            handler.handle(record)
