# ResNet-18 at stride 8 under STT's DAVIS protocol; loads any recognised checkpoint.
_base_ = ['../_base_/datasets/davis.py', '../_base_/default_runtime.py']
model = dict(
    type='Correspondence',
    data_preprocessor=dict(type='ClipDataPreprocessor'),
    backbone=dict(type='CorrespondenceResNet', depth=18, pool='none', strides=(1, 2, 2), out_indices=(2, )),
    propagator=dict(
        type='LabelPropagator',
        protocol='stt_davis_s8',
        version=1,
        radius=12,
        topk=10,
        temperature=0.07,
        num_context=20),
    feature_stage='res4')
