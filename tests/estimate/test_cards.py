"""The catalogue of GPUs agrees with itself, with figures that vendors print elsewhere, and finds what people type."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from hotlap.errors import UsageError
from hotlap.estimate import cards_page
from hotlap.estimate.cards import GIB, Card, cards, find

CARDS = cards()
NVIDIA = [card for card in CARDS if card.vendor == "NVIDIA"]
VENDOR_SITES = ("nvidia.com", "amd.com", "apple.com")
#: NVIDIA's own servers for publications, and the cloud for which the A10G is made.
VENDOR_SERVERS = ("nvdam.widen.net", "d1.awsstatic.com")


def each(found: list[Card] | tuple[Card, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("card", found, ids=lambda card: card.name)


def test_enough_cards() -> None:
    """Forty at least, from the GTX 1080 to the B200, and of every kind."""
    assert len(CARDS) >= 40
    assert {card.form for card in CARDS} == {"desktop", "laptop", "workstation", "data centre", "integrated"}
    assert {card.vendor for card in CARDS} == {"NVIDIA", "AMD", "Apple"}


@each([card for card in CARDS if card.cores and card.clock and card.fp32])
def test_fp32_is_cores_by_clock(card: Card) -> None:
    assert card.cores
    assert card.clock
    assert card.fp32 == pytest.approx(card.per_clock * card.cores * card.clock / 1e6, rel=0.03)


@each([card for card in CARDS if card.bus and card.pins])
def test_bandwidth_is_bus_by_data_rate(card: Card) -> None:
    """And memory chips have 32 bits, or stacks of 1024."""
    assert card.bus
    assert card.pins
    assert card.bandwidth == pytest.approx(card.bus * card.pins / 8, rel=0.025)
    assert card.bus % (1024 if card.pins < 10 and card.bus >= 1024 else 32) == 0


#: How many times the vector rate the matrix units reach: TF32, and float16 with sums in float32.
#: Half the rate of the workstation cards on GeForce and laptops, and on those that NVIDIA's datasheets say so of.
RATIOS = {
    ("Turing", "full"): (None, 8.0),
    ("Turing", "half"): (None, 4.0),
    ("Ampere", "full"): (2.0, 4.0),
    ("Ampere", "half"): (1.0, 2.0),
    ("Ada Lovelace", "full"): (2.0, 4.0),
    ("Ada Lovelace", "half"): (1.0, 2.0),
    ("Blackwell", "full"): (2.0, 4.0),
    ("Blackwell", "half"): (1.0, 2.0),
}
HALF = {"NVIDIA A10G", "NVIDIA L40"}
#: These have other matrix units, see below.
LARGE = {"6.0", "7.0", "8.0", "9.0", "10.0"}


@each([card for card in NVIDIA if card.capability not in {*LARGE, "6.1"}])
def test_matrix_units_have_the_ratio_of_their_generation(card: Card) -> None:
    half = card.form in ("desktop", "laptop") or card.name in HALF
    tf32, fp16 = RATIOS[card.architecture, "half" if half else "full"]
    assert card.fp32
    assert card.tf32 == (tf32 and pytest.approx(tf32 * card.fp32, rel=0.02))
    assert card.fp16 == pytest.approx(fp16 * card.fp32, rel=0.02)


@each([card for card in NVIDIA if card.architecture == "Ampere" and card.capability == "8.0"])
def test_matrix_units_of_a100(card: Card) -> None:
    """Those of the A100 and A30 are four times as wide as those of GeForce's chips."""
    assert card.fp32
    assert card.tf32 == pytest.approx(8 * card.fp32, rel=0.02)
    assert card.fp16 == pytest.approx(16 * card.fp32, rel=0.02)


