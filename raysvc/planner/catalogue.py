"""The catalogues: accelerators, machines and prices, engine releases, models. Data files of the package, each dated."""

import re
from datetime import date, timedelta
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from raysvc.domain.model import Model
from raysvc.domain.plan import Fabric
from raysvc.errors import Invalid

# A list price older than this says little: AWS halved p5 within a year.
STALE_AFTER = timedelta(days=90)


class Gpu(Model):
    """An accelerator. `usable_gib` is its memory as torch reports it; bandwidths in GB/s, compute in dense TFLOPS."""

    name: str
    aliases: tuple[str, ...] = ()
    vendor: str
    label_gb: int
    usable_gib: float
    hbm_gb_s: float
    tflops: float
    tflops_8bit: float
    capability: float
    nvlink_gb_s: float
    source: str

    @property
    def measured(self) -> bool:
        return self.source.startswith("log")


class Sku(Model):
    """A machine somebody rents out. `as_of` and `source` belong to the price."""

    provider: str
    sku: str
    gpu: str
    count: int = Field(ge=1)
    fabric: Fabric
    rdma: bool
    usd_per_hour: float = Field(ge=0)
    region: str
    as_of: date
    source: str

    def stale(self, today: date | None) -> bool:
        return today is not None and today - self.as_of > STALE_AFTER


class ListedModel(Model):
    """A model that can be planned by its name alone. `config` is what of its config.json the planner reads.

    `parameters` are billions as published, `weights_bytes` the size of its files where the config does not tell it.
    """

    name: str
    license: str
    parameters: float
    weights_bytes: int | None = None
    config: dict[str, Any]


class Catalogue(Model):
    as_of: date
    gpus: tuple[Gpu, ...]
    skus: tuple[Sku, ...]
    models: tuple[ListedModel, ...]

    def gpu(self, name: str) -> Gpu:
        """Return the accelerator of that name or alias, however it is spelled. Raises Invalid with what there is."""
        found = self._gpus_by_name.get(_plain(name))
        if found is not None:
            return found
        known = ", ".join(gpu.name for gpu in self.gpus)
        raise Invalid(f"There is no GPU kind {name!r}. Known: {known}.", field="gpu")

    @cached_property
    def _gpus_by_name(self) -> dict[str, Gpu]:
        return {_plain(name): gpu for gpu in self.gpus for name in (*gpu.aliases, gpu.name)}

    def model(self, name: str) -> ListedModel | None:
        wanted = name.lower()
        return next((entry for entry in self.models if entry.name.lower() == wanted), None)

    def with_prices(self, skus: tuple[Sku, ...]) -> "Catalogue":
        """Return the catalogue with an operator's rows, in place of ours of the same provider and sku."""
        mine = {(sku.provider, sku.sku) for sku in skus}
        kept = tuple(sku for sku in self.skus if (sku.provider, sku.sku) not in mine)
        return self.model_copy(update={"skus": kept + skus})


def parse_skus(text: str, label: str) -> tuple[Sku, ...]:
    """Return the rows of a price table in YAML or JSON. Raises Invalid saying which row and field is wrong."""
    rows = _document(text, label).get("skus")
    if not isinstance(rows, list):
        raise Invalid(f"{label}: a price table has a list `skus`.", field="skus")
    try:
        return TypeAdapter(tuple[Sku, ...]).validate_python(rows)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"{label}: row {place}: {first['msg']}.", field="skus") from error


@cache
def load_catalogue() -> Catalogue:
    """Return the catalogue that ships with the package; read once."""
    gpus, skus, models = (data_mapping(name) for name in ("gpus.yaml", "skus.yaml", "models.yaml"))
    return Catalogue(as_of=skus["as_of"], gpus=gpus["gpus"], skus=skus["skus"], models=models["models"])


def data_mapping(name: str) -> dict[str, Any]:
    """Return one of the package's own data files."""
    return _document((files("raysvc.planner") / "data" / name).read_text(encoding="utf-8"), name)


def _document(text: str, label: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 both are safe loaders
    except yaml.YAMLError as error:
        raise Invalid(f"{label} does not parse: {error}.", field="skus") from error
    if not isinstance(document, dict):
        raise Invalid(f"{label} must be a mapping.", field="skus")
    return document


@cache
def _plain(name: str) -> str:
    """Return a GPU's name as it is compared: `NVIDIA H100 80GB HBM3` and `h100-80` are one."""
    text = re.sub(r"[\s_]+", "-", name.lower().strip())
    return re.sub(r"^nvidia-|^tesla-|geforce-|-hbm\d\w?|(?<=\d)-?gi?b\b", "", text)
