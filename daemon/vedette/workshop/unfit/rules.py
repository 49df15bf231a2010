"""What is known of operations that do not fit: by a name that all formats share, why, and what to do.

Invariants: a rule with `ends` finds things in a finished prediction, so the network may be cut off before it.

What each converter and both runtimes do with them was measured: onnx2tf 2.6.9, LiteRT 2.3.0, tflite-runtime 2.14.0 and
litert-quantizer 0.11.0. The campaign `unfit` measures it again.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """Why an operation does not fit, and what to do. `refused`: nothing usable becomes of it."""

    why: str
    advice: str
    refused: bool = True
    ends: bool = False


_FINDS = "the size of its result depends on the picture, and the device reads outputs of a fixed size only"
_SEARCH = Rule(_FINDS, "cut the network off before it: the device's decoder finds the boxes itself", ends=True)
_STATE = Rule("it keeps a state from step to step; LiteRT runs it as a float operation outside XNNPACK",
              "leave it where its time is acceptable (vedette bench --ops), or train the network with convolutions in "
              "its place", refused=False)
_LOOP = Rule("how often it runs is known only at inference, and the quantizer refuses its inner graph",
             "export again for a fixed input size, so that the exporter unrolls it (torch.export does); or simplify "
             "the file with onnxsim")
_RANDOM = Rule("it draws random numbers at inference, so the same picture gives different results",
               "export the network in evaluation mode (model.eval()), or take the noise out", refused=False)
_LISTS = Rule("it works on a list of tensors, which TFLite does not have",
              "export again with plain tensors in place of lists: torch.split and torch.stack with fixed sizes")
_TEXT = Rule("it works on texts or files, not on numbers", "do this before or after the network, in a program")
_SPECTRUM = Rule("it makes complex numbers, which stay float and outside XNNPACK",
                 "do this before the network, in a program, or leave it where it is small", refused=False)
PLACES = Rule("it reads at places that the network finds itself. It becomes dozens of operations, many of them outside "
              "XNNPACK, and INT8 loses the places",
              "replace it by a resize (nn.Upsample) or a convolution, and train the last layers again", refused=False)
_RARE = Rule("no INT8 kernel on XNNPACK has it", "leave it where it costs little (vedette bench --ops), or replace it "
             "by convolutions, pooling and products", refused=False)
QUANTIZED = Rule("the network is quantised already, and calibrating starts from a float network",
                 "give the float file from which it was made")
BOTH_BRANCHES = Rule("both branches are computed for every picture, then one is chosen",
                     "leave it where both are short, or export the one branch that the device needs", refused=False)
TOP_K = Rule("it stays float and outside XNNPACK, with all that follows: slower, and the boxes lose INT8's speed",
             "cut the network off before it: the device's decoder chooses the best boxes itself", refused=False,
             ends=True)

RULES = {
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "Unique", "Compress"), _SEARCH),
    "TopK": TOP_K,
    **dict.fromkeys(("RoiAlign", "MaxRoiPool"), Rule(
        "a second stage looks at each found box again, and the number of boxes depends on the picture",
        "take a detector of one stage (SSD, YOLO): the device has no decoder for two", ends=True)),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _STATE),
    **dict.fromkeys(("Loop", "Scan", "SequenceMap"), _LOOP),
    "If": BOTH_BRANCHES,
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli",
                     "Multinomial"), _RANDOM),
    **dict.fromkeys(("SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceAt",
                     "SequenceLength", "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement",
                     "OptionalHasElement"), _LISTS),
    **dict.fromkeys(("StringNormalizer", "StringConcat", "StringSplit", "RegexFullMatch", "TfIdfVectorizer",
                     "ImageDecoder"), _TEXT),
    **dict.fromkeys(("DFT", "STFT", "MelWeightMatrix"), _SPECTRUM),
    **dict.fromkeys(("GridSample", "DeformConv"), PLACES),
    **dict.fromkeys(("MaxUnpool", "Col2Im", "Det", "Inverse", "CumProd", "ScatterElements", "ScatterND",
                     "TensorScatter", "ReverseSequence"), _RARE),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
                     "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearSigmoid", "QLinearLeakyRelu",
                     "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSoftmax", "QGemm", "ConvInteger",
                     "MatMulInteger"), QUANTIZED),
}
"""By the names of ONNX, which are CamelCase words that other formats' names are mapped to."""

DEEP = Rule("it works in space and time on tensors of five axes, for which XNNPACK has no kernel",
            "give single pictures: take a network with 2-D convolutions")
UNKNOWN = Rule("neither TFLite's built-in operations nor the converter have it. It could only become a custom "
               "operation, which the device refuses",
               "replace it by standard operations in the source, and export again")
END_PLUGIN = Rule("a plug-in of another runtime finds the boxes. It could only become a custom operation, which the "
                  "device refuses",
                  "cut the network off before it: the device's decoder finds the boxes itself", ends=True)
INPUTS = Rule("the device gives one picture and nothing else",
              "make each other input a constant in the source, and export again")
SIZE = Rule("its size is not fixed, and the converter takes 1 for what it does not know",
            "export again with a fixed size, such as 1x3x320x320")
EXAMPLE = Rule("its size is not fixed, and the converter takes that of the example with which it was exported",
               "nothing where that is the size for the device; otherwise export again with an example of that size",
               refused=False)
SHAPE = Rule("the device gives one picture: 1xHxWx3 or 1x3xHxW", "export again with such an input")
TYPE = Rule("the device gives pictures as float32, int8 or uint8",
            "export again in float32: model.float(), and a float32 example as the input")
CUSTOM = Rule("it is a custom operation, which neither runtime has, so the device refuses it",
              "replace it by built-in operations in the source, and export again")
SELECT_TF = Rule("only TensorFlow's own kernels have it (Select TF). Neither runtime holds them, so the device refuses "
                 "it", "replace it by built-in operations in the source, and export again without SELECT_TF_OPS")
SELECT_TF_END = Rule(SELECT_TF.why, END_PLUGIN.advice, ends=True)
UNROLL = Rule("a recurrent layer becomes a list of tensors. Only TensorFlow's own kernels have it (Select TF), so the "
              "device refuses it",
              "build the layer with unroll=True and give the network as a SavedModel (model.export('folder')), or use "
              "convolutions")
UNROLLED = Rule("from a .keras file, XNNPACK cannot prepare the INT8 form of an unrolled layer",
                "give the same network as a SavedModel: model.export('folder')")
STEPS = Rule("each step of it becomes operations of its own, hundreds in all; they run in INT8 on XNNPACK",
             "leave it where its time is acceptable (vedette bench --ops), or train the network with convolutions "
             "instead", refused=False)
SORTED = Rule("it becomes StableHLO's sort, which neither runtime has",
              "use torch.topk for the best few, or cut the network off before it: the device's decoder sorts itself",
              ends=True)
NOT_LOWERED = Rule("the converter of PyTorch networks has nothing for it",
                   "take it out in the source: one branch only, and no random numbers (model.eval()). Or convert the "
                   "network through ONNX")
ONE_BRANCH = Rule("one of two inner graphs runs, as the picture decides, and XNNPACK takes neither",
                  "export the one branch that the device needs", refused=False)
