# DAVIS-2017 val: DINOv3's ViT-S/16 under the protocol of DINOv3 at size S; CHECKPOINT is
# dinov3_vits16_pretrain_lvd1689m-08c60483.pth.
_base_ = ['../_base_/models/dinov3_vits16.py', '../_base_/datasets/davis.py', '../_base_/default_runtime.py']
