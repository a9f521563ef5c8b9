"""What the files of ``tools`` and ``demo`` are called as commands of ``stt-mm``."""

import re

# Tools whose commands have a name of their own.
_SHORT = {
    'eval_folder': 'eval',
    'convert_checkpoint': 'convert',
    'browse_dataset': 'browse',
    'check': 'check-data',
}
_CALL = re.compile(r'python (?:tools|demo)/(?:\w+/)?(\w+)\.py')


def command_name(stem: str) -> str:
    """The command that runs a file, by the file's name without ``.py``."""
    return _SHORT.get(stem, stem.replace('_', '-'))


def as_commands(text: str) -> str:
    """A text whose calls ``python tools/test.py`` are ``stt-mm test``, as they are typed outside of a checkout."""
    return _CALL.sub(lambda call: f'stt-mm {command_name(call[1])}', text)
