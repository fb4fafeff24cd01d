"""The catalogue of GPUs agrees with itself, with figures that vendors print elsewhere, and finds what people type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

import hotlap.estimate.cards
from hotlap.errors import UsageError
from hotlap.estimate import cards_page
from hotlap.estimate.cards import GIB, Card, cards, find

CARDS = cards()
VENDOR_SITES = ("nvidia.com", "amd.com", "apple.com")
#: NVIDIA's own servers for publications, and the cloud for which the A10G is made.
VENDOR_SERVERS = ("nvdam.widen.net", "d1.awsstatic.com")


def near(value: float | None, expected: float | None, rel: float) -> bool:
    if value is None or expected is None:
        return value is expected
    return value == pytest.approx(expected, rel=rel)


def test_enough_cards() -> None:
    """Forty at least, from the GTX 1080 to the B200, and of every kind."""
    assert len(CARDS) >= 40
    assert {card.form for card in CARDS} == {"desktop", "laptop", "workstation", "data centre", "integrated"}
    assert {card.vendor for card in CARDS} == {"NVIDIA", "AMD", "Apple"}
    assert find("GTX 1080").year <= find("B200").year


def test_fp32_is_cores_by_clock() -> None:
    checked = [(card, card.per_clock * card.cores * card.clock / 1e6) for card in CARDS if card.cores and card.clock]
    assert len(checked) > 100
    assert not [card.name for card, product in checked if not near(card.fp32, product, 0.03)]


def test_bandwidth_is_bus_by_data_rate() -> None:
    """And a memory chip has 32 bits, a stack of HBM 1024."""
    checked = [(card, card.bus, card.bus * card.pins / 8) for card in CARDS if card.bus and card.pins]
    assert len(checked) > 100
    assert not [card.name for card, _, product in checked if not near(card.bandwidth, product, 0.01)]
    assert not [card.name for card, bus, _ in checked if bus % (1024 if bus > 1000 else 32)]


#: How many times the vector rate the matrix units reach in TF32, and in float16 with sums in float32.
RATIOS = {
    "Volta": (None, 8),
    "Turing": (None, 8),
    "Ampere": (2, 4),
    "Ada Lovelace": (2, 4),
    "Blackwell": (2, 4),
    "CDNA": (None, 8),
    "CDNA 2": (None, 8),
    "CDNA 3": (4, 8),
    "CDNA 4": (None, 16),
    "RDNA 3": (None, 2),
}
#: GeForce and its laptops have half of that, and these, by their datasheets.
HALF = ("NVIDIA A10G", "NVIDIA L40")
#: The largest chips have other matrix units, Hopper's with a clock of their own. TITAN V: less is promised than that.
OTHER_UNITS = ("8.0", "9.0", "10.0", None)


def test_matrix_units_have_the_ratio_of_their_generation() -> None:
    checked = [card for card in CARDS if card.capability not in OTHER_UNITS and card.architecture in RATIOS]
    assert len(checked) > 80
    for card in checked:
        geforce = card.vendor == "NVIDIA" and card.form in ("desktop", "laptop")
        part = 0.5 if geforce or card.name in HALF else 1
        tf32, fp16 = RATIOS[card.architecture]
        assert card.fp32
        assert near(card.tf32, tf32 and part * tf32 * card.fp32, 0.02), card.name
        assert near(card.fp16, part * fp16 * card.fp32, 0.08 if card.name == "NVIDIA TITAN V" else 0.02), card.name


def test_units_that_a_generation_has() -> None:
    """float16 from Volta on; bfloat16 from Ampere on, as fast as float16; TF32 at half of it."""
    for card in CARDS:
        if card.vendor == "NVIDIA":
            capability = float(card.capability or 0)
            assert (card.fp16 is not None) == (capability >= 7), card.name
            assert (card.bf16 is not None) == (card.tf32 is not None) == (capability >= 8), card.name
        if card.bf16 is not None and card.capability != "gfx908":
            assert card.bf16 == card.fp16, card.name
        if card.tf32 is not None:
            assert card.bf16 is not None
            assert near(card.tf32, card.bf16 / 2, 0.025), card.name


#: What the vendor advertises with sparsity, and how many times the dense figure with sums in float32 that is: 2 for
#: float16, 4 where 8-bit, 8 where 4-bit, and twice that on GeForce, whose advertised sums are not float32.
ADVERTISED = {
    "NVIDIA RTX A2000": (63.9, 2),
    "NVIDIA RTX A4000": (153.4, 2),
    "NVIDIA RTX A4500": (189.2, 2),
    "NVIDIA RTX A5000": (222.2, 2),
    "NVIDIA RTX A5500": (272.8, 2),
    "NVIDIA RTX A6000": (309.7, 2),
    "NVIDIA A10": (250, 2),
    "NVIDIA A10G": (140, 2),
    "NVIDIA A30": (330, 2),
    "NVIDIA A40": (299.4, 2),
    "NVIDIA A100-SXM4-80GB": (624, 2),
    "NVIDIA GeForce RTX 4060": (242, 8),
    "NVIDIA GeForce RTX 4060 Ti 8GB": (353, 8),
    "NVIDIA GeForce RTX 4070": (466, 8),
    "NVIDIA GeForce RTX 4070 SUPER": (568, 8),
    "NVIDIA GeForce RTX 4070 Ti": (641, 8),
    "NVIDIA GeForce RTX 4070 Ti SUPER": (706, 8),
    "NVIDIA GeForce RTX 4080": (780, 8),
    "NVIDIA GeForce RTX 4080 SUPER": (836, 8),
    "NVIDIA GeForce RTX 4090": (1321, 8),
    "NVIDIA RTX 4000 SFF Ada Generation": (306.8, 4),
    "NVIDIA RTX 4500 Ada Generation": (634.0, 4),
    "NVIDIA RTX 5000 Ada Generation": (1044.4, 4),
    "NVIDIA RTX 6000 Ada Generation": (1457.0, 4),
    "NVIDIA L4": (242, 2),
    "NVIDIA L40": (362.1, 2),
    "NVIDIA L40S": (733, 2),
    "NVIDIA H100 PCIe": (1513, 2),
    "NVIDIA H100 80GB HBM3": (1979, 2),
    "NVIDIA H100 NVL": (1671, 2),
    "NVIDIA H200": (1979, 2),
    "NVIDIA B200": (4500, 2),
    "NVIDIA GB200": (5000, 2),
    "NVIDIA GeForce RTX 5060": (614, 16),
    "NVIDIA GeForce RTX 5060 Ti 16GB": (759, 16),
    "NVIDIA GeForce RTX 5070": (988, 16),
    "NVIDIA GeForce RTX 5070 Ti": (1406, 16),
    "NVIDIA GeForce RTX 5080": (1801, 16),
    "NVIDIA GeForce RTX 5090": (3352, 16),
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": (4000, 8),
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": (3511, 8),
}


def test_rates_are_dense_with_sums_in_float32() -> None:
    for name, (advertised, times) in ADVERTISED.items():
        assert near(find(name).fp16, advertised / times, 0.015), name


def test_memory_is_plausible() -> None:
    """A whole number of GiB, of which the system sees nearly all."""
    for card in CARDS:
        assert (card.memory is None) == (card.form == "integrated"), card.name
        if card.memory is not None:
            assert card.memory % GIB == 0, card.name
            assert 3 <= card.memory // GIB <= 288, card.name
            assert 0.93 < (card.shows or card.memory) / card.memory <= 1, card.name


def test_every_card_has_a_source() -> None:
    """The vendor's publication, or a note that there is none and a mark on every rate."""
    rates = {"bandwidth", "fp32", "tf32", "fp16", "bf16", "fp32_matrix"}
    for card in CARDS:
        assert set(card.derived) <= {field for field in rates if getattr(card, field) is not None}, card.name
        if card.source is None:
            assert card.note, card.name
            assert set(card.derived) == {field for field in rates if getattr(card, field) is not None}, card.name
        else:
            address = urlsplit(card.source)
            assert address.scheme == "https", card.name
            assert address.netloc in VENDOR_SERVERS or address.netloc.endswith(VENDOR_SITES), card.name


