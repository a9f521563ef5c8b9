"""Where results may go: each kind of way on which a result could come to lie on something of the user's."""

import os
import subprocess
import sys

import pytest

from stt_mm.errors import FileError
from stt_mm.utils import targets
from stt_mm.utils.targets import (
    alone_in,
    check_apart,
    check_distinct,
    check_file,
    check_folder,
    claim_folder,
    inside,
    make_folder,
    owner_of,
    state_of,
)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data set with two masks; links to it; the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ('data/masks/a/0.png', 'data/masks/a/1.png', 'data/list.txt'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / 'soft').symlink_to('data/masks')
    (tmp_path / 'soft.png').symlink_to('data/masks/a/0.png')
    os.link('data/masks/a/0.png', 'hard.png')
    yield tmp_path / 'data'
    assert (tmp_path / 'data' / 'masks' / 'a' / '0.png').read_text() == 'data/masks/a/0.png'


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


@pytest.mark.parametrize(
    'path', ['data/masks/a/0.png', 'data/../data/masks/a/0.png', 'soft/a/0.png', 'soft.png', 'hard.png']
)
@pytest.mark.parametrize('source', ['data/masks/a/0.png', 'soft/a/0.png', 'hard.png'])
def test_a_file_that_is_read_is_not_written(data, path, source):
    with pytest.raises(ValueError, match=r'read here and would be replaced'):
        check_file(path, [None, 'none', source])
    with pytest.raises(ValueError, match=r'read here and would be replaced'):
        check_file((data.parent / path).absolute(), [source])


def test_any_other_file_is_replaced(data):
    check_file('data/list.txt', ['data/masks'])
    check_file('data/masks/a/new.json', ['data/masks'])
    check_file('new/folder/out.json', [data, 'none'])
    check_file('soft/../new.json', [data])
    with pytest.raises(ValueError, match=r'soft/a/1\.png lies in data, whose files are read here'):
        check_file('soft/a/1.png', ['data'])
    with pytest.raises(ValueError, match='data is a folder, but the result is a file'):
        check_file('data')


@pytest.mark.parametrize('path', ['data', 'data/.', 'data/masks', 'data/new/deep', 'soft', 'soft/a', 'soft/new'])
def test_results_stay_out_of_data(data, path):
    for check in (check_apart, lambda path, sources: check_folder(path, 'mine', '.png', sources, overwrite=True)):
        with pytest.raises(ValueError, match='is, or lies in, data, which is read'):
            check(path, ['data'])
    check_apart(data.parent, ['data'])
    with pytest.raises(ValueError, match='holds soft/a/0.png, which is read'):
        check_folder('data/masks', 'mine', '.png', ['soft/a/0.png'], overwrite=True)


def test_a_folder_belongs_to_one_result(tmp_path, caplog):
    folder = tmp_path / 'out'
    claim_folder(folder, 'frames of v', '.png')
    for name in ('a/0.png', 'a/1.png'):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('mine')
    assert owner_of(folder) == 'frames of v'
    claim_folder(folder, 'frames of v', '.png')
    assert tree(folder) == ['.stt_mm', 'a/0.png', 'a/1.png']
    with pytest.raises(ValueError, match=r'holds frames of v, and the results would mix.*--overwrite'):
        claim_folder(folder, 'frames of w', '.png')
    assert tree(folder) == ['.stt_mm', 'a/0.png', 'a/1.png']
    assert caplog.messages == []
    claim_folder(folder, 'frames of w', '.png', overwrite=True)
    assert caplog.messages == [f'{folder}: 2 files are removed, as overwrite says.']
    assert list(folder.iterdir()) == [folder / '.stt_mm']
    assert owner_of(folder) == 'frames of w'
    (folder / 'drawn.png').write_text('mine')
    claim_folder(folder, 'frames of w', '.png')
    assert tree(folder) == ['.stt_mm', 'drawn.png']


