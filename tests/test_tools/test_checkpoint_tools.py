"""Converting and publishing checkpoints, and printing configs: each value that the results hold."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ResNet
from public_layouts import drawn_weights
from test_tools.test_command_line import call, error_of, save_resnet, tool

from stt_mm import __version__
from stt_mm.models import CorrespondenceResNet
from stt_mm.utils.checkpoint import read_checkpoint, sha8


def names_of(depth):
    """Names of a ResNet of mmpretrain, without the counters of the BatchNorm."""
    return {name for name in ResNet(depth=depth).state_dict() if not name.endswith('num_batches_tracked')}


@pytest.mark.parametrize('depth', [18, 50])
def test_the_names_of_a_resnet(depth):
    convert = tool('convert_checkpoint')
    names = names_of(depth)
    assert convert.resnet_names(depth) == names
    assert convert.check_names(names, None, 'a.pth') == (
        f'ResNet-{depth}: matched {len(names)}, missing 0, unexpected 0'
    )
    # A backbone of three stages is whole as well.
    three = {name for name in names if not name.startswith('layer4')}
    assert convert.check_names(three, None, 'a.pth') == f'ResNet-{depth}: matched {len(three)}, missing 0, unexpected 0'


@pytest.mark.parametrize(
    ('more', 'less', 'depth', 'message'),
    [
        (
            set(),
            {'conv1.weight'},
            None,
            r'ResNet-18 \(ResNet-18: matched 99, missing 1, unexpected 0\)\. First missing: '
            r'conv1\.weight; first unexpected: none\.',
        ),
        (
            {'d', 'b', 'a', 'c'},
            set(),
            None,
            r'\(ResNet-18: matched 100, missing 0, unexpected 4\)\. First missing: none; '
            r'first unexpected: a, b, c\.',
        ),
        (
            set(),
            {'bn1.bias', 'bn1.weight', 'conv1.weight', 'layer1.0.conv1.weight'},
            None,
            r'missing 4, unexpected 0\)\. First missing: bn1\.bias, bn1\.weight, conv1\.weight; first',
        ),
        (set(), set(), 50, r'ResNet-50 \(ResNet-50: matched 100, missing 165, unexpected 0\)'),
    ],
)
def test_what_is_no_whole_resnet_is_named(more, less, depth, message):
    with pytest.raises(ValueError, match=rf'^a\.pth is no complete .*{message}'):
        tool('convert_checkpoint').check_names((names_of(18) | more) - less, depth, 'a.pth')


@pytest.fixture
def views(tmp_path, monkeypatch):
    """A training file whose weights, and counters, are parts of larger tensors."""
    monkeypatch.chdir(tmp_path)
    weights = ResNet(depth=18).state_dict()
    for name, value in weights.items():
        weights[name] = torch.stack([value, value])[1]
    torch.save(dict(state_dict={f'backbone.{name}': value for name, value in weights.items()}, meta={}), 'iter_9.pth')
    return weights


@pytest.mark.parametrize('options', [[], ['--fp16'], ['--publish'], ['--publish', '--fp16']])
def test_files_hold_the_weights_and_no_more(views, capfd, options):
    call('convert_checkpoint', 'iter_9.pth', 'out/a.pth', *options)
    (path,) = Path('out').iterdir()
    content = torch.load(path, weights_only=True)
    assert list(content['state_dict']) == [f'backbone.{name}' for name in views]
    for name, value in views.items():
        found = content['state_dict'][f'backbone.{name}']
        assert found.untyped_storage().nbytes() == found.nbytes
        expected = value.half() if '--fp16' in options and value.is_floating_point() else value
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    meta = dict(source=content['meta']['source'], source_sha8=sha8('iter_9.pth'), stt_mm_version=__version__)
    assert content['meta'] == dict(meta, dtype='float16' if '--fp16' in options else 'float32')
    name = f'out/a-{sha8(path)}.pth' if '--publish' in options else 'out/a.pth'
    *_, report, last = capfd.readouterr().out.splitlines()
    assert last == f'wrote {name} ({path.stat().st_size / 2**20:.1f} MiB)'
    assert report.endswith(f'{len(views)} tensors' if '--publish' in options else 'unexpected 0')


@pytest.mark.parametrize('layout', ['mast', 'liir_u_momentum'])
def test_the_network_of_mast_and_liir_is_published_whole_or_not_at_all(tmp_path, monkeypatch, capfd, layout):
    monkeypatch.chdir(tmp_path)
    weights = drawn_weights(layout, 0)
    shortcut = next(name for name in weights if re.search(r'layer2\.0\.(shortcut|downsample)\.0\.weight', name))

    def publish(change):
        torch.save(dict(state_dict=change), 'file.pth')
        return error_of(capfd, 'convert_checkpoint', 'file.pth', 'out/a', '--publish')

    error = publish({name: value for name, value in weights.items() if name != shortcut})
    assert 'file.pth does not hold the network of MAST and LIIR' in error
    assert (
        'missing 1, unexpected 0; first: missing layer2.0.downsample.0.weight. Take a file that holds this network'
        in error
    )
    error = publish(weights | {'feature_extraction.mystery.weight': torch.ones(2)})
    assert 'missing 0, unexpected 1; first: unexpected mystery.weight.' in error
    error = publish({name: value for name, value in weights.items() if name != 'post_convolution.bias'})
    assert 'missing 1, unexpected 0; first: missing projection.bias.' in error
    assert not Path('out').exists()
    torch.save(dict(state_dict=weights), 'file.pth')
    error = error_of(capfd, 'convert_checkpoint', 'file.pth', 'a.pth')
    assert 'is no complete ResNet-18' in error
    assert '--publish takes such a network' in error
    call('convert_checkpoint', 'file.pth', 'out/a', '--publish')
    (path,) = Path('out').iterdir()
    call('convert_checkpoint', str(path), 'again/a', '--publish')
    assert 'torchvision' not in capfd.readouterr().out


def test_where_a_published_resnet_differs_is_said(views, capfd):
    names = {f'backbone.{name}': value for name, value in views.items() if name != 'layer2.0.downsample.0.weight'}
    torch.save(dict(state_dict=names | {'backbone.mystery': torch.ones(1)}, meta={}), 'iter_9.pth')
    call('convert_checkpoint', 'iter_9.pth', 'out/', '--publish')
    expected = 'other than a ResNet-18 of torchvision: missing layer2.0.downsample.0.weight; unexpected mystery\n'
    assert expected in capfd.readouterr().out


SAID = dict(geometry=dict(network='ResNet', depth=18, strides=[1, 2, 2]), protocol=dict(name='crw_davis', radius=9))


@pytest.mark.parametrize('half', [[], ['--fp16']])
@pytest.mark.parametrize(
    ('out', 'options'),
    [
        ('out/a', ['--publish', '--safetensors']),
        ('out/a.safetensors', ['--publish', '--safetensors']),
        ('out/a.safetensors', ['--publish']),
        ('out/a.safetensors', []),
    ],
)
def test_safetensors_hold_bit_by_bit_what_other_files_hold(views, out, options, half):
    weights = {f'backbone.{name}': value for name, value in views.items()}
    # Weights as a GPU likes them are in another order in memory.
    weights['backbone.conv1.weight'] = weights['backbone.conv1.weight'].to(memory_format=torch.channels_last)
    torch.save(dict(state_dict=weights, meta=SAID), 'iter_9.pth')
    call('convert_checkpoint', 'iter_9.pth', out, *options, *half)
    (path,) = Path('out').iterdir()
    name = f'a-{sha8(path)}.safetensors' if options else 'a.safetensors'
    assert path.name == name
    call('convert_checkpoint', 'iter_9.pth', 'other/a', '--publish', *half)
    (other,) = Path('other').iterdir()
    content, twin = read_checkpoint(path), torch.load(other, weights_only=True)
    assert content['meta'] == twin['meta']
    assert content['meta'].items() >= SAID.items()
    assert content['state_dict'].keys() == twin['state_dict'].keys()
    for name, value in twin['state_dict'].items():
        assert content['state_dict'][name].dtype == value.dtype
        assert torch.equal(content['state_dict'][name], value)
    # The same again gives the same file.
    first = path.read_bytes()
    path.unlink()
    call('convert_checkpoint', 'iter_9.pth', out, *options, *half)
    assert path.read_bytes() == first


def test_safetensors_are_converted_and_start_networks_as_other_files_do(views):
    call('convert_checkpoint', 'iter_9.pth', 'a/', '--publish', '--safetensors')
    (path,) = Path('a').iterdir()
    call('convert_checkpoint', str(path), 'b.pth', '--depth', '18')
    found = torch.load('b.pth', weights_only=True)['state_dict']
    network = CorrespondenceResNet(18, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    network.init_weights()
    for name, value in views.items():
        assert torch.equal(found[f'backbone.{name}'], value)
        assert name.endswith('num_batches_tracked') or torch.equal(network.state_dict()[name], value)


def test_the_protocol_that_a_network_is_meant_for_is_kept_or_named(views, capfd):
    call('convert_checkpoint', 'iter_9.pth', 'a.pth', '--protocol', 'vfs_davis_r18')
    assert torch.load('a.pth', weights_only=True)['meta']['protocol'] == dict(name='vfs_davis_r18')
    call('convert_checkpoint', 'a.pth', 'b.pth')
    assert torch.load('b.pth', weights_only=True)['meta']['protocol'] == dict(name='vfs_davis_r18')
    error = error_of(capfd, 'convert_checkpoint', 'iter_9.pth', 'c.pth', '--protocol', 'vfs_davis_r81')
    assert "No protocol is called 'vfs_davis_r81'. Did you mean 'vfs_davis_r18'?" in error
    with pytest.raises(SystemExit):
        call('convert_checkpoint', 'iter_9.pth', 'c.pth', '--safetensors')
    assert '--safetensors goes with --publish' in capfd.readouterr().err


def test_a_converted_file_is_replaced_when_asked(views, capfd):
    Path('a.pth').write_bytes(b'old')
    assert 'a.pth exists' in error_of(capfd, 'convert_checkpoint', 'iter_9.pth', 'a.pth')
    assert Path('a.pth').read_bytes() == b'old'
    call('convert_checkpoint', 'iter_9.pth', 'a.pth', '--overwrite')
    assert 'state_dict' in torch.load('a.pth', weights_only=True)


@pytest.mark.parametrize(
    ('out', 'expected'),
    [
        ('new/', 'new/iter_9-'),
        ('folder', 'folder/iter_9-'),
        ('folder/', 'folder/iter_9-'),
        ('name', 'name-'),
        ('new/name.v2.pth', 'new/name.v2-'),
        ('new/name.v2', 'new/name.v2-'),
    ],
)
def test_where_a_published_file_goes(tmp_path, monkeypatch, out, expected):
    monkeypatch.chdir(tmp_path)
    Path('folder').mkdir()
    save_resnet('iter_9.pth')
    call('convert_checkpoint', 'iter_9.pth', out, '--publish')
    (path,) = (path for path in tmp_path.rglob('*.pth') if path.name != 'iter_9.pth')
    assert re.fullmatch(f'{expected}[0-9a-f]{{8}}', path.relative_to(tmp_path).as_posix().removesuffix('.pth'))


def test_configs_are_compared_key_by_key():
    module = tool('print_config')
    old = Config(dict(a=1, b=dict(c=[1, 2], d={}), e=[dict(x=1), 3], f=(dict(y=2),), g='text', h=[]))
    assert module.flatten(old) == {
        'a': 1,
        'b.c': [1, 2],
        'b.d': {},
        'e.0.x': 1,
        'e.1': 3,
        'f.0.y': 2,
        'g': 'text',
        'h': [],
    }
    new = Config(dict(a=1, b=dict(c=[1, 3], d=dict(z=None)), e=[dict(x=1), 4], f=(dict(y=2),), g='text', n=None))
    assert module.diff(old, new) == [
        '- b.c = [1, 2]',
        '+ b.c = [1, 3]',
        '- b.d = {}',
        '+ b.d.z = None',
        '- e.1 = 3',
        '+ e.1 = 4',
        '- h = []',
        '+ n = None',
    ]
    assert module.diff(old, old) == []


def test_equal_configs_have_no_difference(capsys):
    call('print_config', 'eval/davis_color', '--diff', 'eval/davis_color')
    assert capsys.readouterr().out == 'no difference\n'
    call('print_config', 'eval/davis_color', '--diff', 'eval/davis_color', '--cfg-options', 'resume=True')
    assert capsys.readouterr().out == '- resume = False\n+ resume = True\n'


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('moco.v2.800ep.pth', 'moco.v2.800ep'),
        ('moco.pth.tar', 'moco'),
        ('iter_9.pth', 'iter_9'),
        ('stt_r18-0a1b2c3d.pth', 'stt_r18'),
        ('dino-vits16.safetensors', 'dino-vits16'),
        ('.pth', '.pth'),
    ],
)
def test_a_published_file_keeps_its_name_and_has_one_digest(name, expected):
    assert tool('convert_checkpoint').NAME.match(name)[1] == expected
