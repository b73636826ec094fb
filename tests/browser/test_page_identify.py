"""The page identifies: files, the microphone, and what goes wrong with both."""

import base64
import json
import re
from pathlib import Path

import pytest
from pages import CLIP_FROM_SEC, Music, opened
from playwright.sync_api import Browser, Locator, Page, Route, WebSocketRoute, expect

COLOURS = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""

IS_BEYOND = "sec => document.querySelector('audio').currentTime > sec"

DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const options = {dataTransfer, bubbles: true, cancelable: true};
        document.body.dispatchEvent(new DragEvent(kind, options));
    }
}"""

PASTE = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([bytes], name));
    document.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true}));
}"""


def hand(page: Page, script: str, file: Path) -> None:
    page.evaluate(script, [file.name, base64.b64encode(file.read_bytes()).decode()])


def choose(page: Page, file: Path) -> None:
    page.locator("#clip").set_input_files(file)


def hold(page: Page) -> list[Route]:
    """Keep searches from the service until they are told to go on."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    page.route("**/api/v1/search?*", keep)
    return held


def answer(page: Page) -> Locator:
    return page.get_by_role("article")


def title(page: Page) -> Locator:
    return answer(page).get_by_role("heading", level=2)


def is_drawn(picture: Locator) -> bool:
    return picture.evaluate(COLOURS) > 8


def test_a_dropped_clip_is_sent_found_drawn_and_played_from_its_place(page: Page, music: Music):
    expect(page.locator("#status")).to_contain_text("4 recordings")
    held = hold(page)
    hand(page, DROP, music["clip0.wav"])
    expect(page.locator("#working")).to_contain_text("clip0.wav")
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    while not held:
        page.wait_for_timeout(10)  # lets the route be told
    held[0].continue_()
    expect(title(page)).to_have_text(music.titles[0])
    expect(page.locator("#working")).to_be_hidden()
    expect(answer(page)).to_contain_text("The Constellations · Landmarks")
    expect(answer(page)).to_contain_text("over 99.9 %")
    expect(answer(page)).to_contain_text(re.compile(r"0:0[67]–0:1[34] of 0:20"))

    pictures = answer(page).locator("canvas")
    expect(pictures).to_have_count(3)
    assert all(is_drawn(picture) for picture in pictures.all())
    expect(pictures.first).to_have_attribute("aria-label", re.compile("landmarks"))
    shown = pictures.first.evaluate("canvas => canvas.toDataURL()")
    page.get_by_label("of the clip", exact=True).uncheck()
    assert pictures.first.evaluate("canvas => canvas.toDataURL()") != shown

    answer(page).get_by_role("button", name="Play from").click()
    page.wait_for_function(IS_BEYOND, arg=CLIP_FROM_SEC + 0.1)
    assert page.locator("audio").evaluate("audio => audio.currentTime") < CLIP_FROM_SEC + 8
    expect(page.locator(".cursor")).to_be_visible()
    answer(page).get_by_role("button", name="Pause").click()
    assert page.locator("audio").evaluate("audio => audio.paused")


def test_a_pasted_clip_and_one_of_nothing_that_is_here(page: Page, music: Music):
    hand(page, PASTE, music["noise.wav"])
    expect(title(page)).to_have_text("Nothing in the library holds this clip")
    expect(answer(page).get_by_role("link", name="library")).to_be_visible()
    expect(answer(page).locator("canvas")).to_have_count(0)


def test_a_passage_of_several_recordings_names_them_all(page: Page, music: Music):
    choose(page, music["clip2.wav"])
    expect(answer(page)).to_contain_text("Several recordings hold this very passage")
    others = answer(page).locator(".match")
    expect(others).to_have_count(2)
    others.nth(1).click()
    expect(others.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(others.nth(1)).to_be_focused()
    expect(title(page)).to_have_text(re.compile(f"copy2|{music.titles[2]}"))


def test_what_is_no_audio_is_said_and_the_next_clip_works(page: Page, music: Music):
    choose(page, music["junk.mp3"])
    expect(page.get_by_role("alert")).to_contain_text("junk.mp3: the file is not audio or video")
    expect(page.get_by_role("alert").get_by_role("button")).to_have_count(0)
    choose(page, music["clip0.wav"])
    expect(title(page)).to_have_text(music.titles[0])
    expect(page.get_by_role("alert")).to_have_count(0)


def test_what_is_too_large_is_not_sent(page: Page):
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    expect(page.locator("#status")).to_contain_text("recordings")
    content = {"name": "long.wav", "mimeType": "audio/wav", "buffer": bytes(5 * 2**18)}
    page.locator("#clip").set_input_files(files=[content])
    expect(page.get_by_role("alert")).to_contain_text(
        "long.wav has 1.3 MiB, and the service takes 1.0 MiB at most"
    )
    assert "POST" not in sent


def test_a_search_can_be_cancelled(page: Page, music: Music):
    hold(page)
    choose(page, music["clip0.wav"])
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#working")).to_be_hidden()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("heading", name="Which recording is this?")).to_be_visible()


@pytest.mark.parametrize("status", [0, 503])
def test_a_service_that_is_away_can_be_asked_again(page: Page, music: Music, status: int):
    problem = {"detail": "the database does not answer", "remedy": "try again in a few seconds"}

    def refuse(route: Route) -> None:
        if status:
            route.fulfill(status=status, body=json.dumps(problem))
        else:
            route.abort()

    page.route("**/api/v1/search?*", refuse)
    choose(page, music["clip0.wav"])
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("does not answer")
    expect(alert.locator(".remedy")).to_contain_text(re.compile("try again", re.IGNORECASE))
    page.unroute("**/api/v1/search?*")
    alert.get_by_role("button", name="Try again").click()
    expect(title(page)).to_have_text(music.titles[0])


def test_a_recording_that_is_not_on_this_machine_is_said_so_quietly(page: Page, music: Music):
    missing = {"detail": "the sound of asset 1 is not on this machine", "remedy": "it was moved"}
    page.route("**/audio", lambda route: route.fulfill(status=404, body=json.dumps(missing)))
    choose(page, music["clip0.wav"])
    answer(page).get_by_role("button", name="Play from").click()
    player = page.get_by_role("region", name="Player")
    expect(player).to_contain_text("The sound of asset 1 is not on this machine. It was moved.")
    player.get_by_role("button", name="Close the player").click()
    expect(player).to_be_hidden()


def test_the_microphone_is_heard_and_what_it_heard_is_drawn(page: Page, music: Music):
    page.get_by_role("button", name="Listen").click()
    expect(title(page)).to_have_text(music.titles[1])
    expect(answer(page).locator("canvas")).to_have_count(3)
    assert page.evaluate("() => document.querySelector('.gauge').ariaValueNow > 0.3")


def test_the_microphone_is_stopped_or_forgotten(page: Page):
    said: list[str] = []

    def listen(socket: WebSocketRoute) -> None:
        """Answer as the service does, but only when the test says so."""

        def hear(message: str | bytes) -> None:
            if isinstance(message, bytes):
                socket.send(json.dumps({"event": "listening", "heard_sec": 1.0}))
                return
            said.append(message)
            told = {"event": "answer", "found": False, "verdict": "no match", "matches": []}
            socket.send(json.dumps(told | {"stages": [], "processing_time_ms": 1234}))

        socket.on_message(hear)

    page.route_web_socket("**/api/v1/listen?*", listen)
    page.get_by_role("button", name="Listen").click()
    expect(page.get_by_role("meter", name="Level of the microphone")).to_be_visible()
    expect(page.get_by_role("button", name="Stop and answer")).to_be_focused()
    expect(page.locator("#listening")).to_contain_text("Not sure yet")
    expect(page.locator("#heard")).not_to_have_text("0:00")
    page.locator("#listening").get_by_role("button", name="Cancel").click()
    expect(page.locator("#listening")).to_be_hidden()
    expect(page.get_by_role("button", name="Listen")).to_be_focused()
    assert said == []

    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop and answer").click()
    expect(title(page)).to_have_text("Nothing in the library holds this clip")
    expect(answer(page)).to_contain_text("Answered in 1.2 s")
    assert said == ["end"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "navigator.mediaDevices.getUserMedia = async () => {"
            " throw new DOMException('no', 'NotAllowedError') }",
            "The browser keeps the microphone from this page.",
        ),
        (
            "navigator.mediaDevices.getUserMedia = async () => {"
            " throw new DOMException('no', 'NotFoundError') }",
            "There is no microphone here.",
        ),
        (
            "Object.defineProperty(window, 'isSecureContext', {value: false})",
            "Browsers lend the microphone to secure pages only.",
        ),
    ],
)
def test_a_microphone_that_does_not_open_is_explained(page: Page, script: str, said: str):
    page.add_init_script(script)
    page.reload()
    page.get_by_role("button", name="Listen").click()
    expect(page.get_by_role("alert")).to_contain_text(said)
    expect(page.get_by_role("alert").get_by_role("button", name="Try again")).to_be_visible()


def test_with_the_keyboard_alone(page: Page, music: Music):
    # The browser is told now to leave its dialog out: told with the key, it may be too late.
    page.on("filechooser", lambda _: None)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Listen")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose a file")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(music["clip0.wav"])
    expect(title(page)).to_be_focused()
    page.keyboard.press("Tab")
    expect(answer(page).get_by_role("button", name="Play from")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Player")).to_be_visible()
    page.wait_for_function(IS_BEYOND, arg=CLIP_FROM_SEC)


def test_dark_and_light_and_a_telephone(browser: Browser, service: str, music: Music):
    options = {"viewport": {"width": 360, "height": 700}, "color_scheme": "dark"}
    with opened(browser, service, **options) as page:
        page.goto("/")
        choose(page, music["clip0.wav"])
        picture = answer(page).locator("canvas").first
        expect(picture).to_be_visible()
        dark = picture.evaluate("canvas => canvas.toDataURL()")
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == (
            "rgb(16, 19, 23)"
        )
        page.emulate_media(color_scheme="light")
        page.wait_for_function(
            "dark => document.querySelector('article canvas').toDataURL() !== dark", arg=dark
        )
        for view in ("Library", "Words", "Identify"):
            page.get_by_role("link", name=view, exact=True).click()
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_deep_links_and_the_way_back(page: Page):
    page.goto("/#words")
    expect(page.get_by_role("heading", name="What does it sound like?")).to_be_visible()
    page.get_by_role("link", name="Library", exact=True).click()
    expect(page.get_by_role("heading", name="Library")).to_be_focused()
    expect(page).to_have_title("Library · fingerprintdb")
    page.go_back()
    expect(page.get_by_role("heading", name="What does it sound like?")).to_be_visible()