def test_every_source_is_used() -> None:
    """The list of publications has no leftovers, nor one address twice."""
    content = yaml.safe_load((Path(hotlap.estimate.cards.__file__).with_name("cards.yaml")).read_text())
    assert sorted(content["sources"].values()) == sorted({card.source for card in CARDS if card.source})


def test_every_name_finds_its_card() -> None:
    """The name, each alias, and what the driver prints with the memory that the system sees. So names are unique."""
    for card in CARDS:
        for text in (card.name, card.name.lower(), card.name.replace(" ", "_"), f"  {card.name} ", *card.alias):
            assert find(text) is card, text
        if card.memory is not None:
            assert find(card.reports, memory=card.shows or int(0.98 * card.memory)) is card, card.name


TYPED = [
    ("4090", "NVIDIA GeForce RTX 4090"),
    ("rtx4090", "NVIDIA GeForce RTX 4090"),
    ("GeForce GTX 1080", "NVIDIA GeForce GTX 1080"),
    ("4070TiSuper", "NVIDIA GeForce RTX 4070 Ti SUPER"),
    ("RTX 4090 mobile", "NVIDIA GeForce RTX 4090 Laptop GPU"),
    ("2080 Ti 11 GB", "NVIDIA GeForce RTX 2080 Ti"),
    ("4060 Ti 16GB", "NVIDIA GeForce RTX 4060 Ti 16GB"),
    ("A6000", "NVIDIA RTX A6000"),
    ("RTX 6000 Ada", "NVIDIA RTX 6000 Ada Generation"),
    ("NVIDIA T4", "Tesla T4"),
    ("A100 SXM 80GB", "NVIDIA A100-SXM4-80GB"),
    ("A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB"),
    ("h100 sxm5", "NVIDIA H100 80GB HBM3"),
    ("titan rtx", "NVIDIA TITAN RTX"),
    ("MI300X", "AMD Instinct MI300X"),
    ("7900xtx", "AMD Radeon RX 7900 XTX"),
    ("M1Max", "Apple M1 Max"),
]


