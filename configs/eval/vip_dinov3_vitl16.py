# VIP val: DINOv3's ViT-L/16; CHECKPOINT is dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth.
_base_ = './vip_dinov3_vits16.py'
model = dict(backbone=dict(model_name='vit_large_patch16_dinov3'))
