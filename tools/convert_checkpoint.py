"""Convert a checkpoint of any known source to its backbone, or publish it."""

import argparse
import hashlib
import re
from pathlib import Path

import torch
from torchvision.models import get_model

from stt_mm import __version__
from stt_mm.engine.cli import add_weight_arguments, one_line_errors, tool_parser
from stt_mm.protocols import get_protocol
from stt_mm.utils.checkpoint import CheckpointError, checkpoint_bytes, safetensors_bytes, sha8, write_atomically
from stt_mm.utils.targets import check_file
from stt_mm.utils.weights import check_finite, read_backbone

EXAMPLES = """examples:
  python tools/convert_checkpoint.py work_dirs/mocov2_r18_in1k/iter_1000800.pth checkpoints/mocov2_r18.pth --depth 18
  python tools/convert_checkpoint.py moco_v2_800ep_pretrain.pth.tar checkpoints/moco_v2_r50.pth --depth 50
  python tools/convert_checkpoint.py work_dirs/stt_r18_ytv/iter_90000.pth checkpoints/ --publish
      -> checkpoints/iter_90000-<sha8>.pth
  python tools/convert_checkpoint.py work_dirs/stt_r18_ytv/iter_90000.pth checkpoints/stt_r18_ytv --publish --fp16
      -> checkpoints/stt_r18_ytv-<sha8>.pth
  python tools/convert_checkpoint.py work_dirs/stt_r18_ytv/iter_90000.pth checkpoints/ --publish --safetensors
      -> checkpoints/iter_90000-<sha8>.safetensors

Known sources: mmpretrain (MoCo, SimSiam, DenseCL, BYOL, ...), official MoCo and SimSiam, torchvision names (DetCo),
released STT, and files of this toolbox. The result holds the query encoder or the student, without heads, queues,
teacher, optimizer and history, and torch.load(weights_only=True) can read it. It states how its network is built and
which protocol it is meant for, if the source does. Without --publish, the source must hold a whole ResNet. With it,
the network of MAST and LIIR must be whole, and where another ResNet differs from torchvision's is said.

<sha8> is the start of the file's SHA-256, to check a download with."""

DEPTHS = (18, 50)
PUBLISHED_DEPTHS = (18, 34, 50, 101, 152)
COUNTER = 'num_batches_tracked'
STEM = {'conv1.weight', 'layer1.0.conv1.weight'}
PROJECTION = {'projection.weight', 'projection.bias'}

# The name of a file without its endings and the digest of one that was published.
NAME = re.compile(r'(.+?)(?:-[0-9a-f]{8})?(?:\.(?:pth|pt|tar|ckpt|bin|safetensors))*$')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EXAMPLES)
    parser.add_argument('source', help='checkpoint to read')
    parser.add_argument(
        'out', help='file to write; with --publish, a folder (existing, or ending in /) or the start of the name'
    )
    parser.add_argument(
        '--publish', action='store_true', help='take any backbone, and put a checksum into the name of the file'
    )
    parser.add_argument('--fp16', action='store_true', help='store float16 weights: half the size, slightly rounded')
    parser.add_argument(
        '--safetensors', action='store_true', help='publish in this format, as does an OUT that ends in .safetensors'
    )
    parser.add_argument('--protocol', help='protocol that the network is meant for (default: the one in its file)')
    parser.add_argument(
        '--depth',
        type=int,
        choices=DEPTHS,
        help='ResNet depth to check against (default: the one whose names fit best)',
    )
    add_weight_arguments(parser, ['trust-checkpoint', 'prefix'])
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')
    args = parser.parse_args(argv)
    if args.publish and (args.depth or args.overwrite):
        parser.error(
            '--publish takes any backbone and gives its file a name of its own: leave out --depth, --overwrite'
        )
    if args.safetensors and not args.publish:
        parser.error('--safetensors goes with --publish; without it, let OUT end in .safetensors')
    return args


def resnet_names(depth: int) -> set[str]:
    """Names of the weights and buffers of torchvision's ResNet without ``fc`` and counters."""
    with torch.device('meta'):
        network = get_model(f'resnet{depth}')
    return {name for name in network.state_dict() if not name.startswith('fc.') and not name.endswith(COUNTER)}


