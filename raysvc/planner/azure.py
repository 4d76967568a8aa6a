"""Prices from Azure's retail price API: what to ask, and how its answer becomes rows of the catalogue.

Asking is the caller's: this layer opens no connection. The API wants no key; a virtual machine has several meters,
of which only one is the plain on-demand price of Linux (learn.microsoft.com/rest/api/cost-management/retail-prices).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, Field, ValidationError

from raysvc.errors import Invalid
from raysvc.planner.catalogue import Sku

HOST = "prices.azure.com"
PROVIDER = "azure"
_SOURCE = "Azure Retail Prices API"
_MOST_PAGES = 20  # 100 items each; some ten SKUs in one region come to one or two
_OTHER_METERS = ("windows", "spot", "low priority", "cloud services", "cloudservices")

Fetch = Callable[[str], bytes]


class _Item(BaseModel):
    """One meter; the API's other fields are of no use here."""

    sku: str = Field(alias="armSkuName")
    region: str = Field(alias="armRegionName")
    product: str = Field(alias="productName")
    name: str = Field(alias="skuName")
    meter: str = Field(alias="meterName")
    unit: str = Field(alias="unitOfMeasure")
    kind: str = Field(alias="type")
    currency: str = Field(alias="currencyCode")
    usd: float = Field(alias="retailPrice")
    since: str = Field(alias="effectiveStartDate")
    primary: bool = Field(alias="isPrimaryMeterRegion")

    @property
    def on_demand(self) -> bool:
        text = f"{self.product} {self.name} {self.meter}".lower()
        plain = (self.kind, self.unit, self.currency) == ("Consumption", "1 Hour", "USD")
        return plain and self.primary and self.usd > 0 and not any(word in text for word in _OTHER_METERS)


def refresh(rows: Sequence[Sku], fetch: Fetch, today: date) -> tuple[Sku, ...]:
    """Return Azure's rows with today's prices; what the API does not price keeps its price and its date.

    `fetch` gets a URL and returns the body; it is called once per page and region, and may be any HTTP client.
    Raises Invalid for an answer that is not the API's, and whatever `fetch` raises. May be repeated.
    """
    mine = [row for row in rows if row.provider == PROVIDER]
    prices: dict[tuple[str, str], _Item] = {}
    for region in sorted({row.region for row in mine}):
        for item in _items(query([row.sku for row in mine if row.region == region], region), fetch):
            key = (item.sku.lower(), item.region)
            if item.on_demand and (key not in prices or item.since > prices[key].since):
                prices[key] = item
    return tuple(_priced(row, prices.get((row.sku.lower(), row.region)), today) for row in mine)


def query(skus: Sequence[str], region: str) -> str:
    """Return the URL of the first page."""
    names = " or ".join(f"armSkuName eq '{sku}'" for sku in skus)
    wanted = f"armRegionName eq '{region}' and priceType eq 'Consumption' and ({names})"
    return f"https://{HOST}/api/retail/prices?$filter={quote(wanted)}"


def _priced(row: Sku, item: _Item | None, today: date) -> Sku:
    if item is None:
        return row
    return row.model_copy(update={"usd_per_hour": item.usd, "as_of": today, "source": _SOURCE})


def _items(url: str | None, fetch: Fetch) -> Iterator[_Item]:
    for _ in range(_MOST_PAGES):
        if not url:
            return
        page = _page(fetch(url))
        try:
            yield from [_Item.model_validate(item) for item in page.get("Items", ())]
        except (ValidationError, TypeError) as error:
            raise Invalid(f"{HOST} answered with a price that is none: {error}.", field="skus") from error
        url = page.get("NextPageLink")
        if url and not _ours(url):
            raise Invalid(f"{HOST} names a next page on another host, which is not followed.", field="skus")
    raise Invalid(f"{HOST} has more than {_MOST_PAGES} pages of prices for these machines.", field="skus")


def _ours(url: object) -> bool:
    parts = urlsplit(str(url))
    return parts.scheme == "https" and parts.netloc.removesuffix(":443") == HOST


def _page(body: bytes) -> dict[str, Any]:
    try:
        page = json.loads(body)
    except ValueError as error:
        raise Invalid(f"{HOST} answered with something that is not JSON.", field="skus") from error
    if not isinstance(page, dict) or not isinstance(page.get("Items"), list):
        raise Invalid(f"{HOST} answered without a list `Items`.", field="skus")
    return page
