"""What a URL may show."""

import pytest

from vedette.net.urls import has_password, masked, shown, without_login

PASSWORD = "hunter2"  # noqa: S105 - planted


@pytest.mark.parametrize("url", [
    "rtsp://admin:hunter2@cam/1", "rtsp://admin:hun ter2hunter2@cam/1", "rtsp://admin:'\"hunter2@cam", "http://:hunter2@cam",
    "rtsp://admin:12/hunter2@cam", "rtsp://admin:hunter2@x@cam:554/1", "rtsp://admin:?hunter2@cam",
    "RTSP://admin:#hunter2@cam", "rtsp://admin:hunter2/%40@cam"])
def test_a_password_before_an_at_is_found_and_masked(url: str) -> None:
    """It may have any characters, also such that a strict parser would find another host."""
    assert has_password(url, is_address=False)
    assert PASSWORD not in masked(url)


@pytest.mark.parametrize("text", ["admin:hunter2@cam/1", "rtsp:/admin:hunter2@cam", "rtsp//admin:hunter2@cam",
                                  "//admin:hunter2@cam"])
def test_a_login_in_a_text_that_is_not_a_url(text: str) -> None:
    """A missing or mistyped scheme does not make a password a name; a path may hold anything."""
    assert has_password(text, is_address=not text.startswith("/")) or text.startswith("/")
    assert PASSWORD not in masked(text)


@pytest.mark.parametrize("text", ["rtsp://cam/1", "rtsp://admin@cam:554/1", "http://cam/a@b", "/dev/v4l/by-path/a:b@1",
                                  "synthetic?seed=7", "films/gate.avi", "./a:b@c"])
def test_a_text_without_a_password(text: str) -> None:
    """A bare user name, an @ in the path, and paths."""
    assert not has_password(text, is_address=True)


@pytest.mark.parametrize("query", ["user=admin&pwd=hunter2", "password=hunter2&x=1", "loginuse=a&loginpas=hunter2",
                                   "a=1;token=hunter2", "X-Amz-Signature=hunter2"])
def test_a_secret_in_a_query_is_masked_and_the_rest_is_shown(query: str) -> None:
    """Many cameras have no other login."""
    url = f"http://cam:80/video.cgi?{query}"
    for text in (masked(url), shown(url)):
        assert PASSWORD not in text
        assert text.startswith("http://cam:80/video.cgi?")
        assert "***" in text


def test_a_login_is_left_out_and_the_rest_stays() -> None:
    """Also if the rest is not a valid address."""
    assert without_login("rtsp://me:secret@[::1/x@y?password=1") == "rtsp://[::1/x@y?password=1"
    assert shown("synthetic?seed=7") == "synthetic?seed=7"
    assert masked("http://me@cam/?q=1") == "http://***@cam/?q=1"
    assert masked('"rtsp://me:a b@cam"') == '"rtsp://***@cam"'
