"""The page's library: add, find, play, change and delete recordings, and look for moments."""

import json
import re
from dataclasses import replace

import pytest
from pages import Music, opened
from playwright.sync_api import Browser, Locator, Page, Route, expect
from service import OPTIONS, served

from fingerprintdb.store.database import Connection

HOSTILE = '<img src=x onerror="globalThis.harmed = true">'


@pytest.fixture
def library(page: Page) -> Page:
    """The page, at its library."""
    page.goto("/#library")
    expect(page.locator("#library-count")).to_contain_text("recording")
    return page


def rows(page: Page) -> Locator:
    return page.get_by_role("list", name="Recordings").locator(".recording")


def row(page: Page, title: str) -> Locator:
    return rows(page).filter(has=page.get_by_text(title, exact=True)).first


def additions(page: Page) -> Locator:
    return page.locator(".addition")


def test_newest_first_with_their_facts(library: Page, music: Music):
    expect(rows(library)).to_have_count(4)
    expect(library.locator("#library-count")).to_have_text("4 recordings")
    expect(rows(library).nth(1)).to_contain_text(music.titles[2])
    for fact in ("The Constellations", "default", "0:20", "ready"):
        expect(rows(library).nth(1)).to_contain_text(fact)


def test_search_filters_and_more(library: Page, music: Music):
    search = library.get_by_label("Search title, artist or URI")
    search.press_sequentially(music.titles[1].lower())
    expect(rows(library)).to_have_count(1)
    expect(library.locator("#library-count")).to_have_text("1 recording")
    search.fill("")
    expect(rows(library)).to_have_count(4)
    library.get_by_role("combobox", name="Status").select_option("failed")
    expect(library.get_by_text("No recording fits.")).to_be_visible()
    library.get_by_role("combobox", name="Status").select_option("")
    library.get_by_role("combobox", name="Content type").select_option("speech")
    expect(rows(library)).to_have_count(0)

    def with_small_pages(route: Route) -> None:
        route.continue_(url=route.request.url.replace("limit=30", "limit=3"))

    library.route("**/api/v1/assets?*", with_small_pages)
    library.get_by_role("combobox", name="Content type").select_option("")
    expect(rows(library)).to_have_count(3)
    library.get_by_role("button", name="Show more").click()
    expect(rows(library)).to_have_count(4)
    expect(library.get_by_role("button", name="Show more")).to_be_hidden()
    expect(library.get_by_role("button", name="Add by URI")).to_be_hidden()


def test_files_are_added_and_become_ready_or_say_why_not(library: Page, music: Music, worker: None):
    names = ("piece3.flac", "piece4.flac", "silence.wav", "junk.mp3", "piece0.flac")
    library.locator("#files").set_input_files([music[name] for name in names])
    expect(additions(library)).to_have_count(5)
    expect(additions(library).nth(3)).to_contain_text("the file is not audio or video")
    expect(additions(library).nth(3)).to_contain_text("refused")
    for number in (0, 1):
        expect(additions(library).nth(number)).to_contain_text(music.titles[number + 3])
        expect(additions(library).nth(number)).to_contain_text("ready")
        expect(row(library, music.titles[number + 3])).to_contain_text("ready")
    expect(additions(library).nth(2)).to_contain_text("failed")
    expect(additions(library).nth(2)).to_contain_text("the recording is silent")
    expect(library.locator("#additions-state")).to_have_text("3 done, 2 failed")
    expect(row(library, "silence")).to_contain_text("the recording is silent")

    with library.expect_response("**/reprocess") as again:
        row(library, "silence").get_by_role("button", name="Process again").click()
    assert again.value.status == 202
    expect(row(library, "silence")).to_contain_text("the recording is silent")
    library.get_by_role("button", name="Clear finished").click()
    expect(additions(library)).to_have_count(0)


def test_bytes_that_are_there_are_not_added_twice(
    library: Page, music: Music, database: Connection, worker: None
):
    content = {"name": "again.flac", "mimeType": "audio/flac"}
    for said in ("ready", "was there already"):
        file = content | {"buffer": music["clip4.wav"].read_bytes()}
        library.locator("#files").set_input_files(files=[file])
        expect(additions(library).last).to_contain_text(said)


