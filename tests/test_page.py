"""The files of the web page: what the house asks of them, without a browser."""

import re
from pathlib import Path

import pytest

from fingerprintdb import api

PAGE = Path(api.__file__).with_name("page")
MODULES = sorted(PAGE.glob("*.js"))
HTML = (PAGE / "index.html").read_text()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_says_what_it_is_and_is_no_longer_than_a_room(module: Path):
    text = module.read_text()
    assert re.match(r"/\*\* [A-Z].*\.\s\*/\n", text)
    assert len(text.splitlines()) <= 250
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)


def test_every_module_is_fetched_at_once_rather_than_one_after_another():
    preloaded = re.findall(r'rel="modulepreload" href="([^"]+)"', HTML)
    assert preloaded == [module.name for module in MODULES if module.name != "page.js"]


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", HTML) == []
    for path in PAGE.iterdir():
        addresses = set(re.findall(r"(?:https?:)?//[a-z0-9][^\s\"')]*", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name
