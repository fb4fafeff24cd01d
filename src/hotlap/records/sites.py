"""Where in the script's own files things happen."""

from __future__ import annotations

import msgspec


class Site(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    #: From 1; columns count bytes of UTF-8 from 0. Before Python 3.11 only the line is known.
    line: int
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None
    #: Whether the script itself calls what was seen here, and not a library for it.
    direct: bool = False


class LoaderSite(Site, frozen=True, kw_only=True):
    """Where a DataLoader was made."""

    kind: str = ""
    iterable: bool = False
    workers: int = 0


class OptimizerSite(Site, frozen=True, kw_only=True):
    """Where an optimizer was made."""

    kind: str = ""
    #: Implementations that it has for its parameters: "fused", "foreach".
    flags: list[str] = []


class ModelSite(Site, frozen=True, kw_only=True):
    """Where a module was called, as the outermost."""

    kind: str = ""
    #: Whether it was called with gradients, and has parameters that are trained.
    training: bool = False
    trained: bool = False
    device: str | None = None
    #: Arguments with four dimensions of numbers, by place or name.
    images: list[int | str] = []
    #: Whether only weights of convolutions have four dimensions, and some do.
    channels_last: bool = False
    #: Whether its method ``compile`` is the one that every module has.
    compiles: bool = False


class Sites(msgspec.Struct, frozen=True, kw_only=True):
    #: Working directory of the training, and the file that was run as the main module.
    root: str
    main: str | None = None
    loaders: list[LoaderSite] = []
    optimizers: list[OptimizerSite] = []
    models: list[ModelSite] = []
    backwards: list[Site] = []
    checkpoints: list[Site] = []
