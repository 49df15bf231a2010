"""Runs in the environment `onnx2tf`: IN OUT_FOLDER WIDTHxHEIGHT|- KIND -> OUT_FOLDER/float.tflite."""

import ast
import json
import shutil
import sys
from pathlib import Path

import onnx
import onnx2tf


def main(source: str, out: Path, size: str) -> None:
    """Convert one file. A message for a person begins with `vedette: `."""
    model = onnx.load(source, load_external_data=False)
    constants = {each.name for each in model.graph.initializer}
    images = [each for each in model.graph.input if each.name not in constants]
    if len(images) != 1:
        sys.exit(f"vedette: {len(images)} inputs ({', '.join(each.name for each in images)}); expected one image")
    shape = [each.dim_value for each in images[0].type.tensor_type.shape.dim]
    options = {}
    if len(shape) == 4 and not all(shape):
        if not all(shape[1:]) and size == "-":
            sys.exit("vedette: the size of the input is not fixed; expected --size WIDTHxHEIGHT")
        channels_last = shape[3] in (1, 3) and shape[1] not in (1, 3)
        width, height = map(int, size.split("x")) if size != "-" else (0, 0)
        fixed = [1, height, width, 3] if channels_last else [1, 3, height, width]
        fixed = [known or wanted for known, wanted in zip(shape, fixed, strict=True)]
        options["overwrite_input_shape"] = [f"{images[0].name}:{','.join(map(str, fixed))}"]
    print("vedette: onnx2tf converts the graph", flush=True)
    work = out / "onnx2tf"
    onnx2tf.convert(input_onnx_file_path=source, output_folder_path=str(work), tflite_backend="flatbuffer_direct",
                    report_op_coverage=True, copy_onnx_input_output_names_to_tflite=True, non_verbose=True, **options)
    (written,) = work.glob("*_float32.tflite")
    written.replace(out / "float.tflite")
    for report in work.glob("*_op_coverage_report.json"):
        report.replace(out / "op_coverage.json")
    shutil.rmtree(work)
    stated = {each.key: each.value for each in model.metadata_props}
    if "names" in stated:       # Ultralytics' exporter writes Python literals
        (out / "metadata.json").write_text(json.dumps({key: _value(text) for key, text in stated.items()}))


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
