"""A line of each format as programs print it, and what is in it."""

from __future__ import annotations

from typing import NamedTuple


class Sample(NamedTuple):
    format: str
    lines: str
    #: Name of a series -> its value in seconds, bytes or shares.
    series: dict[str, float]
    step: float | None = None
    steps: float | None = None
    data: float | None = None


_MIB, _GIB = 2.0**20, 2.0**30

SAMPLES = (
    Sample(
        "hotlap train, lines",
        "step 20/600  loss 0.02744  charbonnier 0.02744  lr 0.001  samples_per_second 1.52  data_time_ms 25.6  "
        "380 s left",
        {"loss": 0.02744, "throughput": 1.52, "data time": 0.0256},
        steps=20,
        data=0.0256,
    ),
    Sample(
        "VRT-Spike",
        "step 950/8880 | loss=0.0312 charb=0.0251 vgg=0.0610 lr=9.80e-06 | GPU0_mem=1.3GB | 0.5 samples/s | "
        "data_time=0.1ms",
        {"loss": 0.0312, "device memory": 1.3 * _GIB, "throughput": 0.5, "data time": 1e-4},
        steps=950,
        data=1e-4,
    ),
    Sample(
        "VRT-Spike",
        "2025-10-24 18:33:10 - train - INFO - step 950/8880 | loss=0.0312 lr=9.80e-06 | 0.5 samples/s | "
        "data_time=0.1ms",
        {"loss": 0.0312, "throughput": 0.5, "data time": 1e-4},
        steps=950,
        data=1e-4,
    ),
    Sample(
        "VRT-Spike progress",
        "[progress] 940/8880 [##..................]  10.6% | elapsed=1:33:59 | eta=13:14:00",
        {"elapsed": 5639.0},
        step=5639 / 940,
        steps=940,
    ),
    Sample(
        "VRT-Spike epoch",
        "[epoch] 1 | steps=444 | loss=0.0400 (charb=0.0300, vgg=0.1000) | lr=1.00e-05 | time=2664.0s | "
        "throughput=0.5 samples/s",
        {"loss": 0.04, "throughput": 0.5},
        step=6.0,
    ),
    Sample(
        "memory",
        "[Step 100] Memory - Process: 15678.9MB (6.1%), System: 125.4/256.0GB (49.0%)",
        {
            "process memory": 15678.9 * _MIB,
            "system memory": 125.4 * _GIB,
            "memory of the machine": 256 * _GIB,
        },
    ),
    Sample(
        "memory",
        "[After dataset creation] Memory - Process: 12345.6MB (4.8%), System: 48.3/256.0GB (18.9%), "
        "GPU: 2048.0MB allocated, 2560.0MB reserved",
        {"process memory": 12345.6 * _MIB, "device memory": 2048 * _MIB},
    ),
    Sample(
        "progress bar",
        "Epoch 3:  45%|████▌     | 50/111 [00:21<00:26,  2.3it/s, Loss=0.0123, GPU_Mem=1.2GB, GPU_Util=15%]",
        {"loss": 0.0123, "device memory": 1.2 * _GIB, "GPU utilization": 0.15, "steps per second": 2.3},
        step=0.42,
        steps=50,
    ),
    Sample(
        "restoration epoch",
        "Epoch 3 - 37.2 samples/sec, Peak GPU: 3.1GB",
        {"throughput": 37.2, "device memory": 3.1 * _GIB},
    ),
    Sample(
        "GPU use",
        "🎯 GPU利用率:  87% | 显存使用:  78% (9.4GB)",
        {"GPU utilization": 0.87, "device memory": 9.4 * _GIB},
    ),
    Sample("APT epoch", "Epoch 1/50 - Loss: 3.1234", {"loss": 3.1234}),
    Sample(
        "progress bar",
        "Training:  12%|#2 | 18/150 [00:03<00:25, loss=3.2101, fw=12.3ms, bw=20.1ms]",
        {"loss": 3.2101},
        step=3 / 18,
        steps=18,
    ),
    Sample(
        "APT diagnosis",
        "[诊断 Batch 10] 数据加载: 1.2ms | 前向(APT): 3.1ms | 反向(DBC): 5.0ms | 更新: 1.0ms",
        {"data time": 1.2e-3},
        step=10.3e-3,
        steps=10,
        data=1.2e-3,
    ),
    Sample(
        "BasicSR",
        "2022-12-29 14:18:19,074 INFO: [Retin..][epoch:1383, iter:  83,000, lr:(1.441e-04,)] "
        "[eta: 2:54:28, time (data): 0.142 (0.001)] l_pix: 3.3649e-02",
        {"step time": 0.142, "data time": 0.001, "loss": 3.3649e-02},
        step=0.142,
        steps=83000,
        data=0.001,
    ),
    Sample(
        "KAIR",
        "22-06-01 12:00:00.123 : <epoch:  3, iter:  12,400, lr:4.000e-04> G_loss: 1.230e-02",
        {"loss": 1.23e-02},
        steps=12400,
    ),
    Sample(
        "timm",
        "Train: 0 [  50/1251 (  4%)]  Loss: 6.91 (6.93)  Time: 0.412s,  621.36/s  (0.500s,  512.00/s)  "
        "LR: 1.000e-06  Data: 0.012 (0.080)",
        {"step time": 0.412, "throughput": 621.36, "data time": 0.012, "loss": 6.91},
        step=0.5,
        steps=50,
        data=0.08,
    ),
    Sample(
        "Swin",
        "[2024-07-27 03:36:12 vssm1] (main.py 295): INFO Train: [30/300][20/2859]\teta 1:28:53 lr 0.000872\t "
        "wd 0.0500\ttime 0.4177 (1.8785)\tdata time 0.0007 (1.4406)\tmem 16138MB",
        {"step time": 0.4177, "data time": 0.0007, "device memory": 16138 * _MIB},
        step=1.8785,
        steps=30 * 2859 + 20,
        data=1.4406,
    ),
    Sample(
        "OpenPCDet",
        "Train:    1/3 ( 33%) [  49/323 ( 15%)]  Loss: 36.77 (81.7)  LR: 1.351e-04  Time cost: 00:15/01:25 "
        "[00:15/04:48]  Acc_iter 50          Data time: 0.00(0.02)  Forward time: 0.31(0.29)  Batch time: 0.31(0.31)",
        {"loss": 36.77, "data time": 0.0, "step time": 0.31},
        step=0.31,
        steps=49,
        data=0.02,
    ),
    Sample(
        "mmengine",
        "03/25 23:58:44 - mmengine - INFO - Epoch(train) [100][  50/4309]  base_lr: 2.0000e-03 lr: 5.9600e-05  "
        "eta: 12:14:32  time: 0.7842  data_time: 0.0205  memory: 7657  grad_norm: 993.2860  loss: 1111.4113",
        {"step time": 0.7842, "data time": 0.0205, "device memory": 7657 * _MIB, "loss": 1111.4113},
        step=0.7842,
        steps=99 * 4309 + 50,
        data=0.0205,
    ),
    Sample(
        "mmengine",
        "03/25 23:58:44 - mmengine - INFO - Iter(train) [ 50/10000]  base_lr: 2.0000e-03 lr: 5.9600e-05  "
        "eta: 12:14:32  time: 0.7842  data_time: 0.0205  loss: 1.5",
        {"step time": 0.7842, "data time": 0.0205, "loss": 1.5},
        step=0.7842,
        steps=50,
        data=0.0205,
    ),
    Sample(
        "mmcv",
        "2020-05-08 18:56:16,649 - mmdet - INFO - Epoch [1][2400/7517]\tlr: 0.00125, eta: 4:33:09, time: 0.595, "
        "data_time: 0.032, memory: 6836, loss_rpn_cls: 0.0989, loss: 0.4890",
        {"step time": 0.595, "data time": 0.032, "device memory": 6836 * _MIB, "loss": 0.489},
        step=0.595,
        steps=2400,
        data=0.032,
    ),
    Sample(
        "mmcv JSON",
        '{"mode": "train", "epoch": 1, "iter": 50, "lr": 1e-05, "memory": 9810, "data_time": 1.92951, "time": 2.63489}',
        {"step time": 2.63489, "data time": 1.92951, "device memory": 9810 * _MIB},
        step=2.63489,
        steps=50,
        data=1.92951,
    ),
    Sample(
        "detectron2",
        "[08/14 10:48:18 d2.utils.events]:  eta: 0:22:36  iter: 9079  total_loss: 0.4138  loss_cls: 0.07042  "
        "time: 0.4564  data_time: 0.0458  lr: 0.0003  max_mem: 1962M",
        {"step time": 0.4564, "data time": 0.0458, "loss": 0.4138, "device memory": 1962 * _MIB},
        step=0.4564,
        steps=9079,
        data=0.0458,
    ),
    Sample(
        "detectron2",
        "[08/14 10:48:18 d2.utils.events]:  eta: 0:22:36  iter: 9079  total_loss: 0.4138  loss_cls: 0.07042    "
        "time: 0.4564  last_time: 0.9000  data_time: 0.0458  last_data_time: 0.7000   lr: 0.0003  max_mem: 1962M",
        {"step time": 0.4564, "data time": 0.0458, "loss": 0.4138, "device memory": 1962 * _MIB},
        step=0.4564,
        steps=9079,
        data=0.0458,
    ),
    Sample(
        "maskrcnn-benchmark",
        "eta: 1:05:16  iter: 26000  loss: 0.0018 (0.0215)  time: 0.9628 (0.9792)  data: 0.0123 (0.0197)  "
        "lr: 0.000009  max mem: 8478",
        {"step time": 0.9628, "data time": 0.0123, "loss": 0.0018, "device memory": 8478 * _MIB},
        step=0.9792,
        steps=26000,
        data=0.0197,
    ),
    Sample(
        "nanoGPT",
        "iter 2920: loss 3.9883, time 1099.34ms, mfu 15.34%",
        {"step time": 1.09934, "loss": 3.9883},
        step=1.09934,
        steps=2920,
    ),
    Sample(
        "torchtitan",
        "[rank0]:[titan] 2026-05-18 16:04:46,338 - root - INFO - step: 14  loss:  3.24405  grad_norm:  0.8319  "
        "memory:  9.46GiB(64.99%)  tps: 7,282  tflops: 0.52  mfu: 0.17%",
        {
            "loss": 3.24405,
            "device memory": 9.46 * _GIB,
            "share of device memory": 0.6499,
            "tokens per second": 7282,
            "MFU": 0.0017,
        },
        steps=14,
    ),
    Sample(
        "Hugging Face Trainer",
        "{'loss': 2.41, 'grad_norm': 1.2, 'learning_rate': 1.9e-04, 'epoch': 0.3}",
        {"loss": 2.41},
    ),
    Sample(
        "Hugging Face Trainer",
        "{'loss': '2.41', 'grad_norm': '1.2', 'learning_rate': '1.9e-04', 'epoch': '0.3'}",
        {"loss": 2.41},
    ),
    Sample(
        "progress bar",
        " 98%|█████████▊| 2086/2120 [26:01<00:22,  1.49it/s]",
        {"steps per second": 1.49},
        step=1561 / 2086,
        steps=2086,
    ),
    Sample(
        "progress bar",
        "Epoch 0:  22%|██▏       | 4/18 [00:17<01:02,  4.47s/it, loss=9.947, v_num=193315]",
        {"loss": 9.947, "steps per second": 1 / 4.47},
        step=17 / 4,
        steps=4,
    ),
    Sample(
        "progress bar",
        "    70/1000      6.73G      1.081     0.4706      1.084         10        640: "
        "100%|██████████| 16/16 [00:05<00:00,  2.78it/s]",
        {"device memory": 6.73 * _GIB, "steps per second": 2.78},
        step=5 / 16,
        steps=16,
    ),
    Sample(
        "hotlap train",
        '{"step":20,"loss":0.5,"lr":0.001,"samples_per_second":12.5,"data_time_ms":1.25}',
        {"loss": 0.5, "throughput": 12.5, "data time": 1.25e-3},
        steps=20,
        data=1.25e-3,
    ),
    Sample(
        "hotlap train, health",
        '{"step":20,"health":{"process_memory":353330176,"system_memory":2456674304,"total_memory":25276502016,'
        '"cpu":99.5,"data_time_ms":1.68,"step_ms":44.665,"disk_wait":0.0,"gpu_utilization":87.0,"gpu_allocated":1024,'
        '"gpu_reserved":2048,"gpu_peak":4096,"gpu_total":8192,"cache_hits":null,"cache_misses":null,'
        '"cache_bytes":null,"cache_budget":null}}',
        {
            "process memory": 353330176,
            "system memory": 2456674304,
            "memory of the machine": 25276502016,
            "step time": 0.044665,
            "GPU utilization": 0.87,
            "device memory": 4096,
        },
        step=0.044665,
    ),
)

