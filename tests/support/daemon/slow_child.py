"""A capture child on a slow disk: a file takes longer to open than the first and the second opening may."""

from vedette.camera.child.main import main
from vedette.camera.child.open_source import open_source
from vedette.camera.child.source import NoAnswer, Source
from vedette.camera.settings import CaptureSettings


def open_slowly(settings: CaptureSettings) -> Source:
    if settings.slow_openings < 2:
        raise NoAnswer(f"no answer within {settings.open_limit_s:.0f} s")
    return open_source(settings)


if __name__ == "__main__":
    main(open_slowly)
