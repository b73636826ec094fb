"""The page where a key is needed, and what it leaves out for those who may only read."""

import re
from collections.abc import Iterator

import pytest
from pages import opened
from playwright.sync_api import Browser, Page, expect
from service import make_key

from fingerprintdb.store.database import Connection


@pytest.fixture(scope="module")
def keys(database: Connection) -> dict[str, str]:
    """Secrets of keys: of one who may write, and of one who may not."""
    made = {
        name: make_key(database, name, may_write=name == "writer") for name in ("writer", "reader")
    }
    return {name: header["Authorization"].removeprefix("Bearer ") for name, header in made.items()}


@pytest.fixture
def locked(browser: Browser, service: str, keys: dict[str, str]) -> Iterator[Page]:
    """The page of a service that needs a key."""
    with opened(browser, service) as page:
        page.goto("/#library")
        yield page


def give(page: Page, secret: str) -> None:
    page.get_by_role("textbox", name="Key").fill(secret)
    page.get_by_role("button", name="Open the library").click()


def test_a_key_opens_the_library_and_is_kept_from_scripts(locked: Page, keys: dict[str, str]):
    expect(locked.get_by_role("heading", name="This library needs a key")).to_be_visible()
    expect(locked.get_by_role("navigation")).to_be_hidden()
    give(locked, "fpdb_wrong")
    expect(locked.get_by_role("alert")).to_contain_text("This key opens nothing")
    expect(locked.get_by_role("textbox", name="Key")).to_be_focused()
    give(locked, f" {keys['writer']} ")
    expect(locked.locator(".recording").first).to_be_visible()
    expect(locked.get_by_role("button", name="Add recordings")).to_be_visible()
    assert locked.evaluate("() => document.cookie") == ""

    locked.reload()
    expect(locked.locator(".recording").first).to_be_visible()
    locked.get_by_role("button", name="Sign out").click()
    expect(locked.get_by_role("heading", name="This library needs a key")).to_be_visible()
    expect(locked.locator(".recording")).to_have_count(0)


def test_who_may_only_read_finds_nothing_to_write_with(locked: Page, keys: dict[str, str]):
    give(locked, keys["reader"])
    expect(locked.locator(".recording").first).to_be_visible()
    expect(locked.get_by_text("reader · may read")).to_be_visible()
    expect(locked.get_by_role("button", name="Add recordings")).to_be_hidden()
    locked.locator("[data-act=open]").first.click()
    expect(locked.get_by_role("button", name="Sounds like").first).to_be_visible()
    for name in ("Edit", "Delete", "Process again"):
        expect(locked.get_by_role("button", name=name)).to_have_count(0)


def test_a_key_that_is_revoked_meanwhile_is_asked_for_again(
    locked: Page, keys: dict[str, str], database: Connection
):
    give(locked, keys["writer"])
    expect(locked.locator(".recording").first).to_be_visible()
    database.execute("UPDATE fpdb.api_key SET revoked_at = now() WHERE name = 'writer'")
    locked.get_by_role("combobox", name="Status").select_option("ready")
    expect(locked.get_by_role("heading", name="This library needs a key")).to_be_visible()
    database.execute("UPDATE fpdb.api_key SET revoked_at = NULL WHERE name = 'writer'")


def test_the_foot_says_what_the_service_is(locked: Page, keys: dict[str, str]):
    give(locked, keys["reader"])
    status = locked.locator("#status")
    expect(status).to_contain_text(
        re.compile(r"fingerprintdb \d.*4 recordings.*profile accurate.*model builtin")
    )
    expect(status).to_contain_text("nothing new is fingerprinted until fpdb worker runs")
    expect(locked.get_by_role("link", name="openapi.json")).to_have_attribute(
        "href", "/openapi.json"
    )
