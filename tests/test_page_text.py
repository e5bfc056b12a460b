"""Tests text of many scripts: glyphs, line breaks, and joined letters in visual order."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features

from lct_jax.media import page_text
from lct_jax.media.page_text import _clusters, _runs, draw_line, measure, wrap

TEXTS = {
    "latin": "café naïve Łódź Việt Nam Straße İstanbul ñ",
    "greek": "Κοντινό πλάνο: η γυναίκα, Ἀρχή",
    "cyrillic": "Общий план: ждёт, під дощем, її",
    "arabic": "لقطة واسعة: تمشي المرأة، الله لا إله إلا",
    "persian": "او می‌رود، پنجره، گل و چای",
    "hebrew": "אישה במעיל אדום",
    "japanese": "雨の夜、赤いコートの女性「もう来ない」カメラ",
    "chinese": "一位穿红色大衣的女人，國語繁體。",
    "korean": "빨간 코트를 입은 여자",
    "devanagari": "एक महिला लाल कोट में बारिश में चलती है। क्षत्रिय, ज़मीन, ॐ १२३",
    "thai": "ผู้หญิงในเสื้อโค้ทสีแดงเดินท่ามกลางสายฝน น้ำ ๑๒๓",
    "emoji": "😀🥺🧑‍🚀👍🏽🐻🌧️🔥🎬🪐🫨🩷❤️🇫🇷🕒🆗🟡✈️",
}
SHAPED = pytest.mark.skipif(
    not features.check("raqm"), reason="Pillow finds no FriBidi on this machine"
)


def draw(text: str) -> np.ndarray:
    """Returns the picture of a line: uint8 [rows, columns]."""
    page = Image.new("L", (900, 60))
    draw_line(ImageDraw.Draw(page), (10, 10), text, 30, "white")
    return np.array(page)


@pytest.mark.parametrize("name", TEXTS)
def test_every_letter_has_a_glyph(name):
    """A letter that no font has would look like one that no font can have."""
    missing = draw("\u0378").nonzero()
    # Two signs of emoji choose a style, and have no ink of their own.
    for letter in set(TEXTS[name]) - set(" \u200c\u200d\ufe0f🏽"):
        found = draw(letter).nonzero()
        assert len(found[0]) > 0, letter
        assert [x.tolist() for x in found] != [x.tolist() for x in missing], letter


def test_a_line_in_one_script_has_one_font():
    assert _runs("Rain (1).") == [("", "Rain (1).")]
    assert [face for face, _ in _runs(TEXTS["cyrillic"])] == ["DejaVuSans.ttf"]
    assert [face for face, _ in _runs("駅の Kai 夜")] == [
        *("DroidSansFallback.ttf", "", "DroidSansFallback.ttf")
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # These are beh and lam and yeh in their joined forms, from left to right.
        ("بلي", "\ufef2\ufee0\ufe91"),
        ("لا", "\ufefb"),  # lam and alef are one letter
        ("الله", "\ufeea\ufee0\ufedf\ufe8d"),
        ("אב (ab) ג 12:30", "12:30 ג (ab) בא"),
        ("ab אב cd", "ab בא cd"),
        ("(אב)", "(בא)"),
    ],
)
def test_arabic_and_hebrew_letters_are_joined_and_in_visual_order(text, shown):
    assert "".join(part for _, part in _runs(text)) == shown


def test_every_line_has_the_direction_of_the_whole_text():
    lines = wrap("אבג Character 1 דהו", size=30, width=180)
    assert [line.strip("\u200f") for line in lines] == ["אבג", "Character 1", "דהו"]
    lines = wrap("אבג abc, דהו", size=30, width=1000)
    assert "".join(part for _, part in _runs(lines[0])) == "והד ,abc גבא"


def test_wrapping_keeps_all_words_within_the_width():
    text = "A rather long line of words — and one unbreakablyimmenselylongword."
    lines = wrap(text, size=30, width=200)
    assert "".join(lines).replace(" ", "") == text.replace("—", "-").replace(" ", "")
    assert len(lines) > 3
    assert max(measure(line, 30) for line in lines) <= 200
    assert wrap("Rain.", size=30, width=200) == ["Rain."]
    assert wrap("", size=30, width=200) == [""]


def test_chinese_and_japanese_break_anywhere_but_before_a_closing_mark():
    assert wrap("雨の夜、赤い。", size=30, width=100) == ["雨の", "夜、赤", "い。"]
    assert wrap("雨「夜」雨", size=30, width=95) == ["雨", "「夜」", "雨"]
    assert wrap("A red 赤いコート", size=30, width=150) == ["A red 赤い", "コート"]


def test_accents_are_composed_with_their_letters():
    np.testing.assert_array_equal(draw("cafe\u0301"), draw("café"))
    assert np.abs(draw("café").astype(int) - draw("cafe")).max() > 0


@SHAPED
@pytest.mark.parametrize(("joined", "apart"), [("क्ष", "क्\u200cष"), ("हि", "ह ि"), ("น้ำ", "น ้ำ")])
def test_devanagari_and_thai_letters_are_joined(joined, apart):
    """Without shaping, letters would be as wide as they are one by one."""
    assert measure(joined, 30) < 0.85 * measure(apart, 30)


def test_without_fribidi_a_page_is_drawn_and_one_line_says_so(monkeypatch, caplog):
    monkeypatch.setattr(features, "check", lambda name: False)
    for cached in (page_text._font, page_text._check_shaping):
        cached.cache_clear()
    try:
        assert draw("क्षत्रिय น้ำ").any()
        draw("हि")
        # Pillow warns of a layout that it cannot make.
        font = page_text._font("NotoSansDevanagari.woff", 30)
        assert font.layout_engine == ImageFont.Layout.BASIC
    finally:
        # Fonts that were loaded meanwhile do not shape.
        page_text._font.cache_clear()
    assert [record.message.count("FriBidi") for record in caplog.records] == [1]


def test_a_syllable_is_never_broken():
    for text, syllables in (
        ("क्षत्रियहिन्दी", ["क्ष", "त्रि", "य", "हि", "न्दी"]),
        ("เสื้อน้ำ", ["เสื้", "อ", "น้ำ"]),
    ):
        assert _clusters(text) == syllables
        assert wrap(text, size=30, width=1) == syllables


def test_a_script_without_a_font_is_named_once(caplog):
    for text in ("বাংলা", "বাংলা", "தமிழ்"):
        draw(text)
    said = [r.getMessage() for r in caplog.records]
    assert said == [
        "pages show boxes for Bengali: no font of this package has its letters",
        "pages show boxes for Tamil: no font of this package has its letters",
    ]
