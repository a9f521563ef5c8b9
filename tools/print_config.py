"""Print a config with everything it inherits, or the difference between two."""

import argparse

from mmengine.config import Config

from stt_mm.engine import flatten, load_config
from stt_mm.engine.cli import add_config_options, one_line_errors, tool_parser

EXAMPLES = """examples:
  python tools/print_config.py configs/stt_r18_ytv.py
  python tools/print_config.py configs/stt_r18_ytv.py --cfg-options train_dataloader.batch_size=8
  python tools/print_config.py configs/ablations/paper_literal_r18.py --diff configs/stt_r18_ytv.py"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EXAMPLES)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--diff', metavar='OTHER_CONFIG', help='only the keys that differ: "-" lines of OTHER_CONFIG, "+" of CONFIG'
    )
    add_config_options(parser)
    return parser.parse_args(argv)


def diff(old: Config, new: Config) -> list[str]:
    """Lines for the keys that differ, in order of the key."""
    before, after = flatten(old), flatten(new)
    lines = []
    for key in sorted(before.keys() | after.keys()):
        if key in before and key in after and before[key] == after[key]:
            continue
        lines += [f'- {key} = {before[key]!r}'] if key in before else []
        lines += [f'+ {key} = {after[key]!r}'] if key in after else []
    return lines


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        if args.diff is None:
            print(cfg.pretty_text)
        else:
            print('\n'.join(diff(load_config(args.diff), cfg)) or 'no difference')


if __name__ == '__main__':
    main()
