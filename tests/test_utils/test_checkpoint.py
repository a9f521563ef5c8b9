import json
import logging
import os
import pickle
import re
import shutil
import zipfile
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from mmpretrain.models import ResNet
from torch import nn

from stt_mm.models.backbones import CorrespondenceResNet
from stt_mm.utils.checkpoint import (
    CheckpointError,
    _first_line,
    _is_safetensors,
    existing,
    latest_checkpoint,
    read_checkpoint,
    remove_left_overs,
    require_resumable,
    sha8,
    write_atomically,
)
from stt_mm.utils.geometry import check_geometry, describe, differences
from stt_mm.utils.weights import LoadReport, backbone_state_dict, check_finite, load_backbone, read_backbone


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    return ResNet(depth=18)


@pytest.fixture(scope='module')
def names(backbone):
    """The reference: torchvision names and tensors, statistics filled with noise."""
    return OrderedDict(
        (name, torch.rand_like(value) if value.is_floating_point() else value + 3)
        for name, value in backbone.state_dict().items()
    )


def prefixed(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


def conv_module_names(weights):
    """The other way round, written down part by part."""
    renamed = {}
    for name, value in weights.items():
        parts = name.split('.')
        leaf, owner = parts[-1], parts[-2]
        if owner.startswith('conv'):
            parts = [*parts[:-1], 'conv', leaf]
        elif owner.startswith('bn'):
            parts = [*parts[:-2], 'conv' + owner[2:], 'bn', leaf]
        elif parts[-3] == 'downsample':
            parts = [*parts[:-2], 'conv' if owner == '0' else 'bn', leaf]
        renamed['.'.join(parts)] = value
    return renamed


def other(name='x', *shape):
    return {name: torch.zeros(shape or (2, 2))}


SOURCES = {
    'mmpretrain': lambda w: dict(
        state_dict={
            **prefixed('backbone.', w),
            **prefixed('encoder_k.module.0.', w),
            **prefixed('target_net.0.', w),
            **other('neck.fc.weight'),
            **other('head.predictor.weight'),
            **other('queue'),
            **other('data_preprocessor.mean'),
        }
    ),
    'official MoCo': lambda w: dict(
        epoch=200,
        arch='resnet18',
        state_dict={
            **prefixed('module.encoder_k.', w),
            **prefixed('module.encoder_q.', w),
            **other('module.encoder_q.fc.0.weight'),
            **other('module.queue'),
            **other('module.queue_ptr'),
        },
    ),
    'official SimSiam': lambda w: dict(
        state_dict={
            **prefixed('module.encoder.', w),
            **other('module.encoder.fc.0.weight'),
            **other('module.predictor.0.weight'),
        }
    ),
    'torchvision': lambda w: {**w, **other('fc.weight'), **other('fc.bias')},
    'torchvision names under state_dict (DetCo)': lambda w: dict(state_dict={**w, **other('fc.weight')}),
    'released STT': lambda w: dict(
        state_dict={
            **prefixed('backbone.', conv_module_names(w)),
            **prefixed('backbone_t.', conv_module_names(other_weights(w))),
        }
    ),
    'stt_mm training': lambda w: dict(
        meta={},
        message_hub={},
        state_dict={**prefixed('teacher.', other_weights(w)), **prefixed('backbone.', w), **other('local_head.scale')},
    ),
    'stt_mm published': lambda w: dict(meta=dict(stt_mm_version='1'), state_dict=prefixed('backbone.', w)),
}


def other_weights(weights):
    return {name: torch.zeros_like(value) for name, value in weights.items()}


@pytest.mark.parametrize('ddp', [False, True])
@pytest.mark.parametrize('source', SOURCES)
def test_every_source_round_trips_bit_by_bit(source, ddp, names, backbone, tmp_path):
    checkpoint = SOURCES[source](names)
    if ddp and 'state_dict' in checkpoint and 'official' not in source:
        checkpoint['state_dict'] = prefixed('module.', checkpoint['state_dict'])
    torch.save(checkpoint, tmp_path / 'file.pth')
    weights, recognised, _ = backbone_state_dict(read_checkpoint(tmp_path / 'file.pth'))
    assert recognised == source
    assert weights.keys() == names.keys()
    nn.init.zeros_(backbone.conv1.weight)
    report = load_backbone(backbone, tmp_path / 'file.pth')
    assert (report.ratio, report.missing, report.unexpected, report.mismatched, report.unused) == (1.0, (), (), (), ())
    loaded = backbone.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in names.items())


