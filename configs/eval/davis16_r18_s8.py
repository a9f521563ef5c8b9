# DAVIS-2016 val, one object per video: ResNet-18 at stride 8 under STT's protocol.
_base_ = ['../_base_/models/propagation_r18_s8.py', '../_base_/datasets/davis_2016.py', '../_base_/default_runtime.py']
