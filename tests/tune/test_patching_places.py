"""Where a patch may write, and how; no training runs here."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from hotlap.records import LoaderSite, ModelSite, OptimizerSite, Site, Sites
from hotlap.tune.patching import Patch, make_patch, write_copies

_LOADER = "torch.utils.data.dataloader.DataLoader"
_HEAD = "import torch\nfrom torch.utils.data import DataLoader\n"


def place(path: Path, call: str) -> dict[str, object]:
    """Where the probe would have seen this call."""
    text = path.read_text()
    (node,) = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.get_source_segment(text, node) == call
    ]
    return {
        "file": str(path),
        "line": node.lineno,
        "column": node.col_offset,
        "end_line": node.end_lineno,
        "end_column": node.end_col_offset,
        "direct": True,
    }


def optimizer(path: Path) -> OptimizerSite:
    call = "torch.optim.SGD(net.parameters(), lr=0.1)"
    return OptimizerSite(**place(path, call), kind="torch.optim.sgd.SGD")  # type: ignore[arg-type]


def loader_patch(folder: Path, call: str, levers: dict[str, object], name: str = "train.py") -> Patch:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(f"{_HEAD}loader = {call}\n")
    site = LoaderSite(**place(path, call), kind=_LOADER, workers=0)  # type: ignore[arg-type]
    patch = make_patch(levers, Sites(root=str(folder), main=str(path), loaders=[site]))
    assert patch is not None
    for words in (["git", "apply", "--check"], ["patch", "-p1", "--dry-run"]):
        done = subprocess.run(words, cwd=folder, input=patch.diff, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return patch


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("DataLoader(data)", "DataLoader(data, num_workers=2, prefetch_factor=4)"),
        ("DataLoader(data, num_workers=(0))", "DataLoader(data, num_workers=(2), prefetch_factor=4)"),
        ("DataLoader(data, batch_size=(4),)", "DataLoader(data, batch_size=(4), num_workers=2, prefetch_factor=4,)"),
        ("DataLoader(data, 4, True, None, None, 0)", "DataLoader(data, 4, True, None, None, 2, prefetch_factor=4)"),
        (
            "DataLoader(\n    data,\n    batch_size=4  # small\n)",
            "DataLoader(\n    data,\n    batch_size=4,  # small\n    num_workers=2,\n    prefetch_factor=4,\n)",
        ),
        (
            "DataLoader(\n\tdata,  # all\n\t)",
            "DataLoader(\n\tdata,  # all\n\tnum_workers=2,\n\tprefetch_factor=4,\n\t)",
        ),
        (
            "DataLoader(data,\n           batch_size=4)",
            "DataLoader(data,\n           batch_size=4, num_workers=2, prefetch_factor=4)",
        ),
        ('DataLoader("ä", 4)', 'DataLoader("ä", 4, num_workers=2, prefetch_factor=4)'),
    ],
)
def test_keywords(before: str, after: str, tmp_path: Path) -> None:
    """An argument is added or replaced where it stands, in the style of the call."""
    patch = loader_patch(tmp_path, before, {"workers": 2, "prefetch_factor": 4})
    assert patch.files["train.py"].decode() == f"{_HEAD}loader = {after}\n"
    assert patch.native == ["workers", "prefetch_factor"]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("DataLoader(data, **options)", "unpacked"),
        ("DataLoader(*everything)", "unpacked"),
        ("make(data)", "another way"),
        ("DataLoader(item for item in data)", "would not be Python"),
    ],
)
def test_what_is_not_certain_is_applied(call: str, reason: str, tmp_path: Path) -> None:
    """What the syntax tree does not show, or an edit would break, is left alone."""
    patch = loader_patch(tmp_path, call, {"workers": 2})
    assert reason in patch.by_apply["workers"]
    text = patch.files["train.py"].decode()
    assert text == f"import hotlap\n\nhotlap.apply(workers=2)\n\n{_HEAD}loader = {call}\n"


def test_workers_are_taken_away_with_what_needs_them(tmp_path: Path) -> None:
    assert loader_patch(tmp_path, "DataLoader(data, num_workers=2)", {"workers": 0}).native == ["workers"]
    other = loader_patch(tmp_path, "DataLoader(data, num_workers=2, prefetch_factor=3)", {"workers": 0})
    assert "arguments for its workers" in other.by_apply["workers"]


def test_where_apply_stands(tmp_path: Path) -> None:
    """After the docstring and what must come first, before everything else, whatever that is."""
    path = tmp_path / "train.py"
    rest = "# the imports\n@decorated\ndef main(): pass\n"
    path.write_text(f'#!/usr/bin/env python\n"""Trains."""\nfrom __future__ import annotations\n{rest}')
    patch = make_patch({"allocator": "keep"}, None, ["python", "train.py"], tmp_path)
    assert patch is not None
    assert patch.files["train.py"].decode() == (
        '#!/usr/bin/env python\n"""Trains."""\nfrom __future__ import annotations\n# the imports\n'
        'import hotlap\n\nhotlap.apply(allocator="keep")\n\n@decorated\ndef main(): pass\n'
    )


def test_names_with_spaces(tmp_path: Path) -> None:
    assert list(loader_patch(tmp_path, "DataLoader(data)", {"workers": 2}, "my code/train.py").files) == [
        "my code/train.py"
    ]


def test_only_the_users_files(tmp_path: Path) -> None:
    """What lies elsewhere, or is installed, stays as it is: the script applies what would be written there."""
    project = tmp_path / "project"
    elsewhere = [tmp_path / "other.py", project / "env" / "lib" / "train.py", project / "site-packages" / "a.py"]
    for path in [project / "train.py", *elsewhere]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{_HEAD}loader = DataLoader(data)\n")
    (project / "env" / "pyvenv.cfg").touch()
    for path in elsewhere:
        site = LoaderSite(**place(path, "DataLoader(data)"), kind=_LOADER)  # type: ignore[arg-type]
        sites = Sites(root=str(project), main=str(project / "train.py"), loaders=[site])
        patch = make_patch({"workers": 2}, sites)
        assert patch is not None
        assert (list(patch.files), list(patch.by_apply)) == (["train.py"], ["workers"])
        without = make_patch({"workers": 2}, Sites(root=str(project), main=str(path), loaders=[site]))
        assert without is None
    assert make_patch({}, Sites(root=str(project), main=str(project / "train.py"))) is None


def test_a_script_that_changed_since_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(f"{_HEAD}loader = DataLoader(data)\n")
    site = LoaderSite(**place(path, "DataLoader(data)"), kind=_LOADER)  # type: ignore[arg-type]
    path.write_text(f"{_HEAD}print(12)\nloader = DataLoader(data)\n")
    patch = make_patch({"workers": 2}, Sites(root=str(tmp_path), main=str(path), loaders=[site]))
    assert patch is not None
    assert list(patch.by_apply) == ["workers"]


_LOOP = """\
import torch
def fit(model, data):
    for x, y in data:
        {before}
        loss.backward()
