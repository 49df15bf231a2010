"""Runs in the environment `onnx2tf`: IN OUT_FOLDER WIDTHxHEIGHT|- KIND CUT… -> OUT_FOLDER/float.tflite."""

import ast
import json
import shutil
import sys
from pathlib import Path

import onnx
import onnx.utils
import onnx2tf


def main(source: str, out: Path, size: str, cut: list[str]) -> None:
    """Convert one file. A message for a person begins with `vedette: `."""
    model = onnx.load(source)
    constants = {each.name for each in model.graph.initializer}
    images = [each for each in model.graph.input if each.name not in constants]
    if len(images) != 1:
        sys.exit(f"vedette: {len(images)} inputs ({', '.join(each.name for each in images)}); expected one image")
    stated = {each.key: each.value for each in model.metadata_props}
    if cut:
        onnx.utils.extract_model(source, str(out / "cut.onnx"), [images[0].name], cut,
                                 check_model=False)      # what onnx2tf takes is enough
        model = onnx.load(out / "cut.onnx")
        images = list(model.graph.input)
    sides = images[0].type.tensor_type.shape.dim
    if len(sides) == 4 and not all(side.dim_value for side in sides):
        model = _fixed(model, sides, size)
    copied = out / "copy.onnx"
    onnx.save(model, copied)        # onnx2tf simplifies the file that it gets, in its place
    print("vedette: onnx2tf converts the graph", flush=True)
    work = out / "onnx2tf"
    onnx2tf.convert(input_onnx_file_path=str(copied), output_folder_path=str(work), tflite_backend="flatbuffer_direct",
                    report_op_coverage=True, copy_onnx_input_output_names_to_tflite=True, non_verbose=True)
    (written,) = work.glob("*_float32.tflite")
    written.replace(out / "float.tflite")
    for report in work.glob("*_op_coverage_report.json"):
        report.replace(out / "op_coverage.json")
    shutil.rmtree(work)
    copied.unlink()
    if "names" in stated:       # Ultralytics' exporter writes Python literals
        (out / "metadata.json").write_text(json.dumps({key: _value(text) for key, text in stated.items()}))


def _fixed(model: onnx.ModelProto, sides: list[onnx.TensorShapeProto.Dimension], size: str) -> onnx.ModelProto:
    """Return the network with each open size of its input fixed."""
    if not all(side.dim_value for side in sides[1:]) and size == "-":
        sys.exit("vedette: the size of the input is not fixed; expected --size WIDTHxHEIGHT")
    width, height = map(int, size.split("x")) if size != "-" else (0, 0)
    channels_last = sides[3].dim_value in (1, 3) and sides[1].dim_value not in (1, 3)
    for side, wanted in zip(sides, (1, height, width, 3) if channels_last else (1, 3, height, width), strict=True):
        side.dim_value = side.dim_value or wanted
    del model.graph.value_info[:]       # they and the outputs have the open sizes
    for each in model.graph.output:
        each.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model)


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[5:])