def check_names(found: set[str], depth: int | None, path: str) -> str:
    """The report of a comparison with a ResNet, of which stages at the end may be left out; else a CheckpointError."""
    depth = depth or min(DEPTHS, key=lambda known: len(resnet_names(known) ^ found))
    wanted = resnet_names(depth)
    if not any(name.startswith('layer4.') for name in found):
        wanted = {name for name in wanted if not name.startswith('layer4.')}
    missing, unexpected = sorted(wanted - found), sorted(found - wanted)
    report = f'ResNet-{depth}: matched {len(found & wanted)}, missing {len(missing)}, unexpected {len(unexpected)}'
    if missing or unexpected:
        first = {kind: ', '.join(names[:3]) or 'none' for kind, names in dict(m=missing, u=unexpected).items()}
        other = ' It has the last convolution of MAST and LIIR: --publish takes such a network.'
        raise CheckpointError(
            f'{path} is no complete ResNet-{depth} ({report}). First missing: {first["m"]}; '
            f'first unexpected: {first["u"]}.{other if PROJECTION & found else ""}'
        )
    return report


def check_published(weights: dict[str, torch.Tensor], path: str) -> str:
    """The report on a backbone that is published.

    One with a projection is the network of MAST and LIIR, whose names are known: it has them all and no others, or
    there is a CheckpointError. Another network with a ResNet's names may be a variant that is whole: how its names
    differ is said.
    """
    report = f'{len(weights)} tensors'
    found = {name for name in weights if not name.endswith(COUNTER) and not name.startswith('position.')}
    if not found >= STEM:
        return report
    depth = min(PUBLISHED_DEPTHS, key=lambda known: len(resnet_names(known) ^ found))
    last = max(name.split('.')[0] for name in found if name.startswith('layer'))
    wanted = {name for name in resnet_names(depth) if not name.startswith('layer') or name.split('.')[0] <= last}
    if PROJECTION & found:
        wanted |= PROJECTION
    missing = {name for name in wanted - found if not ('.downsample.' in name and keeps_width(weights, name))}
    differences = {'missing': sorted(missing), 'unexpected': sorted(found - wanted)}
    said = '; '.join(f'{kind} {", ".join(names[:3])}' for kind, names in differences.items() if names)
    if said and PROJECTION & found:
        raise CheckpointError(
            f'{path} does not hold the network of MAST and LIIR (ResNet-{depth} with a projection): missing '
            f'{len(missing)}, unexpected {len(found - wanted)}; first: {said}. Take a file that holds this '
            'network and nothing else under its names.'
        )
    return f'{report}; other than a ResNet-{depth} of torchvision: {said}' if said else report


def keeps_width(weights: dict[str, torch.Tensor], name: str) -> bool:
    """Whether the block of a name gives as many channels as it gets, so that it needs nothing beside it."""
    block = name.partition('.downsample.')[0]
    convolutions = [weights.get(f'{block}.conv{number}.weight') for number in (1, 2, 3)]
    present = [weight for weight in convolutions if weight is not None]
    return bool(present) and present[0].shape[1] == present[-1].shape[0]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        out, source = Path(args.out), Path(args.source)
        if not args.publish:
            check_file(out, [source], args.overwrite)
        found, said = read_backbone(source, args.trust_checkpoint, args.prefix)
        if args.protocol is not None:
            said['protocol'] = get_protocol(args.protocol).settings
        if args.publish:
            report = check_published(found.weights, args.source)
        else:
            counted = {name for name in found.weights if not name.endswith(COUNTER)}
            report = check_names(counted, args.depth, args.source)
        dtype = torch.float16 if args.fp16 else torch.float32
        state_dict = {
            f'backbone.{name}': value.to(dtype, copy=True) if value.is_floating_point() else value.clone()
            for name, value in found.weights.items()
        }
        check_finite(
            state_dict, f'{source} as {dtype}', 'The range of that type is too small for it: convert it without --fp16.'
        )
        kept = dict(source=found.source, source_sha8=sha8(source), stt_mm_version=__version__)
        meta = dict(kept, dtype=str(dtype).removeprefix('torch.')) | said
        suffix = '.safetensors' if args.safetensors or out.suffix == '.safetensors' else '.pth'
        as_bytes = safetensors_bytes if suffix == '.safetensors' else checkpoint_bytes
        data = as_bytes(dict(state_dict=state_dict, meta=meta))
        if args.publish:
            is_folder = args.out.endswith('/') or out.is_dir()
            start = out / NAME.match(source.name)[1] if is_folder else Path(args.out.removesuffix(suffix))
            out = start.with_name(f'{start.name}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}')
        write_atomically(data, out)
        print(f'source: {found.describe()}; {report}\nwrote {out} ({len(data) / 2**20:.1f} MiB)')


if __name__ == '__main__':
    main()
