# DAVIS-2017 test-dev: masks and a zip for the server, ResNet-18 at stride 8 under STT's protocol.
_base_ = [
    '../_base_/models/propagation_r18_s8.py',
    '../_base_/datasets/davis_test_dev.py',
    '../_base_/default_runtime.py',
]
