"""Build the web site of the documentation, with search and the API."""

import argparse
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stt_mm.engine.cli import one_line_errors, tool_parser
from stt_mm.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / 'docs' / 'site'
PAGES = ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs/*.md', 'configs/*/README.md', 'demo/README.md')
# Packages whose public names are listed, with what the list is called.
API = {
    'stt_mm.apis': 'Videos of your own',
    'stt_mm.models': 'Models',
    'stt_mm.datasets': 'Datasets',
    'stt_mm.datasets.transforms': 'Transforms',
    'stt_mm.evaluation.metrics': 'Metrics',
    'stt_mm.evaluation.functional': 'Scores of arrays',
    'stt_mm.protocols': 'Protocols',
    'stt_mm.ops': 'Operations on tensors',
    'stt_mm.engine': 'Runs',
    'stt_mm.visualization': 'Drawing',
    'stt_mm.utils': 'Files',
}
LINK = re.compile(r'(?<!`)\[(?:[^\]\n]|\n(?!\n))*\]\(([^)\s]+)\)')
EPILOG = """example:
  python tools/docs_site.py work_dirs/site && python -m http.server -d work_dirs/site

Needs the extra docs (pip install -e '.[docs]'). A page that no menu lists, a warning of the builder, and a dead
link or anchor are errors."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('out', type=Path, metavar='OUT', help='folder of the site; a site that is there is replaced')
    return parser.parse_args(argv)


def copy_pages(target: Path) -> None:
    """The pages in their places, and every file that they link to."""
    pages = [page for pattern in PAGES for page in sorted(ROOT.glob(pattern))]
    listed = re.findall(r'"([^"]+\.md)"', (SITE / 'zensical.toml').read_text(encoding='utf-8'))
    names = ['index.md' if page == ROOT / 'README.md' else page.relative_to(ROOT).as_posix() for page in pages]
    if odd := sorted({*names} ^ {*listed}):
        raise InputError(f'{SITE / "zensical.toml"}: the menu and the pages differ: {", ".join(odd)}.')
    for page, name in zip(pages, names, strict=True):
        text = page.read_text(encoding='utf-8')
        for link in LINK.findall(text):
            path = (page.parent / urlsplit(link).path).resolve()
            if urlsplit(link).scheme or path in pages or path == page.parent or not path.is_file():
                continue  # what does not exist is found in the site
            copy = target / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(
            re.sub(r'```python (?:title|append)=(\S+)', r'```{.python title="\1"}', text), encoding='utf-8'
        )


def write_api(target: Path) -> list[str]:
    """A page for each package of ``API``; returns their lines in the menu."""
    target.mkdir()
    for package, title in API.items():
        names = sorted(importlib.import_module(package).__all__, key=lambda name: (not name[0].isupper(), name.lower()))
        module = importlib.import_module(package)
        lines = [f'# {title}', '', (module.__doc__ or '').strip(), '']
        for name in names:
            value = getattr(module, name)
            if callable(value) and value.__module__.startswith('stt_mm'):
                lines.append(f'::: {value.__module__}.{value.__qualname__}\n')
        (target / f'{package}.md').write_text('\n'.join(lines), encoding='utf-8')
    return [f'    {{ "{title}" = "api/{package}.md" }},' for package, title in API.items()]


def build(work: Path) -> Path:
    """The site, built in a folder of its own; a warning is an error."""
    copy_pages(work / 'pages')
    menu = write_api(work / 'pages' / 'api')
    config = (SITE / 'zensical.toml').read_text(encoding='utf-8')
    text = config.replace('  { "API" = [\n', '  { "API" = [\n' + ''.join(f'{line}\n' for line in menu))
    (work / 'zensical.toml').write_text(
        text.replace('paths = ["."]', f'paths = ["{ROOT.as_posix()}"]'), encoding='utf-8'
    )
    shutil.copy(SITE / 'roles.py', work)
    result = subprocess.run(
        [sys.executable, '-m', 'zensical', 'build', '--strict'], cwd=work, capture_output=True, text=True
    )
    if result.returncode or 'warning' in result.stderr.lower():
        raise InputError(f'zensical build --strict failed: {result.stdout[-3000:]}{result.stderr[-3000:]}')
    return work / 'site'


class Page(HTMLParser):
    """Anchors and links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links = {''}, []
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ('id', 'name') and value:
                self.anchors.add(value)
            elif name in ('href', 'src') and value:
                self.links.append(value)


def dead_links(site: Path) -> list[str]:
    """Links inside a site to files or anchors that do not exist, as ``page: link``."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob('*.html'))}
    dead = []
    for path, page in pages.items():
        if path.name == '404.html':
            continue  # its links begin at the address of the site
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / 'index.html' if target.is_dir() else target
            anchors = pages[target].anchors if target in pages else None
            if not target.is_file() or anchors is not None and unquote(parts.fragment) not in anchors:
                dead.append(f'{path.relative_to(site.resolve())}: {link}')
    return dead


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        if missing := [name for name in ('zensical', 'mkdocstrings') if find_spec(name) is None]:
            raise InputError(f"{', '.join(missing)} not installed: pip install -e '.[docs]'.")
        if args.out.exists() and not (args.out / 'index.html').is_file() and any(args.out.iterdir()):
            raise InputError(f'{args.out} holds something else than a site. Name another folder.')
        with tempfile.TemporaryDirectory() as work:
            site = build(Path(work))
            if dead := dead_links(site):
                raise InputError(f'{len(dead)} links lead to nothing: {"; ".join(dead)}')
            shutil.rmtree(args.out, ignore_errors=True)
            shutil.copytree(site, args.out)
    print(f'{sum(1 for _ in args.out.rglob("*.html"))} pages in {args.out}')


if __name__ == '__main__':
    main()
