# The network of MAST: a ResNet-18 at stride 4 that ends in 64 channels.
model = dict(
    backbone=dict(
        type='CorrespondenceResNet',
        depth=18,
        geometry='stride4_mast',
        widths=(64, 128, 256, 256),
        projection=64,
        out_indices=(),
    ),
    feature_stage='projection',
)
