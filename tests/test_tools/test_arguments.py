"""What each tool understands by its arguments: what is usual without them, what they give, and what is refused."""

import importlib.util
import os
import runpy
import signal
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from stt_mm.engine.cli import tool_parser

ROOT = Path(__file__).parents[2]
# Of a training and of an evaluation.
RUN = dict(work_dir=None, seed=None, cfg_options=None, launcher='none', local_rank=0)
# By tool: the shortest command line, what it means, arguments without a value, all others, and what these mean.
LINES = {
    'tools/train': (
        'c.py',
        RUN | dict(config='c.py', resume=None),
        'overwrite amp no-validate auto-scale-lr compile trust-checkpoint',
        '--work-dir w --resume --seed 5 --cfg-options a.b=1 c=x --launcher slurm --local_rank 3',
        dict(work_dir='w', resume='auto', seed=5, cfg_options={'a.b': 1, 'c': 'x'}, launcher='slurm', local_rank=3),
    ),
    'tools/test': (
        'c.py w.pth',
        RUN | dict(config='c.py', checkpoint='w.pth', out=None, dump_masks=None, dump_points=None, prefix=None),
        'overwrite skip-done trust-checkpoint allow-partial allow-other-geometry amp compile',
        '--work-dir w --out o --dump-masks m --dump-points j --prefix net --seed 5 --cfg-options a=1 --launcher mpi '
        '--local-rank 2',
        dict(
            work_dir='w',
            out='o',
            dump_masks='m',
            dump_points='j',
            prefix='net',
            seed=5,
            cfg_options=dict(a=1),
            launcher='mpi',
            local_rank=2,
        ),
    ),
    'tools/print_config': (
        'c.py',
        dict(config='c.py', diff=None, cfg_options=None),
        '',
        '--diff d.py --cfg-options a=1',
        dict(diff='d.py', cfg_options=dict(a=1)),
    ),
    'tools/convert_checkpoint': (
        'a.pth b.pth',
        dict(source='a.pth', out='b.pth', depth=None, prefix=None, publish=False, safetensors=False, protocol=None),
        'trust-checkpoint overwrite fp16',
        '--depth 50 --prefix net',
        dict(depth=50, prefix='net'),
    ),
    'tools/estimate_fisher': (
        'c.py w.pth --out f.pth',
        dict(config='c.py', checkpoint='w.pth', out='f.pth', samples=10000, seed=0, num_workers=2, cfg_options=None),
        'overwrite',
        '--samples 1 --seed 4294967295 --num-workers 0 --cfg-options a=1',
        dict(samples=1, seed=2**32 - 1, num_workers=0, cfg_options=dict(a=1)),
    ),
    'tools/eval_folder': (
        'p g --task davis17',
        dict(
            pred='p',
            gt='g',
            task='davis17',
            out=None,
            workers=1,
            split='val',
            resolution='480p',
            video_list=None,
            seen_categories=None,
            parts=4,
            unseen_videos=None,
            query_mode='first',
            davis_root=None,
        ),
        'allow-faulty sparse',
        '--out o --workers 3 --split train --resolution ""',
        dict(out='o', workers=3, split='train', resolution=''),
    ),
    'tools/extract_frames': (
        'a.mp4 b.mp4 --out o',
        dict(
            videos=[Path('a.mp4'), Path('b.mp4')], out=Path('o'), every=1, short_side=256, max_frames=None, quality=90
        ),
        'overwrite',
        '--every 2 --short-side 1 --max-frames 1 --quality 100',
        dict(every=2, short_side=1, max_frames=1, quality=100),
    ),
    'tools/dataset/make_davis_480_880': (
        'd --out o',
        dict(data_root=Path('d'), out=Path('o')),
        'overwrite',
        '',
        {},
    ),
    'tools/dataset/convert_masks': (
        'm o',
        dict(masks=Path('m'), out=Path('o'), frames=None, layout=None, video=None),
        'overwrite skip-empty',
        '--frames f',
        dict(frames=Path('f')),
    ),
    'tools/make_submission': (
        'p d --task ytv18 --check-only',
        dict(pred=Path('p'), data_root='d', task='ytv18', out=None, check_only=True, split=None),
        '',
        '--split train',
        dict(split='train'),
    ),
    'tools/quickstart': (
        '',
        dict(iters=150, work_dir=Path('work_dirs/quickstart')),
        '',
        '--iters 1000000 --work-dir w',
        dict(iters=10**6, work_dir=Path('w')),
    ),
    'tools/analysis/run_ablation': (
        'c.py --work-dir w',
        dict(
            configs=['c.py'],
            data=None,
            eval_data=None,
            work_dir=Path('w'),
            scale='stt_r18_demo',
            seeds=3,
            iters=None,
            cfg_options=None,
            eval_options=None,
            provide={},
        ),
        'untrained',
        '--scale s --data d --eval-data e --seeds 1 --iters 7 --cfg-options a.b=1 --eval-options c=2 --provide A=b C=d',
        dict(
            scale='s',
            data='d',
            eval_data='e',
            seeds=1,
            iters=7,
            cfg_options={'a.b': 1},
            eval_options=dict(c=2),
            provide=dict(A='b', C='d'),
        ),
    ),
    'tools/analysis/plot_losses': (
        'w v',
        dict(work_dirs=[Path('w'), Path('v')], out=Path('w/losses.png')),
        '',
        '--out a.PNG',
        dict(out=Path('a.PNG')),
    ),
    'tools/analysis/show_matches': (
        'c.py none --frames a b --point 1,2',
        dict(
            config='c.py',
            checkpoints=['none'],
            network=[],
            networks=[('c.py', 'none')],
            labels=None,
            frames=[Path('a'), Path('b')],
            point=[(1.0, 2.0)],
            truth=None,
            masks=None,
            tolerance=None,
            out=Path('matches.png'),
            html=None,
            seed=0,
            device=None,
            cfg_options=None,
            prefix=None,
        ),
        'whole-frame trust-checkpoint allow-partial allow-other-geometry',
        '--network d.py w.pth --labels x y --point 3,4.5 --truth 5,6 7,8 --tolerance 2 --out o.PNG --html h.HTM '
        '--seed 1 --device cpu --cfg-options a=1 --prefix net',
        dict(
            network=[['d.py', 'w.pth']],
            networks=[('c.py', 'none'), ('d.py', 'w.pth')],
            labels=['x', 'y'],
            point=[(1.0, 2.0), (3.0, 4.5)],
            truth=[(5.0, 6.0), (7.0, 8.0)],
            tolerance=2.0,
            out=Path('o.PNG'),
            html=Path('h.HTM'),
            seed=1,
            device='cpu',
            cfg_options=dict(a=1),
            prefix='net',
        ),
    ),
    'tools/show_results': (
        'r f --out o.png',
        dict(
            results=Path('r'),
            frames=Path('f'),
            out=Path('o.png'),
            videos=None,
            columns=5,
            height=160,
            fps=10,
            alpha=0.5,
        ),
        '',
        '--videos a b --columns 2 --height 20 --fps 2.5 --alpha 1',
        dict(videos=['a', 'b'], columns=2, height=20, fps=2.5, alpha=1.0),
    ),
    'tools/analysis/collect_results': (
        'r',
        dict(results=Path('r'), html=None, compare=None),
        'write',
        '--html a.html --compare A B',
        dict(html=Path('a.html'), compare=['A', 'B']),
    ),
    'tools/analysis/protocol_spread': (
        'c.py w.pth --work-dir w',
        dict(config='c.py', checkpoint='w.pth', work_dir=Path('w'), protocols=None, cfg_options=None),
        'trust-checkpoint allow-other-geometry',
        '--protocols a b --cfg-options a=1',
        dict(protocols=['a', 'b'], cfg_options=dict(a=1)),
    ),
    'tools/analysis/doubt': (
        'c.py w.pth d',
        dict(config='c.py', checkpoint='w.pth', data=Path('d'), device=None, cfg_options=None, prefix=None),
        'trust-checkpoint allow-partial allow-other-geometry',
        '--device cuda:1 --prefix net --cfg-options a=1',
        dict(device='cuda:1', prefix='net', cfg_options=dict(a=1)),
    ),
    'tools/analysis/compare_results': (
        'a.json',
        dict(results=[Path('a.json')]),
        '',
        'b.json',
        dict(results=[Path('a.json'), Path('b.json')]),
    ),
    'tools/browse_dataset': (
        'c.py -o o',
        dict(config='c.py', out='o', phase='train', num=10, cfg_options=None),
        'overwrite',
        '--phase test --num 1 --cfg-options a=1',
        dict(phase='test', num=1, cfg_options=dict(a=1)),
    ),
    'demo/propagate': (
        'v.mp4 --points 1,2 --out o.mp4',
        dict(
            video='v.mp4',
            mask=[],
            points=[(0, None, (1.0, 2.0))],
            delete=[],
            delete_points=[],
            direction='forward',
            start=0,
            end=None,
            out=Path('o.mp4'),
            mask_dir=None,
            points_json=None,
            masks_json=None,
            points_npz=None,
            max_frames=None,
            fps=None,
            alpha=0.5,
            config=None,
            checkpoint='stt_r18_demo',
            protocol=None,
            device=None,
            cfg_options=None,
            prefix=None,
        ),
        'overwrite show trust-checkpoint allow-partial allow-other-geometry',
        '--mask a.png 3:b.png --mask 4:c.png --points 5:6,7.5 5:1=2,3 --delete 6:2 '
        '--delete-points 7:0 8:1 --direction both --start 1 --end 10 --mask-dir m --points-json j --fps '
        '12.5 --alpha 1 --config c.py --checkpoint none --protocol p --device cuda:1 --cfg-options a=1 --prefix net',
        dict(
            mask=[(0, 'a.png'), (3, 'b.png'), (4, 'c.png')],
            points=[(0, None, (1.0, 2.0)), (5, None, (6.0, 7.5)), (5, 1, (2.0, 3.0))],
            delete=[(6, 2)],
            delete_points=[(7, 0), (8, 1)],
            direction='both',
            start=1,
            end=10,
            mask_dir=Path('m'),
            points_json=Path('j'),
            fps=12.5,
            alpha=1.0,
            config='c.py',
            checkpoint='none',
            protocol='p',
            device='cuda:1',
            cfg_options=dict(a=1),
            prefix='net',
        ),
    ),
    'tools/dataset/check': (
        'davis17 r',
        dict(dataset='davis17', root=Path('r'), split='val', resolution='480p'),
        'decode',
        '--split train --resolution Full-Resolution',
        dict(split='train', resolution='Full-Resolution'),
    ),
}
_modules = {}


