"""A few damaged files per reader; python tests/fuzz_readers.py tries many."""

import sys

import pytest
from fuzz_readers import READERS, fuzz


@pytest.mark.skipif(sys.platform != 'linux', reason='measures memory by /proc')
@pytest.mark.parametrize('name', READERS)
def test_damaged_files_are_read_or_refused_in_time_and_memory(name):
    verdicts, failures = fuzz(name, 40)
    assert not failures
    assert min(verdicts['read'], verdicts['refused']) > 0