def test_stages_the_module_lacks_are_unused_and_strides_do_not_matter(names, tmp_path):
    torch.save(prefixed('', names), tmp_path / 'file.pth')
    three = ResNet(depth=18, num_stages=3, strides=(1, 1, 2), dilations=(1, 1, 1), out_indices=(2,))
    report = load_backbone(three, tmp_path / 'file.pth')
    assert report.complete
    assert report.unused
    assert all(name.startswith('layer4.') for name in report.unused)


def test_deeper_network_of_equal_shapes_is_refused(names, backbone, tmp_path):
    """A ResNet-34 holds every name and shape of a ResNet-18."""
    deeper = ResNet(depth=34).state_dict()
    torch.save(deeper, tmp_path / 'r34.pth')
    with pytest.raises(CheckpointError, match=r'r34\.pth does not fit .*unexpected: layer1\.2\.conv1\.weight'):
        load_backbone(backbone, tmp_path / 'r34.pth')


def test_incomplete_checkpoint_changes_nothing_unless_allowed(names, tmp_path, caplog):
    partial = {name: value for name, value in names.items() if not name.startswith('layer3.1')}
    partial['layer2.0.conv1.weight'] = torch.zeros(1)
    torch.save(partial, tmp_path / 'file.pth')
    module = ResNet(depth=18)
    before = module.conv1.weight.clone()
    message = r'missing: layer3\.1\.conv1\.weight.*mismatched: layer2\.0\.conv1\.weight: \(1,\).*--allow-partial'
    with pytest.raises(CheckpointError, match=message):
        load_backbone(module, tmp_path / 'file.pth')
    assert torch.equal(module.conv1.weight, before)
    report = load_backbone(module, tmp_path / 'file.pth', allow_partial=True)
    assert len(report.missing) == 10
    assert 0.8 < report.ratio < 0.99
    assert torch.equal(module.conv1.weight, names['conv1.weight'])
    (record,) = caplog.records
    assert record.levelname == 'WARNING'
    assert re.search(r'file\.pth fills only a part .*matched .*missing: layer3\.1\.conv1', record.getMessage())
    caplog.clear()
    torch.save(names, tmp_path / 'file.pth')
    load_backbone(module, tmp_path / 'file.pth', allow_partial=True)
    assert not caplog.records


def test_any_architecture_loads_by_its_own_names(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    torch.save(net.state_dict(), tmp_path / 'file.pth')
    assert load_backbone(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), tmp_path / 'file.pth').ratio == 1


@pytest.mark.parametrize('content', [{}, [1, 2], dict(state_dict=other('blocks.0.weight'))])
def test_unknown_kind_lists_its_keys_and_the_known_sources(content, backbone, tmp_path):
    torch.save(content, tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=r'file\.pth: Unknown kind.*(none|blocks\.0).*official MoCo.*torchvision'):
        load_backbone(backbone, tmp_path / 'file.pth')


def test_foreign_objects_are_refused_by_name_and_read_when_trusted(tmp_path):
    for legacy in (False, True):
        path = tmp_path / f'foreign_{legacy}.pth'
        torch.save(dict(ratio=Fraction(1, 2)), path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError, match=rf'{path.name} .*fractions\.Fraction.*--trust-checkpoint'):
            read_checkpoint(path)
        assert read_checkpoint(path, trust=True) == dict(ratio=Fraction(1, 2))


