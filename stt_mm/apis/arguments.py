"""Arguments of programs that carry labels through videos: which network, under which protocol, where."""

import argparse

from stt_mm.apis.pretrained import config_for
from stt_mm.apis.video_propagator import VideoPropagator
from stt_mm.engine.cli import add_config_options, add_weight_arguments
from stt_mm.protocols import get_protocol


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`propagator_of` reads."""
    parser.add_argument(
        '--config',
        help='config with the network and the protocol (default: as the checkpoint states, or '
        'configs/eval/davis_r18_s8.py if it does not)',
    )
    parser.add_argument(
        '--checkpoint',
        default='stt_r18_demo',
        help='weights of the backbone: a file, a network that comes with stt_mm, or "none"',
    )
    parser.add_argument('--protocol', metavar='NAME', help='protocol to use (default: the one of the config)')
    parser.add_argument('--device', help='device, such as cpu or cuda:1 (default: the first GPU if there is one)')
    add_config_options(parser, text='override config values, e.g. model.propagator.protocol.short_side=360')
    add_weight_arguments(parser)


def propagator_of(args: argparse.Namespace) -> VideoPropagator:
    """The propagator that the arguments of :func:`add_network_arguments` ask for.

    Raises:
        FileNotFoundError, ValueError: as :class:`VideoPropagator`.
    """
    checkpoint = None if args.checkpoint == 'none' else args.checkpoint
    options = dict(args.cfg_options or {})
    if args.protocol:
        get_protocol(args.protocol)
        options['model.propagator.protocol.name'] = args.protocol
    return VideoPropagator(
        args.config or config_for(checkpoint, args.trust_checkpoint),
        checkpoint,
        args.device,
        options,
        args.trust_checkpoint,
        args.allow_partial,
        args.prefix,
        args.allow_other_geometry,
    )
