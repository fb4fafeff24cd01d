"""Pictures that are kept decoded are those that the files hold, whatever is done with them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recordings import Pull

_DATA = """
import io, os, random, sys, types
import numpy as np
from PIL import Image, ImageFile
from pathlib import Path
begin = Image._getdecoder
def counted(*args):
    if sys._getframe(1).f_code.co_name != "frombytes":
        with open("decoded", "a") as file: file.write(".")
    return begin(*args)
Image._getdecoder = counted
def decoded():
    "By all processes, since it was asked the last time."
    found = os.stat("decoded").st_size
    os.truncate("decoded", 0)
    return found

def opened(path): return np.asarray(Image.open(path).convert("RGB"))
def handed(path):
    with open(path, "rb") as file:
        picture = Image.open(file); picture.load()
        return np.asarray(picture.convert("RGB")), file.closed or file.tell(), sorted(picture.info.items(), key=repr)
def of_bytes(path): return np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
def drafted(path):
    picture = Image.open(path); picture.draft("L", (16, 16))
    return np.asarray(picture), picture.size
def in_yuv(path):
    picture = Image.open(path); picture.draft("YCbCr", None)
    return picture.mode, np.asarray(picture)
def written(path):
    picture = Image.open(path); pixels = picture.load()
    before = np.array(picture); pixels[0, 0] = pixels[1, 1]; picture.paste(pixels[2, 2], (3, 3, 9, 9))
    return before, np.asarray(picture)
