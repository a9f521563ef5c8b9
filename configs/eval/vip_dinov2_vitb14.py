# VIP val: DINOv2's ViT-B/14; CHECKPOINT is dinov2_vitb14_pretrain.pth.
_base_ = './vip_dinov2_vits14.py'
model = dict(backbone=dict(model_name='vit_base_patch14_dinov2'))
