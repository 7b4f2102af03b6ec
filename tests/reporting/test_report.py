import base64
import html.parser
import math
import re

import numpy as np
import pytest

from gmkit import reporting


class _Page(html.parser.HTMLParser):
    """Collects attributes, and checks that tags nest."""

    VOID = ("meta", "img", "br", "hr", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.images, self.open = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "srcset", "action")]
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def pngs(tmp_path):
    rng = np.random.default_rng(0)
    draw = lambda: rng.integers(0, 256, (4, 6, 3), np.uint8)
    return [reporting.save_png(draw(), tmp_path / "figures" / f"{i}.png") for i in range(3)]


EVIL = "<script>alert('x')</script>&\""


def _report(tmp_path, pngs, **changes):
    arguments = {
        "title": f"digits {EVIL}",
        "config": {
            "url": "https://example.org/x",
            EVIL: EVIL,
            "optim": {"base": {"learning_rate": 1e-4}},
        },
        "metrics": {EVIL: 1.0, "fid": 12.3456, "kale": math.nan},
        "provenance": {
            "seed": 3,
            "devices": {"count": 2, "kind": EVIL},
            "seconds": 12.0,
            "x": {EVIL: EVIL},
        },
        "figures": [("samples", pngs[0]), (EVIL, pngs[1], EVIL)],
        "tables": {EVIL: [{EVIL: EVIL, "n": 3}], "empty": []},
        "curves": [("loss", pngs[2])],
    }
    return reporting.write_report(tmp_path, **{**arguments, **changes})


def test_page_holds_every_picture_and_asks_for_nothing(tmp_path, pngs):
    path = _report(tmp_path, pngs)
    assert path == tmp_path / "report.html"
    page = _Page(path.read_text())
    sources = [image["src"] for image in page.images]
    wanted = [base64.b64encode(png.read_bytes()).decode() for png in pngs]
    assert sources == [f"data:image/png;base64,{data}" for data in wanted]
    assert all(link.startswith("data:") for link in page.links)
    assert all((image["width"], image["height"]) == ("6", "4") for image in page.images)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*https?:|url\(|@import""", path.read_text())
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["report.html"]


def test_everything_is_escaped(tmp_path, pngs):
    text = _report(tmp_path, pngs).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 10
    assert "alert('x')" not in text


def test_sections_follow_the_content(tmp_path, pngs):
    text = _report(tmp_path, pngs).read_text()
    headings = ["Results", "Figures", "Tables", "Training", "Settings", "Provenance"]
    assert re.findall(r"<h2>(\w+)</h2>", text) == headings
    assert "12.35" in text
    assert "learning_rate" in text
    assert "0.0001" in text
    assert "seed 3" in text
    bare = reporting.write_report(tmp_path, title="t", config={}, metrics={}, provenance={})
    assert re.findall(r"<h2>", bare.read_text()) == []
    _Page(bare.read_text())


def test_many_metrics_are_all_there(tmp_path, pngs):
    metrics = {f"metric/{i}": float(i) for i in range(30)}
    text = _report(tmp_path, pngs, metrics=metrics).read_text()
    assert all(f"metric/{i}<" in text for i in range(30))
    assert text.count('class="number"') == 8


def test_numeric_columns_are_marked(tmp_path, pngs):
    rows = [{"a": "x", "b": 1.0, "c": np.float32(2)}, {"a": "y", "b": None}]
    text = _report(tmp_path, pngs, tables={"t": rows}).read_text()
    assert '<th>a</th><th class="num">b</th><th class="num">c</th>' in text


def test_page_is_light_dark_and_fits_a_phone(tmp_path, pngs):
    text = _report(tmp_path, pngs).read_text()
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_a_missing_or_foreign_picture_is_named(tmp_path, pngs):
    with pytest.raises(FileNotFoundError):
        _report(tmp_path, pngs, figures=[("a", tmp_path / "none.png")])
    (tmp_path / "no.png").write_text("hello")
    with pytest.raises(ValueError, match=r"figure 'a': no\.png is no PNG"):
        _report(tmp_path, pngs, figures=[("a", tmp_path / "no.png")])
