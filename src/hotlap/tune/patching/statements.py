"""Edits that add statements: settings of torch, the layout and compilation of a model, autocast around a forward."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from hotlap.records import ModelSite, OptimizerSite, Site, Sites
from hotlap.tune.patching.calls import append_method, call_at, optimizer_call, set_keyword
from hotlap.tune.patching.source import Refused, Source, expression, spelled, statement

#: Levers that are a function of torch, called once.
SETTINGS = {"matmul_precision": "set_float32_matmul_precision", "threads": "set_num_threads"}
_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
#: What moves an input and computes nothing.
_MOVES = ("to", "cuda", "cpu")
_NO_GRADIENTS = ("eval", "no_grad", "inference_mode")
_LONGEST = 100
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


# settings


def set_torch(source: Source, lever: str, value: object) -> None:
    """Call a function of torch once, after the imports.

    Raises:
        Refused: torch is imported elsewhere, or the file calls this function itself.
    """
    function = SETTINGS[lever]
    if function in source.text:
        raise Refused(f"{source.path.name} calls {function} itself")
    body = source.tree.body
    imports = [index for index, node in enumerate(body) if isinstance(node, (ast.Import, ast.ImportFrom))]
    first = next((index for index, node in enumerate(body) if not _is_import(node)), len(body))
    before = [node for index, node in enumerate(body) if index in imports and index < first]
    torch = _torch(source)
    if not any(isinstance(node, ast.Import) and any(a.name == "torch" for a in node.names) for node in before):
        raise Refused(f"{source.path.name} does not import torch at its top")
    last = before[-1]
    place = source.line_end(source.span(last)[1])
    line = f"{torch}.{function}({spelled(value)})"
    following = body[body.index(last) + 1 :]
    added = next((index for index, node in enumerate(following) if hasattr(node, "lineno")), len(following))
    source.splice(place, place, source.newline * (1 if added else 2) + line)
    body.insert(body.index(last) + 1 + added, statement(line))


def _is_import(node: ast.stmt) -> bool:
    return _is_docstring(node) or isinstance(node, (ast.Import, ast.ImportFrom))


def _torch(source: Source) -> str:
    """The file's name for torch. Raises Refused where it has none."""
    for node in source.tree.body:
        for alias in node.names if isinstance(node, ast.Import) else ():
            if alias.name == "torch" or (alias.name.startswith("torch.") and not alias.asname):
                return alias.asname or "torch"
    raise Refused(f"{source.path.name} does not import torch itself")


# models


