"""Defaults, file, variables, flags; every problem at once with its place."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.daemon.as_nobody import as_nobody
from vedette.config.keys import keys
from vedette.config.load import load, read
from vedette.config.models import Config
from vedette.errors import ConfigError

Write = Callable[[str], Path]
UNREPEATED = "the name is not shown, because it may be the secret itself"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path
    return write


def problems(path: Path | None, **layers: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ=layers.get("environ", {}), overrides=layers.get("overrides", {}))
    prefix = f"{path.parent}/" if path else ""
    return [problem.replace(prefix, "") for problem in caught.value.problems]


def test_nothing_given_is_the_defaults() -> None:
    """Without a file, variables and flags the configuration is the models' own."""
    assert load(None, environ={}) == Config()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "camera:\n  # width: 3\nmqtt:\n", "\ufeff"])
def test_an_empty_file_is_the_defaults(write: Write, text: str) -> None:
    """So is a file, or a section, with everything commented out."""
    assert load(write(text), environ={}) == Config()


def test_the_later_layer_wins(write: Write) -> None:
    """A flag beats a variable, a variable beats the file, the file beats the default."""
    path = write("camera: {width: 100, height: 101, fps: 9}\n")
    config = load(path, environ={"VEDETTE_CAMERA__HEIGHT": "202", "VEDETTE_CAMERA__FPS": "20", "HOME": "/"},
                  overrides={"camera.fps": 30})
    assert (config.camera.width, config.camera.height, config.camera.fps) == (100, 202, 30)


def test_variables_are_yaml() -> None:
    """Lists, mappings and null can be given by a variable; an empty one is null."""
    config = load(None, environ={"VEDETTE_DETECTOR__LABELS": "{person: 0.6}", "VEDETTE_DETECTOR__DENY": "[cat, dog]",
                                 "VEDETTE_MQTT__USERNAME": "", "VEDETTE_MQTT__TLS": "{}", "VEDETTE_INSTANCE": "front"})
    assert config.detector.labels == {"person": 0.6}
    assert config.detector.deny == ("cat", "dog")
    assert config.mqtt.username is None
    assert config.mqtt.tls is not None


def test_a_variable_below_a_section_that_is_null(tmp_path: Path) -> None:
    """Setting one key of `mqtt.tls` turns TLS on."""
    (tmp_path / "ca.pem").write_text("x")
    config = load(None, environ={"VEDETTE_MQTT__TLS__CA_FILE": str(tmp_path / "ca.pem")})
    assert config.mqtt.tls is not None
    assert config.mqtt.tls.ca_file == tmp_path / "ca.pem"


def test_all_problems_at_once_in_the_order_of_the_file(write: Write) -> None:
    """Unknown keys, wrong types, ranges and traps of one file come together, then those of variables and flags."""
    path = write("""\
camera:
  fsp: 3
  width: on
  height: 5
  threads: 4
mqtt: {port: "1883", port: 4, password: hunter2}
detector:
  labels: {person: 3}
  allow: person
commands: {allow: [updat]}
camra: {}
""")
    said = problems(path, environ={"VEDETTE_CAMERA__FPPS": "1", "VEDETTE_HEALTH__INTERVAL_S": "0"},
                    overrides={"camera.sorce": "x"})
    assert said == [
        "config.yaml:2: camera.fsp: unknown key; did you mean fps?",
        "config.yaml:3: camera.width: YAML reads on as a boolean; write true or false, or quote it if text is meant",
        "config.yaml:4: camera.height: expected a number greater than or equal to 32, saw 5 (Frame height in pixels)",
        "config.yaml:5: camera.threads: unknown key; did you mean detector.threads?",
        "config.yaml:6: mqtt.password: unknown key; did you mean password_file?",
        "config.yaml:6: mqtt.port: duplicate key; first on line 6",
        ('config.yaml:6: mqtt.port: expected a whole number without quotes, saw "1883" (Port of the broker: '
         'usually 1883, or 8883 with tls)'),
        "config.yaml:8: detector.labels.person: expected a number less than or equal to 1, saw 3",
        ('config.yaml:9: detector.allow: expected a list, saw "person" (Keep only detections with these labels. '
         'Empty: all labels)'),
        ("config.yaml:10: commands.allow[0]: expected 'update', 'rollback', 'snapshot', 'pause', 'resume', "
         "'restart', 'feedback', 'relearn', 'detection', 'try' or 'collect', saw \"updat\" (Commands that the device "
         "obeys)"),
        "config.yaml:11: camra: unknown key; did you mean camera?",
        "VEDETTE_CAMERA__FPPS: unknown variable; did you mean VEDETTE_CAMERA__FPS?",
        ("VEDETTE_HEALTH__INTERVAL_S: health.interval_s: expected a number greater than or equal to 1, saw 0 "
         "(Seconds between health messages. Changes are published at once)"),
        "command line: camera.sorce: unknown key; did you mean source?",
    ]


