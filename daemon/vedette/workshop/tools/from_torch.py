"""Runs in the environment `litert-torch`: IN OUT_FOLDER WIDTHxHEIGHT|- KIND -> OUT_FOLDER/float.tflite."""

import sys
from pathlib import Path

import litert_torch
import torch


def main(source: Path, out: Path, size: str, kind: str) -> None:
    """Convert one file. A message for a person begins with `vedette: `."""
    if kind == "exported-program":
        program = torch.export.load(source)
        examples = program.example_inputs[0] if program.example_inputs else _examples(program)
        network = program.module()
    else:
        sys.path.insert(0, str(source.parent))      # where the source of its classes may be
        network = torch.load(source, map_location="cpu", weights_only=False)
        if size == "-":
            sys.exit("vedette: a pickled module does not state its input; expected --size WIDTHxHEIGHT")
        width, height = map(int, size.split("x"))
        network, examples = network.float().eval(), (torch.zeros(1, 3, height, width),)
    if len(examples) != 1:
        sys.exit(f"vedette: {len(examples)} inputs; expected one image")
    print("vedette: litert-torch converts the graph", flush=True)
    if examples[0].ndim == 4 and examples[0].shape[1] in (1, 3):     # as a camera's frame lies in memory
        network = litert_torch.to_channel_last_io(network, args=[0])
        examples = (examples[0].permute(0, 2, 3, 1).contiguous(),)
    litert_torch.convert(network, examples).export(str(out / "float.tflite"))


def _examples(program: torch.export.ExportedProgram) -> tuple[torch.Tensor, ...]:
    names = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return tuple(torch.zeros([int(side) for side in value.shape]) for value in values)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
