"""Figures as words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import effect

from hotlap.report import text
from hotlap.tune.statistics import UNBOUNDED
from hotlap.tune.statistics import effect as measured


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "n/a"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
        (0.0, "0 ms"),
        (38e-6, "38.0 µs"),
        (0.009996, "10.0 ms"),
        (0.0454, "45.4 ms"),
        (4.1, "4.10 s"),
        (130.0, "2 min 10 s"),
        (7260.0, "2 h 01 min"),
        (1e30, "1.00e+30 s"),
    ],
)
def test_seconds(value: float | None, shown: str) -> None:
    """A duration is written in the unit in which it reads best, and n/a where there is none."""
    assert text.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "n/a"), (0, "0 B"), (512, "512 B"), (9_340_000_000, "9.34 GB"), (3e12, "3.00 TB")]
)
def test_size(value: float | None, shown: str) -> None:
    """A size is written in decimal units, and n/a where it is not known."""
    assert text.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.834, "1.83x"), (0.5, "0.50x"), (123.4, "123x"), (1e-6, "1.0e-06x"), (None, "n/a"), (UNBOUNDED, "unknown")],
)
def test_ratio(value: float | None, shown: str) -> None:
    """A ratio has two decimals where they tell something, and an end that stands for nothing known is no number."""
    assert text.ratio(value) == shown


def test_an_end_that_nobody_knows_is_no_number() -> None:
    """The ends that the statistics give where nothing is known are called unknown, each or both."""
    assert text.interval(measured([1.8], 0.99)) == "unknown"
    assert text.interval(effect(1.2, low=1.1, high=UNBOUNDED)) == "[1.10, unknown]"
    assert text.interval(effect(1.2, low=0.0, high=1.4)) == "[unknown, 1.40]"
    assert text.interval(None) == "n/a"
    assert text.effect_sentence(measured([1.8], 0.99)) == "1.80x, 1 pair, interval unknown"
    assert text.effect_sentence(measured([], 0.99)) == "no pair was measured"


@given(st.floats())
def test_any_number_can_be_written(value: float) -> None:
    """No number, however large, small or undefined, fails to be written or is written as nan or inf."""
    unit = text.unit([value])
    written = [text.figure(value), text.seconds(value), text.size(value), text.ratio(value), text.percent(value)]
    for shown in (*written, unit(value)):
        assert shown
        assert "nan" not in shown
        assert "inf" not in shown


def test_figures_of_a_table_share_their_unit() -> None:
    """The largest figure chooses the unit and the decimals of them all."""
    assert text.unit([0.0465, 0.0004])(0.0004) == "0.40 ms"
    assert text.unit([120.0, 3.0])(3.0) == "3.0 s"
    assert text.unit([2e-9])(2e-9) == "2.00 ns"
    assert text.unit([])(0.0) == "0.00 ms"
    assert text.unit([1.0]).signed(-0.25) == "-0.25 s"
    assert text.unit([1.0])(None) == "n/a"


def test_control_characters_do_not_reach_the_reader() -> None:
    """Escape sequences, control characters and turned writing are replaced; a line end stays where it was asked for."""
    assert text.printable("a\x1b[2J\x00b\u202ec\td\ne") == "a\ufffd[2J\ufffdb\ufffdc    d e"
    assert text.printable("a\nb", keep="\n") == "a\nb"


def test_what_nobody_reads_is_cut_in_the_middle() -> None:
    """A text that is too long keeps its beginning and its end."""
    short = text.shorten("a" * 50 + "z" * 50, 30)
    assert len(short) <= 35
    assert short.startswith("aaa")
    assert short.endswith("zzz")
    assert text.shorten("short") == "short"


@pytest.mark.parametrize(
    ("sentence", "lower"),
    [
        ("The step waits", "the step waits"),
        ("A step", "a step"),
        ("CPU cores", "CPU cores"),
        ("", ""),
        ("bf16", "bf16"),
    ],
)
def test_a_sentence_goes_on_after_a_colon(sentence: str, lower: str) -> None:
    """The first word loses its capital unless it is a name or an abbreviation."""
    assert text.lower_first(sentence) == lower


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("machine too noisy", "Machine too noisy."),
        ("torch.compile", "torch.compile."),
        ("bfloat16 autocast", "bfloat16 autocast."),
        ("Done!", "Done!"),
        ("", ""),
    ],
)
def test_words_become_a_sentence(words: str, sentence: str) -> None:
    """A sentence begins with a capital, unless with a name that has none, and ends with a full stop."""
    assert text.sentence(words) == sentence


def test_a_command_reads_as_it_is_typed() -> None:
    """A command is quoted where a shell needs it, and its secrets are masked without quotes around the mask."""
    assert text.command(["python", "a b.py", "--token", "abc", "--api-key=x y"]) == (
        "python 'a b.py' --token *** --api-key=***"
    )
    assert text.command([]) == "n/a"


@pytest.mark.parametrize(
    ("date", "shown"),
    [
        ("2026-11-21T12:53:34+00:00", "2026-11-21 12:53 UTC"),
        ("2026-11-21T12:53:34Z", "2026-11-21 12:53 UTC"),
        ("2026-11-21T12:53:34+08:00", "2026-11-21 04:53 UTC"),
        ("yesterday", "yesterday"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_dates_are_written_as_people_read_them(date: str, shown: str) -> None:
    """To the minute and in UTC; what is no date stays as it is."""
    assert text.moment(date) == shown
