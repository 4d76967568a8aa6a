"""The catalogues: spelling of GPU names, dates, operators' own prices, tables that do not parse."""

from datetime import date, timedelta

import pytest

from raysvc.errors import Invalid
from raysvc.planner import load_catalogue
from raysvc.planner.catalogue import Sku, parse_skus

ROW = """
- provider: acme
  sku: box
  gpu: H100-80
  count: 8
  fabric: nvswitch
  rdma: true
  usd_per_hour: 12.5
  region: cellar
  as_of: 2026-11-01
  source: our contract
"""


def table(rows: str = ROW) -> str:
    return "skus:" + rows


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("H100", "H100-80"),
        ("h100-80", "H100-80"),
        ("NVIDIA H100 80GB HBM3", "H100-80"),
        ("NVIDIA H100 PCIe", "H100-PCIE-80"),
        ("NVIDIA H100 NVL", "H100-NVL-94"),
        ("NVIDIA A100-SXM4-40GB", "A100-40"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIE-80"),
        ("NVIDIA A10G", "A10G-24"),
        ("NVIDIA L4", "L4-24"),
        ("NVIDIA L40S", "L40S-48"),
        ("Tesla T4", "T4-16"),
        ("Tesla V100-SXM2-32GB", "V100-32"),
        ("NVIDIA GeForce RTX 4090", "RTX4090-24"),
        ("NVIDIA RTX A6000", "A6000-48"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000-96"),
        ("NVIDIA GH200 480GB", "GH200-96"),
        ("NVIDIA-A100-SXM4-80GB", "A100-80"),  # as a node's label has it
        ("NVIDIA B200", "B200-180"),
        ("NVIDIA H200", "H200-141"),
        ("mi300x", "MI300X-192"),
    ],
)
def test_gpus_are_found_as_their_drivers_name_them(spelled: str, name: str) -> None:
    assert load_catalogue().gpu(spelled).name == name


def test_an_unknown_gpu_is_told_what_there_is() -> None:
    with pytest.raises(Invalid, match=r"no GPU kind 'H900'.*H100-80") as refused:
        load_catalogue().gpu("H900")
    assert refused.value.field == "gpu"


def test_usable_memory_is_below_the_label() -> None:
    for gpu in load_catalogue().gpus:
        assert 0.85 * gpu.label_gb / 1.0737 < gpu.usable_gib < gpu.label_gb, gpu.name


def test_every_row_is_complete_dated_and_of_a_known_gpu() -> None:
    catalogue = load_catalogue()

    assert len(catalogue.skus) >= 40
    assert len({(row.provider, row.sku) for row in catalogue.skus}) == len(catalogue.skus)
    for row in catalogue.skus:
        assert catalogue.gpu(row.gpu).name == row.gpu
        assert row.usd_per_hour > 0
        assert row.as_of <= catalogue.as_of
        assert row.source
        assert row.count > 1 or row.fabric == "none"


def test_aliases_name_one_gpu_each() -> None:
    names = [alias for gpu in load_catalogue().gpus for alias in (gpu.name.lower(), *gpu.aliases)]

    assert len(names) == len(set(names))


def test_a_price_is_stale_after_90_days() -> None:
    (row,) = parse_skus(table(), "prices.yaml")

    assert not row.stale(None)
    assert not row.stale(row.as_of + timedelta(days=90))
    assert row.stale(row.as_of + timedelta(days=91))


def test_an_operators_rows_replace_ours_of_the_same_name() -> None:
    catalogue = load_catalogue()
    theirs = parse_skus(table(ROW.replace("acme", "azure").replace("box", "Standard_ND96isr_H100_v5")), "prices.yaml")
    merged = catalogue.with_prices(theirs)

    assert len(merged.skus) == len(catalogue.skus)
    assert merged.skus[-1] == Sku(
        provider="azure",
        sku="Standard_ND96isr_H100_v5",
        gpu="H100-80",
        count=8,
        fabric="nvswitch",
        rdma=True,
        usd_per_hour=12.5,
        region="cellar",
        as_of=date(2026, 11, 1),
        source="our contract",
    )
    assert len(catalogue.with_prices(parse_skus(table(), "prices.yaml")).skus) == len(catalogue.skus) + 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("skus: [", "prices.yaml does not parse"),
        ("a: &a [*a, *a]\n: : :", "prices.yaml does not parse"),
        ("[1, 2]", "must be a mapping"),
        ("prices: []", "has a list `skus`"),
        ("skus: 3", "has a list `skus`"),
        (table(ROW.replace("12.5", "cheap")), r"row 0\.usd_per_hour"),
        (table(ROW.replace("12.5", "-1")), r"row 0\.usd_per_hour"),
        (table(ROW.replace("count: 8", "count: 0")), r"row 0\.count"),
        (table(ROW.replace("nvswitch", "string")), r"row 0\.fabric"),
        (table(ROW.replace("2026-11-01", "yesterday")), r"row 0\.as_of"),
        (table(ROW + ROW.replace("  source: our contract\n", "")), r"row 1\.source"),
        (table(ROW + "  discount: 3\n"), r"row 0\.discount"),
        ("!!python/object/apply:os.system ['true']", "prices.yaml does not parse"),
    ],
)
def test_a_table_that_does_not_parse_says_where(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        parse_skus(text, "prices.yaml")
    assert refused.value.field == "skus"
