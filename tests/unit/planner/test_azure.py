"""Azure's retail prices: the right meter of several, pages, and answers that are none."""

import json
from datetime import date
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from raysvc.errors import Invalid
from raysvc.planner import load_catalogue
from raysvc.planner.azure import query, refresh

TODAY = date(2026, 12, 1)
H100 = "Standard_ND96isr_H100_v5"


def item(**fields: Any) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": 90.0,
        "unitPrice": 90.0,
        "armRegionName": "eastus",
        "location": "US East",
        "effectiveStartDate": "2024-01-01T00:00:00Z",
        "meterName": "ND96isr H100 v5",
        "productName": "Virtual Machines NDsr H100 v5 Series",
        "skuName": "ND96isr H100 v5",
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": H100,
        **fields,
    }


def page(*items: dict[str, Any], following: str | None = None) -> bytes:
    return json.dumps({"Items": items, "NextPageLink": following, "Count": len(items)}).encode()


class Api:
    """Answers the pages in turn and remembers what was asked."""

    def __init__(self, *pages: bytes) -> None:
        self.pages = iter(pages)
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        return next(self.pages, page())


def test_only_the_on_demand_meter_of_linux_counts() -> None:
    api = Api(
        page(
            item(meterName="ND96isr H100 v5 Spot", skuName="ND96isr H100 v5 Spot", retailPrice=16.0),
            item(meterName="ND96isr H100 v5 Low Priority", retailPrice=10.0),
            item(productName="Virtual Machines NDsr H100 v5 Series Windows", retailPrice=99.0),
            item(type="Reservation", retailPrice=350_400.0),
            item(currencyCode="EUR", retailPrice=80.0),
            item(armRegionName="westeurope", retailPrice=70.0),
            item(isPrimaryMeterRegion=False, retailPrice=60.0),
            item(),
        )
    )
    rows = {row.sku: row for row in refresh(load_catalogue().skus, api, TODAY)}

    assert (rows[H100].usd_per_hour, rows[H100].as_of) == (90.0, TODAY)
    assert rows[H100].source == "Azure Retail Prices API"


def test_the_newest_price_wins_over_pages() -> None:
    link = "https://prices.azure.com:443/api/retail/prices?$filter=x&$skip=100"
    api = Api(
        page(item(effectiveStartDate="2026-06-01T00:00:00Z", retailPrice=50.0), following=link),
        page(item(effectiveStartDate="2025-06-01T00:00:00Z", retailPrice=70.0)),
    )
    rows = {row.sku: row for row in refresh(load_catalogue().skus, api, TODAY)}

    assert rows[H100].usd_per_hour == 50.0
    assert link in api.asked


def test_what_the_api_does_not_price_keeps_its_date() -> None:
    skus = load_catalogue().skus

    assert refresh(skus, Api(), TODAY) == tuple(row for row in skus if row.provider == "azure")


def test_refreshed_rows_replace_those_of_the_catalogue() -> None:
    catalogue = load_catalogue()
    fresh = catalogue.with_prices(refresh(catalogue.skus, Api(page(item())), TODAY))

    assert len(fresh.skus) == len(catalogue.skus)
    assert next(row for row in fresh.skus if row.sku == H100).usd_per_hour == 90.0


def test_the_question_names_region_and_machines() -> None:
    url = urlsplit(query([H100, "Standard_NC4as_T4_v3"], "eastus"))

    assert (url.scheme, url.netloc, url.path) == ("https", "prices.azure.com", "/api/retail/prices")
    (wanted,) = parse_qs(url.query)["$filter"]
    assert wanted.startswith("armRegionName eq 'eastus' and priceType eq 'Consumption' and (")
    assert wanted.endswith(f"(armSkuName eq '{H100}' or armSkuName eq 'Standard_NC4as_T4_v3')")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>busy</html>", "not JSON"),
        (b"[]", "without a list"),
        (b'{"Items": 3}', "without a list"),
        (b'{"Items": [7]}', "a price that is none"),
        (page(item(retailPrice="dear")), "a price that is none"),
        (page(following="https://169.254.169.254/prices"), "another host"),
        (page(following="https://prices.azure.com@evil.example/prices"), "another host"),
        (page(following="http://prices.azure.com/prices"), "another host"),
    ],
)
def test_an_answer_that_is_none_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        refresh(load_catalogue().skus, Api(body), TODAY)


def test_pages_end() -> None:
    endless = page(following="https://prices.azure.com/api/retail/prices?again")

    with pytest.raises(Invalid, match="more than 20 pages"):
        refresh(load_catalogue().skus, lambda _: endless, TODAY)