def recoloured(path):
    picture = Image.open(path); picture.load()
    if picture.mode == "L": picture.putpalette([i // 3 for i in range(768)])
    return np.asarray(picture.convert("RGB"))
def told(path):
    picture = Image.open(path); picture.load()
    return dict(getattr(picture, "text", {})), picture.fp is None, picture.readonly, picture.tile, picture.mode
WAYS = [opened, handed, of_bytes, drafted, in_yuv, written, recoloured, told]

class Crops(Dataset):
    def __init__(self, ways=WAYS):
        self.paths = sorted(path for path in Path("pictures").iterdir())
        self.ways = ways
    def __len__(self): return 3 * len(self.paths)
    def __getitem__(self, i):
        path = self.paths[i % len(self.paths)]
        for way in self.ways: kept.append(repr((way.__name__, path.name, way(path))))
        left = random.randint(0, 8)
        return torch.from_numpy(opened(path)[left:left + 16, :16].astype("float32") / 255)
np.set_printoptions(threshold=sys.maxsize)
kept = []
def train(epochs=2, data=None, **options):
    random.seed(1); torch.manual_seed(1)
    model = nn.Linear(16 * 16 * 3, 1); optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for epoch in range(epochs):
        for x in DataLoader(data or Crops(), batch_size=4, shuffle=True, **options):
            loss = model(x.flatten(1)).pow(2).mean(); loss.backward(); optimizer.step(); optimizer.zero_grad()
            kept.append(loss.item())
"""

#: Of the pictures those that keep more than their pixels, and what is decoded otherwise (WebP).
NOT_KEPT = ("palette.png", "film.png", "rgb.webp")
ALL = 15
KEPT = ALL - len(NOT_KEPT)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Of the formats and kinds of pixels that trainings read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0)
    pixels = noise.integers(0, 256, (32, 40, 4), dtype=np.uint8)
    whole = Image.fromarray(pixels)
    whole.convert("RGB").save(folder / "rgb.png", dpi=(72, 72))
    data, note = (folder / "rgb.png").read_bytes(), b"tEXtafter\0the pixels"
    chunk = struct.pack(">I", len(note) - 4) + note + struct.pack(">I", zlib.crc32(note))
    (folder / "rgb.png").write_bytes(data[:-12] + chunk + data[-12:])
    whole.save(folder / "rgba.png")
    whole.convert("L").save(folder / "grey.png")
    whole.convert("P").save(folder / "palette.png")
    Image.fromarray(noise.integers(0, 2**16, (32, 40), dtype=np.uint16)).save(folder / "sixteen.png")
    whole.convert("RGB").save(folder / "rgb.jpg", quality=90)
    whole.convert("L").save(folder / "grey.jpg")
    whole.convert("CMYK").save(folder / "four.jpg")
    whole.convert("1").save(folder / "one.png")
    whole.convert("LA").save(folder / "two.png")
    (folder / "deep.pgm").write_bytes(b"P5 40 32 65535\n" + pixels[..., :2].tobytes())
    (folder / "real.pfm").write_bytes(b"Pf\n40 32\n-1.0\n" + pixels[..., 0].astype("<f4").tobytes())
    whole.convert("RGB").save(folder / "rgb.bmp")
    whole.convert("RGB").save(folder / "rgb.webp", lossless=True)
    frames = [Image.fromarray(pixels[::turn, :, :3].copy()).resize((40, 32)) for turn in (1, -1)]
    frames[0].save(folder / "film.png", save_all=True, append_images=frames[1:])
    return folder


def test_every_picture_is_as_it_was(pull: Pull, pictures: Path) -> None:
    """Opened by name, by file and from bytes; drafted, written on, recoloured: nobody sees what another one did."""
    script = _DATA + "train()\nseen['kept'] = kept; seen['decoded'] = decoded()\n"
    ordinary, run = pull(script, {}, name="ordinary")
    again, with_lever = pull(script, {"cache_decoded": 1 << 28})
    assert again["kept"] == ordinary["kept"]
    assert with_lever.notes == []
    assert [step.loss for step in with_lever.steps] == [step.loss for step in run.steps]
    assert again["decoded"] < ordinary["decoded"] / 2
    facts = run.facts
    assert facts.decode_seconds is not None
    assert facts.fetch_samples_seconds is not None
    assert 0 < facts.decode_seconds < facts.fetch_samples_seconds
    assert facts.decoded_again_share is not None
    assert facts.decoded_again_share > 0.9
    assert facts.decoded_bytes


def test_each_is_decoded_once(pull: Pull, pictures: Path) -> None:
    for name in NOT_KEPT:
        (pictures / name).unlink()
    script = _DATA + "train(data=Crops([]))\nseen['decoded'] = decoded()\n"
    assert pull(script, {}, name="ordinary")[0]["decoded"] == 2 * 3 * KEPT
    seen, run = pull(script, {"cache_decoded": 1 << 28})
    assert seen["decoded"] == KEPT
    assert run.notes == []


def test_a_file_that_is_written_anew_is_decoded_anew(pull: Pull, pictures: Path) -> None:
    change = """
pixels = np.random.default_rng(1).integers(0, 256, (32, 40, 3), dtype=np.uint8)
for turn in (0, 2):
    for name in ("rgb.png", "rgb.jpg", "rgb.bmp"):
        Image.fromarray(np.rot90(pixels, turn)).save(f"pictures/{name}")
    train(1, Crops([opened]))
seen["kept"] = kept; seen['decoded'] = decoded()
"""
    ordinary, _ = pull(_DATA + change, {}, name="ordinary")
    seen, _ = pull(_DATA + change, {"cache_decoded": 1 << 28})
    assert seen["kept"] == ordinary["kept"]
    assert seen["decoded"] < ordinary["decoded"]


def test_no_more_is_kept_than_was_said(pull: Pull, pictures: Path) -> None:
    """Two pictures of 40 x 32 pixels, 4 bytes each in memory."""
    for path in pictures.iterdir():
        if path.suffix != ".jpg":
            path.unlink()
    for number in range(4):
        Image.open(pictures / "rgb.jpg").rotate(90 * number).save(pictures / f"{number}.jpg")
    for name in ("grey.jpg", "rgb.jpg", "four.jpg"):
        (pictures / name).unlink()
    script = _DATA + "train(data=Crops([]))\nseen['decoded'] = decoded()\n"
    seen, _ = pull(script, {"cache_decoded": 2 * (40 * 32 * 4 + 500)})
    assert seen["decoded"] == 2 + 2 * 6


@pytest.mark.parametrize("options", ["", ", persistent_workers=True", ", multiprocessing_context='spawn'"])
def test_workers_share_what_is_kept(pull: Pull, pictures: Path, options: str) -> None:
    """Those of the next epoch, too; what they decode is told."""
    for name in NOT_KEPT:
        (pictures / name).unlink()
    script = "train(4, Crops([]), num_workers=2" + options + ")\nseen['kept'], seen['decoded'] = kept, decoded()\n"
    begin = "if __name__ == '__main__':\n    " if "spawn" in options else ""
    script = _DATA + begin + script.replace("\n", "\n" + " " * 4 * bool(begin)).rstrip() + "\n"
    ordinary, run = pull(script, {}, name="ordinary")
    seen, with_lever = pull(script, {"cache_decoded": 1 << 28})
    assert seen["kept"] == ordinary["kept"]
    # Two may decode the same one at the same time.
    assert KEPT <= seen["decoded"] <= 2 * KEPT < ordinary["decoded"] == 4 * 3 * KEPT
    assert with_lever.notes == []
    assert run.facts.decode_seconds is not None
    assert run.facts.decoded_again_share is not None
    # Marks are shared with those that are forked. By itself none of them has the same one twice very often.
    assert "spawn" in options or run.facts.decoded_again_share > 0.6


_RANK = """
import torch.distributed as dist
dist.init_process_group("gloo")
train(3, Crops([]), num_workers=1)
dist.barrier()
seen['decoded'] = os.stat("decoded").st_size
dist.destroy_process_group()
"""


def test_ranks_that_torchrun_starts_share_what_is_kept(pull: Pull, pictures: Path) -> None:
    """Their workers, too: each picture is decoded once on the node, or as often as there are some that ask at once."""
    for name in NOT_KEPT:
        (pictures / name).unlink()
    seen, run = pull(_DATA + _RANK, {"cache_decoded": 1 << 26}, ranks=2)
    assert run.notes == []
    assert KEPT <= seen["decoded"] <= 2 * KEPT


def test_what_decodes_nothing_says_so(pull: Pull) -> None:
    script = "train_once()\n"
    once = "def train_once():\n    model = nn.Linear(2, 1); o = torch.optim.SGD(model.parameters(), lr=0.1)\n"
    once += "    for x in DataLoader(torch.randn(8, 2), batch_size=2): model(x).sum().backward(); o.step()\n"
    _, run = pull(once + script, {"cache_decoded": 1 << 20})
    assert run.notes == ["cache_decoded was not applied: no picture was decoded a second time by PIL or OpenCV"]
    assert run.facts.decode_seconds is None


_OPENCV = """
Path("cv2.py").write_text('''
import numpy
calls = {"imread": 0, "imdecode": 0}
def imread(filename, flags=1):
    calls["imread"] += 1
    with open(filename, "rb") as file: data = file.read()
    return None if flags < 0 else numpy.frombuffer(data, "uint8").reshape(-1)[:48].copy() + flags
def imdecode(buf, flags):
    calls["imdecode"] += 1
    return numpy.asarray(buf)[:48] + flags
''')
sys.path.insert(0, ".")
import cv2
def by_name(path): return cv2.imread(str(path)), cv2.imread(str(path), 0), cv2.imread(str(path), flags=2)
def failing(path): return cv2.imread(str(path), -1)
def by_bytes(path):
    array = cv2.imdecode(np.frombuffer(path.read_bytes(), "uint8"), 1); array[0] += 1
    return array
train(data=Crops([by_name, failing, by_bytes]))
seen["kept"] = kept; seen.update(cv2.calls)
"""


def test_opencv(pull: Pull, pictures: Path) -> None:
    """A stand-in for it: each file once for each of the flags, and what it could not read each time."""
    ordinary, _ = pull(_DATA + _OPENCV, {}, name="ordinary")
    seen, run = pull(_DATA + _OPENCV, {"cache_decoded": 1 << 28})
    assert seen["kept"] == ordinary["kept"]
    assert run.notes == []
    assert (ordinary["imread"], ordinary["imdecode"]) == (4 * 6 * ALL, 6 * ALL)
    assert (seen["imread"], seen["imdecode"]) == (3 * ALL + 6 * ALL, ALL)
