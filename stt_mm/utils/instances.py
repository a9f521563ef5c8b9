"""Which category the instances of a mask belong to, as VIP writes it beside its masks."""

from pathlib import Path

from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.text import read_words


def read_instance_categories(path: str | Path) -> dict[int, int]:
    """The category of each instance, from lines ``id category``."""
    try:
        lines = read_words(path)
    except FileNotFoundError:
        raise MissingInputError(f'Instance list not found: {path}.') from None
    # Python refuses to read numbers of thousands of digits.
    broken = [words for words in lines if len(words) != 2 or not all(w.isdecimal() and len(w) < 10 for w in words)]
    if broken:
        raise InputError(f'{path}: expected lines "id category", got {" ".join(broken[0])!r}.')
    categories = {int(number): int(category) for number, category in lines}
    if len(categories) < len(lines):
        raise InputError(f'{path}: {len(lines)} lines for {len(categories)} instances. Expected one line for each.')
    return categories