class Forward:
    """The one call of the one model that is trained, in a file where nothing else could be it.

    Raises:
        Refused: there are several, or a validation may call the model too.
    """

    def __init__(self, source: Source, sites: Sites) -> None:
        places = {(site.file, site.line, site.column): site for site in sites.models if site.trained}
        if len(places) != 1:
            raise Refused("the model is called in several places")
        (site,) = places.values()
        if not site.training or not site.direct or not source.holds(site):
            raise Refused("a library calls the model")
        names = {node.attr for node in ast.walk(source.tree) if isinstance(node, ast.Attribute)}
        if not names.isdisjoint(_NO_GRADIENTS):
            raise Refused("the model may be called to validate, too")
        self.source = source
        self.site: ModelSite = site
        self.call = call_at(source, site, lambda call: isinstance(call.func, (ast.Name, ast.Attribute)))
        self.model = source.written(self.call.func)
        self.parents = source.parents()
        self._called_nowhere_else()

    def _called_nowhere_else(self) -> None:
        here = {getattr(scope, "name", "") for scope in self._scopes(self.call)}
        for call in self.source.calls():
            if isinstance(call.func, (ast.Name, ast.Attribute)) and _last_name(call.func) in here:
                continue  # this hands the model to where it is called
            elsewhere = call is not self.call and self.source.written(call.func) == self.model
            given = any(hasattr(each, "lineno") and self.source.written(each) == self.model for each in call.args)
            if elsewhere or (given and not (self.source.meaning(call.func) or "").startswith("torch.")):
                raise Refused(f"line {call.lineno} may call the model, too")

    def before_optimizer(self, sites: Sequence[OptimizerSite], line: str) -> None:
        """Add a statement before the one that makes the optimizer of this model."""
        source = self.source
        if len({(site.file, site.line, site.column) for site in sites}) != 1 or not source.holds(sites[0]):
            raise Refused("the optimizer is made elsewhere")
        call = optimizer_call(source, sites[0])
        given = source.written(call.args[0]) if call.args else ""
        if given != f"{self.model}.parameters()" or self._owner(call) is not self._owner(self.call):
            raise Refused("the optimizer is made where the model has another name")
        made, block = self._statement(call)
        indent = source.indent(source.span(made)[0])
        if indent is None:
            raise Refused(f"line {made.lineno} of {source.path.name} holds several statements")
        self._not_assigned_after(made)
        source.add_line(source.line_start(source.span(made)[0]), indent, line)
        block.insert(block.index(made), statement(line))

    def _scopes(self, node: ast.AST) -> list[ast.AST]:
        """From the innermost to the module."""
        scopes: list[ast.AST] = []
        while node is not self.source.tree:
            node = self.parents[node]
            if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Module)):
                scopes.append(node)
        return scopes

    def _owner(self, node: ast.AST) -> ast.AST:
        """Where the model's name lives: a function or the module, or the class of ``self``."""
        scopes = self._scopes(node)
        root = self.model.partition(".")[0]
        for index, scope in enumerate(scopes):
            if isinstance(scope, ast.Module) or (isinstance(scope, _FUNCTIONS) and _binds(scope, root)):
                in_class = index + 1 < len(scopes) and isinstance(scopes[index + 1], ast.ClassDef)
                return scopes[index + 1] if in_class and root == "self" else scope
        raise AssertionError("the module is the outermost scope")

    def _statement(self, node: ast.AST) -> tuple[ast.stmt, list[ast.stmt]]:
        """The statement around it, and the block that this stands in."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        holder = self.parents[node]
        for _, block in ast.iter_fields(holder):
            if isinstance(block, list) and node in block:
                return node, block
        raise Refused(f"line {node.lineno} of {self.source.path.name} stands in no block")

    def _not_assigned_after(self, made: ast.stmt) -> None:
        for node in ast.walk(self.source.tree):
            stored = isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store)
            if stored and getattr(node, "lineno", 0) >= made.lineno and ast.unparse(node) == self.model:
                raise Refused(f"{self.model} becomes another one after its optimizer is made")

    # what is done to it

    def compile(self, sites: Sequence[OptimizerSite], mode: object) -> None:
        if mode not in _MODES or not self.site.compiles:
            raise Refused("the model is compiled in another way")
        self.before_optimizer(sites, f"{self.model}.compile({'' if mode == 'default' else f'mode={spelled(mode)}'})")

    def channels_last(self, sites: Sequence[OptimizerSite]) -> None:
        if not self.site.channels_last:
            raise Refused("the model has parameters of four dimensions that are no kernels")
        layout = f"memory_format={_torch(self.source)}.channels_last"
        for argument in self.site.images:
            append_method(self.source, self.call, argument, f".contiguous({layout})")
        self.before_optimizer(sites, f"{self.model}.to({layout})")

    def autocast(self, backwards: Sequence[Site], dtype: object) -> None:
        """Open it before the statement that calls the model, and close it before the one of backward."""
        source = self.source
        if dtype != "bfloat16" or "autocast" in source.text:
            raise Refused(f"{source.path.name} has an autocast already")
        if len(backwards) != 1 or not source.holds(backwards[0]):
            raise Refused("backward is called elsewhere")
        backward = call_at(source, backwards[0], lambda call: True)
        first, block = self._statement(self.call)
        last, other = self._statement(backward)
        if block is not other or block.index(first) >= block.index(last):
            raise Refused("from the model to backward is no block of statements")
        inside = block[block.index(first) : block.index(last)]
        while len(inside) > 1 and _clears_gradients(inside[-1]):
            inside.pop()
        if not all(isinstance(each, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)) for each in inside):
            raise Refused("from the model to backward is no row of simple statements")
        self._computes_nothing_before(first)
        start = source.span(inside[0])[0]
        indent, unit = source.indent(start), self._unit(first)
        if indent is None or source.indent(source.span(last)[0]) is None:
            raise Refused(f"line {first.lineno} of {source.path.name} holds several statements")
        head = f"with {_torch(source)}.autocast({spelled(self.site.device)}, dtype={_torch(source)}.{dtype}):"
        source.add_line(source.line_start(start), indent, head)
        for number in range(inside[0].lineno, (inside[-1].end_lineno or 0) + 1):
            if source.lines[number - 1].strip():
                source.splice(source.starts[number - 1], source.starts[number - 1], unit)
        around = statement(f"{head} pass")
        assert isinstance(around, ast.With)
        around.body = inside
        begin = block.index(first)
        block[begin : begin + len(inside)] = [around]

    def _computes_nothing_before(self, first: ast.stmt) -> None:
        """What is evaluated before the model is called, its arguments above all, would be in autocast too."""
        end = self.source.span(self.call)[1]
        for node in ast.walk(first):
            if not isinstance(node, (ast.Call, ast.BinOp, ast.UnaryOp, ast.Compare, ast.comprehension)):
                continue
            if node is self.call or isinstance(node, ast.comprehension):
                continue
            ends_before = self.source.span(node)[1] < end
            moves = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MOVES
            if ends_before and not moves and not _constant(node):
                raise Refused("the model's input is computed where it is called")

    def _unit(self, node: ast.stmt) -> str:
        """What one level of indentation is here."""
        parent: Any = self.parents[node]
        own = self.source.indent(self.source.span(node)[0]) or ""
        if isinstance(parent, ast.Module) or not hasattr(parent, "lineno"):
            return "    "
        outer = self.source.indent(self.source.span(parent)[0])
        return own[len(outer) :] if outer is not None and own.startswith(outer) and own != outer else "    "


def _clears_gradients(node: ast.stmt) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "zero_grad"


def _last_name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def _constant(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)


def _binds(function: ast.AST, name: str) -> bool:
    """Whether the name is the function's own."""
    arguments: Any = getattr(function, "args", None)
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    if name in {argument.arg for argument in every if argument is not None}:
        return True
    waiting: list[ast.AST] = list(ast.iter_child_nodes(function))
    stored = False
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Global, ast.Nonlocal)) and name in node.names:
            return False
        stored = stored or (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))
    return stored


