"""A contained trial leaves the user's files as they were, and sees its own effects all the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotlap.launch import Limits, Plan, Training
from hotlap.records import Environment, Run

Tree = dict[str, tuple[object, ...]]
Trial = Callable[..., Run]


def tree(root: Path) -> Tree:
    """Names, kinds, bytes and times of everything below a directory."""
    found: Tree = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
        found[str(path)] = (stat.filemode(status.st_mode), status.st_mtime_ns, status.st_nlink, digest)
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The user's project, as it was before the trial."""
    home = tmp_path / "home"
    for name, text in {
        "log.txt": "epoch 0\n",
        "data/1.txt": "one",
        "data/2.txt": "two",
        "data/deep/3.txt": "three",
        "checkpoints/old.pt": "old weights",
        "checkpoints/best.pt": "best weights",
        "helper.py": "VALUE = 7\n",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    (home / "latest").symlink_to("checkpoints/best.pt")
    (home / "linked").symlink_to(home / "data")
    return home


@pytest.fixture
def trial(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Run a script in the user's project, contained; it must succeed and leave everything there as it was."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(home)

    def run(script: str | list[str], name: str = "run", **plan: object) -> Run:
        command = ["-c", _IMPORTS + script] if isinstance(script, str) else script
        before = tree(home)
        known = Environment(hotlap="0", python="3")
        options = Plan(contained=True, **plan)  # type: ignore[arg-type]
        with Training(
            [sys.executable, *command], tmp_path / name, options, Limits(silence=60), known_environment=known
        ) as training:
            training.wait()
        assert training.run().info.outcome in ("finished", "stopped"), training.tail()
        assert tree(home) == before
        return training.run()

    return run


_IMPORTS = """
import glob, io, os, pathlib, shutil, subprocess, sys, tempfile
from pathlib import Path
home = os.getcwd()
def read(path, mode="r"):
    with open(path, mode) as file: return file.read()
def write(path, text, mode="w"):
    with open(path, mode) as file: file.write(text)
def raises(error, action, *args, **kwargs):
    try: action(*args, **kwargs)
    except error as caught: return caught
    raise AssertionError(f"{action} {args} did not raise {error}")
"""


def test_writing(trial: Trial, tmp_path: Path) -> None:
    """Every way to open a file for writing goes to the overlay, and what was written is read back."""
    trial("""
write("new.txt", "new"); assert read("new.txt") == "new" == read(home + "/new.txt") == read(b"new.txt")
write("log.txt", "epoch 1\\n", "a"); assert read("log.txt") == "epoch 0\\nepoch 1\\n"
with open("data/1.txt", "r+") as file: file.seek(1); file.write("NE")
assert read(Path("data/1.txt")) == "oNE"
with open(Path("data/2.txt"), "w+b") as file: file.write(b"2"); file.seek(0); assert file.read() == b"2"
assert isinstance(raises(FileExistsError, open, "log.txt", "x"), FileExistsError)
write("fresh.txt", "x", "x"); raises(FileExistsError, open, "fresh.txt", "x")
assert raises(FileNotFoundError, open, "nowhere/x", "w").filename == "nowhere/x"
assert raises(FileNotFoundError, open, "nowhere").filename == "nowhere"
raises(IsADirectoryError, open, "data", "w")
with open("log.txt", "a") as file: assert file.name == "log.txt"
fd = os.open("raw", os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600); os.write(fd, b"raw"); os.close(fd)
assert read("raw") == "raw" and os.stat("raw").st_mode & 0o777 == 0o600
raises(FileExistsError, os.open, "raw", os.O_CREAT | os.O_EXCL)
fd = os.open("log.txt", os.O_WRONLY | os.O_TRUNC); os.close(fd); assert read("log.txt") == ""
fd = os.open("data", os.O_RDONLY)
assert read(os.open("1.txt", os.O_RDONLY, dir_fd=fd)) == "oNE"
os.close(os.open("4.txt", os.O_CREAT | os.O_WRONLY, dir_fd=fd)); assert os.path.exists("data/4.txt")
def opener(path, flags): return os.open(path, flags, dir_fd=fd)
with open("by-opener", "w", opener=opener) as file: file.write("o")
assert read("data/by-opener") == "o"
Path("p.txt").write_text("p"); assert Path(home, "p.txt").read_text() == "p"
with io.open("i.txt", "wb") as file: file.write(b"i")
os.truncate("p.txt", 0); assert read("p.txt") == ""
write("latest", "through the link"); assert read("checkpoints/best.pt") == "through the link"
write("linked/2.txt", "through the directory"); assert read("data/2.txt") == "through the directory"
raises(UnicodeDecodeError, read, __import__("sys").executable)
""")
    assert (tmp_path / "run/files" / str(tmp_path / "home/new.txt")[1:]).read_text() == "new"


def test_directories(trial: Trial) -> None:
    """Directories are made, listed, walked, renamed and removed as one tree with the user's."""
    trial("""
os.makedirs("runs/a/b"); os.makedirs("runs/a/b", exist_ok=True); raises(FileExistsError, os.mkdir, "data")
Path("runs/c").mkdir(parents=True, exist_ok=True)
assert sorted(os.listdir("runs")) == ["a", "c"] == sorted(p.name for p in Path("runs").iterdir())
write("data/new", "n"); os.remove("data/2.txt")
assert sorted(os.listdir("data")) == ["1.txt", "deep", "new"] == sorted(map(os.fsdecode, os.listdir(b"data")))
with os.scandir("data") as entries:
    found = {e.name: (e.path, e.is_dir(), e.is_file(), e.stat().st_size) for e in entries}
assert found == {"1.txt": ("data/1.txt", False, True, 3), "deep": ("data/deep", True, False, found["deep"][3]),
                 "new": ("data/new", False, True, 1)}
assert sorted(glob.glob("data/**/*.txt", recursive=True)) == ["data/1.txt", "data/deep/3.txt"]
assert {name for _, _, names in os.walk(home) for name in names} >= {"3.txt", "new", "helper.py"}
assert sorted(p.name for p in Path(home).rglob("*.txt")) == ["1.txt", "3.txt", "log.txt"]
raises(OSError, os.rmdir, "data")
os.rename("data", "moved"); assert not os.path.exists("data") and read("moved/deep/3.txt") == "three"
raises(FileNotFoundError, os.listdir, "data")
os.mkdir("data"); assert os.listdir("data") == []
shutil.rmtree("moved"); assert not os.path.isdir("moved")
shutil.rmtree("checkpoints"); os.makedirs("checkpoints/again"); assert os.listdir("checkpoints") == ["again"]
shutil._use_fd_functions = not shutil._use_fd_functions
shutil.copytree("runs", "copy"); assert os.path.isdir("copy/a/b"); shutil.rmtree("copy")
raises(FileNotFoundError, os.stat, "copy")
os.chdir("runs/a"); assert os.getcwd() == home + "/runs/a" == os.path.realpath(".") == os.getcwdb().decode()
write("here", "h"); assert os.listdir() == ["b", "here"] or os.listdir() == ["here", "b"]
os.chdir("../../data"); write("x", ""); os.chdir(".."); assert os.path.exists("data/x") and read("runs/a/here") == "h"
assert os.path.abspath("runs") == home + "/runs" == str(Path("runs").resolve())
os.removedirs("runs/c"); assert os.path.exists("runs")
""")


def test_names(trial: Trial) -> None:
    """Files are renamed over each other, deleted, linked and made anew."""
    trial("""
write("best.tmp", "better"); os.replace("best.tmp", "checkpoints/best.pt")
assert read("checkpoints/best.pt") == "better" == read("latest") and not os.path.exists("best.tmp")
os.rename("checkpoints/old.pt", "checkpoints/older.pt"); assert read("checkpoints/older.pt") == "old weights"
assert sorted(os.listdir("checkpoints")) == ["best.pt", "older.pt"]
os.unlink("log.txt"); assert not os.path.lexists("log.txt"); raises(FileNotFoundError, open, "log.txt")
assert raises(FileNotFoundError, os.remove, "log.txt").filename == "log.txt"
raises(FileNotFoundError, os.stat, "log.txt"); write("log.txt", "anew", "a"); assert read("log.txt") == "anew"
Path("data/1.txt").unlink(); Path("data/1.txt").unlink(missing_ok=True)
os.symlink("log.txt", "sym"); assert os.path.islink("sym") and os.readlink("sym") == "log.txt" and read("sym") == "anew"
os.remove("latest"); os.symlink(home + "/data/2.txt", "latest"); assert read("latest") == "two"
write("latest", "TWO"); assert read("data/2.txt") == "TWO" and os.path.realpath("latest") == home + "/data/2.txt"
os.link("checkpoints/best.pt", "hard"); write("hard", "!", "a"); assert read("checkpoints/best.pt") == "better!"
os.link("helper.py", "hard2"); write("hard2", "#", "a"); assert read("helper.py") == "VALUE = 7\\n#"
raises(FileExistsError, os.symlink, "a", "sym"); raises(FileExistsError, os.link, "sym", "hard")
raises(NotADirectoryError, os.rename, "data", "hard"); raises(IsADirectoryError, os.rename, "hard", "data")
raises(OSError, os.rename, "data", "data/deep/x"); raises(OSError, os.rename, "data", "checkpoints")
shutil.move("hard", "data/deep"); assert read("data/deep/hard") == "better!"
shutil.copy("data/deep/3.txt", "copied"); shutil.copy2("data/deep/3.txt", "copied2"); assert read("copied") == "three"
shutil.copyfile("copied", "data/2.txt"); assert read("data/2.txt") == "three"
assert os.stat("copied2").st_mtime_ns == os.stat("data/deep/3.txt").st_mtime_ns
with tempfile.NamedTemporaryFile("w", dir=".", delete=False) as file: file.write("t")
os.replace(file.name, "final"); assert read("final") == "t"
with tempfile.TemporaryDirectory(dir=home) as made: write(made + "/x", "")
assert not os.path.exists(made)
outside = tempfile.mkdtemp(); assert os.path.dirname(outside) == os.environ["TMPDIR"]
write(outside + "/w", "w"); os.replace(outside + "/w", "w"); assert read("w") == "w"
os.replace("copied", outside + "/back"); assert read(outside + "/back") == "three"
shutil.move("checkpoints", outside); assert read(outside + "/checkpoints/older.pt") == "old weights"
assert not os.path.exists("checkpoints")
""")


def test_attributes(trial: Trial) -> None:
    """Times and modes change in the trial's own copy only, through a path or a descriptor."""
    trial("""
os.utime("log.txt", (1, 1)); assert os.stat("log.txt").st_mtime == 1 and read("log.txt") == "epoch 0\\n"
os.chmod("helper.py", 0o400); assert os.lstat("helper.py").st_mode & 0o777 == 0o400 and os.access("helper.py", os.R_OK)
Path("data/1.txt").touch(); os.chmod("data", 0o700); assert os.stat("data").st_mode & 0o777 == 0o700
with open("data/2.txt") as file: os.fchmod(file.fileno(), 0o600); os.utime(file.fileno(), (2, 2))
assert os.stat("data/2.txt").st_mtime == 2
os.mkfifo("pipe"); assert Path("pipe").is_fifo()
for name in ("log.txt", b"log.txt", Path("log.txt")): assert os.path.exists(name) and os.path.isfile(name)
assert os.path.samefile("log.txt", home + "/./data/../log.txt") and os.path.getsize("log.txt") == 8
assert os.stat("1.txt", dir_fd=os.open("data", os.O_RDONLY)).st_size == 3
open(os.devnull, "w").close(); open("/dev/stdout", "w").close()
""")


def test_refused(trial: Trial) -> None:
    """What cannot be redirected is refused in plain words, with the path."""
    trial("""
import _io, _sqlite3, posix, socket
data = os.open("data", os.O_RDONLY)
for action in (
    lambda: posix.open("q", os.O_CREAT | os.O_WRONLY), lambda: posix.remove("log.txt"), lambda: _io.FileIO("q", "w"),
    lambda: posix.rename("log.txt", "q"), lambda: posix.mkdir("q"), lambda: posix.truncate("log.txt", 0),
    lambda: posix.symlink("a", "q"), lambda: _sqlite3.connect("q"), lambda: posix.chmod("log.txt", 0),
    lambda: posix.open("q", os.O_CREAT | os.O_WRONLY, dir_fd=data), lambda: socket.socket(socket.AF_UNIX).bind("q"),
):
    error = raises(PermissionError, action)
    assert "hotlap leaves your files as they are in a trial" in str(error), error
assert _io.FileIO("log.txt").read() == b"epoch 0\\n"
""")


def test_imports_and_children(trial: Trial, tmp_path: Path) -> None:
    """No __pycache__ appears beside the user's modules, and Python children share the overlay."""
    trial("""
import helper; assert helper.VALUE == 7
write("shared", "s")
code = "import os; assert open('shared').read() == 's'; open('from-child', 'w').write('c'); os.remove('log.txt')"
subprocess.run([sys.executable, "-c", code], check=True)
assert read("from-child") == "c" and not os.path.exists("log.txt")
os.mkdir("only-here"); subprocess.run([sys.executable, "-c", "open('y', 'w')"], check=True, cwd="only-here")
assert os.listdir("only-here") == ["y"]
if os.fork() == 0: write("from-fork", "f"); os._exit(0)
os.wait(); assert read("from-fork") == "f"
from concurrent.futures import ThreadPoolExecutor
def append(number): write(f"data/{number % 3}.txt", "+", "a"); write(f"thread{number}", "t")
with ThreadPoolExecutor(8) as pool: list(pool.map(append, range(100)))
assert len(read("data/1.txt")) == 3 + 33
""")


def test_databases(trial: Trial) -> None:
    """SQLite files, whose library opens them itself, are copied before they are changed."""
    with contextlib.closing(sqlite3.connect("history.db")) as database, database:
        database.execute("create table runs (name)")
    trial("""
import contextlib, sqlite3
from sqlite3 import connect
def insert(database, **options):
    with contextlib.closing(connect(database, **options)) as connection, connection:
        connection.execute("create table if not exists runs (name)")
        connection.execute("insert into runs values ('trial')")
        return connection.execute("select count(*) from runs").fetchone()[0]
assert insert("history.db") == 1 and insert(Path(home, "history.db")) == 2 and insert("file:history.db", uri=True) == 3
assert insert("new.db") == 1 and insert(":memory:") == 1 and os.path.exists("new.db")
with contextlib.closing(connect("file:history.db?mode=ro", uri=True)) as connection:
    raises(sqlite3.OperationalError, connection.execute, "delete from runs")
""")


_TORCH = """
import torch, numpy
from torch import load, save
from torch.utils.data import DataLoader, Dataset

class Data(Dataset):
    def __len__(self): return 4
    def __getitem__(self, i):
        write(f"cache-{i}", str(i)); return torch.tensor(float(read(f"cache-{i}")))

if __name__ == "__main__":
    model = torch.nn.Linear(2, 1)
    first = 0
    if os.path.exists("checkpoints/last.pt"): raise SystemExit("the checkpoint of another trial")
    for epoch in range(3):
        state = {"epoch": epoch, "model": model.state_dict()}
        torch.save(state, "checkpoints/last.pt.tmp"); os.replace("checkpoints/last.pt.tmp", "checkpoints/last.pt")
        if epoch: os.remove(f"checkpoints/{epoch - 1}.pt")
        save(state, Path(home) / "checkpoints" / f"{epoch}.pt")
    assert os.path.exists("checkpoints/last.pt")
    for path in ("checkpoints/last.pt", home + "/checkpoints/last.pt"):
        for options in ({}, {"mmap": True}, {"weights_only": False}):
            assert torch.load(path, **options)["epoch"] == 2 == load(path)["epoch"]
    with open("checkpoints/best.pt", "wb") as file: torch.save(1, file)
    torch.save(2, "old.pt", _use_new_zipfile_serialization=False); assert load("old.pt") == 2
    torch.save(3, "gewicht\\u00e9.pt"); assert load("gewicht\\u00e9.pt") == 3
    assert sorted(p.name for p in Path("checkpoints").iterdir()) == ["2.pt", "best.pt", "last.pt", "old.pt"]
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(model), "scripted.pt"); torch.jit.load("scripted.pt")
    with torch.profiler.profile() as profile: model(torch.ones(1, 2))
    profile.export_chrome_trace("trace.json"); assert os.path.getsize("trace.json") > 100
    torch.from_file("mapped", shared=True, size=4).fill_(1.0); assert os.path.getsize("mapped") == 16
    import torch.distributed as distributed
    distributed.init_process_group("gloo", init_method=f"file://{home}/checkpoints/store", rank=0, world_size=1)
    assert os.path.exists("checkpoints/store"); distributed.destroy_process_group()
    numpy.save("a.npy", numpy.ones(3)); assert numpy.load("a.npy", mmap_mode="r+").sum() == 3
    numpy.savez("b.npz", x=numpy.ones(2)); numpy.ones(2).tofile("c.bin"); assert numpy.fromfile("c.bin").sum() == 2
    numpy.memmap("d.bin", mode="w+", shape=3)[:] = 1
    numpy.savetxt("e.csv", numpy.ones(2)); raises(RuntimeError, torch.save, 1, "nowhere/x.pt")
    for context in ("fork", "spawn"):
        loader = DataLoader(Data(), num_workers=1, multiprocessing_context=context)
        assert sum(float(batch) for batch in loader) == 6
    assert os.path.exists("cache-3")
"""


def test_checkpoints_and_workers(trial: Trial, home: Path, tmp_path: Path) -> None:
    """Checkpoints are saved, replaced, deleted and loaded in the overlay, and loaders' workers write there too."""
    script = tmp_path / "train.py"
    script.write_text(_IMPORTS + _TORCH)
    trial([str(script)])


def test_reference_trainer(trial: Trial, home: Path) -> None:
    """The reference trainer leaves no output directory in a trial."""
    (home / "tiny.yaml").write_text(
        "output_dir: runs/tiny\nsteps: 3\nbatch_size: 2\npatch_size: 16\nbase_channels: 8\nnum_blocks: 1\n"
        "log_every: 1\nvalidate_every: 2\nsave_every: 2\ndevice: cpu\n"
    )
    assert len(trial(["-m", "hotlap", "train", "tiny.yaml"]).steps) == 3
    assert not (home / "runs").exists()


def test_started_in_a_place_for_temporary_files(
    trial: Trial, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project below the directory for temporary files is a project nevertheless; its neighbours are temporary."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    trial("write('x', 'x'); write('../beside', 'b'); assert read('x') == 'x' and read('../beside') == 'b'")
    assert (tmp_path / "beside").read_text() == "b"
    assert not (home / "x").exists()


def test_not_without_containment(home: Path, tmp_path: Path) -> None:
    """A script whose files cannot be kept safe is not started at all."""
    command = [sys.executable, "-c", "print('ran')"]
    settings = tmp_path / "run" / "probe.json"
    plan = Plan(contained=True)
    with Training(command, tmp_path / "first", plan, known_environment=Environment(hotlap="0", python="3")) as training:
        training.wait()
    assert training.tail() == "ran\n"
    settings.parent.mkdir()
    settings.write_text(plan.settings(tmp_path / "nowhere"))
    environ = {**plan.environ(tmp_path / "run"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "hotlap: the script was not started, its files could not be kept safe" in done.stderr


_RANDOM_WORK = """
import json, os, random, shutil, sys
start = os.getcwd()
names = ["a", "b", "a/b", "d", "d/a", "d/e", "d/e/a", "d/e/b", "n", "n/a", "link", "link/a", "d/link"]
def read(path):
    with open(path) as file: return file.read()
def write(path, mode):
    with open(path, mode) as file: file.write(mode)
def view(top="."):
    return sorted((path, sorted(folders), sorted((n, os.path.islink(os.path.join(path, n)) or
                  os.path.getsize(os.path.join(path, n))) for n in files)) for path, folders, files in os.walk(top))
actions = {
    "read": lambda p, q: read(p), "w": lambda p, q: write(p, "w"), "a": lambda p, q: write(p, "a"),
    "x": lambda p, q: write(p, "x"), "r+": lambda p, q: write(p, "r+"), "mkdir": lambda p, q: os.mkdir(p),
    "makedirs": lambda p, q: os.makedirs(p, exist_ok=True), "rmdir": lambda p, q: os.rmdir(p),
    "remove": lambda p, q: os.remove(p), "rename": lambda p, q: os.rename(p, q),
    "replace": lambda p, q: os.replace(p, q),
    "rmtree": lambda p, q: shutil.rmtree(p), "copy": lambda p, q: shutil.copyfile(p, q) and None,
    "symlink": lambda p, q: os.symlink(random.choice([os.path.basename(p), os.path.abspath(p)]), q),
    "list": lambda p, q: sorted(os.listdir(p)), "stat": lambda p, q: [oct(os.stat(p).st_mode), os.path.islink(p)],
    "truncate": lambda p, q: os.truncate(p, 1),
    "exists": lambda p, q: [f(p) for f in (os.path.exists, os.path.lexists, os.path.isdir, os.path.isfile)],
    "real": lambda p, q: os.path.relpath(os.path.realpath(p), start), "chmod": lambda p, q: os.chmod(p, 0o700),
}
for seed in range(int(sys.argv[1])):
    random.seed(seed)
    os.chdir(os.path.join(start, f"tree{seed}"))
    for number in range(40):
        action, p, q = random.choice(sorted(actions)), random.choice(names), random.choice(names)
        try: result = actions[action](p, q)
        except OSError as error: result = [type(error).__name__, error.errno]
        except shutil.Error as error: result = "shutil.Error"
        print(json.dumps([seed, number, action, p, q, result, view()]))
    os.chdir(start)
"""


def test_like_the_real_thing(trial: Trial, home: Path, tmp_path: Path) -> None:
    """Any sequence of changes gives in the overlay what it gives on a file system: results, errors, and the tree."""
    for seed in range(40):
        tree_of_seed = home / f"tree{seed}"
        (tree_of_seed / "d/e").mkdir(parents=True)
        for name in ("a", "d/a", "d/e/a"):
            (tree_of_seed / name).write_text(name)
        (tree_of_seed / "link").symlink_to("d")
    script = tmp_path / "work.py"
    script.write_text(_RANDOM_WORK)
    trial([str(script), "40"])
    contained = (tmp_path / "run" / "output.log").read_text()
    free = subprocess.run([sys.executable, str(script), "40"], cwd=home, capture_output=True, text=True)
    assert free.returncode == 0, free.stderr
    for found, expected in zip(contained.splitlines(), free.stdout.splitlines(), strict=True):
        assert found == expected
