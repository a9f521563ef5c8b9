"""What the pages beside the configs say: their text, and the variants that are one ``--cfg-options`` away."""

import re
from argparse import ArgumentParser
from pathlib import Path

from stt_mm.engine.cli import add_config_options

ROOT = Path(__file__).parents[1] / 'configs'


def pages():
    """Text of the page of every folder, by the folder's name."""
    return {path.parent.name: path.read_text(encoding='utf-8') for path in sorted(ROOT.glob('*/README.md'))}


def parsed(options):
    """``KEY=VALUE ...`` as the tools read it."""
    parser = ArgumentParser()
    add_config_options(parser)
    return parser.parse_args(['--cfg-options', *options.split()] if options else []).cfg_options


def variants():
    """Config below ``configs/`` and options of every variant that a page states."""
    for page in pages().values():
        for line in page.partition('| variant |')[2].splitlines()[2:]:
            if line.startswith('| '):
                _, configs, options = line.strip('|').split(' | ')
                yield from ((name, options.strip(' `')) for name in re.findall(r'configs/([\w/]+\.py)', configs))