def test_malicious_pickle_does_not_run(tmp_path):
    class Exploit:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    torch.save(Exploit(), tmp_path / 'zip.pth')
    (tmp_path / 'plain.pth').write_bytes(pickle.dumps(Exploit()))
    for name in ('zip.pth', 'plain.pth'):
        with pytest.raises(CheckpointError, match=name):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('keep', [0, 1, 100, -1, -200])
def test_damaged_files_are_called_so(keep, tmp_path):
    path = tmp_path / 'iter_5.pth'
    torch.save(dict(state_dict=dict(a=torch.rand(50)), meta={}, message_hub={}), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r'iter_5\.pth \(\d+ bytes\) is truncated, corrupt'):
        read_checkpoint(path)


def test_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / 'iter_90000.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'iter_9000\.pth \(in its folder: iter_90000\.pth\)'):
        read_checkpoint(tmp_path / 'iter_9000.pth')
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        read_checkpoint(tmp_path / 'no' / 'x.pth')
    with pytest.raises(CheckpointError, match='got the folder'):
        read_checkpoint(tmp_path)


def training_file(step):
    return dict(state_dict={}, meta=dict(iter=step), message_hub={}, optimizer={}, param_schedulers=[])


@pytest.mark.parametrize('key', ['state_dict', 'meta', 'message_hub', 'optimizer', 'param_schedulers', 'meta.iter'])
def test_a_file_that_lacks_something_is_not_resumed_from(key, tmp_path, caplog):
    for step in (4, 8):
        torch.save(training_file(step), tmp_path / f'iter_{step}.pth')
    checkpoint = training_file(8)
    owner = checkpoint['meta'] if key == 'meta.iter' else checkpoint
    del owner[key.removeprefix('meta.')]
    for name in ('iter_8.pth', 'best_J&F-Mean_iter_8.pth', 'best_score_iter_4.pth', 'published-weights.pth'):
        torch.save(checkpoint, tmp_path / name)
    for name, right in (
        ('iter_8', 'iter_4'),
        ('best_J&F-Mean_iter_8', 'iter_8'),
        ('best_score_iter_4', 'iter_4'),
        ('published-weights', 'iter_8'),
    ):
        path = tmp_path / f'{name}.pth'
        with pytest.raises(CheckpointError, match=rf'{re.escape(str(path))} is no .* no (meta, )?{key}.*{right}.pth'):
            require_resumable(read_checkpoint(path), path, scheduled=True)
    assert latest_checkpoint(tmp_path, scheduled=True) == tmp_path / 'iter_4.pth'
    assert f'iter_8.pth is no file to resume from: it has no {key}' in caplog.text
    if key == 'param_schedulers':
        require_resumable(checkpoint, path)
        assert latest_checkpoint(tmp_path) == tmp_path / 'iter_8.pth'


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path):
    kept = ['iter_4.pth', '.iter_4.pth.tmp', '.notes.txt.abcdefgh.tmp', '.other.pth.abcdefghi.tmp']
    for name in [*kept, '.iter_4.pth.0k2nuocz.tmp', '.best_J&F-Mean_iter_4.pth.a_b3c4d5.tmp']:
        (tmp_path / name).touch()
    (tmp_path / 'deep').mkdir()
    (tmp_path / 'deep' / '.video.json.abcdefgh.tmp').touch()
    remove_left_overs(tmp_path, '*.pth')
    remove_left_overs(tmp_path.parent, f'{tmp_path.name}/**/*.json')
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, 'deep'])
    assert os.listdir(tmp_path / 'deep') == []