def test_only_files_of_results_are_removed(tmp_path):
    folder = tmp_path / 'out'
    (folder / 'empty').mkdir(parents=True)
    (folder / '.git').mkdir()
    (folder / '0.png').write_text('theirs')
    with pytest.raises(ValueError, match=r'holds 1 other files, such as 0\.png, and the results would mix'):
        check_folder(folder, 'mine', '.png')
    (folder / 'thesis.tex').write_text('years')
    with pytest.raises(ValueError, match=r'holds thesis\.tex, which is no \.png file of results'):
        claim_folder(folder, 'mine', '.png', overwrite=True)
    assert tree(folder) == ['0.png', 'thesis.tex']
    (folder / 'thesis.tex').unlink()
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / '1.png').write_text('theirs')
    (folder / 'link.png').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(ValueError, match=r'holds link\.png, which is no'):
        claim_folder(folder, 'mine', '.png', overwrite=True)
    (folder / 'link.png').unlink()
    claim_folder(folder, 'mine', '.png', overwrite=True)
    assert tree(folder) == ['.stt_mm']
    assert sorted(path.name for path in folder.iterdir()) == ['.git', '.stt_mm', 'empty']
    with pytest.raises(OSError, match='is a file, but the results need a folder'):
        check_folder(tmp_path / 'elsewhere' / '1.png', 'mine', '.png')


def test_the_mark_is_not_written_through_a_link(tmp_path):
    (tmp_path / 'precious').write_text('theirs')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / '.stt_mm').symlink_to(tmp_path / 'precious')
    claim_folder(tmp_path / 'out', 'mine', '.png')
    assert (tmp_path / 'precious').read_text() == 'theirs'


@pytest.mark.parametrize(
    'name', ['', '.', '..', '/abs', '../up', 'a/../../b', 'a//b', './a', 'a/', 'C:x', 'a\\b', 'a\0']
)
def test_names_lead_nowhere_else(tmp_path, name):
    with pytest.raises(ValueError, match='holds the name'):
        inside(tmp_path, name)


def test_links_lead_nowhere_else(tmp_path):
    folder = tmp_path / 'out'
    folder.mkdir()
    (folder / 'v').symlink_to(tmp_path)
    (folder / 'w').symlink_to(folder / 'real')
    with pytest.raises(ValueError, match=f'out/v/x leads to {tmp_path}/x, out of'):
        inside(folder, 'v/x')
    assert inside(folder, 'w/x') == folder / 'w' / 'x'
    (tmp_path / 'alias').symlink_to(folder)
    assert inside(tmp_path / 'alias', 'walk/clip1') == tmp_path / 'alias' / 'walk' / 'clip1'


def test_two_results_need_two_places(tmp_path, monkeypatch):
    (tmp_path / 'link').symlink_to('.')
    check_distinct({'a': tmp_path / 'x', 'b': tmp_path / 'y', 'c': tmp_path / 'X'})
    with pytest.raises(ValueError, match=r'a and b would both be written to .*/link/x\.'):
        check_distinct({'a': tmp_path / 'x', 'b': tmp_path / 'link' / 'x'})
    monkeypatch.setattr(targets, '_ignores_case', lambda folder: True)
    with pytest.raises(ValueError, match='a and c would both be written'):
        check_distinct({'a': tmp_path / 'x', 'b': tmp_path / 'y', 'c': tmp_path / 'X'})


def test_the_file_system_is_asked_about_case(tmp_path):
    (tmp_path / 'probe').write_text('')
    assert targets._ignores_case(tmp_path) is (tmp_path / 'PROBE').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['probe']
    assert targets._ignores_case(tmp_path / 'none') is False


def test_the_state_of_a_source_changes_with_what_it_holds(tmp_path):
    film, frames = tmp_path / 'v.mp4', tmp_path / 'frames'
    frames.mkdir()
    film.write_bytes(b'ten')
    for name in ('0.png', '1.png', 'notes.txt'):
        (frames / name).write_bytes(b'x')
    before = [state_of(film), state_of(frames)]
    (frames / 'notes.txt').write_bytes(b'more')
    assert [state_of(film), state_of(frames)] == before
    assert str(film) in before[0]
    film.write_bytes(b'one more')
    (frames / '1.png').unlink()
    assert state_of(film) != before[0]
    assert state_of(frames) != before[1]
    size, time = film.stat().st_size, film.stat().st_mtime_ns
    other = state_of(film)
    film.write_bytes(b'one MORE')
    os.utime(film, ns=(time, time + 1000))
    assert film.stat().st_size == size
    assert state_of(film) != other
    assert state_of('camera 0') != state_of('camera 0')


