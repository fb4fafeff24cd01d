"""The card: what it says, that it fits, and that any name can be drawn."""

from __future__ import annotations

import io
import sys

import full
import made_up
import pytest
from made_up import replace

from hotlap.errors import UsageError
from hotlap.records import Comparison, Run, Tuning
from hotlap.report import card, drawing

pytest.importorskip("PIL")
from PIL import Image

LONG = "训练 größe \x1b[2J 🚀 " + "long-" * 60

RECORDS: dict[str, Run | Tuning | Comparison] = {
    "run": made_up.run(60),
    "full run": full.run(LONG),
    "run without steps": made_up.run(0),
    "tuning": made_up.tuning(),
    "nothing to gain": made_up.nothing_to_gain(),
    "tuning with long names": made_up.tuning(
        config=LONG,
        adopted=[made_up.change(LONG, LONG, title=LONG)] * 9,
        environment=replace(made_up.ENVIRONMENT, gpus=[LONG]),
        warnings=[LONG],
        diagnosis=made_up.diagnosis(phases={LONG: 0.1, "forward": 0.2}),
    ),
    "comparison": made_up.comparison(),
    "unclear comparison": made_up.comparison(judgement="unclear", a=[LONG], b=[LONG]),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_card_fits(name: str) -> None:
    """A card is a small picture of its size whose edges nothing reaches, whatever the record says."""
    made = card.render(RECORDS[name])
    assert len(made) < 200_000
    picture = Image.open(io.BytesIO(made))
    assert picture.size == (1200, 630)
    paper = picture.getpixel((10, 320))
    for box in ((0, 12, 40, 630), (1160, 12, 1200, 630), (0, 610, 1200, 630)):
        assert picture.crop(box).getcolors() == [((box[2] - box[0]) * (box[3] - box[1]), paper)]


def test_a_tuning_is_told_by_its_effect() -> None:
    """The effect large, under it its interval and the same training, the bars, and each change with its own gain."""
    said = card.card(made_up.tuning())
    assert said.figure == "1.91× faster"
    assert said.headline == "[1.86, 1.96], 16 pairs, 99 % interval; the same training: yes"
    assert said.good
    assert [name for name, _ in said.bars] == ["before", "after"]
    assert said.points == [
        ("workers=2  Fetch in 2 worker processes", "added 1.83×"),
        ("precision=bf16  Compute in bfloat16", "added 1.29×"),
    ]
    assert "clock of the GPU" in said.caution


def test_an_unclear_comparison_shows_no_figure_large() -> None:
    """What is not known must not look like a result."""
    assert card.card(made_up.comparison(judgement="unclear")).figure == ""
    assert card.card(made_up.comparison()).figure == "1.62×"


def test_a_run_is_told_by_its_step() -> None:
    """The step, what was found with the most that ending it could give, and the machine."""
    said = card.card(made_up.run())
    assert said.figure.endswith("ms a step")
    assert said.points[0][0].startswith("DATA01  ")
    assert said.points[0][1].startswith("at most ")
    assert "RTX 4090" in said.machine


def test_secrets_are_not_on_a_card() -> None:
    """Keys of a command are masked before they are drawn."""
    run = made_up.run(20)
    said = card.card(replace(run, info=replace(run.info, command=["python", "t.py", "--api-key=sesame"])))
    assert "sesame" not in str(said)


def test_every_sign_of_ours_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no font but Pillow's own, what it lacks has stand-ins, and Chinese becomes question marks."""
    monkeypatch.setattr(drawing, "_SYSTEM", ())
    drawing._fonts.cache_clear()
    drawing._drawn.cache_clear()
    try:
        assert "".join(run for run, _ in drawing._runs("2.78× ± 3 µs – größe 训练…", 24)) == "2.78x ± 3 us - gro?e ??…"
    finally:
        drawing._fonts.cache_clear()
        drawing._drawn.cache_clear()


def test_words_are_cut_to_their_room() -> None:
    """Words end in three dots where they would be wider than allowed, and lines are no more than asked for."""
    shown = drawing.cut("word " * 50, 24, 300)
    assert shown.endswith("…")
    assert drawing.length(shown, 24) <= 300
    lines = drawing.wrapped("word " * 50, 24, 300, 2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert drawing.wrapped("", 24, 300, 2) == []


def test_without_pillow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow is an extra: one sentence says what draws the card and how to get it."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match=r"pip install 'pillow>=10\.1'"):
        card.render(made_up.tuning())
