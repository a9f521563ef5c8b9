# VIP val: DINOv2's ViT-L/14; CHECKPOINT is dinov2_vitl14_pretrain.pth.
_base_ = './vip_dinov2_vits14.py'
model = dict(backbone=dict(model_name='vit_large_patch14_dinov2'))
