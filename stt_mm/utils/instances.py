"""Which category the instances of a mask belong to, as VIP writes it beside its masks."""

from pathlib import Path

from stt_mm.errors import InputError, MissingInputError


def read_instance_categories(path: str | Path) -> dict[int, int]:
    """The category of each instance, from lines ``id category``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line of another form, or an id with two lines.
    """
    try:
        lines = [line.split() for line in Path(path).read_text(encoding='utf-8').splitlines() if line.strip()]
    except FileNotFoundError:
        raise MissingInputError(f'Instance list not found: {path}.') from None
    broken = [words for words in lines if len(words) != 2 or not all(word.isdecimal() for word in words)]
    if broken:
        raise InputError(f'{path}: expected lines "id category", got {" ".join(broken[0])!r}.')
    categories = {int(number): int(category) for number, category in lines}
    if len(categories) < len(lines):
        raise InputError(f'{path}: {len(lines)} lines for {len(categories)} instances. Expected one line for each.')
    return categories