@pytest.mark.parametrize(("text", "said"), [
    ("device: fleet", "device: expected another name: vedette/fleet is a topic of all devices"),
    ("device: Gate 1", "device: expected 1 to 63 characters of a-z, 0-9, _ and -, the first one a letter or a digit"),
    ("camera: {fps: '30'}", "camera.fps: expected a number without quotes"),
    ("camera: {fps: 30fps}", "camera.fps: expected a number without a unit, such as 30"),
    ("camera:\n  fps: 12,5", "camera.fps: expected a number with a decimal point"),
    ("camera: {fps: 12,5}", "camera.5: unknown key; a decimal number is written with a point"),
    ("detector: {score_threshold: 50%}", "expected a number without %, such as 0.5"),
    ("camera: {width: 1080p}", "camera.width: expected a whole number without a unit, such as 1080"),
    ("camera: {fps: 1e3}", "camera.fps: expected a number, saw"),
    ("camera: {masks: [[[0, 0], [640, 0], [0, 1]]]}", "saw 640 (Privacy masks: polygons of [x, y] in 0-1"),
    ("camera: {masks: [[[0, 0, 1], [1, 0], [0, 1]]]}", "masks[0][0]: expected fewer items in this list"),
    ("camera: {masks: [[[0, 0], [0.5, 0.5], [1, 1]]]}", "camera.masks[0]: expected a polygon with an inside"),
    ("cloud: {masks: [[[0, 0], [0, 0], [0, 0]]]}", "cloud.masks[0]: expected a polygon with an inside"),
    ("mqtt: {tls: {ca: x}}", "mqtt.tls.ca: unknown key; did you mean ca_file?"),
    ("cloud: {enabled: true}", "cloud: expected url and token_file beside enabled"),
    ("cloud: {enabled: true, url: 'https://x/v1/detect'}", "cloud: expected url and token_file beside enabled"),
    ("cloud: {url: 'http://cloud.example/v1/detect'}", "cloud.url: expected https://…, or http:// on loopback, saw"),
    ("cloud: {url: 'http://127.0.0.1.example/'}", "cloud.url: expected https://…, or http:// on loopback, saw"),
    ("cloud: {url: 'ftp://127.0.0.1/'}", "cloud.url: expected https://…, or http:// on loopback, saw"),
    ("update: {source: 'ftp://x', root: r.json}",
     'update.source: expected http://…, https://… or the absolute path of a folder, saw "ftp://x"'),
    ("update: {source: 'https://x'}", "update: expected root beside source: without it no release can be trusted"),
    ("camera: {source: 'rtps://cam/1'}", "camera.source: expected a path or one of rtsp://, "),
    ("detector: {mean: [1]}", "detector: expected mean and std together"),
    ("detector: {mean: [1], std: [0]}", "detector: expected mean and std together"),
    ("camera: {roi: [0.5, 0, 0.2, 1]}", "camera.roi: expected [xmin, ymin, xmax, ymax] with xmin < xmax"),
    ("camera: {roi: [0, 0]}", "camera.roi[2]: expected one more item in this list"),
    ("camera: {masks: [[[0, 0], [1, 1]]]}", "camera.masks[0]: expected more items in this list, saw [[0, 0], [1, 1]]"),
    ("camera: [1]", "camera: expected a section of keys and values, saw [1]"),
    ("camera: {loop: 1}", "camera.loop: expected true or false, saw 1"),
    ("mqtt: {username: 7}", "mqtt.username: expected text, saw 7 (User name at the broker)"),
    ("- a", "expected keys and values at the top level"),
    ("a", "expected keys and values at the top level"),
    ("a: [", "not valid YAML: "),
    ("a: &x 1\nb: *x", "aliases (*name) are not supported"),
])
def test_one_problem(write: Write, text: str, said: str) -> None:
    """Each kind of mistake has its own message."""
    printed = problems(write(text + "\n"))
    assert any(said in problem for problem in printed), printed


