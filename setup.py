"""Installation of stt_mm. ``pip install -e .[dev]`` is all that is needed."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """The version, read without importing the package (its dependencies may not be installed yet)."""
    return (ROOT / 'stt_mm' / 'version.py').read_text().split("'")[1]


# Parts of the package that stand beside it in the repository.
BESIDE = [
    'stt_mm.configs',
    'stt_mm.demo',
    'stt_mm.tools',
    *(f'stt_mm.tools.{part}' for part in ('analysis', 'benchmarks', 'dataset')),
]
# requirements/minimum.txt pins each lower bound, and `bash tools/run_tests.sh --minimum` runs the suite with them.
TIMM = ['timm>=1.0.20']
# Masks are read and written without it; with it the tests compare.
COCO = ['pycocotools>=2.0.11']
# Drives a browser, which is not part of it: the page of stt_mm.app itself needs nothing but Python.
BROWSER = ['playwright>=1.49']
# tools/docs_site.py and tools/model_zoo.py.
DOCS = ['zensical>=0.0.67', 'mkdocstrings-python>=2.0.9', 'pymdown-extensions>=12.1', 'pyyaml>=6.0.2']
TESTS = [
    'pytest>=8',
    'pytest-xdist>=3.5',
    'pytest-timeout>=2.3.1',
    'hypothesis>=6.100',
    'scipy>=1.12',
    'ruff>=0.17.6',
    # With it a test builds the wheel.
    'setuptools>=70.1',
    # They run the notebook.
    'nbclient>=0.11',
    'ipykernel>=7.3',
    *TIMM,
    *COCO,
    *BROWSER,
    *DOCS,
]

setup(
    name='stt_mm',
    version=version(),
    description='Self-supervised video correspondence: spatial-then-temporal learning and label propagation',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    # A wheel carries configs/, tools/ and what of demo/ is no data as parts of the package; a checkout is read where it
    # stands (stt_mm.utils.config_path).
    packages=[*find_packages(include=['stt_mm', 'stt_mm.*']), *BESIDE],
    package_dir={package: package.removeprefix('stt_mm.').replace('.', '/') for package in BESIDE},
    package_data={
        'stt_mm.configs': ['**/*.py'],
        'stt_mm.app': ['static/*'],
        'stt_mm.datasets': ['manifests/*.json'],
        'stt_mm.ops': ['*.c'],
        'stt_mm.demo': ['stt_r18_demo-*.pth'],
    },
    entry_points={'console_scripts': ['stt-mm = stt_mm.cli:main']},
    install_requires=[
        'torch>=2.6',
        'torchvision>=0.21',
        'mmengine>=0.10.5,<0.11',
        'mmcv-lite>=2.1',
        'mmpretrain>=1.2',
        'numpy>=1.26',
        'opencv-python>=4.10.0.84',
        'av>=17.1',
        'pillow>=10.3',
        'safetensors>=0.4.5',
        'simplejpeg>=1.7.6',
        'rich>=13',
        'matplotlib>=3.8',
        'tensorboard>=2.17',
    ],
    # The page of stt_mm.app needs nothing besides: `.[app]` is `.`.
    extras_require={
        'app': [],
        'timm': TIMM,
        'coco': COCO,
        'docs': DOCS,
        'tests': TESTS,
        'dev': [*TESTS, 'pre-commit>=3'],
    },
)