TIMING = """\
================================================================================
Step 1
================================================================================
前向传播总耗时                                 :  1805.28ms ( 50.0%) [avg:  1789.72ms]
VRT处理                                   :  1799.99ms ( 49.9%) [avg:  1780.10ms]
  - Stage8                              :   965.12ms [avg:   960.00ms]
  - Stage2                              :   269.00ms [avg:   271.33ms]
Spike时间自注意力                            :     3.10ms (  0.1%) [avg:     3.00ms]
Spike编码器                               :     2.16ms (  0.1%) [avg:     2.20ms]

Total-----------------------------------:  3610.53ms
"""
SHORT_TIMING = """\
前向传播总耗时    : 1805.28ms (50.0%)
VRT处理          : 1799.99ms (49.9%)
Spike模块        : 5.26ms (0.1%)
Total           : 3610.53ms
"""
VERBOSE_TIMING = """\
  [SpikeEncoder3D] 尺度0 (输入投影+残差): 45.23ms, 输出shape: torch.Size([1, 96, 4, 256, 256])
  [VRT] Stage 1 (1x分辨率)耗时: 234.56ms
    [VRT融合] Stage 1 总耗时: 248.48ms (转换:0.23ms, 融合:248.25ms)
[主模型] VRT处理总耗时: 1234.56ms
"""
CONSOLE_TIMING = """\
┌─ Timing Profile (Step 42) ───────────
│ VRT处理 ███░░  150.0ms 24.2%
│ Backward ██░░░  470.0ms 75.8%
└─ Total:  620.0ms ───
"""
CACHES = (
    "[SpikeDeblurDataset] Cache Stats:\n  - Size: 374 items\n  - Memory: 49876.3 / 51200.0 MB\n"
    "  - Hit Rate: 82.45% (8245 hits / 1755 misses)\n",
    "Cache hit rate: 45.2% (4520 hits / 5480 misses)\n",
    "Cache stats: hits=850/1000 (85.0%), size=3.2GB/4.0GB\n",
    "[SpikeDeblurDataset] Cache preloaded: 0 items, 0.0GB / 30.0GB\n",
)