def test_a_folder_of_nothing_but_old_results_is_kept_and_folders_are_made(tmp_path):
    for name in ('old/0.PNG', 'old/a/b/1.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('theirs')
    claim_folder(tmp_path / 'old', 'mine', '.png', overwrite=True)
    assert tree(tmp_path / 'old') == ['.stt_mm']
    claim_folder(tmp_path / 'new' / 'deep', 'mine', '.png')
    assert owner_of(tmp_path / 'new' / 'deep') == 'mine'
    (tmp_path / 'free').mkdir()
    (tmp_path / 'free' / '0.png').touch()
    (tmp_path / 'free' / 'link').symlink_to(tmp_path / 'new')
    with pytest.raises(ValueError, match=r'holds 2 other files, such as 0\.png'):
        claim_folder(tmp_path / 'free', 'mine', '.png')
    with pytest.raises(ValueError, match='holds link, which is no'):
        claim_folder(tmp_path / 'free', 'mine', '.png', overwrite=True)
    (tmp_path / 'bare').mkdir()
    (tmp_path / 'bare' / '0.png').touch()
    claim_folder(tmp_path / 'bare', 'mine', '.png', overwrite=True)
    assert tree(tmp_path / 'bare') == ['.stt_mm']


def test_the_state_of_a_source_names_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'v.mp4').touch()
    assert state_of('v.mp4') == state_of(tmp_path / 'v.mp4')
    assert state_of('v.mp4').startswith(f'{tmp_path}/v.mp4 (state ')


def test_the_root_of_all_folders_is_a_place_as_well():
    with pytest.raises(ValueError, match='a and b would both be written to /'):
        check_distinct({'a': '/', 'b': '/'})


def test_what_links_in_a_data_set_lead_to_is_read_as_well(data, tmp_path):
    """As where masks lie on another disk than frames."""
    for real, link in (('elsewhere', 'linked/Annotations'), ('far', 'linked/JPEGImages/480p')):
        (tmp_path / real / 'bus').mkdir(parents=True)
        (tmp_path / real / 'bus' / '0.png').write_text(real)
        (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / link).symlink_to(tmp_path / real)
        for check in (check_file, check_apart):
            with pytest.raises(ValueError, match=link):
                check(tmp_path / real / 'bus' / '0.png', [tmp_path / 'linked'])
    (tmp_path / 'linked' / 'broken').symlink_to(tmp_path / 'nowhere')
    check_file(tmp_path / 'out.json', [tmp_path / 'linked'])
    check_apart(tmp_path / 'work', [tmp_path / 'linked'])


def test_folders_of_many_classes_are_not_listed_one_by_one(tmp_path, monkeypatch):
    listed, scan = [], os.scandir
    for number in range(101):
        (tmp_path / 'data' / f'class{number}').mkdir(parents=True)
    (tmp_path / 'data' / 'linked').symlink_to(tmp_path / 'far')
    (tmp_path / 'far').mkdir()
    monkeypatch.setattr(os, 'scandir', lambda path: listed.append(str(path)) or scan(path))
    check_apart(tmp_path / 'work', [tmp_path / 'data'])
    assert listed == [str(tmp_path / 'data')]
    with pytest.raises(ValueError, match='linked'):
        check_apart(tmp_path / 'far' / 'work', [tmp_path / 'data'])


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='file is a file, but the results need a folder'):
        make_folder(tmp_path / 'file')
    make_folder(tmp_path / 'a' / 'b')
    make_folder(tmp_path / 'a' / 'b')
    with pytest.raises(FileError, match=r'/proc/none/deeper cannot be written: No such file'):
        make_folder('/proc/none/deeper')
    with pytest.raises(FileError, match='/proc/none cannot be written'):
        claim_folder('/proc/none', 'mine', '.png')


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    code = (
        'import sys, time; from stt_mm.utils.targets import alone_in\n'
        'with alone_in(sys.argv[1], "training"): print("in", flush=True); time.sleep(60)'
    )
    other = subprocess.Popen([sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == 'in\n'
    with (
        pytest.raises(ValueError, match='Another training is at work in .*name another --work-dir'),
        alone_in(tmp_path, 'training'),
    ):
        pass
    with alone_in(tmp_path, 'evaluation'):  # of a checkpoint, while the training goes on
        pass
    other.kill()
    other.wait()
    with alone_in(tmp_path, 'training'):
        pass
    assert list(tmp_path.iterdir()) == []