# everything else


def apply_levers(source: Source, levers: Mapping[str, Any]) -> None:
    """Have the script apply these itself: before it imports torch, so that nothing is made without them."""
    for call in source.calls():
        if source.meaning(call.func) == "hotlap.apply":
            for name, value in levers.items():
                set_keyword(source, call, name, value)
            return
    words = [f"{name}={spelled(value)}" for name, value in levers.items()]
    call_text = f"hotlap.apply({', '.join(words)})"
    if len(call_text) > _LONGEST:
        call_text = source.newline.join(["hotlap.apply(", *(f"    {word}," for word in words), ")"])
    body = source.tree.body
    index = next((index for index, node in enumerate(body) if not _stays_first(node)), len(body))
    if index == len(body):
        raise Refused(f"{source.path.name} does nothing")
    lines = [min([body[index].lineno, *(each.lineno for each in getattr(body[index], "decorator_list", []))])]
    place = source.starts[lines[0] - 1]
    if source.text[place : source.span(body[index])[0]].strip(" \t\f@") and not hasattr(body[index], "decorator_list"):
        raise Refused(f"line {lines[0]} of {source.path.name} holds several statements")
    end = source.newline
    source.splice(place, place, f"import hotlap{end}{end}{call_text}{end}{end}")
    body[index:index] = [statement("import hotlap"), ast.Expr(expression(call_text))]


def _stays_first(node: ast.stmt) -> bool:
    future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
    return future or _is_docstring(node)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
