"""Edits of single calls: keyword arguments of loaders and optimizers, ``checkpoint(f, x)`` that becomes ``f(x)``."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hotlap.records import LoaderSite, OptimizerSite, Site
from hotlap.tune.patching.source import Refused, Source, expression, literal, spelled

#: Places of DataLoader's parameters, from 0, and the levers that set them.
_LOADER = {
    "workers": ("num_workers", 5),
    "pin_memory": ("pin_memory", 7),
    "prefetch_factor": ("prefetch_factor", None),
    "persistent_workers": ("persistent_workers", None),
}
_OF_WORKERS = ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout")
#: After so many arguments by place come those that need workers.
_POSITIONAL = 9
_LOADERS = ("torch.utils.data.DataLoader", "torch.utils.data.dataloader.DataLoader")
_CHECKPOINT = "torch.utils.checkpoint.checkpoint"
_CHECKPOINT_OPTIONS = (
    "use_reentrant",
    "preserve_rng_state",
    "context_fn",
    "determinism_check",
    "debug",
    "early_stop",
)


def call_at(source: Source, site: Site, meant: Callable[[ast.Call], bool]) -> ast.Call:
    """The call that was seen there, which is the one that ends there. ``meant``: whether a call can be the one.

    Raises:
        Refused: there is none, or it cannot be told from others.
    """
    if site.end_line is None:
        found = [call for call in source.calls() if call.lineno == site.line and meant(call)]
    else:
        end = (site.end_line, site.end_column)
        found = [call for call in source.calls() if (call.end_lineno, call.end_col_offset) == end]
    if len(found) != 1 or not meant(found[0]):
        raise Refused(f"what line {site.line} of {source.path.name} calls is written in another way")
    return found[0]


def set_keyword(source: Source, call: ast.Call, name: str, value: object, place: int | None = None) -> None:
    """Give this argument this value, whether it is there already or not. ``place``: where it stands without a name."""
    if any(isinstance(argument, ast.Starred) for argument in call.args) or any(
        keyword.arg is None for keyword in call.keywords
    ):
        raise Refused(f"the arguments in line {call.lineno} of {source.path.name} are unpacked from elsewhere")
    old: ast.expr | None = None
    for keyword in call.keywords:
        if keyword.arg == name:
            old, keyword.value = keyword.value, literal(value)
    if old is None and place is not None and len(call.args) > place:
        old, call.args[place] = call.args[place], literal(value)
    if old is not None:
        source.splice(*source.span(old), spelled(value))
        return
    _append(source, call, f"{name}={spelled(value)}")
    call.keywords.append(ast.keyword(arg=name, value=literal(value)))


def _append(source: Source, call: ast.Call, argument: str) -> None:
    """As the last argument, in a line of its own where the last one has one."""
    end = source.span(call)[1] - 1
    _, before, text = source.token_before(end)
    if text == "(":
        source.splice(before, before, argument)
        return
    every: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
    written = [node for node in every if hasattr(node, "lineno")]
    indent = source.indent(source.span(written[-1])[0])
    if indent is None or source.line_start(before) == source.line_start(end):
        source.splice(before, before, f" {argument}," if text == "," else f", {argument}")
        return
    if text != "," and len(written) == len(every):
        source.splice(before, before, ",")
    row = source.line_end(before)
    source.splice(row, row, f"{source.newline}{indent}{argument},")


# loaders


def edit_loaders(source: Source, sites: Sequence[LoaderSite], levers: Mapping[str, Any]) -> None:
    """Give every loader that is made in this file what the levers give it.

    Raises:
        Refused: one of them cannot be edited.
    """
    for site in _apart(sites):
        call = call_at(source, site, lambda call: source.meaning(call.func) in _LOADERS)
        if not site.direct or site.kind != _LOADERS[1]:
            raise Refused(f"the loader of line {site.line} of {source.path.name} is made in another way")
        if site.iterable:
            raise Refused("every worker of an IterableDataset would yield all of it")
        workers = levers.get("workers", site.workers)
        if not workers and (
            len(call.args) > _POSITIONAL or any(keyword.arg in _OF_WORKERS for keyword in call.keywords)
        ):
            raise Refused(f"the loader of line {site.line} of {source.path.name} has arguments for its workers")
        for lever, (name, place) in _LOADER.items():
            if lever in levers and (workers or name not in _OF_WORKERS):
                set_keyword(source, call, name, levers[lever], place)


# optimizers


def edit_optimizers(source: Source, sites: Sequence[OptimizerSite], flag: str, value: bool) -> None:
    """Make every optimizer that has this implementation with it.

    Raises:
        Refused: one of them cannot be edited, or none has it.
    """
    other = {"fused": "foreach", "foreach": "fused"}[flag]
    able = [site for site in _apart(sites) if flag in site.flags]
    if not able:
        raise Refused(f"no optimizer has a {flag} implementation")
    for site in able:
        call = optimizer_call(source, site)
        if not (site.direct and site.kind.startswith("torch.optim.")):
            raise Refused(f"the optimizer of line {site.line} of {source.path.name} is made in another way")
        if any(keyword.arg == other for keyword in call.keywords):
            raise Refused(f"the optimizer of line {site.line} of {source.path.name} is told about {other} already")
        set_keyword(source, call, flag, value)
    for call in source.calls():
        # A state that is loaded brings its own flags along.
        if isinstance(call.func, ast.Attribute) and call.func.attr == "load_state_dict":
            loaded = ast.unparse(call.func.value)
            if "opt" in loaded.lower():
                raise Refused(f"{loaded} loads a state, which may have another implementation")


def optimizer_call(source: Source, site: OptimizerSite) -> ast.Call:
    """Raises Refused where it is not written as one of torch's own."""
    kind = site.kind.rpartition(".")[2]

    def meant(call: ast.Call) -> bool:
        package, _, name = (source.meaning(call.func) or "").rpartition(".")
        return name == kind and (package == "torch.optim" or package.startswith("torch.optim."))

    return call_at(source, site, meant)


