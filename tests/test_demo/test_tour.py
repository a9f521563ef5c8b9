"""The notebook runs from its first cell to its last, and shows its pictures to who only reads it."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[2] / 'demo' / 'tour.ipynb'


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


def kinds(notebook):
    return [
        [output.get('name') or sorted(output.data)[0] for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == 'code'
    ]


def test_a_reader_sees_what_it_puts_out(notebook):
    assert sum(outputs.count('image/jpeg') for outputs in kinds(notebook)) >= 5
    assert 'J&F-Mean' in str(notebook.cells[-2].outputs)
    assert PATH.stat().st_size < 1_500_000


def test_without_the_videos_it_says_where_to_put_the_address(notebook, tmp_path):
    first = next(cell for cell in notebook.cells if cell.cell_type == 'code')
    ended = subprocess.run([sys.executable, '-c', first.source], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f'FileNotFoundError: The videos of the tour are not below {tmp_path}. Put the address of')
    assert 'REPOSITORY' in last


@pytest.mark.slow
def test_it_runs(notebook, tmp_path, monkeypatch):
    """With the interpreter and the package of the tests; what it puts out is of the kinds that are stored."""
    monkeypatch.setenv('PYTHONPATH', str(PATH.parents[1]))
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    stored = kinds(notebook)
    client = NotebookClient(
        notebook, timeout=600, kernel_name='python3', resources={'metadata': {'path': str(PATH.parent)}}
    )
    client.execute()
    assert kinds(notebook) == stored
