"""Networks of local hub folders: written here in the layout of DINOv2's and DINOv3's repositories, and others."""

import sys

import pytest
import torch
from mmengine.registry import init_default_scope

from stt_mm.engine import load_config
from stt_mm.models.backbones import LoadedBackbone, StagedBackbone, TorchHubBackbone
from stt_mm.models.correspondence.base import load_for_evaluation
from stt_mm.registry import MODELS

init_default_scope('stt_mm')

# The published layout: hubconf.py names its requirements and imports functions from a package beside it, which build
# the network late, with names that are of the file of weights too.
PACKAGE = """
import torch
from torch import nn


class Vit(nn.Module):
    def __init__(self, patch_size=14, depth=3, registers=4, dim=12):
        super().__init__()
        self.patch_size, self.n_blocks, self.registers = patch_size, depth, registers
        self.patch_embed = nn.Conv2d(3, dim, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.register_tokens = nn.Parameter(torch.randn(1, registers, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(dim, 2, 24, 0, batch_first=True) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        nn.init.normal_(self.norm.weight)

    def tokens(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.register_tokens.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
            yield x

    def forward(self, x):
        return self.norm(list(self.tokens(x))[-1])[:, 0]


class NewVit(Vit):
    def get_intermediate_layers(self, x, n=1, reshape=False, return_class_token=False, norm=True):
        taken = range(self.n_blocks - n, self.n_blocks) if isinstance(n, int) else n
        found = [tokens for index, tokens in enumerate(self.tokens(x)) if index in taken]
        found = [self.norm(tokens) for tokens in found] if norm else found
        found = [tokens[:, 1 + self.registers:] for tokens in found]
        if reshape:
            grid = [side // self.patch_size for side in x.shape[-2:]]
            found = [tokens.unflatten(1, grid).permute(0, 3, 1, 2) for tokens in found]
        return tuple(found)


class OldVit(Vit):
    def get_intermediate_layers(self, x, n=1):
        return [self.norm(tokens) for tokens in self.tokens(x)][-n:]


class Other(nn.Module):
    def __init__(self, kind, stride=8):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(3, 5, stride, stride)
        if kind in ('tokens', 'few tokens'):
            self.patch_size = (stride, stride)

    def forward(self, x):
        x = self.conv(x)
        tokens = x.flatten(2).transpose(1, 2)
        outputs = dict(map=x, tokens=torch.cat([tokens[:, :1], tokens], 1), logits=x.mean((2, 3)), pair=(x[:, :2], x))
        outputs |= dict(dict=dict(low=x[:, :2], high=x), bare=tokens, text='x')
        return outputs.get(self.kind, tokens[:, 1:])
"""
HUBCONF = """
dependencies = ['torch']
from {package}.hub.backbones import new_vit, old_vit, other, no_network, broken, lenient
"""
BACKBONES = """
import torch


def new_vit(*, pretrained: bool = True, weights='LVD142M', **kwargs):
    from ..models import NewVit

    network = NewVit(**kwargs)
    if pretrained:
        network.load_state_dict(torch.load(weights))
    return network


def old_vit(pretrained=True, **kwargs):
    from ..models import OldVit

    assert not pretrained
    return OldVit(**kwargs)


def other(kind):
    from ..models import Other

    return Other(kind)


def no_network(pretrained=False):
    return 'encoder', 'predictor'


def broken(pretrained=False):
    raise RuntimeError('a fault of its own')


def lenient(**kwargs):
    from ..models import Other

    return Other(kwargs['kind'] if kwargs['pretrained'] is False else 'logits')
"""
FOLDERS = iter(range(10**6))


@pytest.fixture
def hub(tmp_path):
    """A folder whose package has a name of its own, as Python keeps what it has imported."""
    package = f'hub_of_test_{next(FOLDERS)}'
    for path, text in {
        'hubconf.py': HUBCONF.format(package=package),
        f'{package}/__init__.py': '',
        f'{package}/hub/__init__.py': '',
        f'{package}/hub/backbones.py': BACKBONES,
        f'{package}/models.py': PACKAGE,
    }.items():
        (tmp_path / 'hub' / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'hub' / path).write_text(text, encoding='utf-8')
    before = set(sys.modules)
    yield tmp_path / 'hub'
    for name in set(sys.modules) - before:
        del sys.modules[name]


