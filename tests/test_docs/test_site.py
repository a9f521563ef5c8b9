"""The web site of the documentation builds without a warning, and none of its links is dead."""

import importlib.util
import os
import re
import warnings
from pathlib import Path

import pytest
from test_tools.test_command_line import error_of, tool

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def site_tool():
    return tool('docs_site')


@pytest.fixture(scope='module')
def site(site_tool, tmp_path_factory):
    """The built site; where the builder is missing, the tests are skipped with a warning, unless it must be there."""
    if any(importlib.util.find_spec(name) is None for name in ('zensical', 'mkdocstrings')):
        missing = "the web site of the documentation is not tested: pip install -e '.[docs]'"
        assert os.environ.get('STT_MM_SITE') != 'required', missing
        warnings.warn(missing, stacklevel=2)
        pytest.skip(missing)
    out = tmp_path_factory.mktemp('site') / 'site'
    site_tool.main([str(out)])
    return out


@pytest.mark.slow
def test_it_has_the_pages_the_api_and_a_search(site):
    assert 'docs/pictures/carried.webp' in (site / 'index.html').read_text(encoding='utf-8')
    assert (site / 'docs' / 'pictures' / 'carried.webp').is_file()
    api = (site / 'api' / 'stt_mm.apis.html').read_text(encoding='utf-8')
    assert 'id="stt_mm.apis.video_propagator.VideoPropagator.stream"' in api
    assert 'whose length is not known' in api
    assert ':class:' not in api
    assert 'VideoPropagator' in (site / 'search.json').read_text(encoding='utf-8')


@pytest.mark.slow
def test_it_is_read_without_the_internet(site):
    pages = sorted(site.rglob('*.html'))
    assert len(pages) > 20
    for page in pages:
        loaded = re.findall(
            r'<(?:link|script|img|iframe)\b[^>]*(?:href|src)="?(?:https?:)?//[^>]*', page.read_text('utf-8')
        )
        assert not [tag for tag in loaded if 'rel="canonical"' not in tag], page


@pytest.mark.slow
def test_a_dead_link_and_a_dead_anchor_are_found(site_tool, site):
    assert site_tool.dead_links(site) == []
    page = site / 'docs' / 'install.html'
    text = page.read_text(encoding='utf-8')
    extra = '<a href="none.html">a</a><a href="training.html#none">b</a><a href="#none">c</a><img src="none.png">'
    page.write_text(text.replace('</body>', f'{extra}</body>'), encoding='utf-8')
    dead = site_tool.dead_links(site)
    page.write_text(text, encoding='utf-8')
    links = ['none.html', 'training.html#none', '#none', 'none.png']
    assert dead == [f'docs/install.html: {link}' for link in links]


def test_a_page_that_no_menu_lists_is_refused(site_tool, tmp_path, monkeypatch):
    (tmp_path / 'zensical.toml').write_text('nav = ["index.md", "docs/none.md"]', encoding='utf-8')
    monkeypatch.setattr(site_tool, 'SITE', tmp_path)
    with pytest.raises(ValueError, match=r'the menu and the pages differ: .*docs/install\.md.*docs/none\.md'):
        site_tool.copy_pages(tmp_path / 'pages')


def test_only_a_site_is_replaced(tmp_path, capfd):
    (tmp_path / 'file').touch()
    assert 'holds something else than a site' in error_of(capfd, 'docs_site', tmp_path)
    assert (tmp_path / 'file').exists()
