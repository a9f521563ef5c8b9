"""Publish a trained backbone: weights only, a checksum in the file name, nothing else."""

import argparse
import hashlib
from pathlib import Path

import torch

from stt_mm import __version__
from stt_mm.engine.cli import add_source_arguments, one_line_errors
from stt_mm.utils.checkpoint import checkpoint_bytes, sha8, write_atomically
from stt_mm.utils.weights import check_finite, geometry_in, read_backbone

EXAMPLES = """examples:
  python tools/publish_checkpoint.py work_dirs/stt_r18_ytv/iter_90000.pth checkpoints/
      -> checkpoints/iter_90000-<sha8>.pth
  python tools/publish_checkpoint.py work_dirs/stt_r18_ytv/iter_90000.pth checkpoints/stt_r18_ytv --fp16
      -> checkpoints/stt_r18_ytv-<sha8>.pth

The file holds the student's backbone; the teacher, the optimizer and the training history are left out. It can be read
with torch.load(weights_only=True). <sha8> are the first digits of its SHA-256, so a download can be checked."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='training checkpoint to read')
    parser.add_argument(
        'out',
        metavar='OUT_DIR_OR_PREFIX',
        help='folder (existing, or ending in /) or start of the name of the file to write',
    )
    parser.add_argument('--fp16', action='store_true', help='store float16 weights: half the size, slightly rounded')
    add_source_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        source = Path(args.checkpoint)
        found, origin = read_backbone(source, args.trust_checkpoint, args.prefix)
        dtype = torch.float16 if args.fp16 else torch.float32
        state_dict = {
            f'backbone.{name}': value.to(dtype, copy=True) if value.is_floating_point() else value.clone()
            for name, value in found.weights.items()
        }
        check_finite(
            state_dict, f'{source} as {dtype}', 'The range of that type is too small for it: publish it without --fp16.'
        )
        meta = dict(
            source=found.source,
            source_sha8=sha8(source),
            stt_mm_version=__version__,
            dtype=str(dtype).removeprefix('torch.'),
            **geometry_in(origin),
        )
        data = checkpoint_bytes(dict(state_dict=state_dict, meta=meta))
        digest = hashlib.sha256(data).hexdigest()[:8]
        is_folder = args.out.endswith('/') or Path(args.out).is_dir()
        prefix = Path(args.out) / source.name.split('.')[0] if is_folder else Path(args.out.removesuffix('.pth'))
        out = prefix.with_name(f'{prefix.name}-{digest}.pth')
        write_atomically(data, out)
        print(f'wrote {out} ({len(data) / 2**20:.1f} MiB, {len(state_dict)} tensors, source: {found.describe()})')


if __name__ == '__main__':
    main()
