"""Check the published files in a metafile, and write the page of the model zoo."""

import argparse
import textwrap
from pathlib import Path

import yaml

from stt_mm.engine.cli import one_line_errors, tool_parser
from stt_mm.errors import InputError
from stt_mm.utils.checkpoint import read_checkpoint, write_atomically

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'model_zoo.md'
EPILOG = """examples:
  python tools/model_zoo.py                          check demo/metafile.yml and its files, print the page
  python tools/model_zoo.py --write                  and write docs/model_zoo.md

A metafile lists models as those of OpenMMLab do: Name, Config, Weights, Metadata (Method, Training Data,
Iterations, Seed, Log, Command) and Results (Dataset, Metrics, Command). Size and network come from the files."""
FIELDS = {
    'Name': str,
    'Config': str,
    'Weights': str,
    'Metadata': {'Method': str, 'Training Data': str, 'Iterations': int, 'Seed': int, 'Log': str, 'Command': str},
    'Results': list,
}
RESULT = {'Dataset': str, 'Metrics': dict, 'Command': str}
INTRO = """# Model zoo

The weights that come with the toolbox. Each file is named after the first eight digits of its SHA-256, holds only
tensors and plain data, and describes its own network ([checkpoints](checkpoints.md)). `python tools/model_zoo.py
--write` writes this page from `demo/metafile.yml` and the files, and checks their digests.

Checkpoints of other projects are read as they are ([which ones](checkpoints.md#what-can-be-read)); the
[leaderboard](leaderboard.md) has the scores that their authors published.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument(
        '--metafile',
        type=Path,
        default=ROOT / 'demo' / 'metafile.yml',
        help='metafile to check (default: demo/metafile.yml)',
    )
    parser.add_argument('--write', action='store_true', help='write docs/model_zoo.md')
    return parser.parse_args(argv)


def checked(entry: object, fields: dict, where: str) -> dict:
    """An entry with exactly these fields, of these types."""
    if not isinstance(entry, dict) or entry.keys() != fields.keys():
        found = ', '.join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
        raise InputError(f'{where}: expected the fields {", ".join(fields)}, found {found}.')
    for name, kind in fields.items():
        if isinstance(kind, dict):
            checked(entry[name], kind, f'{where}: {name}')
        elif not isinstance(entry[name], kind) or not entry[name] and entry[name] != 0:
            raise InputError(f'{where}: {name} is {entry[name]!r}, expected {kind.__name__}.')
    return entry


def read_models(path: Path) -> list[dict]:
    """The models of a metafile; every file that they name is there."""
    try:
        models = yaml.safe_load(path.read_text(encoding='utf-8'))['Models']
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(
            f'{path} cannot be read as a metafile with a list of Models: {" ".join(str(error).split())}'
        ) from error
    for model in models:
        where = f'{path}: {model.get("Name") if isinstance(model, dict) else model}'
        checked(model, FIELDS, where)
        for result in model['Results']:
            checked(result, RESULT, f'{where}: Results')
        for name in (model['Config'], model['Weights'], model['Metadata']['Log']):
            if not (ROOT / name).is_file():
                raise InputError(f'{where}: {name} does not exist.')
    return models


def section(model: dict) -> str:
    """The part of the page about a model."""
    path = ROOT / model['Weights']
    checkpoint = read_checkpoint(path)  # compares the file with the digest in its name
    weights, geometry = checkpoint['state_dict'], checkpoint['meta']['geometry']
    about = model['Metadata']
    count = sum(
        tensor.numel() for name, tensor in weights.items() if 'running_' not in name and 'num_batches' not in name
    )
    network = f'{geometry["network"]}-{geometry["depth"]} up to {geometry["stage"]}, {geometry["color"]}'
    rows = {
        'file': f'[{path.name}](../{model["Weights"]})',
        'size': f'{path.stat().st_size / 1e6:.1f} MB',
        'parameters': f'{count / 1e6:.2f} million, {checkpoint["meta"]["dtype"]}',
        'SHA-256 begins with': f'`{path.stem.rpartition("-")[2]}`',
        'network': f'{network}; strides {", ".join(map(str, geometry["strides"]))}, pool {geometry["pool"]}',
        'method': about['Method'],
        'config': f'[{model["Config"]}](../{model["Config"]})',
        'training data': about['Training Data'],
        'iterations, seed': f'{about["Iterations"]:,}, {about["Seed"]}',
        'log': f'[{Path(about["Log"]).name}](../{about["Log"]})',
    }
    lines = [
        f'\n## {model["Name"]}\n',
        '| about | value |',
        '| --- | --- |',
        *(f'| {key} | {text} |' for key, text in rows.items()),
    ]
    for result in model['Results']:
        metrics = result['Metrics']
        lines += ['', f'| {result["Dataset"]} | {" | ".join(metrics)} |', f'| --- |{" --- |" * len(metrics)}']
        lines += [f'| | {" | ".join(map(str, metrics.values()))} |', '', *block(result['Command'])]
    lines += ['', 'The training:', '', *block(about['Command'])]
    return '\n'.join(lines) + '\n'


def block(command: str) -> list[str]:
    wrapped = textwrap.wrap(command, 110, break_long_words=False, break_on_hyphens=False, subsequent_indent='    ')
    return ['```bash', ' \\\n'.join(wrapped), '```']


def page(models: list[dict]) -> str:
    return INTRO + ''.join(map(section, models))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        text = page(read_models(args.metafile))
        if args.write:
            write_atomically(text.encode(), PAGE)
            print(f'{PAGE} written')
        else:
            print(text, end='')


if __name__ == '__main__':
    main()
