# VIP val: DINOv3's ViT-B/16; CHECKPOINT is dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth.
_base_ = './vip_dinov3_vits16.py'
model = dict(backbone=dict(model_name='vit_base_patch16_dinov3'))