def test_latest_is_by_iteration_and_passes_over_what_is_no_training_file(tmp_path, caplog):
    for step in (9, 10, 100):
        torch.save(training_file(step), tmp_path / f'iter_{step}.pth')
    torch.save(dict(state_dict={}), tmp_path / 'iter_200.pth')
    torch.save({}, tmp_path / 'best_score_iter_300.pth')
    with caplog.at_level(logging.WARNING):
        assert latest_checkpoint(tmp_path) == tmp_path / 'iter_100.pth'
    assert 'iter_200.pth' in caplog.text
    assert 'best' not in caplog.text


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / 'sub' / 'file'
    write_atomically(b'old', path)

    def full(*_):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='disk full'):
        write_atomically(b'new', path)
    assert path.read_bytes() == b'old'
    assert os.listdir(path.parent) == ['file']


@pytest.mark.parametrize(('umask', 'mode'), [(0o022, 0o644), (0o007, 0o660)])
def test_a_file_may_be_read_by_those_whom_the_umask_lets(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(b'new', tmp_path / 'file')
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / 'file').stat().st_mode & 0o777 == mode


def test_sha8_is_that_of_sha256(tmp_path):
    (tmp_path / 'file').write_bytes(b'abc')
    assert sha8(tmp_path / 'file') == 'ba7816bf'


@pytest.mark.parametrize('damage', ['bit', 'zeros'])
def test_a_damaged_part_is_named(damage, tmp_path):
    """torch.load reads such a file without a word."""
    path = tmp_path / 'iter_5.pth'
    torch.save(dict(state_dict=dict(a=torch.rand(5000), b=torch.rand(5000))), path)
    content = bytearray(path.read_bytes())
    place = content.rindex(torch.load(path)['state_dict']['b'].numpy().tobytes()) + 8000
    if damage == 'bit':
        content[place] ^= 64
    else:
        content[place : place + 1000] = bytes(1000)
    path.write_bytes(content)
    torch.load(path)
    with pytest.raises(CheckpointError, match=r'iter_5\.pth .*corrupt.*its part iter_5/data/1 is damaged'):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match=r'none of the 1 checkpoints .*iter_5\.pth'):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize('without', ['checksums', 'zip'])
def test_a_file_without_checksums_is_read_with_a_warning(without, tmp_path, caplog):
    with_checksums = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(without != 'checksums')
    try:
        torch.save(dict(a=torch.arange(3)), tmp_path / 'file.pth', _use_new_zipfile_serialization=without != 'zip')
    finally:
        torch.serialization.set_crc32_options(with_checksums)
    assert read_checkpoint(tmp_path / 'file.pth')['a'].tolist() == [0, 1, 2]
    read_checkpoint(tmp_path / 'file.pth')
    assert caplog.text.count('file.pth has no checksums, so damage of its content cannot be told') == 1
    # The name can tell.
    caplog.clear()
    named = (tmp_path / 'file.pth').rename(tmp_path / f'net-{sha8(tmp_path / "file.pth")}.pth')
    assert read_checkpoint(named)['a'].tolist() == [0, 1, 2]
    torch.save(dict(a=torch.arange(3)), tmp_path / 'file.pth')
    read_checkpoint(tmp_path / 'file.pth')
    assert not caplog.records


def test_a_checksum_in_the_name_is_that_of_the_content(tmp_path):
    torch.save(dict(a=torch.zeros(3)), tmp_path / 'file.pth')
    right = sha8(tmp_path / 'file.pth')
    for name in (f'net-{right}.pth', f'net-{right}.pth.tar', 'net-20250131.pth', 'net-abc.pth'):
        shutil.copy(tmp_path / 'file.pth', tmp_path / name)
        read_checkpoint(tmp_path / name)
    for name in ('net-0123abcd.pth', 'net-15906475.pth', 'net-0123abcd.pth.tar'):
        shutil.copy(tmp_path / 'file.pth', tmp_path / name)
        with pytest.raises(CheckpointError, match=rf'{name} is not the file.*begins with {right}.*rename'):
            read_checkpoint(tmp_path / name)