def test_a_key_file_needs_its_certificate(write: Write, tmp_path: Path) -> None:
    """A client key without a certificate is a problem of its section."""
    (tmp_path / "key.pem").write_text("x")
    (printed,) = problems(write("mqtt: {tls: {key_file: key.pem}}\n"))
    assert printed.startswith("config.yaml:1: mqtt.tls: expected cert_file beside key_file")


@pytest.mark.parametrize("url", ["https://cloud.example/v1/detect", "http://127.0.0.1:8801/v1/detect",
                                 "http://[::1]:8801/", "http://localhost/"])
def test_a_cloud_is_reached_by_https_or_on_loopback(write: Write, url: str) -> None:
    """Pictures and the token never cross a network in the clear."""
    assert load(write(f"cloud: {{url: '{url}'}}\n"), environ={}).cloud.url == url


@pytest.mark.parametrize(("make", "said"), [
    (lambda path: None, "cannot be read: No such file or directory"),
    (Path.mkdir, "is a directory; expected a file"),
    (os.mkfifo, "is not a regular file"),
    (lambda path: path.write_bytes(b"a: 1\nb: \xff\n"), "not UTF-8 (byte 0xff)"),
    (lambda path: path.write_bytes(b"#" * 300_000), "larger than 256 kB"),
])
def test_a_file_that_is_no_configuration(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    """Missing, a folder, a pipe, not UTF-8, far too large: one line each, and nothing hangs."""
    path = tmp_path / "config.yaml"
    make(path)
    (printed,) = problems(path)
    assert said in printed


@pytest.mark.parametrize("url", ["rtsp://admin:hunter2@cam/1", "rtsp://admin:hun/ter2@cam/1", "http://:hunter2@cam",
                                 "rtsp://admin:12/hunter2@cam", "rtsp://admin:hun ter2@cam"])
def test_a_password_in_a_url_is_an_error_that_does_not_repeat_it(write: Write, url: str) -> None:
    """The line names the key and the way out, not the password, wherever the URL stands."""
    said = problems(write(f"camera: {{source: '{url}'}}\ndetector: {{allow: ['{url}'], threads: '{url}'}}\n"),
                    environ={"VEDETTE_MQTT__HOST": url}, overrides={"cloud.url": url})
    assert sum("a password inside a URL" in problem for problem in said) == 5
    assert not any(re.search("hun.?ter2", problem) for problem in said)


@pytest.mark.parametrize("url", ["rtsp://cam/user=admin_password=hunter2_channel=1", "http://cam/v.mjpg?user=x&pw=hunter2",
                                 "https://cam/?access_token=hunter2", "http://cam/password/hunter2/1"])
def test_a_secret_anywhere_in_an_address_is_an_error_that_does_not_repeat_it(write: Write, url: str) -> None:
    """It is refused as a login before the host is, in every layer."""
    given = f"camera: {{source: '{url}'}}\nupdate: {{source: '{url}'}}\ndetector: {{threads: '{url}'}}\n"
    said = problems(write(given), environ={"VEDETTE_MQTT__HOST": url}, overrides={"cloud.url": url})
    assert sum("a secret inside an address" in problem for problem in said) == 5
    assert "hunter2" not in "".join(said)


def test_the_places_of_user_and_password_need_a_file(write: Write, tmp_path: Path) -> None:
    """{user} and {password} in a source are filled from credentials_file, so there must be one."""
    source = "rtsp://cam/user={user}_password={password}_channel=1"
    (said,) = problems(write(f"camera: {{source: '{source}'}}\n"))
    assert "expected credentials_file beside {user} and {password}" in said
    (tmp_path / "login").write_text("me:x")
    (tmp_path / "login").chmod(0o600)
    written = write(f"camera: {{source: '{source}', credentials_file: login}}\n")
    assert load(written, environ={}).camera.source == source


@pytest.mark.parametrize("url", ["http://cam/a@b", "rtsp://cam/1", "rtsp://admin@cam:554/1"])
def test_a_url_without_a_password_is_fine(write: Write, url: str) -> None:
    """A port, an @ in the path and a bare user name are no password."""
    assert load(write(f"camera: {{source: '{url}'}}\n"), environ={}).camera.source == url


@pytest.mark.parametrize("text", [
    "camera: {source: 'admin:hunter2@cam/1'}", "camera: {source: [admin:hunter2@cam/1]}",
    "mqtt: {host: 'me:hunter2@b'}", "mqtt: {password_file: hunter2}",
    "cloud: {token_file: 'hunter2-a/b'}", "camera: {credentials_file: 'me:hunter2'}",
    f"cloud: {{token_file: {'hunter2' * 99}}}", "mqtt: {tls: {key_file: hunter2}}",
    "mqtt: {password: !hunter2}", "mqtt: {password: !hunter2!x y}", "mqtt: {password_file: !hunter2}",
    "mqtt: {password: 0o7_hunter2, username: 'a: \"hunter2\" x}", "update: {source: 'me:hunter2@host'}"])
def test_what_is_given_in_the_wrong_place_is_not_repeated(write: Write, text: str) -> None:
    """A secret where a file's name belongs, a login without a scheme, a password that YAML takes for a tag."""
    (said, *_) = problems(write(text))
    assert said.startswith("config.yaml:1: ")
    assert "hunter2" not in said


def test_a_file_that_is_missing_says_where_it_was_looked_for(write: Write, tmp_path: Path) -> None:
    """Its name is left out only where it may be the secret itself; an absolute path is no secret."""
    (said,) = problems(write("mqtt: {username: gate, password_file: missing}\n"),
                       environ={"CREDENTIALS_DIRECTORY": "/run/credentials/vedette"})
    assert said == (f"config.yaml:1: mqtt.password_file: No such file or directory in /run/credentials/vedette or "
                    f"{tmp_path}; {UNREPEATED}")
    (said,) = problems(write("mqtt: {username: gate, password_file: /no/such/file}\n"))
    assert said == "config.yaml:1: mqtt.password_file: /no/such/file: cannot be read: No such file or directory"


def test_an_unknown_secret_is_not_repeated(write: Write) -> None:
    """The value of a key named for a secret never shows, of whatever type it is."""
    said = problems(write("mqtt: {password_file: {x: hunter2}, password: hunter2}\ncloud: {token_file: [hunter2]}\n"))
    assert len(said) == 3
    assert not any("hunter2" in problem for problem in said)


def test_a_password_needs_a_user_name(write: Write, tmp_path: Path) -> None:
    """A password file alone would never be sent: an error that names both keys."""
    (tmp_path / "password").write_text("x")
    (tmp_path / "password").chmod(0o600)
    (printed,) = problems(write("mqtt: {password_file: password}\n"))
    assert printed.startswith("config.yaml:1: mqtt: expected username beside password_file")
    assert load(write("mqtt: {username: '', password_file: password}\n"), environ={}).mqtt.username == ""


def test_relative_secrets_are_credentials_first_then_beside_the_file(write: Write, tmp_path: Path) -> None:
    """A systemd credential of that name wins; without one the file beside the configuration is meant."""
    path = write("mqtt: {username: gate, password_file: mqtt-password}\n")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for folder in (tmp_path, credentials):
        (folder / "mqtt-password").write_text("x")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert load(path, environ=environ).mqtt.password_file == credentials / "mqtt-password"
    (credentials / "mqtt-password").unlink()
    assert load(path, environ=environ).mqtt.password_file == tmp_path / "mqtt-password"


def test_other_paths_start_beside_the_file_or_in_the_working_folder(write: Write, tmp_path: Path) -> None:
    """A model named in the file lies beside it; one named by a flag lies where the command was called."""
    path = write("detector: {model: street.tflite}\n")
    assert load(path, environ={}).detector.model == tmp_path / "street.tflite"
    assert load(path, environ={}, overrides={"detector.model": Path("x.tflite")}).detector.model == Path("x.tflite")
    assert load(path, environ={"VEDETTE_DETECTOR__MODEL": "y.tflite"}).detector.model == Path("y.tflite")


def test_a_tilde_is_the_home_folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every path and source; the home of an unknown user stays as it was written."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = write("camera: {source: ~/street.mp4}\ndetector: {model: ~/street.tflite}\n"
                 "update: {source: ~/media}\nmqtt: {username: ~gate}\n")
    config = load(path, environ={}, overrides={"update.root": "~/root.json"})
    assert config.camera.source == str(tmp_path / "home" / "street.mp4")
    assert config.detector.model == tmp_path / "home" / "street.tflite"
    assert config.update.root == tmp_path / "home" / "root.json"
    assert config.update.source == str(tmp_path / "home" / "media")
    assert config.mqtt.username == "~gate"
    unknown = write("camera: {source: ~nobody-of-that-name/street.mp4}\n")
    assert load(unknown, environ={}).camera.source == "~nobody-of-that-name/street.mp4"