@pytest.fixture
def parse(monkeypatch):
    """Parse a command line of a tool, with a screen to show things on."""
    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    monkeypatch.setattr(sys, 'path', [str(ROOT / 'tools' / 'analysis'), *sys.path])

    def call(name, line):
        if name not in _modules:
            spec = importlib.util.spec_from_file_location(f'arguments_of_{Path(name).name}', ROOT / f'{name}.py')
            _modules[name] = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(_modules[name])
        return vars(_modules[name].parse_args([word.strip('"') for word in line.split()]))

    return call


@pytest.mark.parametrize('name', LINES)
def test_what_is_usual_and_what_is_given(parse, name):
    shortest, usual, flags, rest, given = LINES[name]
    flags = {flag.replace('-', '_'): flag for flag in flags.split()}
    assert parse(name, shortest) == usual | dict.fromkeys(flags, False)
    line = ' '.join([shortest, rest, *(f'--{flag}' for flag in flags.values())])
    assert parse(name, line) == usual | given | dict.fromkeys(flags, True)


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('ytv18 r --all-frames', dict(split='valid', all_frames=True)),
        ('ytv19 r', dict(split='valid', all_frames=False)),
        ('vip r --labels category', dict(split='val', labels=['category'])),
        ('vip r', dict(split='val', labels=('category', 'instance'))),
        ('jhmdb r --split 3', dict(split='3')),
        ('davis16 r', dict(split='val', resolution='480p')),
        ('mose r --split train', dict(split='train')),
        ('lvos1 r', dict(split='valid')),
        ('sav r', dict(split='val')),
        ('tapvid r', dict(split='davis')),
        ('badja r --davis-root d', dict(split='davis', davis_root=Path('d'))),
    ],
)
def test_each_dataset_has_its_own_options(parse, line, expected):
    name, root = line.split()[:2]
    assert parse('tools/dataset/check', line) == dict(dataset=name, root=Path(root), decode=False) | expected


