"""What is said during a run, where it goes, and that everything is as before afterwards."""

import logging
import warnings
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger

from stt_mm.engine import run_log
from stt_mm.engine.run_logs import RunLog

SOURCES = ('stt_mm', 'py.warnings')


@pytest.fixture
def logger(monkeypatch, request):
    """The current logger of MMEngine, with a console that keeps what it is given."""
    logger = MMLogger.get_instance(request.node.name)
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logger)
    logger.setLevel(logging.INFO)
    logger.handlers = [Kept()]
    return logger


class Kept(logging.Handler):
    def __init__(self, level=logging.INFO):
        logging.Handler.__init__(self, level)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


class KeptFile(Kept, logging.FileHandler):
    """Is taken for a file."""

    def close(self):
        logging.Handler.close(self)


def state():
    return [
        (logging.getLogger(name).level, logging.getLogger(name).propagate, list(logging.getLogger(name).handlers))
        for name in SOURCES
    ] + [warnings.showwarning]


def test_afterwards_everything_is_as_before(logger, monkeypatch):
    monkeypatch.setattr(logging.getLogger('stt_mm'), 'level', 7)
    monkeypatch.setattr(logging.getLogger('py.warnings'), 'propagate', False)
    before = state()

    def fail():
        with run_log():
            for name in SOURCES:
                source = logging.getLogger(name)
                assert (source.level, source.propagate) == (logging.INFO, False)
                assert [type(handler) for handler in source.handlers][-1] is RunLog
            assert warnings.showwarning != before[-1]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert state() == before


def test_warnings_are_logged_only_inside(logger):
    with run_log(), warnings.catch_warnings():
        warnings.simplefilter('always')
        logging.captureWarnings(True)
        warnings.warn('made of glass', stacklevel=1)
    assert [text for text in logger.handlers[0].texts if 'made of glass' in text]


def test_what_is_said_before_there_is_a_file_goes_into_it_later_and_once_to_the_console(logger, tmp_path):
    console = logger.handlers[0]
    source = logging.getLogger('stt_mm.models')
    with run_log() as log:
        for side in (64, 32):
            source.info('tiles of %d', side)
        source.debug('nothing')
        assert console.texts == ['tiles of 64', 'tiles of 32']
        file = KeptFile()
        logger.addHandler(file)
        log.attach(SimpleNamespace(logger=logger, log_dir=tmp_path, timestamp='now', rank=0))
        assert file.texts == console.texts == ['tiles of 64', 'tiles of 32']
        source.warning('late')
        log.attach(SimpleNamespace(logger=logger, log_dir=tmp_path, timestamp='now', rank=0))
    assert file.texts == console.texts == ['tiles of 64', 'tiles of 32', 'late']
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_an_earlier_run_and_other_ranks_are_spared(logger, monkeypatch):
    console, earlier = logger.handlers[0], KeptFile()
    logger.addHandler(earlier)
    with run_log():
        logging.getLogger('stt_mm').warning('first rank')
        monkeypatch.setenv('RANK', '1')
        logging.getLogger('stt_mm').warning('second rank')
    assert console.texts == ['first rank']
    assert earlier.texts == []


@pytest.mark.parametrize(('level', 'texts'), [(logging.WARNING, ['as high', 'higher']), (logging.ERROR, ['higher'])])
def test_handlers_keep_their_level(logger, level, texts):
    logger.handlers[0].setLevel(level)
    with run_log():
        logging.getLogger('stt_mm').info('lower')
        logging.getLogger('stt_mm').warning('as high')
        logging.getLogger('stt_mm').error('higher')
    assert logger.handlers[0].texts == texts


def test_a_rank_without_a_file_gets_one_at_its_first_warning(logger, tmp_path):
    with run_log() as log:
        log.attach(SimpleNamespace(logger=logger, log_dir=tmp_path, timestamp='now', rank=3))
        path = tmp_path / 'now_rank3.log'
        logging.getLogger('stt_mm.utils').info('no warning')
        assert not path.exists()
        logging.getLogger('stt_mm.utils').warning('late')
    assert [line.partition(' - ')[2] for line in path.read_text().splitlines()] == ['stt_mm.utils - WARNING - late']
