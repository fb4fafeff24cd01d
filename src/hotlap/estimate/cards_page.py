"""``python -m hotlap.estimate.cards_page`` writes docs/cards.md from the catalogue."""

from __future__ import annotations

from pathlib import Path

from hotlap.estimate.cards import GIB, Card, cards
from hotlap.records import write_whole

PAGE = Path(__file__).parents[3] / "docs" / "cards.md"

_HEAD = """# GPUs

Made from `src/hotlap/estimate/cards.yaml` by `python -m hotlap.estimate.cards_page`.

TFLOP/s are dense ones, never "with sparsity": fp32 of the vector units, or with "/" of those and of matrix units that
take float32; the others of the matrix units with sums in float32, as PyTorch uses them. GeForce matrix units do that
at half the rate that their advertising gives. They are peaks at the boost clock, from the vendor's publication that the
name links to; *in italics* those that it does not print and that follow from its other figures, or as the note says.
"-" is "no such unit", or "not published".

Memory is nominal, in GiB, whatever the vendor calls it; after "/" what `nvidia-smi` shows as its total, from public
logs, where that is known: ECC takes a sixteenth of GDDR6. Laptops: at the highest power that may be set; many makers
allow less than half of it, and laptops of the 20 series report the names of desktop cards.
"""
_COLUMNS = ("card", "GiB", "GB/s", "fp32", "tf32", "fp16", "bf16", "W", "for", "year")
_TITLES = {
    "data centre": "Data centre",
    "workstation": "Workstation",
    "desktop": "Desktop",
    "laptop": "Laptop",
    "integrated": "Memory shared with the CPU",
}


def page() -> str:
    """Return the page of all cards, in Markdown."""
    sections = []
    for form, title in _TITLES.items():
        rows = [_row(card) for card in cards() if card.form == form]
        sections.append("\n".join([f"\n## {title}\n", _line(_COLUMNS), "|---" * len(_COLUMNS) + "|", *rows, ""]))
    return _HEAD + "".join(sections)


def _row(card: Card) -> str:
    memory = _number(card.memory and card.memory / GIB)
    if card.shows:
        memory += f" / {card.shows / GIB:.1f}"
    fp32 = _rate(card, "fp32")
    if card.fp32_matrix and card.fp32_matrix != card.fp32:
        fp32 += f" / {_rate(card, 'fp32_matrix')}"
    name = f"[{card.name}]({card.source})" if card.source else card.name
    if card.note:
        name += f": {card.note}"
    rates = [_rate(card, field) for field in ("tf32", "fp16", "bf16")]
    made_for = f"{card.architecture} {card.capability}" if card.capability else card.architecture
    return _line((name, memory, _rate(card, "bandwidth"), fp32, *rates, _number(card.watts), made_for, str(card.year)))


def _rate(card: Card, field: str) -> str:
    text = _number(getattr(card, field))
    return f"*{text}*" if field in card.derived and text != "-" else text


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    write_whole(PAGE, page())
