"""Runs in the environment `ultralytics`: IN.pt OUT_FOLDER WIDTHxHEIGHT|- KIND -> OUT_FOLDER/float.tflite."""

import os
import shutil
import sys
from pathlib import Path

os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_CONFIG_DIR=str(Path(sys.argv[2], "settings")))

from ultralytics import YOLO


def main(source: Path, out: Path, size: str) -> None:
    """Convert one checkpoint with Ultralytics' own exporter, which writes beside the checkpoint."""
    copied = shutil.copyfile(source, out / "float.pt")
    network = YOLO(copied)
    options = {}
    if size != "-":
        width, height = map(int, size.split("x"))
        options["imgsz"] = (height, width)
    print("vedette: Ultralytics exports the network", flush=True)
    written = Path(network.export(format="litert", **options))
    if written != out / "float.tflite":
        written.replace(out / "float.tflite")
    copied.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