def test_a_secret_that_cannot_be_used_is_named(write: Write, tmp_path: Path) -> None:
    """Missing, empty, a folder, not ours to read: each at load, with key and path."""
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "locked").write_text("x")
    (tmp_path / "locked").chmod(0)
    path = write("mqtt: {username: gate, password_file: missing, tls: {ca_file: empty}}\n"
                 "camera: {credentials_file: .}\ndetector: {labels_file: locked}\n")
    tmp_path.chmod(0o755)
    said = as_nobody(lambda: problems(path))
    assert said == [
        f"config.yaml:1: mqtt.password_file: No such file or directory in {tmp_path}; {UNREPEATED}",
        "config.yaml:1: mqtt.tls.ca_file: empty: is empty",
        f"config.yaml:2: camera.credentials_file: {tmp_path}: a folder; expected a file",
        "config.yaml:3: detector.labels_file: locked: cannot be read: Permission denied",
    ]


def test_a_secret_everyone_can_read_is_warned_of(write: Write, tmp_path: Path,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    """The warning names key and file; a label file may be public."""
    for name, mode in (("open", 0o644), ("closed", 0o640)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    path = write("mqtt: {username: gate, password_file: open}\ncamera: {credentials_file: closed}\n"
                 "detector: {labels_file: open}\n")
    (warning,) = read(path, environ={}).warnings
    assert warning == (f"{path}:1: mqtt.password_file: {tmp_path}/open: everyone on this machine can read this secret; "
                       "chmod o-r it")
    load(path, environ={})
    assert caplog.messages == [warning]


def test_daemon_and_page_check_only_their_own_files(write: Write, tmp_path: Path) -> None:
    """They are two users, and neither may read the secrets of the other."""
    path = write("mqtt: {username: gate, password_file: broker}\npage: {password_file: page, tls: {cert_file: pem}}\n")
    (tmp_path / "broker").write_text("a password")
    assert load(path, environ={}).page.password_file == tmp_path / "page"
    with pytest.raises(ConfigError) as caught:
        load(path, environ={}, for_page=True)
    assert [each.partition(": ")[2].partition(":")[0] for each in caught.value.problems] == \
        ["page.password_file", "page.tls.cert_file"]
    (tmp_path / "broker").rename(tmp_path / "page")
    (tmp_path / "pem").write_text("a certificate")
    assert load(path, environ={}, for_page=True).mqtt.password_file == tmp_path / "broker"


@pytest.mark.parametrize(("text", "said"), [
    ("page: {tls: {key_file: pem}}", "page.tls: expected cert_file"),
    ("page: {hosts: ['https://cam.example.org']}", "page.hosts[0]: expected a host name or address alone"),
    ("page: {hosts: ['cam.example.org:443']}", "page.hosts[0]: expected a host name or address alone"),
    ("page: {hosts: ['cam example']}", "page.hosts[0]: expected one host name"),
])
def test_who_may_use_the_page(write: Write, tmp_path: Path, text: str, said: str) -> None:
    """What cannot be is refused with the reason."""
    (tmp_path / "pem").write_text("a key")
    (printed,) = problems(write(text))
    assert said in printed


def test_names_of_the_page(write: Write) -> None:
    """They are compared in lower case and without the last dot."""
    hosts = load(write("page: {hosts: [Cam.Example.org., '192.168.1.9', 'FE80::1']}"), environ={}).page.hosts
    assert hosts == ("cam.example.org", "192.168.1.9", "fe80::1")


def test_places_show_where_each_value_came_from(write: Write) -> None:
    """Line, variable or command line; what is a default has no place."""
    path = write("camera:\n  width: 100\n  height: 100\n")
    places = read(path, environ={"VEDETTE_MQTT__TLS": "{}", "VEDETTE_CAMERA__HEIGHT": "64"},
                  overrides={"camera.fps": 3}).places
    assert {name: str(places[name]) for name in ("camera.width", "camera.height", "mqtt.tls", "camera.fps")} == {
        "camera.width": f"{path}:2", "camera.height": "VEDETTE_CAMERA__HEIGHT", "mqtt.tls": "VEDETTE_MQTT__TLS",
        "camera.fps": "command line"}
    assert "camera.rotate" not in places


def test_a_key_of_two_lines_is_reported_in_one() -> None:
    """In a flag's value; a file's keys are judged as they are read."""
    assert problems(None, overrides={"mqtt.tls": {"a\nb": None}}) == [r'command line: mqtt.tls."a\nb": unknown key']


_SCALARS = (st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
            | st.sampled_from(["rtsp://a:b@c", "yes", "1:30", "/", "fleet", "5", "..", "\0", "a" * 300]))
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3)
                       | st.dictionaries(st.sampled_from(["a", "ca_file", "key_file"]) | st.text(max_size=3), inner,
                                         max_size=3), max_leaves=6)
