"""Kinds of accelerators: the names people ask by, and the products that a cluster's labels give.

NVIDIA's discovery writes a product as the driver names it, with `-` for each space, and a suffix where a GPU is cut up
(`-MIG-1g.10gb`) or shared by time (`-SHARED`), so a product is looked up here and never compared with a name.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# By the name to ask with: values of nvidia.com/gpu.product (GPU feature discovery), then of clouds' own labels
# (cloud.google.com/gke-accelerator, karpenter.k8s.aws/instance-gpu-name, karpenter.azure.com/sku-gpu-name).
PRODUCTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "GB300": ("NVIDIA-GB300", "nvidia-gb300"),
        "GB200": ("NVIDIA-GB200", "nvidia-gb200", "gb200"),
        "B300": ("NVIDIA-B300-SXM6-AC", "nvidia-b300", "b300"),
        "B200": ("NVIDIA-B200", "nvidia-b200", "b200"),
        "GH200": ("NVIDIA-GH200-480GB", "gh200"),
        "H200": ("NVIDIA-H200", "nvidia-h200-141gb", "h200"),
        "H200-NVL": ("NVIDIA-H200-NVL",),
        "H100": ("NVIDIA-H100-80GB-HBM3", "nvidia-h100-80gb", "nvidia-h100-mega-80gb", "h100"),
        "H100-PCIE": ("NVIDIA-H100-PCIe",),
        "H100-NVL": ("NVIDIA-H100-NVL",),
        "H20": ("NVIDIA-H20", "h20"),
        "A100-80GB": ("NVIDIA-A100-SXM4-80GB", "nvidia-a100-80gb"),
        "A100-80GB-PCIE": ("NVIDIA-A100-80GB-PCIe",),
        "A100-40GB": ("NVIDIA-A100-SXM4-40GB", "nvidia-tesla-a100"),
        "A100-40GB-PCIE": ("NVIDIA-A100-PCIE-40GB",),
        "A40": ("NVIDIA-A40",),
        "A30": ("NVIDIA-A30",),
        "A10": ("NVIDIA-A10", "a10"),
        "A10G": ("NVIDIA-A10G", "a10g"),
        "L40S": ("NVIDIA-L40S", "l40s"),
        "L40": ("NVIDIA-L40",),
        "L4": ("NVIDIA-L4", "nvidia-l4", "l4"),
        "T4": ("Tesla-T4", "nvidia-tesla-t4", "t4"),
        "V100-32GB": ("Tesla-V100-SXM2-32GB", "Tesla-V100-PCIE-32GB"),
        "V100-16GB": ("Tesla-V100-SXM2-16GB", "Tesla-V100-PCIE-16GB", "nvidia-tesla-v100"),
        "RTX-A6000": ("NVIDIA-RTX-A6000",),
        "RTX-6000-ADA": ("NVIDIA-RTX-6000-Ada-Generation",),
        "RTX-PRO-6000": ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "nvidia-rtx-pro-6000"),
    }
)
_NAMES = {product.lower(): name for name, products in PRODUCTS.items() for product in (name, *products)}
_CUT = re.compile(r"(?P<whole>.+?)(?:-MIG-(?P<mig>[0-9]+g\.[0-9]+gb(?:[.+]me)?))?(?P<shared>-SHARED)?", re.IGNORECASE)


class Product(NamedTuple):
    """A product's label taken apart: the whole GPU, and how it is cut up or shared."""

    whole: str
    mig: str | None = None
    shared: bool = False


def parse_product(value: str) -> Product:
    """Return what a product's label, or the name of an accelerator in a spec, says."""
    match = _CUT.fullmatch(value)
    if match is None:
        return Product(value)
    mig = match["mig"]
    return Product(match["whole"], mig.lower() if mig else None, bool(match["shared"]))


def name_of(product: str) -> str | None:
    """Return the name by which a whole product is asked for; None where the catalogue does not have it."""
    return _NAMES.get(product.lower())
