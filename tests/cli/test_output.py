"""What is printed cannot take over the screen it is printed on."""

from __future__ import annotations

from taskqueue.cli.output import plain


def test_control_characters_of_a_peer_never_reach_the_terminal() -> None:
    assert plain("a\x1b[2Jb\x07\x9bc\nd") == "a\ufffd[2Jb\ufffd\ufffdc\nd"


def test_what_is_no_text_is_shown_as_json_and_none_as_nothing() -> None:
    assert plain({"a": [1, None]}) == '{"a": [1, null]}'
    assert plain(None) == ""