net = make()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
fit(net, data)
"""


@pytest.mark.parametrize(
    ("before", "native"),
    [
        ("loss = (model(x) - y).square().mean()", True),
        ("loss = (model(x.to('cpu')) - y).square().mean()", True),
        ("loss = model(x * 2).mean()", False),
        ("loss = y.exp() + model(x).mean()", False),
        ("out = model(x)\n        if y: loss = out.mean()", False),
        ("loss = model(x).mean(); other = 1", True),
        ("out = model(x)\n        loss = [model(y), out][1].mean()", False),
        ("out = model(x); text = '''a\n  b'''\n        loss = out.mean()", False),
        ("out = model(x)\n        with torch.no_grad(): loss = out.mean()", False),
    ],
)
def test_autocast_needs_a_block_of_its_own(before: str, native: bool, tmp_path: Path) -> None:
    """It is written around the forward and the loss where nothing else would come into it."""
    path = tmp_path / "train.py"
    path.write_text(_LOOP.format(before=before))
    call = "model(x.to('cpu'))" if "cpu" in before else "model(x * 2)" if "*" in before else "model(x)"
    sites = Sites(
        root=str(tmp_path),
        main=str(path),
        models=[ModelSite(**place(path, call), training=True, trained=True, device="cuda", compiles=True)],  # type: ignore[arg-type]
        optimizers=[optimizer(path)],
        backwards=[Site(**place(path, "loss.backward()"))],  # type: ignore[arg-type]
    )
    patch = make_patch({"autocast": "bfloat16", "compile": "default"}, sites)
    assert patch is not None
    # Under the name "model" no optimizer is made.
    assert "compile" in patch.by_apply
    assert ("autocast" in patch.native) is native, patch
    if native:
        text = patch.files["train.py"].decode()
        assert '        with torch.autocast("cuda", dtype=torch.bfloat16):\n            ' in text


def test_compile_and_settings(tmp_path: Path) -> None:
    """Settings come after the imports, the compilation before the optimizer is made."""
    path = tmp_path / "train.py"
    text = "import torch\nimport os\n\nnet = make()\noptimizer = torch.optim.SGD(net.parameters(), lr=0.1)\nnet(x)\n"
    path.write_text(text)
    sites = Sites(
        root=str(tmp_path),
        main=str(path),
        models=[ModelSite(**place(path, "net(x)"), training=True, trained=True, device="cpu", compiles=True)],  # type: ignore[arg-type]
        optimizers=[optimizer(path)],
    )
    patch = make_patch({"compile": "max-autotune", "matmul_precision": "high", "threads": 2}, sites)
    assert patch is not None
    assert patch.by_apply == {}
    assert patch.files["train.py"].decode() == (
        'import torch\nimport os\n\ntorch.set_float32_matmul_precision("high")\ntorch.set_num_threads(2)\n\n'
        'net = make()\nnet.compile(mode="max-autotune")\n'
        "optimizer = torch.optim.SGD(net.parameters(), lr=0.1)\nnet(x)\n"
    )
    copies = write_copies(patch, tmp_path / "copies")
    assert {name: Path(copy).read_bytes() for name, copy in copies.items()} == {str(path): patch.files["train.py"]}
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("line", "native"), [("DataLoader(data)", True), ("DataLoader(data), DataLoader(data, 4)", False)]
)
def test_where_only_the_line_is_known(line: str, native: bool, tmp_path: Path) -> None:
    """Before Python 3.11 a call is found by its line, where it is the only one that it can be."""
    path = tmp_path / "train.py"
    path.write_text(f"{_HEAD}loader = {line}\n")
    site = LoaderSite(file=str(path), line=3, direct=True, kind=_LOADER)
    patch = make_patch({"workers": 2}, Sites(root=str(tmp_path), main=str(path), loaders=[site]))
    assert patch is not None
    assert (patch.native == ["workers"]) is native