def cell(network, x, block, row, column, norm=True):
    """The token of a cell, by hand."""
    tokens = list(network.tokens(x))[block]
    tokens = network.norm(tokens) if norm else tokens
    return tokens[:, -(x.shape[-2] // 14) * (x.shape[-1] // 14) + row * (x.shape[-1] // 14) + column]


@pytest.mark.parametrize('entry', ['new_vit', 'old_vit'])
def test_maps_of_blocks_are_their_tokens_without_class_and_registers(entry, hub):
    backbone = TorchHubBackbone(str(hub), entry, stages=('blocks.0', -1)).eval()
    assert isinstance(backbone, StagedBackbone)
    assert isinstance(backbone, LoadedBackbone)
    assert (backbone.stages, backbone.patch) == (('blocks.0', 'blocks.2'), 14)
    x = torch.randn(2, 3, 28, 42)
    with torch.no_grad():
        maps = backbone(x)
        for block, found in zip((0, 2), maps, strict=True):
            assert found.shape == (2, 12, 2, 3)
            for row in range(2):
                for column in range(3):
                    assert torch.equal(found[:, :, row, column], cell(backbone.network, x, block, row, column))
        backbone.keep_stages({'blocks.0'})
        (first,) = backbone(x)
    assert torch.equal(first, maps[0])
    assert backbone.geometry() == dict(network=entry, norm=True, options={})


def test_without_norm_a_map_is_what_enters_the_normalisation(hub):
    backbone = TorchHubBackbone(str(hub), 'new_vit', norm=False, options=dict(registers=0)).eval()
    x = torch.randn(1, 3, 28, 42)
    with torch.no_grad():
        assert torch.equal(backbone(x)[0][:, :, 1, 2], cell(backbone.network, x, 2, 1, 2, norm=False))
    with pytest.raises(ValueError, match='old_vit normalises the maps of its blocks itself: norm must be True'):
        TorchHubBackbone(str(hub), 'old_vit', norm=False)


def test_weights_are_read_strictly_under_the_networks_own_names(hub, tmp_path):
    """Which timm's networks call otherwise: ``register_tokens``."""
    original = TorchHubBackbone(str(hub), 'new_vit').eval()
    torch.save(original.network.state_dict(), path := tmp_path / 'weights.pth')
    x = torch.randn(1, 3, 28, 28)
    cfg = dict(type='TorchHubBackbone', folder=str(hub), entry='new_vit')
    inits = dict(type='Pretrained', checkpoint=str(path))
    named = MODELS.build(dict(cfg, init_cfg=inits))
    named.init_weights()
    assert (named.report.source, named.report.ratio, named.report.unexpected) == ('names of the module', 1.0, ())
    given = MODELS.build(dict(type='Correspondence', backbone=cfg, feature_stage=None))
    assert load_for_evaluation(given, path).ratio == 1.0
    # As one names them to torch.hub.load itself; pretrained=False would have the entry leave them unread.
    own = [MODELS.build(dict(cfg, pretrained=asked, options=dict(weights=str(path)))) for asked in (False, True)]
    with torch.no_grad():
        for backbone in (named, given.backbone, *own):
            assert torch.equal(backbone.eval()(x)[0], original(x)[0])
    other = MODELS.build(dict(cfg, options=dict(dim=8), init_cfg=inits))
    with pytest.raises(
        ValueError, match=r'does not fit the backbone .*mismatched: cls_token: \(1, 1, 12\) -> \(1, 1, 8\)'
    ):
        other.init_weights()


def test_a_file_of_dinov3_fits_the_network_of_its_own_folder(tmp_path):
    """Names that a known source has are those of the network, too, before they are translated for timm."""
    names = ('cls_token', 'storage_tokens', 'patch_embed.proj.weight', 'blocks.0.attn.qkv.weight', 'rope_embed.periods')
    (tmp_path / 'hubconf.py').write_text(
        'import torch\nfrom torch import nn\n\n\n'
        'class Net(nn.Module):\n'
        '    def __init__(self):\n        super().__init__()\n'
        f'        for name in {names}:\n'
        '            *path, leaf = name.split(".")\n            place = self\n'
        '            for part in path:\n'
        '                if not hasattr(place, part):\n                    place.add_module(part, nn.Module())\n'
        '                place = getattr(place, part)\n'
        '            place.register_buffer(leaf, torch.rand(3))\n\n'
        '    def forward(self, x):\n        return x\n\n\n'
        'def net():\n    return Net()\n'
    )
    original, fresh = (TorchHubBackbone(str(tmp_path), 'net') for _ in range(2))
    torch.save(original.network.state_dict(), path := tmp_path / 'file.pth')
    fresh.pretrained = dict(path=path)
    fresh.init_weights()
    assert (fresh.report.source, fresh.report.ratio) == ('names of the module', 1.0)
    assert torch.equal(fresh.network.rope_embed.periods, original.network.rope_embed.periods)


@pytest.mark.parametrize(
    ('kind', 'stages', 'names', 'channels'),
    [
        ('map', (-1,), ('out-1',), (5,)),
        ('tokens', (0,), ('out0',), (5,)),
        ('pair', (0, -1), ('out0', 'out-1'), (2, 5)),
        ('dict', ('high',), ('high',), (5,)),
        ('dict', ('low', 'high'), ('low', 'high'), (2, 5)),
    ],
)
def test_without_blocks_the_output_is_taken(kind, stages, names, channels, hub):
    backbone = TorchHubBackbone(str(hub), 'other', stages=stages, options=dict(kind=kind)).eval()
    assert backbone.stages == names
    x = torch.randn(2, 3, 16, 24)
    maps = backbone(x)
    whole = backbone.network.conv(x)
    for found, count in zip(maps, channels, strict=True):
        assert torch.equal(found, whole[:, :count])


@pytest.mark.parametrize(
    ('kind', 'stages', 'message'),
    [
        (
            'logits',
            (-1,),
            r'returned no map \[B, d, h, w\] for out-1 but shape \(2, 5\) \(and states no patch',
        ),
        ('bare', (-1,), r'no map .* but shape \(2, 6, 5\) \(and states no patch_size'),
        ('few tokens', (-1,), r'no map .* but shape \(2, 5, 5\)\.'),
        ('text', (0,), 'no map .* for out0 but str'),
        ('dict', ('middle',), r"returns a dict of low, high, of which stages=\('middle',\) are not all there"),
        ('dict', (0,), r'returns a dict of low, high, of which stages=\(0,\) are not all there'),
        ('pair', (2,), r'returns 2 outputs, of which stages=\(2,\) are not all there'),
        ('pair', ('high',), r"returns 2 outputs, of which stages=\('high',\) are not all there"),
    ],
)
def test_outputs_that_are_no_maps_are_refused(kind, stages, message, hub):
    backbone = TorchHubBackbone(str(hub), 'other', stages=stages, options=dict(kind=kind))
    with pytest.raises(ValueError, match=message):
        backbone(torch.randn(2, 3, 16, 24))


@pytest.mark.parametrize(
    ('entry', 'settings', 'message'),
    [
        ('new_vitt', {}, r"hubconf\.py has no function 'new_vitt'\. Did you mean new_vit"),
        ('new_vit', dict(stages=(3,)), r'new_vit has no stage 3\. Its stages: blocks\.0, .*positions from -3 to 2'),
        ('new_vit', dict(stages=('layer3',)), "new_vit has no stage 'layer3'"),
        ('new_vit', dict(options=dict(width=3)), r"new_vit of .* cannot be built with options=.*width.*'width'"),
        ('no_network', {}, 'no_network of .* returns no network but tuple'),
        ('broken', {}, 'broken of .* cannot be built .*a fault of its own'),
        ('other', dict(pretrained=True, options=dict(kind='map')), "other of .* cannot be built.*'pretrained'"),
    ],
)
def test_what_a_folder_does_not_have_is_refused(entry, settings, message, hub):
    with pytest.raises(ValueError, match=message):
        TorchHubBackbone(str(hub), entry, **settings)


def test_frames_that_do_not_suit_the_patch_are_refused_with_the_fix(hub):
    with pytest.raises(ValueError, match=r'new_vit does not take frames of 28 x 40: .*short_side=28, multiple=14'):
        TorchHubBackbone(str(hub), 'new_vit')(torch.zeros(1, 3, 28, 40))


def test_a_folder_must_be_there_and_have_a_hubconf(hub, tmp_path):
    with pytest.raises(FileNotFoundError, match='facebookresearch/dinov2 is no folder.*downloads none'):
        TorchHubBackbone('facebookresearch/dinov2', 'dinov2_vits14')
    with pytest.raises(FileNotFoundError, match='has no hubconf.py'):
        TorchHubBackbone(str(tmp_path), 'new_vit')
    (hub / 'hubconf.py').write_text("dependencies = ['no_such_package']\n\n\ndef net():\n    pass\n")
    with pytest.raises(ValueError, match='Missing dependencies: no_such_package'):
        TorchHubBackbone(str(hub), 'net')
    (hub / 'hubconf.py').write_text('import no_such_package\n')
    with pytest.raises(ValueError, match=r"net of .* cannot be built .*ModuleNotFoundError: .*'no_such_package'"):
        TorchHubBackbone(str(hub), 'net')


def test_another_folder_with_modules_of_the_same_name_is_refused(hub, tmp_path):
    """Python would give it those of the first."""
    TorchHubBackbone(str(hub), 'new_vit')
    TorchHubBackbone(str(hub), 'old_vit')
    hub.rename(tmp_path / 'moved')
    (package,) = (path.name for path in (tmp_path / 'moved').iterdir() if path.name.startswith('hub_of_test'))
    with pytest.raises(ValueError, match=rf'{package} has the name of a module that is imported already, from .*hub'):
        TorchHubBackbone(str(tmp_path / 'moved'), 'new_vit')


def test_it_says_that_it_runs_code_and_downloads_nothing_unasked(hub, capfd):
    """``pretrained=False`` goes to every entry that takes it."""
    backbone = TorchHubBackbone(str(hub), 'lenient', options=dict(kind='map'))
    assert backbone(torch.zeros(1, 3, 16, 16))[0].shape == (1, 5, 2, 2)
    assert f'TorchHubBackbone runs the code of {hub}.' in capfd.readouterr().out


def test_a_config_evaluates_it(hub, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        "model = dict(type='Correspondence', feature_stage=None, "
        f"backbone=dict(type='TorchHubBackbone', folder={str(hub)!r}, entry='new_vit'), "
        "propagator=dict(type='LabelPropagator', protocol=dict(name='dinov3_davis_s_p14', short_side=28)))"
    )
    model = MODELS.build(load_config(path).model).eval()
    assert model.feature_stage == 'blocks.2'
    frame = torch.randint(0, 256, (30, 41, 3), dtype=torch.uint8).numpy()
    assert model.feature(frame).shape == (12, 2, 3)
