"""A real Chromium against the really served front; only the cluster behind it is the fake one."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from tests.browser.site import Site

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# A safety net on a machine that does much else; nothing is waited for that does not come.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Return the served platform, its loops running."""
    made = Site(tmp_path)
    async with asyncio.timeout(120):
        await made.open()
    yield made
    await made.close()


@pytest.fixture
async def context(tmp_path: Path, site: Site) -> AsyncIterator[BrowserContext]:
    """Return a browser that nobody used before. Where the system has no Chromium, Playwright's own is taken."""
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch_persistent_context(
            tmp_path / "browser",
            executable_path=shutil.which("chromium"),
            args=list(_ARGUMENTS),
            base_url=site.url,
            viewport={"width": 1280, "height": 900},
            timeout=2 * PATIENCE_MS,
        )
        made.set_default_timeout(PATIENCE_MS)
        yield made
        await made.close()


@pytest.fixture
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """Return a page; fails the test where the page's own script failed, or was kept from running."""
    errors: list[str] = []
    made = await context.new_page()
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    yield made
    assert errors == []