_NAMES = [key.path for key in keys()]


def config_or_problems(path: Path, environ: dict[str, str], overrides: dict[str, object]) -> Config | tuple[str, ...]:
    try:
        return load(path, environ=environ, overrides=overrides)
    except ConfigError as error:
        return error.problems


@given(st.lists(st.tuples(st.sampled_from(_NAMES), _VALUES), max_size=6), st.text(max_size=20),
       st.dictionaries(st.sampled_from([key.variable for key in keys()]), st.text(max_size=20), max_size=2))
def test_any_yaml_gives_a_configuration_or_its_problems(
        tmp_path_factory: pytest.TempPathFactory, given_keys: list[tuple[tuple[str, ...], object]], tail: str,
        environ: dict[str, str]) -> None:
    """Whatever a file, variables and flags say, the answer is a Config or a ConfigError with problems."""
    lines = [f"{'.'.join(path)}: {value!r}" for path, value in given_keys]
    nested = "\n".join(f"{path[0]}: {{{': {'.join(path[1:])}: {value!r}{'}' * (len(path) - 1)}"
                       for path, value in given_keys if len(path) > 1)
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    for text in ("\n".join(lines) + tail, nested, nested + "\n" + tail):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        outcome = config_or_problems(path, environ, {".".join(at): value for at, value in given_keys})
        assert isinstance(outcome, Config) or (outcome and not any("\n" in problem for problem in outcome))