def test_the_rank_of_a_launcher_goes_into_the_environment(parse, monkeypatch):
    for name, line in (('tools/train', 'c.py'), ('tools/test', 'c.py w.pth')):
        monkeypatch.delenv('LOCAL_RANK', raising=False)
        parse(name, f'{line} --local-rank 2')
        assert os.environ['LOCAL_RANK'] == '2'
        parse(name, f'{line} --local-rank 3')
        assert os.environ['LOCAL_RANK'] == '2'


def test_usual_values_of_a_list_are_shown_as_they_are_typed():
    parser = tool_parser('', '')
    parser.add_argument('--strides', nargs='+', default=(8, 4), help='of the features')
    assert 'of the features (default: 8 4)' in parser.format_help()


def test_what_depends_on_other_arguments(parse):
    ytv = parse('tools/eval_folder', 'p g --task ytv --video-list v --seen-categories s')
    assert [ytv[key] for key in ('split', 'video_list', 'seen_categories')] == ['train', 'v', 's']
    submission = parse('tools/make_submission', 'p d --task davis17-test-dev --out o.ZIP')
    assert (submission['out'], submission['check_only']) == (Path('o.ZIP'), False)
    assert parse('tools/train', 'c.py --resume a.pth')['resume'] == 'a.pth'


@pytest.mark.parametrize(
    ('name', 'line', 'message'),
    [
        ('tools/make_submission', 'p d --task ytv18 --out o.tar', 'a submission is a .zip file, got --out o.tar'),
        ('tools/make_submission', 'p d --task ytv18', 'give either --out FILE.zip or --check-only'),
        ('tools/make_submission', 'p d --task ytv18 --out o.zip --check-only', 'give either --out FILE.zip or'),
        ('tools/make_submission', 'p.zip d --task ytv18 --out o.zip', 'p.zip is a zip file already; --check-only'),
        ('tools/eval_folder', 'p g --task davis17 --workers 0', '--workers: must be 1 or more, got 0'),
        ('tools/eval_folder', 'p g --task vip --video-list v', '--video-list is for --task ytv, mose, lvos, sav'),
        ('tools/eval_folder', 'p g --task davis16 --seen-categories s', '--seen-categories is for --task ytv'),
        ('tools/eval_folder', 'p g --task ytv --sparse', '--sparse and --resolution are for the tasks of DAVIS'),
        ('tools/eval_folder', 'p g --task vip --resolution 480p', '--sparse and --resolution are for the tasks'),
        *(
            ('tools/extract_frames', f'a --out o --{name} 0', f'--{name}: must be 1 or more, got 0')
            for name in ('every', 'short-side', 'max-frames')
        ),
        ('tools/extract_frames', 'a --out o --quality 0', '--quality: must be 1 to 100, got 0'),
        ('tools/extract_frames', 'a --out o --quality 101', '--quality: must be 1 to 100, got 101'),
        ('tools/quickstart', '--iters 0', '--iters: must be 1 or more, got 0'),
        ('tools/estimate_fisher', 'c w --out f --seed 4294967296', '--seed: must be 0 to 4294967295, got 4294967296'),
        ('tools/estimate_fisher', 'c w --out f --seed -1', '--seed: must be 0 to'),
        ('tools/estimate_fisher', 'c w --out f --samples 0', '--samples: must be 1 or more, got 0'),
        ('tools/estimate_fisher', 'c w --out f --samples many', "--samples: invalid integer value: 'many'"),
        ('tools/estimate_fisher', 'c w --out f --num-workers -1', '--num-workers: must be 0 or more, got -1'),
        *(
            ('tools/analysis/run_ablation', f'c.py --work-dir w --{name} {value}', message)
            for name, value, message in (
                *((name, 0, f'--{name}: must be 1 or more, got 0') for name in ('seeds', 'iters')),
                *(('provide', text, f"expected VARIABLE=CONFIG, got '{text}'") for text in ('A', '=b', 'A=')),
            )
        ),
        ('tools/analysis/run_ablation', 'a=1 c.py --work-dir w', 'a=1 stands before the first config'),
        ('tools/browse_dataset', 'c.py -o o -n 0', '-n/--num: must be 1 or more, got 0'),
        ('tools/browse_dataset', 'c.py -o o -p validation', "argument -p/--phase: invalid choice: 'validation'"),
        ('tools/browse_dataset', 'c.py', 'required: -o/--out'),
        ('tools/dataset/check', '', 'required: DATASET'),
        ('tools/dataset/check', 'davis17 r --labels category', 'unrecognized arguments: --labels category'),
        ('tools/dataset/check', 'davis17 r --all-frames', 'unrecognized arguments: --all-frames'),
        ('tools/dataset/check', 'vip r --resolution 480p', 'unrecognized arguments: --resolution 480p'),
        ('tools/dataset/check', 'ytv18 r --split val', "argument --split: invalid choice: 'val'"),
        ('tools/convert_checkpoint', 'a b --publish --overwrite', '--publish takes any backbone'),
        ('tools/convert_checkpoint', 'a b --depth 34', 'argument --depth: invalid choice: 34'),
        ('tools/make_submission', 'p d --check-only', 'required: --task'),
        ('tools/eval_folder', 'p g', 'required: --task'),
        ('tools/extract_frames', 'a.mp4', 'required: --out'),
        ('tools/estimate_fisher', 'c w', 'required: --out'),
        ('tools/make_submission', 'p.ZIP d --task ytv18 --out o.zip', 'p.ZIP is a zip file already; --check-only'),
        ('tools/analysis/plot_losses', 'w --out a.jpg', 'the picture is a .png file, got --out a.jpg'),
        *(
            ('tools/analysis/show_matches', f'{line} --frames a b --point 1,2', message)
            for line, message in (
                ('', 'there is no network: give CONFIG CKPT'),
                ('c.py', 'c.py needs weights: CONFIG CKPT'),
                ('c.py w --labels a b', '--labels must be one for each of 1 networks, got 2'),
                ('c.py w --truth 1,2 3,4', '--truth must be one for each of 1 points, got 2'),
                ('c.py w --truth 1,2 --masks a b', '--masks: not allowed with argument --truth'),
                ('c.py w --tolerance 3', '--tolerance is a distance from --truth'),
                ('c.py w --truth 1,2 --tolerance -1', '--tolerance: must be 0 or more, got -1'),
                ('c.py w --out a.jpg', 'the picture is a .png file, got --out a.jpg'),
                ('c.py w --truth 1', "'1' is no point; expected two numbers x,y"),
            )
        ),
        ('tools/analysis/show_matches', 'c.py w --frames a b', 'required: --point'),
        ('tools/show_results', 'r f', 'required: --out'),
        ('tools/show_results', 'r f --out o.png --columns 0', '--columns: must be 1 or more, got 0'),
        ('tools/show_results', 'r f --out o.png --height 15', '--height: must be 16 to 4096, got 15'),
        ('demo/propagate', 'v --out o', 'there is nothing to follow: give --mask or --points'),
        (
            'demo/propagate',
            'v --mask a.png',
            'say where the results go: --out, --mask-dir, --points-json, --masks-json',
        ),
        ('demo/propagate', 'v --mask a.png --show --fps 3', '--fps is that of the video to write: give --out'),
        ('demo/propagate', 'v --mask a.png b.png --show', 'two masks are for one frame'),
        ('demo/propagate', 'v --mask a.png --show --alpha 1.1', '--alpha: must be 0 to 1, got 1.1'),
        ('demo/propagate', 'v --mask a.png --show --alpha -0.1', '--alpha: must be 0 to 1, got -0.1'),
        ('demo/propagate', 'v --mask x:a.png --show', "'x' is no frame number"),
        ('demo/propagate', 'v --points 1 --show', "'1' is no point; expected x,y or FRAME:x,y"),
        ('demo/propagate', 'v --points 1,2,3 --show', "'1,2,3' is no point"),
        ('demo/propagate', 'v --mask a.png --out o --fps 0', 'argument --fps'),
        ('demo/propagate', 'v --points 3:x=1,2 --show', "'3:x=1,2' is no point"),
        ('demo/propagate', 'v --mask a.png --show --delete 3', "expected FRAME:NUMBER such as 60:2, got '3'"),
        ('demo/propagate', 'v --mask a.png --show --start 5 --end 5', '--end is a frame after --start'),
        ('demo/propagate', 'v --mask a.png --show --max-frames 5 --end 5', 'takes the place of --max-frames'),
        ('demo/propagate', 'v --mask a.png --show --direction up', "invalid choice: 'up'"),
    ],
)
def test_what_is_refused(parse, capsys, name, line, message):
    with pytest.raises(SystemExit, match='2'):
        parse(name, line)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('name', 'line'),
    [
        ('demo/propagate', 'v --mask a.png --mask-dir m --alpha 0'),
        ('demo/propagate', 'v --points 1,2 --points-json j'),
        ('demo/propagate', 'v --mask dir/x:a.png --show'),
        ('tools/extract_frames', 'a --out o --quality 1'),
        ('tools/analysis/run_ablation', 'c.py a=1 d.py --work-dir w'),
    ],
)
def test_what_is_just_possible(parse, name, line):
    parse(name, line)


