# Any folder of images, or the frames of a tree of videos, with the views of imagenet.py.
_base_ = './imagenet.py'
train_dataloader = dict(dataset=dict(data_root='{{$STT_IMAGES:data/images}}'))
