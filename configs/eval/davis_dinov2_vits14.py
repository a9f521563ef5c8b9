# DAVIS-2017 val: DINOv2's ViT-S/14 under the protocol of DINOv3 at size S; CHECKPOINT is
# dinov2_vits14_pretrain.pth.
_base_ = ['../_base_/models/dinov2_vits14.py', '../_base_/datasets/davis.py', '../_base_/default_runtime.py']
