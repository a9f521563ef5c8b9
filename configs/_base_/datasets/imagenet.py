# ImageNet-1k train without labels, two views of each as in MoCo v2; 32 images per process.
_base_ = './image_views.py'
train_dataloader = _base_.imagenet