def test_what_people_type() -> None:
    for typed, name in TYPED:
        assert find(typed).name == name


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("A100", ["NVIDIA A100-PCIE-40GB", "NVIDIA A100-SXM4-80GB"]),
        ("H100 80GB", ["NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3"]),
        ("RTX 6000", ["Quadro RTX 6000", "NVIDIA RTX 6000 Ada Generation"]),
        ("NVIDIA GeForce RTX 3080", ["NVIDIA GeForce RTX 3080 10GB", "NVIDIA GeForce RTX 3080 12GB"]),
        ("GTX 1060", ["NVIDIA GeForce GTX 1060 3GB", "NVIDIA GeForce GTX 1060 6GB"]),
    ],
)
def test_ambiguous_name_is_an_error_that_offers_the_cards(typed: str, offered: list[str]) -> None:
    with pytest.raises(UsageError, match="several cards") as error:
        find(typed)
    assert all(repr(name) in str(error.value) for name in offered)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("RTX 4990", "NVIDIA GeForce RTX 4090"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA A100-SXM4-40GB"),
        ("gforce 3090", "NVIDIA GeForce RTX 3090"),
        ("20", "NVIDIA H20"),
        ("titan", "NVIDIA TITAN V"),
    ],
)
def test_unknown_name_is_an_error_that_offers_the_nearest(typed: str, offered: str) -> None:
    with pytest.raises(UsageError, match="not in the catalogue") as error:
        find(typed)
    assert repr(offered) in str(error.value)


def test_a_name_like_no_other_says_where_they_are() -> None:
    with pytest.raises(UsageError, match=r"docs/cards\.md lists them"):
        find("qqqq")


@pytest.mark.parametrize("typed", ["", " ", "NVIDIA", "GPU", "???", "10GB", "laptop", "D"])
def test_no_name_is_an_error(typed: str) -> None:
    with pytest.raises(UsageError):
        find(typed)


@pytest.mark.parametrize(
    ("typed", "memory"), [("RTX 4090", 48 * GIB), ("NVIDIA GeForce RTX 3060", 8 * GIB), ("T4 32GB", None)]
)
def test_card_of_another_size_is_an_error(typed: str, memory: int | None) -> None:
    """A device that reports the name of a card and has other memory is another card."""
    with pytest.raises(UsageError, match="GiB of memory"):
        find(typed, memory=memory)


def test_flops_are_those_of_the_best_unit() -> None:
    """In FLOP/s, float32 with the matrix units that take it, None without a unit."""
    assert find("H100 SXM").flops("bf16") == pytest.approx(989.4e12)
    assert find("MI250X").flops("fp32") == pytest.approx(47.9e12)
    assert find("MI250X").flops("tf32") is None
    assert find("T4").flops("bf16") is None


def test_a_wrong_key_in_the_file_is_an_error() -> None:
    """Nothing that the catalogue says is silently dropped."""
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({**msgspec.structs.asdict(CARDS[0]), "tflops": 1.0}, Card)


def test_page_is_in_step() -> None:
    """docs/cards.md is what ``python -m hotlap.estimate.cards_page`` writes."""
    assert cards_page.PAGE.read_text(encoding="utf-8") == cards_page.page()


def test_catalogue_needs_no_torch() -> None:
    script = "import sys; from hotlap.estimate.cards import find; find('T4'); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr or "torch was loaded"