class Nothing(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ('content', 'what'),
    [
        (
            b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n',
            'pointer of Git LFS.*git lfs pull',
        ),
        (b'\n<!DOCTYPE html><html><head><title>Quota exceeded</title>', 'a web page'),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 'a web page'),
        (b'\x1f\x8b\x08rest', 'compressed. Unpack'),
        ('zip', r'zip archive of other files \(weights.txt\)'),
        ('script', 'TorchScript program'),
    ],
)
def test_what_is_no_checkpoint_is_called_what_it_is(content, what, tmp_path):
    path = tmp_path / 'file.pth'
    if content == 'zip':
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('weights.txt', 'x')
    elif content == 'script':
        torch.jit.script(Nothing()).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf'file\.pth .*is no checkpoint but .*{what}'):
        read_checkpoint(path)


def write_safetensors(path, weights):
    """The format as its page has it, written down on its own."""
    header, values = {'__metadata__': {'format': 'pt'}}, b''
    names = {torch.float32: 'F32', torch.float16: 'F16', torch.int64: 'I64'}
    for name, value in weights.items():
        data = value.numpy().tobytes()
        header[name] = dict(
            dtype=names[value.dtype], shape=list(value.shape), data_offsets=[len(values), len(values) + len(data)]
        )
        values += data
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, 'little') + text + values)


def test_safetensors_are_read_and_damaged_ones_refused(tmp_path):
    weights = dict(a=torch.rand(2, 3).half(), b=torch.rand(3, 4), steps=torch.tensor(7), empty=torch.rand(0, 2))
    for name in ('net.safetensors', 'net.pth'):
        write_safetensors(tmp_path / name, weights)
        found = read_checkpoint(tmp_path / name)
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in weights.items())
    for some in (dict(list(weights.items())[:2]), dict(a=weights['a']), dict(empty=weights['empty']), {}):
        write_safetensors(tmp_path / 'some.safetensors', some)
        found = read_checkpoint(tmp_path / 'some.safetensors')
        assert found.keys() == some.keys()
        assert all(torch.equal(found[key], value) for key, value in some.items())
    content = (tmp_path / 'net.safetensors').read_bytes()
    damaged = {
        'cut': content[:-3],
        'short': content[:5],
        'long': content + b'1',
        'header': content.replace(b'"dtype"', b'"dtyqe"'),
        'shape': content.replace(b'[3, 4]', b'[3, 5]'),
        'sign': content.replace(b'[3, 4]', b'[3,-4]'),
        'huge': (2**62).to_bytes(8, 'little') + content[8:],
    }
    for name, data in damaged.items():
        path = tmp_path / f'{name}.safetensors'
        path.write_bytes(data)
        match = rf'^{path} \({len(data)} bytes\) is truncated, corrupt .*while deserializing.* Download or write it'
        with pytest.raises(CheckpointError, match=match):
            read_checkpoint(path)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf'), 1e300])
def test_weights_that_are_not_finite_are_refused(value, names, backbone, tmp_path):
    """1e300 is finite in the file and infinite in a network of float32."""
    weights = dict(names)
    weights['layer3.0.conv1.weight'] = weights['layer3.0.conv1.weight'].double()
    weights['layer3.0.conv1.weight'][1, 2, 0, 0] = value
    torch.save(weights, tmp_path / 'file.pth')
    before = backbone.conv1.weight.clone()
    with pytest.raises(CheckpointError, match=r'file\.pth: layer3\.0\.conv1\.weight holds 1 of 294912 values'):
        load_backbone(backbone, tmp_path / 'file.pth')
    assert torch.equal(backbone.conv1.weight, before)
    # A stage that the network does not have is not looked at.
    load_backbone(
        ResNet(depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,)), tmp_path / 'file.pth'
    )


@pytest.mark.parametrize('dtype', [torch.int8, torch.int64, torch.complex64])
def test_weights_of_another_kind_of_number_are_refused(dtype, names, backbone, tmp_path):
    """Those of a quantised network mean nothing without its scales."""
    torch.save({name: value.to(dtype) for name, value in names.items()}, tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=rf'mismatched: conv1\.weight: {dtype} -> torch\.float32'):
        load_backbone(backbone, tmp_path / 'file.pth')


