"""Any network of a local folder in the layout of torch.hub."""

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from stt_mm.errors import InputError, MissingInputError, library_errors
from stt_mm.models.backbones.wrapped import WrappedNetwork, plain, sides_advice, stage_index
from stt_mm.registry import MODELS


@MODELS.register_module()
class TorchHubBackbone(WrappedNetwork):
    """A network of a local folder with a ``hubconf.py``, such as a clone of DINOv2's or DINOv3's repository.

    Building it **runs the code of that folder**, with the rights of this process; take folders that you trust alone.

    A network with ``get_intermediate_layers``, as DINO, DINOv2 and DINOv3 have it, gives the maps of its blocks, called
    ``blocks.0`` and so on, without class and register tokens. Any other must return from ``forward`` a map
    ``[B, d, h, w]``, or tokens ``[B, n, d]`` if it states its ``patch_size``, of which the last ones are those of the
    patches, row by row; or several of these in a sequence or dict. Its stages are called ``out<position>``, or as the
    dict has them.

    Args:
        folder: the folder.
        entry: name of a function in its ``hubconf.py``, such as ``dinov3_vits16``.
        stages: maps to return, by name or by position among the blocks or in the sequence (-1: the last).
        pretrained: handed on to the entry, if it takes that; most of them download their weights then. A local file is
            better named in ``init_cfg``, or after the config on the command line, as it is checked there. ``False`` is
            not handed on beside ``weights`` in the options, which the entry would leave unread.
        norm: of the blocks: apply the network's final normalisation to each map.
        options: further arguments of the entry, such as ``dict(weights=PATH)``.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)`` loads a file under the network's own names, strictly.

    Raises:
        FileNotFoundError: there is no such folder, or no ``hubconf.py`` in it.
        ValueError: no such entry or stage, the entry cannot be called, or returns no network.
    """

    def __init__(
        self,
        folder: str,
        entry: str,
        stages: Sequence[int | str] = (-1,),
        pretrained: bool = False,
        norm: bool = True,
        options: dict[str, Any] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        network = load_entry(Path(folder), entry, pretrained, options or {})
        names = {f'out{stage}' if isinstance(stage, int) else stage: stage for stage in stages}
        self._arguments: set[str] | None = None
        if hasattr(network, 'get_intermediate_layers'):
            self._arguments = set(inspect.signature(network.get_intermediate_layers).parameters)
            self._count = getattr(network, 'n_blocks', None) or len(network.blocks)
            blocks = [f'blocks.{index}' for index in range(self._count)]
            names = {blocks[index]: index for index in sorted({stage_index(stage, blocks, entry) for stage in stages})}
            if not norm and 'norm' not in self._arguments:
                raise InputError(f'{entry} normalises the maps of its blocks itself: norm must be True.')
        super().__init__(network, names, init_cfg=init_cfg)
        self.entry = entry
        self.norm = norm
        self.options = dict(options or {})
        self._indices = names
        patch = getattr(network, 'patch_size', None)
        if patch is None:
            patch = getattr(getattr(network, 'patch_embed', None), 'patch_size', None)
        self.patch: int | None = patch[0] if isinstance(patch, Sequence) else patch

    def geometry(self) -> dict[str, Any]:
        """What decides the features besides the weights, as plain data."""
        return dict(network=self.entry, norm=self.norm, options=plain(self.options))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``[B, 3, H, W]`` to one ``[B, d, h, w]`` per stage, lowest first.

        Raises:
            ValueError: the sides are no multiples of the patch, or the network returns something else than maps.
        """
        height, width = x.shape[-2:]
        if self.patch and (height % self.patch or width % self.patch):
            raise InputError(
                f'{self.entry} does not take frames of {height} x {width}: {sides_advice(height, width, self.patch)}'
            )
        found = self._outputs(x) if self._arguments is None else self._blocks(x)
        return tuple(self._map(stage, found[stage], height, width) for stage in self.stages)

    def _blocks(self, x: Tensor) -> dict[str, Any]:
        indices = [self._indices[stage] for stage in self.stages]
        if 'reshape' in self._arguments:
            maps = self.network.get_intermediate_layers(x, n=indices, reshape=True, norm=self.norm)
            return dict(zip(self.stages, maps, strict=True))
        # That of DINO counts from the end, normalises, and returns tokens.
        last = self.network.get_intermediate_layers(x, n=self._count - min(indices))
        return {stage: last[index - self._count] for stage, index in zip(self.stages, indices, strict=True)}

    def _outputs(self, x: Tensor) -> dict[str, Any]:
        output = self.network(x)
        parts = output if isinstance(output, Mapping | Sequence) else [output]
        try:
            return {stage: parts[self._indices[stage]] for stage in self.stages}
        except (IndexError, KeyError, TypeError) as error:
            held = f'a dict of {", ".join(map(str, parts))}' if isinstance(parts, Mapping) else f'{len(parts)} outputs'
            raise InputError(
                f'{self.entry} returns {held}, of which stages={tuple(self._indices.values())} are not all there.'
            ) from error

    def _map(self, stage: str, output: Any, height: int, width: int) -> Tensor:
        if isinstance(output, Tensor) and output.dim() == 4:
            return output
        if isinstance(output, Tensor) and output.dim() == 3 and self.patch:
            rows, columns = height // self.patch, width // self.patch
            if output.shape[1] >= rows * columns:
                return output[:, -rows * columns :].unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
        got = f'shape {tuple(output.shape)}' if isinstance(output, Tensor) else type(output).__name__
        tokens = '' if self.patch else ' (and states no patch_size, by which tokens would become maps)'
        raise InputError(f'{self.entry} returned no map [B, d, h, w] for {stage} but {got}{tokens}.')


def load_entry(folder: Path, entry: str, pretrained: bool, options: Mapping[str, Any]) -> nn.Module:
    """What a function in the ``hubconf.py`` of a local folder builds; its code is run.

    Raises:
        FileNotFoundError, ValueError: as :class:`TorchHubBackbone` says.
    """
    folder = folder.expanduser().resolve()
    if not (folder / 'hubconf.py').is_file():
        what = 'has no hubconf.py' if folder.is_dir() else 'is no folder'
        raise MissingInputError(
            f'{folder} {what}. TorchHubBackbone takes a folder on this machine, such as a clone of '
            'github.com/facebookresearch/dinov2; it downloads none.'
        )
    _check_names(folder)
    MMLogger.get_current_instance().info('TorchHubBackbone runs the code of %s.', folder)
    given = {} if 'weights' in options and not pretrained else dict(pretrained=pretrained)
    with library_errors(f'{entry} of {folder} cannot be built with options={dict(options)}'):
        try:
            network = torch.hub.load(str(folder), entry, source='local', **{**given, **options})
        except TypeError as error:
            if pretrained or "'pretrained'" not in str(error):
                raise
            network = torch.hub.load(str(folder), entry, source='local', **options)
        except RuntimeError as error:
            if str(error) != f'Cannot find callable {entry} in hubconf':
                raise
            close = get_close_matches(entry, set(re.findall(r'\w+', (folder / 'hubconf.py').read_text('utf-8'))))
            hint = f' Did you mean {" or ".join(close)}?' if close else ''
            raise InputError(f'{folder / "hubconf.py"} has no function {entry!r}.{hint}') from error
    if not isinstance(network, nn.Module):
        raise InputError(f'{entry} of {folder} returns no network but {type(network).__name__}.')
    return network


def _check_names(folder: Path) -> None:
    """Refuse modules that have the name of others that are imported already: Python would take those for these."""
    for path in folder.iterdir():
        module = sys.modules.get(path.stem if path.suffix == '.py' else path.name)
        places = [getattr(module, '__file__', None), *getattr(module, '__path__', ())]
        places = [Path(place).resolve() for place in places if place]
        if places and path.stem != 'hubconf' and not any(place.is_relative_to(folder) for place in places):
            raise InputError(
                f'{path} has the name of a module that is imported already, from {places[0]}, which its code would '
                'take for its own. Run the two in processes of their own, or rename one.'
            )