@pytest.mark.parametrize('name', LINES)
def test_each_tool_runs_as_a_script_and_explains_its_arguments(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, 'argv', [name, '--help'])
    monkeypatch.setattr(sys, 'path', [str(ROOT / 'tools' / 'analysis'), *sys.path])
    taken, before = {}, signal.signal
    monkeypatch.setattr(signal, 'signal', lambda number, handler: taken.update({number: handler}))
    with pytest.raises(SystemExit, match='0'):
        runpy.run_path(str(ROOT / f'{name}.py'), run_name='__main__')
    monkeypatch.setattr(signal, 'signal', before)
    text = capsys.readouterr().out
    assert f'python {name}.py ' in text
    for line, after in pairwise(text.splitlines()):
        if line.startswith('  -'):
            assert '  ' in line.strip() or after.startswith(' ' * 20), f'{line} is not explained'
    # What starts other tools ends by SIGTERM as by Ctrl-C, and ends them.
    assert list(taken) == ([signal.SIGTERM] if name.endswith(('run_ablation', 'protocol_spread')) else [])
    for handler in taken.values():
        with pytest.raises(KeyboardInterrupt):
            handler(signal.SIGTERM, None)


@pytest.mark.parametrize('name', ['tools/quickstart', 'tools/analysis/collect_results', 'tools/analysis/run_ablation'])
def test_a_tool_finds_its_repository_through_a_link(monkeypatch, tmp_path, name):
    monkeypatch.setattr(sys, 'path', [str(ROOT / 'tools' / 'analysis'), *sys.path])
    (tmp_path / 'link.py').symlink_to(ROOT / f'{name}.py')
    spec = importlib.util.spec_from_file_location('link', tmp_path / 'link.py')
    module = sys.modules['link'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    del sys.modules['link']
    assert module.ROOT == ROOT


@pytest.mark.parametrize(('variable', 'refused'), [('DISPLAY', False), ('WAYLAND_DISPLAY', False), (None, True)])
def test_a_window_needs_a_screen(parse, monkeypatch, capsys, variable, refused):
    monkeypatch.setattr(sys, 'platform', 'linux')
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    if refused:
        with pytest.raises(SystemExit, match='2'):
            parse('demo/propagate', 'v --mask a.png --show')
        assert '--show needs a screen' in capsys.readouterr().err
    else:
        monkeypatch.setenv(variable, '0')
        parse('demo/propagate', 'v --mask a.png --show')
    parse('demo/propagate', 'v --mask a.png --out o.mp4')