def test_compressed_parts_are_refused_before_they_are_unpacked(tmp_path):
    torch.save(dict(weight=torch.zeros(2**20)), tmp_path / 'stored.pth')
    with (
        zipfile.ZipFile(tmp_path / 'stored.pth') as source,
        zipfile.ZipFile(tmp_path / 'small.pth', 'w', zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert read_checkpoint(tmp_path / 'stored.pth')['weight'].shape == (2**20,)
    with pytest.raises(CheckpointError, match=r'small\.pth .*has compressed parts.* take 4 MiB'):
        read_checkpoint(tmp_path / 'small.pth')


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda handle: steps.append(os.fstat(handle).st_size) or sync(handle))
    monkeypatch.setattr(os, 'replace', lambda old, new: steps.append(new) or replace(old, new))
    write_atomically(b'four', tmp_path / 'a' / 'b' / 'file')
    assert steps == [4, tmp_path / 'a' / 'b' / 'file']


def test_what_a_killed_write_leaves_is_called_as_it_is_looked_for(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, 'unlink', lambda path, missing_ok=False: None)
        patch.setattr(os, 'replace', lambda old, new: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_atomically(b'new', tmp_path / 'iter_4.pth')
    assert len(os.listdir(tmp_path)) == 1
    remove_left_overs(tmp_path, '*.pth')
    assert not os.listdir(tmp_path)
    # Another process may have been faster.
    monkeypatch.setattr(Path, 'glob', lambda folder, pattern: [folder / 'gone'])
    remove_left_overs(tmp_path, '*.pth')


def test_an_interrupt_after_the_file_got_its_name_passes(tmp_path, monkeypatch):
    def interrupted(old, new):
        os.rename(old, new)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(b'new', tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == b'new'


def test_weights_are_read_onto_the_device_that_is_named(tmp_path):
    torch.save(dict(a=torch.zeros(2)), tmp_path / 'file.pth')
    write_safetensors(tmp_path / 'file.safetensors', dict(a=torch.zeros(2)))
    for name in ('file.pth', 'file.safetensors'):
        assert read_checkpoint(tmp_path / name, map_location='meta')['a'].device.type == 'meta'
        assert read_checkpoint(tmp_path / name)['a'].device.type == 'cpu'


@pytest.mark.parametrize(
    ('text', 'line'),
    [('\n  a b. c\nd', 'a b'), ('a...', 'a'), ('', 'ValueError'), ('a' * 300, 'a' * 200), ('x.y. z', 'x.y')],
)
def test_the_first_sentence_of_an_error(text, line):
    assert _first_line(ValueError(text)) == line


def test_files_that_may_have_been_meant(tmp_path):
    path = tmp_path / 'weights.pth'
    for name in ('epoch.pth', 'a.pt', 'b.tar', 'net.txt', 'weihgt.txt', 'q.txt'):
        (tmp_path / name).touch()
    (tmp_path / 'weights_.pth').mkdir()
    with pytest.raises(FileNotFoundError, match=r'folder: weihgt\.txt, epoch\.pth, net\.txt, a\.pt, b\.tar\)\.$'):
        existing(path)
    with pytest.raises(CheckpointError, match=r'got the folder .*: a\.pt, b\.tar, epoch\.pth, weights_\.pth\.$'):
        existing(tmp_path)
    for number in range(9):
        (tmp_path / f'weights{number}.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'folder: weights\d\.pth') as caught:
        existing(path)
    assert str(caught.value).count(', ') == 4
    with pytest.raises(CheckpointError) as caught:
        existing(tmp_path)
    assert str(caught.value).count(', ') == 1 + 4
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'q.txt').touch()
    for name, message in (('weights.pth', r'weights\.pth\.$'), ('none/weights.pth', r'\(there is no folder .*none\)')):
        with pytest.raises(FileNotFoundError, match=message):
            existing(tmp_path / 'other' / name)


def test_a_work_directory_is_trusted_only_if_it_is_said(tmp_path):
    torch.save(dict(training_file(4), extra=Fraction(1, 2)), tmp_path / 'iter_4.pth')
    with pytest.raises(CheckpointError, match='none of the 1 checkpoints'):
        latest_checkpoint(tmp_path)
    assert latest_checkpoint(tmp_path, trust=True) == tmp_path / 'iter_4.pth'


def test_weights_of_files_are_trusted_only_if_it_is_said(backbone, names, tmp_path):
    torch.save(dict(state_dict=names, extra=Fraction(1, 2)), tmp_path / 'file.pth')
    for read in (read_backbone, lambda path, **settings: load_backbone(backbone, path, **settings)):
        with pytest.raises(CheckpointError, match='--trust-checkpoint'):
            read(tmp_path / 'file.pth')
        read(tmp_path / 'file.pth', trust=True)


def test_a_trusted_file_that_is_damaged_or_needs_code_says_so(tmp_path):
    (tmp_path / 'code.pth').write_bytes(b'cno_such_module\nThing\n.')
    with pytest.raises(CheckpointError, match=r'code\.pth needs code that is not installed: No module named'):
        read_checkpoint(tmp_path / 'code.pth', trust=True)
    (tmp_path / 'cut.pth').write_bytes(b'\x80\x02}')
    with pytest.raises(CheckpointError, match=r'cut\.pth \(3 bytes\) is truncated, corrupt'):
        read_checkpoint(tmp_path / 'cut.pth', trust=True)


def test_large_parts_are_compared_to_their_end_and_empty_ones_pass(tmp_path):
    path = tmp_path / 'file.pth'
    torch.save(dict(a=torch.ones(700_000), none=torch.ones(0)), path)
    assert len(read_checkpoint(path)['none']) == 0
    content = bytearray(path.read_bytes())
    place = content.find(torch.ones(9).numpy().tobytes()) + 2_790_000
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='its part file/data/0 is damaged'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ('start', 'found'),
    [
        (b'\x02' + bytes(7) + b'{}', True),
        (b'\x02' + bytes(7) + b'[]', False),
        (b'\x02' + bytes(6) + b'\1{}', False),
        (b'\x0a' + bytes(7) + b'{}', True),
        (b'\x0b' + bytes(7) + b'{}', False),
        (b'\x02' + bytes(7), False),
    ],
)
def test_safetensors_are_known_by_their_first_bytes(tmp_path, start, found):
    for name, expected in (('a.pth', found), ('a.safetensors', True)):
        (tmp_path / name).write_bytes(start)
        assert _is_safetensors(tmp_path / name) is expected


def report(matched=0, missing=0, mismatched=0, unexpected=0):
    lists = dict(matched=matched, missing=missing, mismatched=mismatched, unexpected=unexpected)
    return LoadReport(
        'a', **{kind: tuple(f'{kind}{k}' for k in range(count)) for kind, count in lists.items()}, unused=()
    )


def test_how_much_of_a_network_was_filled():
    assert report(3, 1, 2).ratio == 0.5
    assert report().ratio == 0.0
    assert report(100).complete
    assert not report(999, 1).complete
    assert not report(999, 0, 1).complete
    assert not report(999, unexpected=1).complete
    assert report(5, 6, 5).details() == (
        'missing: missing0, missing1, missing2, missing3, missing4, ...; '
        'mismatched: mismatched0, mismatched1, mismatched2, mismatched3, mismatched4'
    )


def test_another_geometry_is_refused_unless_allowed(backbone, names, tmp_path):
    torch.save(dict(state_dict=names, meta=dict(geometry=dict(pool='max'))), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='differ in pool'):
        load_backbone(backbone, tmp_path / 'file.pth', geometry=dict(pool='avg'))
    assert load_backbone(backbone, tmp_path / 'file.pth', geometry=dict(pool='max')).geometry == dict(pool='max')
    with pytest.raises(CheckpointError):
        check_geometry('a.pth', dict(pool='max'), dict(pool='avg'))


@pytest.mark.parametrize(
    ('stage', 'expected'), [('res3', []), ('res4', ['strides']), ('last', ['strides']), (None, ['strides'])]
)
def test_geometries_differ_up_to_their_stage(stage, expected):
    trained, used = dict(strides=[1, 2, 3, 4], stage=stage), dict(strides=(1, 2, 4), stage=stage)
    assert differences(trained, used) == expected
    assert differences(None, used) == differences(trained, None) == []
    assert differences(dict(trained, pool='a'), dict(trained, net='b')) == ['pool', 'net']
    assert describe(dict(net='R', strides=(1, 2))) == 'net R, strides 1 2'


def test_names_of_the_module_are_at_least_99_in_100(tmp_path):
    module = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(100)])
    for count, message in ((98, 'Unknown kind of checkpoint'), (99, 'names of the module; matched 99 .* missing: 99')):
        torch.save({str(number): torch.ones(1) for number in range(count)}, tmp_path / 'file.pth')
        with pytest.raises(CheckpointError, match=message):
            load_backbone(module, tmp_path / 'file.pth')
    torch.save({str(number): torch.ones(1) for number in range(100)}, tmp_path / 'file.pth')
    assert load_backbone(module, tmp_path / 'file.pth').source == 'names of the module'
    assert sum(value.item() for value in module) == 100
    # Below a prefix, and in another type.
    doubles = {f'net.{number}': torch.full((1,), 2.0, dtype=torch.float64) for number in range(100)}
    torch.save(doubles | {'more': torch.ones(1)}, tmp_path / 'file.pth')
    assert load_backbone(module, tmp_path / 'file.pth', prefix='net').ratio == 1
    assert {(value.item(), value.dtype) for value in module} == {(2, torch.float32)}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w.pop('conv1.weight'), r'missing 1, .*missing: conv1\.weight'),
        (lambda w: w.update({'conv1.weight': torch.ones(64, 1, 7, 7)}), r'mismatched: conv1\.weight: \(64, 1, 7, 7\)'),
        (lambda w: w.update({'conv1.weight': torch.ones(64, 3, 3, 3)}), r'mismatched: conv1\.weight'),
        (lambda w: w.update({'layer1.0.conv1.bias': torch.ones(64)}), r'unexpected: layer1\.0\.conv1\.bias'),
    ],
)
def test_one_weight_of_a_hundred_is_not_left_at_random(change, message, tmp_path):
    """The first of a ResNet-50 is one in 318, and all features come from it."""
    backbone = CorrespondenceResNet(50)
    weights = {name: value for name, value in backbone.state_dict().items()}
    change(weights)
    torch.save(dict(state_dict={f'backbone.{name}': value for name, value in weights.items()}), tmp_path / 'r50.pth')
    with pytest.raises(CheckpointError, match=message):
        load_backbone(backbone, tmp_path / 'r50.pth')


def test_counts_and_tables_that_a_network_makes_may_be_missing_or_more(tmp_path):
    backbone = CorrespondenceResNet(18)
    weights = {name: value for name, value in backbone.state_dict().items() if 'num_batches' not in name}
    weights['layer1.0.relative_position_index'] = torch.arange(4)
    torch.save(dict(state_dict={f'backbone.{name}': value for name, value in weights.items()}), tmp_path / 'r18.pth')
    assert load_backbone(backbone, tmp_path / 'r18.pth').complete


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (torch.ones(64, 3, 7, 7, device='meta'), r'conv1\.weight has no values'),
        (torch.ones(64, 3, 7, 7).to_sparse(), r'conv1\.weight is sparse'),
    ],
)
def test_tensors_that_are_no_plain_ones_are_named(value, message):
    with pytest.raises(CheckpointError, match=message):
        check_finite({'conv1.weight': value}, 'r18.pth', '')
