# ruff: noqa: C408 - this is how mmengine's configurations are written
_base_ = ["../_base_/datasets/coco.py", "../_base_/default_runtime.py"]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(batch_size=1, num_workers=2)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9),
)
default_hooks = dict(logger=dict(type="LoggerHook", interval=50))
