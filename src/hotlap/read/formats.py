"""The lines of training progress that programs print: one ``Format`` each, told apart by what stands in them.

A format is an anchor that no other program prints, and fields that may follow it in any order, each of which may be
missing. Groups are named FIGURE__UNIT. A number counts only where what belongs behind it is there, so that a line that
was cut off gives no wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hotlap.read.numbers import COUNT, DURATION, LOOSE
from hotlap.records import Counted, DataTime

#: What stands behind a number, and behind one that may end its line.
_END = rb"(?=[ \t,;|)\]}%])"
_LINE_END = rb"(?=[\s,;|)\]}])"
#: Between two fields, up to the last place where what follows matches: looking back from the end of a line is many
#: times as fast as looking forward. Not without a limit, since a line may be a megabyte long.
_GAP = rb"[^\n]{0,500}"

WAIT = "It holds the wait for the loader."
COPIES = (
    "It begins after the loader has handed the batch over, so it holds the copies to the device and not the wait for "
    "data."
)
#: The lines of ``hotlap train`` about the machine, whose step times hold what is between steps.
HEALTH = "hotlap train, health"
UNKNOWN = "Whether the wait for the loader is in it cannot be told from the log."


@dataclass(frozen=True)
class Field:
    #: Regular expression from what stands before it to what follows, with one group or more.
    pattern: bytes
    #: A part of it that is always there, letter by letter.
    key: bytes

    @property
    def groups(self) -> list[str]:
        return list(re.compile(self.pattern).groupindex)


def word(text: bytes, edge: bytes = rb"[\w.]") -> bytes:
    """Match this, letter by letter, with no ``edge`` in front of it.

    Letters come first and the look behind after them: then the pattern can be searched for by its letters.
    """
    letters = re.escape(text)
    return letters + rb"(?<!" + edge + letters + rb")"


def field(name: str, before: bytes, after: bytes = _END, value: bytes = LOOSE, edge: bytes = rb"[\w.]") -> Field:
    """``before`` is literal; ``edge`` in front of it would make it another one."""
    return Field(word(before, edge) + rb"[ \t]*(?P<" + name.encode() + rb">" + value + rb")" + after, before)


@dataclass(frozen=True)
class Format:
    name: str
    #: Letter by letter somewhere in every line of it.
    key: bytes
    anchor: bytes
    fields: tuple[Field, ...] = ()
    data_time: DataTime | None = None
    #: What the data time holds, in a sentence.
    holds: str = ""
    #: Number of the first epoch where steps are counted anew in each.
    first_epoch: int | None = None
    #: Whether steps are counted anew in each epoch, and no line says how many an epoch has.
    counts_anew: bool = False
    #: Whether its steps are those of the training; else they count something else, e.g. epochs.
    training: bool = True
    #: Whether its rate is of whole steps alone: how many micro-batches one has must be known, and is never assumed.
    whole_steps: bool = False
    #: What its steps are, or what stands for them where lines name none.
    counted: Counted = "step"
    #: The anchor in the order in which it is nearly always written, where ``anchor`` finds any order and takes long.
    usual: bytes | None = None

    def loose(self) -> re.Pattern[bytes]:
        """With every field that is there, in any order."""
        looked = b"".join(rb"(?=" + _GAP + each.pattern + rb"|)" for each in self.fields)
        return re.compile(self.anchor + looked + rb"[^\n]*")

    def tight(self, fields: Sequence[Field], usual: bool = False) -> re.Pattern[bytes]:
        """With these fields in this order: five times as fast. ``usual``: with the anchor in its usual order, too."""
        anchor = self.usual if usual and self.usual else self.anchor
        return re.compile(anchor + b"".join(_GAP + each.pattern for each in fields) + rb"[^\n]*")


_MEAN = rb" ?\((?P<%s>" + LOOSE + rb")\)"


def _with_mean(name: str, before: bytes, unit: str = "s", edge: bytes = rb"[\w.]") -> Field:
    return field(f"{name}__{unit}", before, _MEAN % f"{name}_mean__{unit}".encode(), edge=edge)


def _loss(before: bytes) -> Field:
    return field("loss__", before, after=_LINE_END)


#: In this order they are looked for: what is more special comes first.
FORMATS: tuple[Format, ...] = (
    Format(
        "VRT-Spike",
        b"step ",
        word(b"step ") + rb"(?P<step>\d+)/(?P<total>\d+) \|",
        (
            _loss(b"loss="),
            Field(rb"GPU\d+_mem=(?P<memory__gib>" + LOOSE + rb")GB", b"_mem="),
            Field(rb"\| (?P<rate__>" + LOOSE + rb") samples/s", b" samples/s"),
            field("data__ms", b"data_time=", rb"ms"),
        ),
        "copies",
        COPIES,
    ),
    Format(
        "VRT-Spike progress",
        b"[progress]",
        rb"\[progress\] (?P<step>\d+)/(?P<total>\d+) ",
        (field("elapsed__duration", b"elapsed=", value=DURATION),),
    ),
    Format(
        "VRT-Spike epoch",
        b"[epoch]",
        rb"\[epoch\] (?P<step>\d+) \| steps=(?P<epoch_steps__>\d+) \|",
        (
            _loss(b"loss="),
            field("epoch_seconds__s", b"time=", rb"s(?![\w.])"),
            field("rate__", b"throughput=", rb" samples/s"),
        ),
        training=False,
        counted="epoch",
    ),
    Format(
        "BasicSR",
        b"[epoch:",
        rb"\[epoch:[ \t]*(?P<epoch>\d+), iter:[ \t]*(?P<step>" + COUNT + rb"), ",
        (
            Field(
                rb"time \(data\): (?P<step_seconds__s>" + LOOSE + rb") \((?P<data__s>" + LOOSE + rb")\)",
                b"time (data): ",
            ),
            Field(rb" l_\w+: (?P<loss__>" + LOOSE + rb")" + _LINE_END, b" l_"),
        ),
        "wait",
        WAIT,
    ),
    Format(
        "KAIR",
        b"<epoch:",
        rb"<epoch:[ \t]*(?P<epoch>\d+), iter:[ \t]*(?P<step>" + COUNT + rb"), ",
        (_loss(b"G_loss:"),),
    ),
    Format(
        "timm",
        b"Train: ",
        word(b"Train: ") + rb"(?P<epoch>\d+) \[[ \t]*(?P<step>\d+)/(?P<total>\d+) ",
        (
            _loss(b"Loss:"),
            Field(
                rb"Time: (?P<step_seconds__s>" + LOOSE + rb")s, +(?P<rate__>" + LOOSE + rb")/s  "
                rb"\((?P<step_seconds_mean__s>" + LOOSE + rb")s, +(?P<rate_mean__>" + LOOSE + rb")/s\)",
                b"Time: ",
            ),
            _with_mean("data", b"Data:"),
        ),
        "wait",
        WAIT,
        first_epoch=0,
    ),
    Format(
        "Swin",
        b"Train: [",
        word(b"Train: [") + rb"(?P<epoch>\d+)/(?P<epochs>\d+)\]\[[ \t]*(?P<step>\d+)/(?P<total>\d+)\]",
        (
            _with_mean("step_seconds", b"time", edge=rb"data "),
            _with_mean("loss", b"loss", unit=""),
            _with_mean("data", b"data time"),
            Field(word(b"mem ") + rb"(?P<memory__mib>\d+)MB", b"mem "),
        ),
        "wait",
        WAIT,
        first_epoch=0,
    ),
    Format(
        "OpenPCDet",
        b"Train: ",
        word(b"Train: ") + rb"[ \t]*(?P<epoch>\d+)/(?P<epochs>\d+) \([^)\n]*\) \[[ \t]*(?P<step>\d+)/(?P<total>\d+) ",
        (
            _loss(b"Loss:"),
            _with_mean("data", b"Data time:"),
            _with_mean("forward", b"Forward time:"),
            _with_mean("step_seconds", b"Batch time:"),
        ),
        "wait",
        WAIT,
        first_epoch=1,
    ),
    Format(
        "mmengine",
        b"(train)",
        rb"\(train\)[ \t]+(?:\[(?P<epoch>\d+)\])?\[[ \t]*(?P<step>\d+)/(?P<total>\d+)\]",
        (
            field("step_seconds__s", b"time:"),
            field("data__s", b"data_time:"),
            field("memory__mib", b"memory:"),
            _loss(b"loss:"),
        ),
        "wait",
        WAIT,
        first_epoch=1,
    ),
    Format(
        "mmcv",
        b"Epoch [",
        word(b"Epoch [") + rb"(?P<epoch>\d+)\]\[[ \t]*(?P<step>\d+)/(?P<total>\d+)\][ \t]+lr: ",
        (
            field("step_seconds__s", b"time:"),
            field("data__s", b"data_time:"),
            field("memory__mib", b"memory:"),
            _loss(b"loss:"),
        ),
        "wait",
        WAIT,
        first_epoch=1,
    ),
    Format(
        "mmcv JSON",
        b'"iter"',
        rb'\{(?=[^\n{}]*"iter": ?(?P<step>\d+)[,}])(?=[^\n{}]*"epoch": ?(?P<epoch>\d+)[,}]|)'
        rb'(?![^\n{}]*"mode": ?"(?!train))',
        (
            field("step_seconds__s", b'"time":'),
            field("data__s", b'"data_time":'),
            field("memory__mib", b'"memory":'),
            _loss(b'"loss":'),
        ),
        "wait",
        WAIT,
        counts_anew=True,
        usual=rb'\{"mode": ?"train", ?"epoch": ?(?P<epoch>\d+), ?"iter": ?(?P<step>\d+)(?=[,}])',
    ),
    Format(
        "maskrcnn-benchmark",
        b" (",
        word(b"iter: ") + rb"(?P<step>\d+)[ \t]+(?=" + _GAP + word(b"time: ") + rb"[\d.]+ \()",
        (
            _with_mean("loss", b"loss:", unit=""),
            _with_mean("step_seconds", b"time:"),
            _with_mean("data", b"data:"),
            Field(rb"max mem: (?P<memory__mib>\d+)" + _LINE_END, b"max mem: "),
        ),
        "wait",
        WAIT,
    ),
    Format(
        "detectron2",
        b"iter: ",
        word(b"iter: ") + rb"(?P<step>\d+)[ \t]+(?=total_loss|loss|time|data_time|lr)",
        (
            _loss(b"total_loss:"),
            field("step_seconds__s", b"time:"),
            field("data__s", b"data_time:"),
            Field(rb"max_mem: (?P<memory__mib>\d+)M", b"max_mem: "),
        ),
        "wait",
        WAIT,
    ),
    Format(
        "nanoGPT",
        b"iter ",
        word(b"iter ") + rb"(?P<step>\d+): loss (?P<loss__>" + LOOSE + rb"),",
        (field("step_seconds__ms", b"time", rb"ms"),),
    ),
    Format(
        "torchtitan",
        b"step:",
        word(b"step:") + rb"[ \t]+(?P<step>" + COUNT + rb")(?=[ \t]+loss:)",
        (
            _loss(b"loss:"),
            Field(
                rb"memory:[ \t]*(?P<memory__gib>" + LOOSE + rb")GiB\((?P<memory_share__percent>" + LOOSE + rb")%\)",
                b"memory:",
            ),
            field("tokens__", b"tps:", value=COUNT, after=_LINE_END),
            field("mfu__percent", b"mfu:", rb"%"),
        ),
    ),
    Format(
        "Hugging Face Trainer",
        b"loss'",
        rb"\{'loss': '?(?P<loss__>" + LOOSE + rb")'?,",
        (Field(rb"'epoch': '?(?P<epoch>" + LOOSE + rb")'?[,}]", b"'epoch'"),),
        counted="line",
    ),
    Format(
        "restoration epoch",
        b" samples/sec",
        word(b"Epoch ") + rb"(?P<step>\d+) - (?P<rate__>" + LOOSE + rb") samples/sec",
        (Field(rb"Peak GPU: (?P<memory__gib>" + LOOSE + rb")GB", b"Peak GPU: "),),
        training=False,
        counted="epoch",
    ),
    Format(
        "APT epoch",
        b" - Loss: ",
        word(b"Epoch ") + rb"(?P<step>\d+)/(?P<epochs>\d+) - Loss: (?P<loss__>" + LOOSE + rb")" + _LINE_END,
        training=False,
        counted="epoch",
    ),
    Format(
        "APT diagnosis",
        "[诊断 Batch".encode(),
        "\\[诊断 Batch (?P<step>\\d+)\\]".encode(),
        (
            field("data__ms", "数据加载:".encode(), rb"ms"),
            Field("前向[^:\\n|]*: *(?P<forward__ms>".encode() + LOOSE + rb")ms", "前向".encode()),
            Field("反向[^:\\n|]*: *(?P<backward__ms>".encode() + LOOSE + rb")ms", "反向".encode()),
            field("optimizer__ms", "更新:".encode(), rb"ms"),
        ),
        "unknown",
        UNKNOWN,
        counts_anew=True,
    ),
    Format(
        "hotlap train",
        b'{"step":',
        # The last line of a training whose loss is no number has nothing but that.
        rb'\{"step": ?(?P<step>\d+),(?= ?"loss": ?null\}|[^\n]*"samples_per_second": ?)',
        (
            field("loss__", b'"loss":', value=rb"(?:null|" + LOOSE + rb")"),
            field("rate__", b'"samples_per_second":'),
            field("data__ms", b'"data_time_ms":'),
        ),
        "wait",
        WAIT,
        whole_steps=True,
    ),
    Format(
        "hotlap train, lines",
        b"samples_per_second ",
        word(b"step ") + rb"(?P<step>\d+)/(?P<total>\d+)  (?=loss )",
        (
            _loss(b"loss "),
            field("rate__", b"samples_per_second "),
            field("data__ms", b"data_time_ms "),
        ),
        "wait",
        WAIT,
        whole_steps=True,
    ),
    Format(
        HEALTH,
        b'"health"',
        rb'\{"step": ?(?P<step>\d+), ?"health": ?\{',
        (
            field("process_memory__", b'"process_memory":'),
            field("system_memory__", b'"system_memory":'),
            field("system_total__", b'"total_memory":'),
            field("step_seconds__ms", b'"step_ms":'),
            field("gpu_utilization__percent", b'"gpu_utilization":'),
            field("memory__", b'"gpu_peak":'),
        ),
        training=False,
        whole_steps=True,
    ),
    Format(
        "memory",
        b"Memory - Process: ",
        rb"\[(?:[^\]\n]*?[Ss]tep (?P<step>\d+)|[^\]\n]*)\] Memory - Process: "
        rb"(?:(?P<process_memory__mib>" + LOOSE + rb")MB|n/a)",
        (
            Field(
                rb"System: (?P<system_memory__gib>" + LOOSE + rb")/(?P<system_total__gib>" + LOOSE + rb")GB",
                b"System: ",
            ),
            Field(
                rb"GPU: (?P<memory__mib>" + LOOSE + rb")MB allocated",
                b"GPU: ",
            ),
        ),
        training=False,
    ),
    Format(
        "GPU use",
        "GPU利用率".encode(),
        "GPU利用率\\s*[:：]\\s*(?P<gpu_utilization__percent>".encode() + LOOSE + rb")%",
        (Field("显存使用[^\\n(]*\\((?P<memory__gib>".encode() + LOOSE + rb")GB\)", "显存使用".encode()),),
        training=False,
        counted="line",
    ),
)
