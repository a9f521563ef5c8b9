"""The rows of the tables of both papers, with their scores."""

# The rows of each table of the STT paper, as it has them, with their scores.
STT = {
    't1': '1 64.9, 2 65.6, 3 68.4, 4 69.3',
    't2': 'spatial 66.5, temporal 67.5, joint 68.6, stt-no-global 69.4, stt-ewc 69.6, stt 71.3, tts 66.9, tts-ewc 67.0',
    't3': 'moco-r18 60.8 (58.6 / 63.1), simsiam-r18 62.0 (60.0 / 64.0), colorization 34.0 (34.6 / 32.7), '
    'corrflow 50.3 (48.4 / 52.2), mug 54.3 (52.6 / 56.1), uvc-r18 59.5 (57.7 / 61.3), '
    'contrastcorr 63.0 (60.5 / 65.5), vfs-r18 66.7 (64.0 / 69.4), crw 67.6 (64.8 / 70.2), jstg 68.7 (65.8 / 71.6), '
    'clsc 70.5 (67.4 / 73.6), sfc 67.7 (64.7 / 70.5), dul 69.3 (67.1 / 71.6), cltc 70.3 (67.9 / 72.6), '
    'temporal-r18 69.3 (66.7 / 71.9), ours-r18 70.7 (68.0 / 73.5), mast 65.5 (63.3 / 67.6), mamp 69.7 (68.3 / 71.2), '
    'liir 72.1 (69.7 / 74.5), temporal-r18-s4 72.5 (69.9 / 75.1), ours-r18-s4 73.6 (70.7 / 76.4), '
    'moco-r50 65.4 (63.2 / 67.6), simsiam-r50 66.3 (64.5 / 68.2), timecycle 40.7 (41.9 / 39.4), '
    'uvc-r50 56.3 (54.5 / 58.1), vince 65.6 (63.4 / 67.8), vfs-r50 68.9 (66.5 / 71.3), ours-r50 71.3 (68.5 / 74.0), '
    'ours-r50-s4 74.1 (71.1 / 77.1), sfc-fusion 71.2 (68.3 / 74.0), fusion 72.1 (69.5 / 74.7), '
    'supervised-r18 62.9 (60.6 / 65.2), supervised-r50 66.0 (63.7 / 68.4), onavos 65.4 (61.6 / 69.1), '
    'osvos-s 68.0 (64.7 / 71.3), feelvos 71.5 (69.1 / 74.0)',
    't4': 'vip-timecycle 28.9, jhmdb-timecycle 57.3 / 78.1, vip-uvc 34.1, jhmdb-uvc 58.6 / 79.6, vip-sfc 34.0, '
    'jhmdb-sfc 59.3 / 80.8, vip-crw 38.6, jhmdb-crw 59.3 / 80.3, vip-contrastcorr 37.4, '
    'jhmdb-contrastcorr 61.1 / 80.8, vip-vfs 39.9, jhmdb-vfs 60.5 / 79.5, vip-cltc 37.8, jhmdb-cltc 60.5 / 82.3, '
    'vip-jstg 40.2, jhmdb-jstg 61.4 / 85.3, vip-clsc 40.8, jhmdb-clsc 61.7 / 82.6, vip-ours-r18 41.0, '
    'jhmdb-ours-r18 63.1 / 82.9, vip-supervised 31.9, jhmdb-supervised 53.8 / 74.6, vip-aten 37.9, '
    'jhmdb-tsn 68.7 / 92.1',
}
# The rows of each table of the LIIR paper, as it has them.
LIIR = {
    't1': 'colorization corrflow timecycle uvc mug mast crw contrastcorr vfs jstg cltc dino liir supervised osvos '
    'feelvos stm',
    't2': 'colorization corrflow mast cltc liir osvos premvos stm',
    't3': 'timecycle uvc crw contrastcorr vfs cltc jstg liir supervised aten tsn',
    't4': 'baseline inter position compact all',
    't5a': '0 480 960 1440',
    't5b': 'none 2dspe 1dape 2dape',
    't5c': 'none shuffling shifting',
    't5d': 'neither training inference both',
    'ta1': '1 2 3 4 5 6 7 8 9 10 11 12 13',
    'tc1': '1440x1 1440x2 480x12 960x6 1440x4',
}
# Their scores, in the same order.
LIIR_SCORES = {
    't1': '34.0 50.3 48.7 60.9 54.3 65.5 68.3 63.0 66.7 68.7 70.3 71.4 72.1 62.9 60.3 71.5 81.8',
    't2': '38.9 46.6 64.2 67.3 69.3 58.8 66.9 79.4',
    't4': '65.3;35.2 68.7;38.4 66.9;37.0 68.4;37.2 72.1;41.2',
    't5a': '69.2;38.4 70.9;39.8 71.7;41.0 72.1;41.2',
    't5b': '70.9;40.3 70.6;40.2 72.1;41.2 71.9;41.1',
    't5c': '71.3;40.6 71.8;41.0 72.1;41.2',
    't5d': '69.8;39.6 71.5;40.8 70.8;40.3 72.1;41.2',
    'ta1': '69.8;39.6 69.4;39.3 69.0;39.1 69.6;39.4 69.6;39.4 71.5;40.8 71.2;40.4 72.1;41.2 71.9;41.2 71.3;40.7 '
    '71.1;40.4 71.7;40.9 71.6;40.8',
    'tc1': '70.4 71.4 70.9 71.7 72.1',
}
