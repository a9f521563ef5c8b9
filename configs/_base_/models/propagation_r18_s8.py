# A ResNet-18 at stride 8, evaluated by label propagation; loads any recognised checkpoint.
model = dict(
    type='Correspondence',
    backbone=dict(type='CorrespondenceResNet', depth=18, geometry='stride8', out_indices=(2,)),
    propagator=dict(type='LabelPropagator', protocol=dict(name='stt_davis_s8')),
    feature_stage='res4',
)
