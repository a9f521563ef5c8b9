"""Networks by one name: what files say of themselves is enough to build them, to the bit."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import texture

from stt_mm.apis import FeatureExtractor, VideoPropagator, load
from stt_mm.apis.pretrained import config_in
from stt_mm.models import Correspondence
from stt_mm.protocols import get_protocol
from stt_mm.utils.checkpoint import safetensors_bytes
from stt_mm.utils.config_path import bundled

ROOT = Path(__file__).parents[2]
DEMO = bundled('stt_r18_demo')


def save(path, backbone, stage, protocol, /, **meta):
    """A file of a random network as training writes it, with numbers in every parameter, and the network."""
    torch.manual_seed(0)
    propagator = dict(type='LabelPropagator', protocol=protocol)
    model = Correspondence(dict(type='CorrespondenceResNet', **backbone), None, propagator, stage).eval()
    for value in model.backbone.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.1)
    weights = {f'backbone.{name}': value for name, value in model.backbone.state_dict().items()}
    said = dict(geometry=model.geometry, protocol=model.propagator.protocol.settings) | meta
    content = dict(state_dict=weights, meta={name: value for name, value in said.items() if value is not None})
    if Path(path).suffix == '.safetensors':
        Path(path).write_bytes(safetensors_bytes(content))
    else:
        torch.save(content, path)
    return model


NETWORKS = [
    (dict(depth=18), 'res4', 'stt_davis_s8'),
    (dict(depth=18, geometry='stride4', out_indices=(1, 2)), 'res3', dict(name='stt_davis_s4', radius=9)),
    (dict(depth=50, geometry='stride8_maxpool', out_indices=(2,), padding_mode='reflect'), 'res4', 'crw_davis'),
    (dict(depth=18, geometry=('avg', (1, 2)), out_indices=(1,), widths=(16, 24)), 'res3', 'stt_davis_s8'),
    (
        dict(
            depth=18,
            geometry='stride4_mast',
            out_indices=(),
            widths=(8, 16, 32, 32),
            projection=8,
            position=dict(type='PositionMap', size=(6, 8), kind='abs2d', combine='add'),
        ),
        'projection',
        'mast_davis',
    ),
]


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize(('backbone', 'stage', 'protocol'), NETWORKS)
def test_a_file_says_all_that_its_network_is(tmp_path, backbone, stage, protocol, suffix):
    written = save(tmp_path / f'a{suffix}', backbone, stage, protocol)
    read = load(tmp_path / f'a{suffix}', device='cpu')
    assert read.protocol == written.protocol
    assert not read.training
    assert not any(value.requires_grad for value in read.parameters())
    frames = torch.rand(2, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(read(frames), written.to(memory_format=torch.channels_last)(frames))
    count = len(read.geometry['strides'])
    assert {**written.geometry, 'strides': written.geometry['strides'][:count]}.keys() >= read.geometry.keys()
    assert read.geometry['widths'] == written.geometry['widths'][:count]
    assert read.feature_stage == stage


def test_a_network_that_comes_with_the_package():
    network, named = load('stt_r18_demo', device='cpu'), load(DEMO, 'eval/davis_r18_s8', 'cpu')
    assert network.protocol == named.protocol
    assert network.protocol['name'] == 'stt_davis_s8'
    assert network.geometry['strides'] == [1, 2, 2]
    for value, same in zip(network.state_dict().values(), named.state_dict().values(), strict=True):
        assert torch.equal(value, same)


@pytest.mark.parametrize(
    ('geometry', 'color', 'protocol'),
    [
        ('stride8', 'lab', 'stt_davis_s8'),
        ('stride4', 'lab', 'stt_davis_s4'),
        ('stride8_maxpool', 'rgb', dict(name='stt_davis_s8', color='rgb')),
    ],
)
def test_a_file_without_a_protocol_gets_that_of_stt_at_its_stride(tmp_path, geometry, color, protocol):
    meant = dict(name='stt_davis_s8', color=color)
    save(tmp_path / 'a.pth', dict(depth=18, geometry=geometry), 'res4', meant, protocol=None)
    config = config_in(tmp_path / 'a.pth')
    assert get_protocol(config.model.propagator.protocol) == get_protocol(protocol)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_file_that_does_not_say_enough_asks_for_a_config(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    written = save(path, dict(depth=18), 'res4', 'stt_davis_s8', geometry=None)
    message = rf'^{path} does not say how its network is built\. Name a config of it: config=CONFIG'
    for use in (load, VideoPropagator.from_pretrained):
        with pytest.raises(ValueError, match=message):
            use(path)
    read = load(path, 'eval/davis_r18_s8', 'cpu')
    assert torch.equal(read.backbone.conv1.weight, written.backbone.conv1.weight)


def test_a_geometry_that_lacks_a_part_is_refused(tmp_path):
    geometry = dict(network='ResNet', depth=18, pool='none', widths=[64], stage='res2', color='lab')
    save(tmp_path / 'a.pth', dict(depth=18), 'res4', 'stt_davis_s8', geometry=geometry)
    with pytest.raises(ValueError, match=r"a\.pth does not say all of its geometry \(KeyError\('strides'\)\)"):
        load(tmp_path / 'a.pth')


def test_names_that_are_not_known_are_told_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'stt_r18_dmo\. Networks that come with stt_mm: stt_r18_demo\.$'):
        load('stt_r18_dmo')
    with pytest.raises(
        FileNotFoundError, match=r'Checkpoint not found: folder/a\.pth \(there is no folder folder\)\.$'
    ):
        load('folder/a.pth')


def test_a_propagator_by_one_name_is_that_of_the_config():
    frames = [texture((48, 64), seed) for seed in range(3)]
    mask = np.zeros((48, 64), np.uint8)
    mask[8:40, 8:40] = 1
    options = {'model.propagator.protocol.short_side': 96}
    found = [
        [result.mask for result in propagator.stream(frames, masks=mask)]
        for propagator in (
            VideoPropagator.from_pretrained('stt_r18_demo', 'cpu', options),
            VideoPropagator('eval/davis_r18_s8', DEMO, 'cpu', options),
        )
    ]
    assert np.array_equal(*found)
    assert np.any(found[0][2])


def test_torch_hub_loads_the_network(monkeypatch):
    monkeypatch.setattr(sys, 'path', list(sys.path))
    network = torch.hub.load(str(ROOT), 'stt_r18_demo', source='local', device='cpu')
    assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 256, 8, 12)
    assert network.protocol['name'] == 'stt_davis_s8'


@pytest.fixture(scope='module')
def extractor():
    return FeatureExtractor('stt_r18_demo', device='cpu', batch_size=2)


def test_maps_of_all_stages_by_their_names(extractor, monkeypatch):
    assert extractor.stages == ('res2', 'res3', 'res4')
    assert extractor.channels == dict(res2=64, res3=128, res4=256)
    assert extractor.strides == dict(res2=2, res3=4, res4=8)
    frames = np.stack([texture((48, 64), seed) for seed in range(5)])
    maps = extractor(frames)
    assert {stage: tuple(value.shape) for stage, value in maps.items()} == dict(
        res2=(5, 64, 24, 32), res3=(5, 128, 12, 16), res4=(5, 256, 6, 8)
    )
    # A frame of the size that a protocol asks for is what propagation compares.
    frame, propagator = texture((160, 96), 7), extractor.model.propagator
    monkeypatch.setattr(propagator, 'protocol', propagator.protocol.change(dict(short_side=96)))
    assert torch.equal(extractor([frame])['res4'][0], extractor.model.feature(frame))
    # Whatever a frame comes as, and in whatever batch.
    for same in (torch.from_numpy(frames), list(frames), (Image.fromarray(frame) for frame in frames)):
        assert all(torch.equal(value, maps[stage]) for stage, value in extractor(same).items())
    alone = extractor(frames[4:])
    for stage, value in alone.items():
        torch.testing.assert_close(value[0], maps[stage][4])


def test_some_stages_alone_and_lowest_first():
    extractor = FeatureExtractor(DEMO, ('res4', 'res2'), device='cpu')
    assert extractor.stages == tuple(extractor.channels) == tuple(extractor.strides) == ('res2', 'res4')
    assert list(extractor([texture((32, 32), 0)])) == ['res2', 'res4']
    with pytest.raises(ValueError, match=r"has no stage 'res5'\. Its stages: res2, res3, res4\."):
        FeatureExtractor(DEMO, ('res5',), device='cpu')


@pytest.mark.parametrize(
    ('frames', 'message'),
    [
        ([], 'There are no frames'),
        (np.zeros((1, 8, 8, 3), np.float32), r'Frame 0 must be uint8 \[H, W, 3\], RGB, got float32 \[8, 8, 3\]'),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r'Frame 0 must be uint8 \[H, W, 3\], RGB, got uint8 \[3, 8, 8\]'),
        (np.zeros((8, 8, 3), np.uint8), r'got uint8 \[8, 3\]\. One frame alone is given as \[frame\]'),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r'Its channels come first: permute\(1, 2, 0\)'),
        (torch.zeros(2, 8, 8, 3).half(), r'got float16 \[8, 8, 3\]\. Floats of 0 to 1 are \(255 \* frame\)'),
        ([np.zeros((0, 8, 3), np.uint8)], r'got uint8 \[0, 8, 3\]'),
        (Image.new('RGB', (8, 8)), r'got Image\. One frame is \[frame\]'),
        ('talk.mp4', r'got str\. .*FrameSequence'),
        (Path('talk.mp4'), r'FrameSequence'),
        (None, 'got NoneType'),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], r'Frame 1 is 8 x 9 .*, those before it 8 x 8'),
    ],
)
def test_what_are_no_frames_is_refused(extractor, frames, message):
    with pytest.raises(ValueError, match=message):
        extractor(frames)


@pytest.mark.parametrize('stages', ['res4', ()])
def test_stages_are_names(stages):
    with pytest.raises(ValueError, match=r'stages must be names such as'):
        FeatureExtractor('stt_r18_demo', stages, device='cpu')


@pytest.mark.parametrize(
    ('frames', 'message'),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r'got uint8 \[1, 3, 8, 8\]\. .*FeatureExtractor takes uint8'),
        (torch.zeros(3, 8, 8), r'frames \[B, 3, H, W\] of floating point, got float32 \[3, 8, 8\]'),
        (np.zeros((1, 3, 8, 8), np.float32), 'of floating point, got'),
        (torch.zeros(1, 3, 8, 8).half(), r'The network is torch\.float32, the frames are float16 .*Give frames\.to'),
        (torch.zeros(1, 3, 8, 8, device='meta'), 'The frames are on meta, the network on cpu'),
    ],
)
def test_what_a_network_cannot_take_is_told_in_words(frames, message):
    with pytest.raises(ValueError, match=message):
        load('stt_r18_demo', device='cpu')(frames)


def test_in_autocast_a_network_takes_half_precision():
    network, frames = load('stt_r18_demo', device='cpu'), torch.rand(1, 3, 16, 16)
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        assert network(frames.bfloat16()).shape == (1, 256, 2, 2)


@pytest.mark.parametrize('name', [None, 5, 'https://example.org/a.pth'])
def test_what_names_no_file(name):
    with pytest.raises(ValueError, match=rf'is a file on this machine or the name of a network, got {name!r}'):
        load(name)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(depth=99), 'depth must be one of'),
        (dict(stage='res9'), "feature_stage 'res9' is not among"),
        (dict(pool='median'), "got .'median'"),
        (dict(color='cmyk'), "color must be one of .* got 'cmyk'"),
    ],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_what_a_newer_version_may_state_is_named_after_the_file(tmp_path, change, message, suffix):
    written = save(tmp_path / 'a.pth', dict(depth=18), 'res4', 'stt_davis_s8')
    path = tmp_path / f'b{suffix}'
    protocol = None if 'color' in change else 'stt_davis_s8'
    save(
        path,
        dict(depth=18),
        'res4',
        'stt_davis_s8',
        geometry=written.geometry | change,
        protocol=protocol and dict(name=protocol),
        stt_mm_version='9.1',
    )
    for use in (load, VideoPropagator.from_pretrained):
        with pytest.raises(
            ValueError, match=rf'b{suffix} of stt_mm 9\.1 is of a network that cannot be built here: .*{message}'
        ):
            use(path)
    save(path, dict(depth=18), 'res4', 'stt_davis_s8', protocol=dict(name='of_tomorrow'))
    with pytest.raises(ValueError, match=rf"b{suffix} is of a network .*: No protocol is called 'of_tomorrow'"):
        load(path)
    with pytest.raises(ValueError, match="^There is no device 'cuda:9'"):
        load(path, device='cuda:9')
