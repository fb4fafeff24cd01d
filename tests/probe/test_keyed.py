"""What one process of a training keeps another one finds, by its key and as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import pytest

from hotlap.probe.shared import keyed
from hotlap.probe.shared.keyed import Keyed

VARIABLE = "HOTLAP_KEYED_TEST"


def digest(number: int) -> bytes:
    return blake2b(bytes([number % 256, number // 256]), digest_size=keyed.DIGEST).digest()


def body(number: int, size: int = 100) -> bytes:
    return np.random.default_rng(number).bytes(size)


def kept(store: Keyed, number: int) -> bool:
    """Whether it is there; it is what was put then."""
    found = store.get(digest(number))
    if found is None:
        return False
    assert (found[0], found[1].tobytes()) == (b"form %d" % number, body(number, found[1].nbytes))
    return True


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    before = os.environ.copy()
    for name in (VARIABLE, "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)


def filled(numbers: range, budget: int, size: int = 100) -> Keyed:
    made = Keyed.of_this_training("test", budget)
    for number in numbers:
        made.put(digest(number), b"form %d" % number, body(number, size))
    return made


def test_all_come_back_by_their_keys() -> None:
    made = filled(range(2000), 1 << 22)
    assert all(kept(made, number) for number in range(2000))
    assert made.hits == 2000
    assert not any(kept(made, number) for number in range(2000, 3000))


def test_the_first_stays() -> None:
    made = filled(range(1), 1 << 20)
    made.put(digest(0), b"another", b"another")
    assert kept(made, 0)
    assert made.store.items == 1


def test_there_is_no_more_than_the_budget() -> None:
    made = filled(range(100), 50_000, size=1000)
    assert [kept(made, number) for number in range(100)] == [number < made.store.items for number in range(100)]
    assert 40 <= made.store.items <= 50
    assert made.store.used <= 50_000


def test_numbers_are_fewer_than_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of one number lie side by side; once all of these are taken, no more is kept."""
    monkeypatch.setattr(keyed, "_FEWEST", 16)
    made = filled(range(100), 1 << 14)
    assert made.store.items == 16
    assert sum(kept(made, number) for number in range(100)) == 16


def test_processes_share_it() -> None:
    """A forked one has it; one that begins anew finds it by its environment."""
    made = filled(range(2), 1 << 20)
    child = os.fork()
    if not child:
        made.put(digest(2), b"form 2", body(2))
        os._exit(0 if kept(made, 1) else 1)
    assert os.waitpid(child, 0)[1] == 0
    code = (
        "from hotlap.probe.shared.keyed import Keyed; import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_keyed import body, digest, kept\n"
        "made = Keyed.of_this_training('test', 1 << 10)\n"
        "made.put(digest(3), b'form 3', body(3))\n"
        "print([kept(made, number) for number in range(5)])"
    )
    place = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, check=True)
    assert done.stdout == "[True, True, True, True, False]\n"
    assert kept(made, 2)
    assert kept(made, 3)


def test_ranks_of_a_node_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of whichever comes first, of the size for all of them."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_PORT", str(os.getpid()))
    (made, make), (seen, see) = os.pipe(), os.pipe()
    children = []
    for number in range(2):
        children.append(os.fork())
        if not children[-1]:
            store = filled(range(300 * number, 300 * number + 300), 1 << 16)
            os.write(make, b".")
            os.read(seen, 1)
            os._exit(0 if all(kept(store, each) for each in range(600)) else 1)
    for _ in children:
        os.read(made, 1)
    os.write(see, b"..")
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


def test_a_process_that_dies_while_it_keeps_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one keeps it."""
    made = filled(range(1), 1 << 20)
    child = os.fork()
    if not child:
        monkeypatch.setattr(keyed._Bytes, "write", lambda self, to: os.kill(os.getpid(), signal.SIGKILL))
        made.put(digest(1), b"form 1", body(1))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not kept(made, 1)
    made.put(digest(1), b"form 1", body(1))
    assert kept(made, 1)
    assert kept(made, 0)


def test_memory_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/proc/1/fd/99999")
    with pytest.raises(OSError, match="99999"):
        Keyed.of_this_training("test", 1 << 20)
