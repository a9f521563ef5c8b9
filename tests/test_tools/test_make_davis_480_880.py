"""The copy of DAVIS at 480 x 880: pixel for pixel that of the public script."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_data import make_davis

from stt_mm.datasets import DAVIS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'dataset'))
    return importlib.import_module('make_davis_480_880')


def test_masks_are_those_of_the_public_script(tool, tmp_path, data):
    golden = np.load(data / 'protocols' / 'davis_480_880_copy.npz')
    image = Image.fromarray(golden['mask']).convert('P')
    image.putpalette([*range(256)] * 3)
    image.save(tmp_path / 'mask.png')
    tool.copy_picture(tmp_path / 'mask.png', tmp_path / 'new' / 'mask.png')
    found = Image.open(tmp_path / 'new' / 'mask.png')
    assert found.mode == 'P'
    assert found.getpalette() == image.getpalette()
    assert np.array_equal(np.asarray(found), golden['out'])
    assert np.array_equal(np.asarray(found), golden['mask'][np.ix_(golden['source_row'], golden['source_column'])])


def test_frames_are_sampled_and_compressed_anew(tool, tmp_path, data):
    golden = np.load(data / 'protocols' / 'davis_480_880_copy.npz')
    frame = np.random.default_rng(0).integers(0, 256, (48, 61, 3), np.uint8).repeat(10, 0).repeat(14, 1)
    Image.fromarray(frame).save(tmp_path / '00000.jpg', quality=95)
    tool.copy_picture(tmp_path / '00000.jpg', tmp_path / 'new' / '00000.jpg')
    decoded = np.asarray(Image.open(tmp_path / '00000.jpg'))
    assert decoded.shape == (480, 854, 3)
    sampled = decoded[np.ix_(golden['source_row'], golden['source_column'])]
    Image.fromarray(sampled).save(tmp_path / 'expected.jpg', quality=int(golden['jpeg_quality']))
    assert (tmp_path / 'new' / '00000.jpg').read_bytes() == (tmp_path / 'expected.jpg').read_bytes()


def test_the_copy_is_read_as_davis(tool, tmp_path, capsys):
    source = make_davis(tmp_path / 'DAVIS')
    arguments = [str(source), '--out', str(tmp_path / 'copy')]
    tool.main(arguments)
    assert '20 frames and masks' in capsys.readouterr().out
    item = DAVIS(str(tmp_path / 'copy'))[1]
    before = DAVIS(str(source))[1]
    assert len(item['inputs']) == 5
    assert item['inputs'].original_size == (480, 880)
    large, small = item['data_samples'].given_masks[0], before['data_samples'].given_masks[0]
    assert np.array_equal(large, np.asarray(Image.fromarray(small).resize((880, 480), Image.NEAREST)))
    # The same command again, and another source.
    tool.main(arguments)
    make_davis(tmp_path / 'other')
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path / 'other'), *arguments[1:]])
    assert 'the results would mix' in capsys.readouterr().err
    tool.main([str(tmp_path / 'other'), *arguments[1:], '--overwrite'])


def test_a_copy_is_of_one_state_of_the_data(tool, tmp_path, capsys):
    source = make_davis(tmp_path / 'DAVIS', num_videos=1, num_frames=4)
    arguments = [str(source), '--out', str(tmp_path / 'copy')]
    tool.main(arguments)
    tool.main(arguments)
    for kind in ('JPEGImages', 'Annotations'):
        next((source / kind / '480p' / 'video0').glob('00003.*')).unlink()
    with pytest.raises(SystemExit):
        tool.main(arguments)
    assert 'the results would mix' in capsys.readouterr().err
    tool.main([*arguments, '--overwrite'])
    assert len(list((tmp_path / 'copy').rglob('0000*.*'))) == 6
    for path in (source / 'ImageSets').rglob('*.txt'):
        path.write_text('video0\nvideo1\n')
    with pytest.raises(SystemExit):
        tool.main(arguments)


def test_what_cannot_be_copied_is_named(tool, tmp_path, capsys):
    def refused(*arguments):
        with pytest.raises(SystemExit):
            tool.main(list(map(str, arguments)))
        return capsys.readouterr().err

    assert f'DAVIS: no folder {tmp_path / "none" / "ImageSets"}' in refused(tmp_path / 'none', '--out', tmp_path / 'o')
    source = make_davis(tmp_path / 'DAVIS')
    assert 'which is read' in refused(source, '--out', source)
    assert 'which is read' in refused(source, '--out', source / 'copy')
    assert not (source / 'copy').exists()
    frame = source / 'JPEGImages' / '480p' / 'video1' / '00002.jpg'
    frame.write_bytes(frame.read_bytes()[:300])
    assert f'{frame} cannot be used: it is cut off or damaged' in refused(source, '--out', tmp_path / 'o')
    for mask in (source / 'Annotations').rglob('*.png'):
        mask.unlink()
    assert 'no .png files in the folders of' in refused(source, '--out', tmp_path / 'o')
