"""What a URL may show."""

import pytest

from vedette.net.urls import has_password, has_secret, masked, shown, without_login

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
                                   "a=1;token=hunter2", "X-Amz-Signature=hunter2", "usersign=hunter2"])
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


SECRETS = [
    "rtsp://cam:554/user=admin_password=S3cret_channel=1_stream=0.sdp", "http://cam/v.mjpg?user=x&pw=S3cret",
    "rtsp://cam/user=admin;passwd=S3cret;x=1", "rtsp://cam/live,user:admin,password:S3cret", "http://cam/#token=S3cret",
    "rtsp://cam/password/S3cret/live", "rtsp://cam/x?user%3Dadmin_password%3DS3cret_channel%3D1",
    "http://cam/?p%61ssword=S3cret", "http://cam/?PASS=S3cret&x=1", "http://cam/?api_key=S3cret", "http://cam/?pwd=S3&cret",
    "http://cam/?userPassword=S3cret", "rtsp://cam/user=admin|password=S3cret|c=1", "http://cam/?a[password]=S3cret",
    "rtsp://cam/user=admin_password=S3_x-cret=_channel=1", "rtsp://cam/user=a*pw=S3cret*x=1", "rtsp://cam;pw=S3cret/1",
    "rtsp:/cam/user=admin_password=S3cret_channel=1", "http://cam/?auth=S3cret", "http://cam/?key=S3cret",
    "http://cam/?token=S3_cret=&x=1", "http://cam/?X-Amz-Signature=S3cret", "http://cam/?password= S3cret",
    "http://cam/token/S3cret/live", "http://cam/api_key/S3cret", "http://cam/access_token/S3cret/x",
    "http://cam/?cmd=Snap&u=admin&p=S3cret", "http://cam/?%2570wd=S3cret", "http://cam/?psk=S3cret",
    "http://cam/?authbasic=S3cret", "http://cam/?passkey=S3cret", "http://cam/?senha=S3cret"]


@pytest.mark.parametrize("url", SECRETS)
def test_the_value_of_a_key_that_sounds_like_a_secret_is_found_and_masked(url: str) -> None:
    """Any separator may stand around it, the value may hold some, and the key may be percent-encoded."""
    assert has_secret(url, is_address=True)
    for text in (masked(url), shown(url), masked(f'["{url}"]')):
        assert "S3" not in text
        assert "cret" not in text
        assert "***" in text


@pytest.mark.parametrize("url", [
    "http://hub/?src=rtsp%3A%2F%2Fadmin%3Ahunter2%40cam%2F1", "http://hub/?src=rtsp://admin:hunter2@cam/1",
    "rtsp://admin%3Ahunter2%40cam/1"])
def test_a_login_of_an_address_within_an_address_is_found_and_masked(url: str) -> None:
    """A restreamer takes the camera's address as a value, and some people encode too much."""
    assert has_password(url, is_address=True)
    for text in (masked(url), shown(url)):
        assert PASSWORD not in text
        assert "***" in text


@pytest.mark.parametrize("text", ["admin:hunter2@cam/1", "rtsp:/admin:hunter2@cam", "rtsp//admin:hunter2@cam",
                                  "rtsp://admin:12/hunter2@cam", "rtsp://admin:#hunter2@cam",
                                  "play rtsp://admin:hunter2@cam/1"])
def test_shown_masks_a_login_in_a_text_that_is_not_a_url(text: str) -> None:
    """A redirect may name anything."""
    assert PASSWORD not in shown(text)


@pytest.mark.parametrize("text", ["rtsp://cam/channel=1", "rtsp://cam/?keyframes=1", "rtsp://cam/?monkey=1&hotkey=f1",
                                  "rtsp://cam/?design=a&signal=pal", "rtsp://cam/?bypass=1&compass=n&passthrough=1",
                                  "rtsp://cam/?author=me", "http://cam/auth/live.mjpg", "http://cam/keys/a.mjpg",
                                  "http://cam/secret-garden/live", "rtsp://cam/?videokeyframeinterval=30",
                                  "http://cam/session/live", "http://cam:554/a?mail=me%40x"])
def test_a_word_that_only_contains_a_secret_is_not_masked(text: str) -> None:
    """It tells which stream it is, so people want to read it."""
    assert shown(text) == masked(text) == text
    assert not has_secret(text, is_address=True)
    assert not has_password(text, is_address=True)


@pytest.mark.parametrize("url", [
    "rtsp://cam/user=admin_password=_channel=1", "rtsp://cam/user={user}_password={password}_channel=1",
    "https://token.example.net:443/x", "https://auth:8801/v1", "http://cam/?author=me&keyframe=1&bypass=2&compass=3",
    "http://cam/?loginuse=admin", "/dev/v4l/by-id/usb-pw=1", "synthetic?seed=7&misbehave=freeze:20:10", "monkey.avi"])
def test_an_address_without_a_secret_is_not_refused(url: str) -> None:
    """No value, a placeholder, a host that is called so, a word that only contains one, and a path."""
    assert not has_secret(url, is_address=True)


def test_what_is_no_secret_stays_to_be_read() -> None:
    """The rest of an address tells which camera it is, and an empty password is worth knowing."""
    assert shown(SECRETS[0]) == "rtsp://cam:554/user=admin_password=***_channel=1_stream=0.sdp"
    assert shown(SECRETS[5]) == "rtsp://cam/password/***/live"
    for url in ("rtsp://cam/user=admin_password=_channel=1", "https://auth:8801/v1?width=3", "http://cam/?pw={password}"):
        assert shown(url) == masked(url) == url