# checkpointing


def edit_checkpoints(source: Source, sites: Sequence[Site]) -> None:
    """Call what is checkpointed.

    Raises:
        Refused: one of the calls cannot be edited.
    """
    for site in _apart(sites):
        call_at(source, site, lambda call: source.meaning(call.func) == _CHECKPOINT)
        if not site.direct:
            raise Refused(f"what line {site.line} of {source.path.name} calls checkpoints by itself")
    for call in [call for call in source.calls() if source.meaning(call.func) == _CHECKPOINT]:
        _call_directly(source, call)


def _call_directly(source: Source, call: ast.Call) -> None:
    options = [keyword for keyword in call.keywords if keyword.arg in _CHECKPOINT_OPTIONS]
    unpacked = any(keyword.arg is None for keyword in call.keywords)
    simple = all(isinstance(option.value, (ast.Constant, ast.Name, ast.Attribute)) for option in options)
    if not call.args or isinstance(call.args[0], ast.Starred) or unpacked or not simple:
        raise Refused(f"what line {call.lineno} of {source.path.name} checkpoints is not written there")
    function, *arguments = call.args
    written = source.written(function)
    if not isinstance(function, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
        written = f"({written})"
    kept = [keyword for keyword in call.keywords if keyword not in options]
    words = [source.written(argument) for argument in arguments]
    words += [f"{keyword.arg}={source.written(keyword.value)}" for keyword in kept]
    start, end = source.span(call)
    source.splice(start, end, f"{written}({', '.join(words)})")
    call.func, call.args, call.keywords = function, arguments, kept


def _apart(sites: Sequence[Any]) -> list[Any]:
    """One of each place."""
    return list({(site.file, site.line, site.column, site.end_column): site for site in sites}.values())


def append_method(source: Source, holder: ast.Call, argument: int | str, method: str) -> None:
    """Make the argument ``x`` of a call ``x.method``."""
    if isinstance(argument, int):
        if len(holder.args) <= argument or any(isinstance(each, ast.Starred) for each in holder.args):
            raise Refused("the model's input is not written where it is called")
        value = holder.args[argument]
    else:
        found = [keyword.value for keyword in holder.keywords if keyword.arg == argument]
        if not found:
            raise Refused("the model's input is not written where it is called")
        value = found[0]
    if not isinstance(value, (ast.Name, ast.Attribute, ast.Subscript, ast.Call)):
        raise Refused("the model's input is computed where it is called")
    end = source.span(value)[1]
    source.splice(end, end, method)
    new = expression(f"x{method}")
    inner: Any = new
    while not isinstance(inner.func.value, ast.Name):
        inner = inner.func.value
    inner.func.value = value
    if isinstance(argument, int):
        holder.args[argument] = new
    else:
        next(keyword for keyword in holder.keywords if keyword.arg == argument).value = new