def test_what_cannot_be_sent_can_be_sent_again(library: Page, music: Music):
    library.route("**/api/v1/assets", lambda route: route.abort())
    library.locator("#files").set_input_files(music["clip3.wav"])
    expect(additions(library)).to_contain_text("The service does not answer.")
    library.unroute("**/api/v1/assets")
    with library.expect_response("**/api/v1/assets") as sent:
        additions(library).get_by_role("button", name="Try again").click()
    assert sent.value.status == 201


def test_a_uri_is_added_where_the_service_allows_it(
    browser: Browser, library_url: str, music: Music, stored: list[int], worker: None
):
    options = replace(OPTIONS, allowed_uris=(str(music.folder),))
    with served(library_url, options) as base, opened(browser, base) as page:
        page.goto("/#library")
        page.get_by_role("button", name="Add by URI").click()
        page.get_by_role("dialog").get_by_label("URI").fill(str(music["clip2.wav"]))
        page.keyboard.press("Enter")
        expect(row(page, "clip2")).to_contain_text("ready")
        page.get_by_role("button", name="Add by URI").click()
        page.get_by_role("dialog").get_by_label("URI").fill("https://elsewhere.example/x.mp3")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("does not register that URI")


def test_edit_and_delete(library: Page, music: Music):
    title = music.titles[1]
    row(library, title).locator("[data-act=open]").click()
    row(library, title).get_by_role("button", name="Edit").click()
    dialog = library.get_by_role("dialog")
    dialog.get_by_label("Metadata").fill("[1]")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_visible()  # the browser says what is wrong with the field
    dialog.get_by_label("Metadata").fill('{"year": 1999}')
    dialog.get_by_label("Title").fill(HOSTILE)
    dialog.get_by_label("Artist").fill("Somebody <b>else</b>")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    changed = row(library, HOSTILE)
    expect(changed).to_contain_text("Somebody <b>else</b>")
    expect(changed).to_contain_text("1999")
    expect(library.locator("main img")).to_have_count(0)

    changed.get_by_role("button", name="Delete").click()
    expect(dialog).to_contain_text("This cannot be undone.")
    dialog.get_by_role("button", name="Cancel").click()
    expect(changed).to_be_visible()

    library.get_by_role("link", name="Identify").click()
    library.locator("#clip").set_input_files(music["clip1.wav"])
    expect(library.get_by_role("article").get_by_role("heading", level=2)).to_have_text(HOSTILE)
    assert library.evaluate("() => globalThis.harmed") is None

    library.get_by_role("link", name="Library", exact=True).click()
    row(library, HOSTILE).locator("[data-act=open]").click()
    row(library, HOSTILE).get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(row(library, HOSTILE)).to_have_count(0)
    expect(dialog).to_have_count(0)


def test_what_sounds_alike_and_plays(library: Page, music: Music):
    shown = row(library, music.titles[0])
    shown.locator("[data-act=open]").click()
    shown.get_by_role("button", name="Sounds like").click()
    expect(shown.get_by_role("heading", name=f"Sounds like {music.titles[0]}")).to_be_focused()
    expect(shown.get_by_role("meter", name="Similarity").first).to_be_visible()
    shown.locator(".similar li").first.get_by_role("button").click()
    expect(library.get_by_role("region", name="Player")).to_be_visible()
    library.wait_for_function("() => document.querySelector('audio').currentTime > 0")
    library.get_by_role("button", name="Close the player").click()


def test_a_model_that_knows_no_words_says_what_to_do(page: Page):
    page.get_by_role("link", name="Words").click()
    page.get_by_label("Description").fill("rain on a tin roof")
    page.get_by_role("button", name="Find moments").click()
    expect(page.get_by_role("alert")).to_contain_text("knows no words")
    expect(page.get_by_role("alert")).to_contain_text("fpdb init --model clap")


def test_moments_are_listed_and_play_from_there(page: Page, stored: list[int]):
    moment = {"asset_id": stored[0], "title": HOSTILE, "artist": None}
    moment |= {"start_sec": 7.5, "end_sec": 12.5, "similarity": 0.41}
    told = json.dumps({"found": True, "moments": [moment], "processing_time_ms": 12})
    page.route("**/api/v1/search/text?*", lambda route: route.fulfill(body=told))
    page.get_by_role("link", name="Words").click()
    page.get_by_label("Description").fill("rain")
    page.keyboard.press("Enter")
    found = page.get_by_role("list", name="Moments").get_by_role("listitem")
    expect(found).to_have_text(re.compile(r"<img src=x.*0:08–0:13"))
    found.get_by_role("button").click()
    page.wait_for_function("() => document.querySelector('audio').currentTime > 7.5")
