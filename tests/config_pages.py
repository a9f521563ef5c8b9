"""What the pages beside the configs say: their text, and the variants that are one ``--cfg-options`` away."""

import re
from argparse import ArgumentParser
from pathlib import Path

from stt_mm.engine.cli import add_config_options

ROOT = Path(__file__).parents[1] / 'configs'
# A config with options in a cell of a table.
COMMAND = re.compile(r'`[^`\n]*?configs/([\w/]+\.py)[^`\n]*? --cfg-options ([^`\n]+)`')


def pages():
    """Text of the page of every folder, by the folder's name."""
    return {path.parent.name: path.read_text(encoding='utf-8') for path in sorted(ROOT.glob('*/README.md'))}


def parsed(options):
    """``KEY=VALUE ...`` as the tools read it."""
    parser = ArgumentParser()
    add_config_options(parser)
    return parser.parse_args(['--cfg-options', *options.split()] if options else []).cfg_options


def variants():
    """Config below ``configs/`` and options of every variant that a page states, and of every row that has some."""
    found = []
    for page in pages().values():
        rows, _, table = page.partition('| variant |')
        found += COMMAND.findall(rows)
        for line in table.splitlines()[2:]:
            if line.startswith('| '):
                _, configs, options = line.strip('|').split(' | ')
                found += ((name, options.strip(' `')) for name in re.findall(r'configs/([\w/]+\.py)', configs))
    return list(dict.fromkeys(found))