@each(CARDS)
def test_units_that_a_generation_has(card: Card) -> None:
    """bfloat16 from Ampere on, as fast as float16; TF32 at half of it, on NVIDIA's and on AMD's third generation."""
    if card.vendor == "NVIDIA":
        assert card.capability
        modern = float(card.capability) >= 8
        assert (card.bf16 is not None) == (card.tf32 is not None) == modern
        assert (card.fp16 is not None) == (float(card.capability) >= 7)
    if card.bf16 is not None and card.capability != "gfx908":
        assert card.bf16 == card.fp16
    if card.tf32 is not None:
        assert card.bf16
        assert card.tf32 == pytest.approx(card.bf16 / 2, rel=0.025)


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


@pytest.mark.parametrize("name", ADVERTISED)
def test_rates_are_dense_with_sums_in_float32(name: str) -> None:
    advertised, times = ADVERTISED[name]
    assert find(name).fp16 == pytest.approx(advertised / times, rel=0.015)


@each(CARDS)
def test_memory_is_plausible(card: Card) -> None:
    """A whole number of GiB, of which the system sees nearly all."""
    if card.memory is None:
        assert card.form == "integrated"
        return
    assert card.memory % GIB == 0
    assert 3 <= card.memory // GIB <= 288
    if card.shows is not None:
        assert 0.93 < card.shows / card.memory <= 1


@each(CARDS)
def test_card_has_a_source(card: Card) -> None:
    """The vendor's publication, or a note that there is none and a mark on every rate."""
    rates = {"bandwidth", "fp32", "tf32", "fp16", "bf16", "fp32_matrix"}
    assert set(card.derived) <= rates
    if card.source is None:
        assert card.note
        assert {field for field in rates if getattr(card, field) is not None} == set(card.derived)
        return
    address = urlsplit(card.source)
    assert address.scheme == "https"
    assert address.netloc in VENDOR_SERVERS or address.netloc.endswith(VENDOR_SITES)


def test_every_source_is_used() -> None:
    """The list of publications has no leftovers, nor one address twice."""
    content = yaml.safe_load(cards_page.PAGE.parents[1].joinpath("src/hotlap/estimate/cards.yaml").read_text())
    assert sorted(content["sources"].values()) == sorted({card.source for card in CARDS if card.source})


def test_names_are_unique() -> None:
    names = [card.name for card in CARDS]
    assert len(names) == len(set(names))


@each(CARDS)
def test_every_name_finds_its_card(card: Card) -> None:
    """The name, each alias, and what the driver prints with the memory that the system sees."""
    for text in (card.name, card.name.lower(), card.name.replace(" ", ""), *card.alias):
        if " " in text or text == card.name or card.name.startswith("NVIDIA GeForce"):
            assert find(text) is card, text
    if card.memory is not None:
        seen = card.shows or int(0.98 * card.memory)
        assert find(card.reports, memory=seen) is card


@pytest.mark.parametrize(
    ("typed", "name"),
    [
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
    ],
)
def test_what_people_type(typed: str, name: str) -> None:
    assert find(typed).name == name


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("A100", ["NVIDIA A100-PCIE-40GB", "NVIDIA A100-SXM4-80GB"]),
        ("H100 80GB", ["NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3"]),
        ("RTX 6000", ["Quadro RTX 6000", "NVIDIA RTX 6000 Ada Generation"]),
        ("NVIDIA GeForce RTX 3080", ["NVIDIA GeForce RTX 3080 10GB", "NVIDIA GeForce RTX 3080 12GB"]),
        ("titan", ["NVIDIA TITAN V", "NVIDIA TITAN RTX"]),
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
    ],
)
def test_unknown_name_is_an_error_that_offers_the_nearest(typed: str, offered: str) -> None:
    with pytest.raises(UsageError, match="not in the catalogue") as error:
        find(typed)
    assert repr(offered) in str(error.value)


@pytest.mark.parametrize("typed", ["", " ", "NVIDIA", "GPU", "???"])
def test_no_name_is_an_error(typed: str) -> None:
    with pytest.raises(UsageError):
        find(typed)


@pytest.mark.parametrize(("typed", "memory"), [("RTX 4090", 48 * GIB), ("NVIDIA GeForce RTX 3060", 8 * GIB), ("T4 32GB", None)])
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
