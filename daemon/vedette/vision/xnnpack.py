"""Vedette's own XNNPACK delegate for tflite-runtime 2.14.0, which gives INT8 graphs no delegate by default.

Invariants:
- It is made for exactly that version: its extension module exports the functions, but no document guarantees them.
- Any reason against it raises `DelegateRefused`, and the interpreter runs without it. A crash inside cannot be caught,
  so every model is first tried with it in a child process.
- The delegate must outlive its interpreter. Who made it calls `close` after the interpreter is gone.

Layout and flags: tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h of TensorFlow 2.14, 24 bytes on 64-bit.
"""

from __future__ import annotations

import ctypes
import importlib

from vedette.errors import VedetteError

RUNTIME, VERSION = "tflite-runtime", "2.14.0"
_MODULE = "tflite_runtime._pywrap_tensorflow_interpreter_wrapper"
_QS8 = 1    # TFLITE_XNNPACK_DELEGATE_FLAG_QS8: signed quantised operators, per-channel weights too
_QU8 = 2    # TFLITE_XNNPACK_DELEGATE_FLAG_QU8: unsigned ones


class DelegateRefused(VedetteError):
    """The delegate cannot be made here. The interpreter catches this error and runs without the delegate."""


class _Options(ctypes.Structure):
    _fields_ = (("num_threads", ctypes.c_int32), ("flags", ctypes.c_uint32),
                ("weights_cache", ctypes.c_void_p), ("handle_variable_ops", ctypes.c_bool))


class Delegate:
    """A TfLiteDelegate in the form that `experimental_delegates` takes. Raises: DelegateRefused."""

    def __init__(self, runtime: str, version: str, threads: int) -> None:
        if (runtime, version) != (RUNTIME, VERSION):
            raise DelegateRefused(f"it is made for {RUNTIME} {VERSION}, but this is {runtime} {version}")
        self._library = _library()
        options = self._library.TfLiteXNNPackDelegateOptionsDefault()
        options.num_threads = threads
        options.flags |= _QS8 | _QU8
        self._pointer: int | None = self._library.TfLiteXNNPackDelegateCreate(ctypes.byref(options))
        if not self._pointer:
            raise DelegateRefused("TfLiteXNNPackDelegateCreate returned nothing")
        if self._library.TfLiteXNNPackDelegateGetFlags(self._pointer) != options.flags:
            self.close()
            raise DelegateRefused("its flags read back differently: the layout of the options is another one here")

    def __repr__(self) -> str:
        return f"<Delegate {'XNNPACK' if self._pointer else 'closed'}>"

    def _get_native_delegate_pointer(self) -> int | None:
        return self._pointer    # all that tflite_runtime.interpreter.Interpreter needs of a delegate

    def close(self) -> None:
        """Delete the delegate. Safe to call twice."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            self._library.TfLiteXNNPackDelegateDelete(pointer)


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(importlib.import_module(_MODULE).__file__)
        library.TfLiteXNNPackDelegateOptionsDefault.restype = _Options
        library.TfLiteXNNPackDelegateOptionsDefault.argtypes = ()
        library.TfLiteXNNPackDelegateCreate.restype = ctypes.c_void_p
        library.TfLiteXNNPackDelegateCreate.argtypes = (ctypes.POINTER(_Options),)
        library.TfLiteXNNPackDelegateGetFlags.restype = ctypes.c_uint32
        library.TfLiteXNNPackDelegateGetFlags.argtypes = (ctypes.c_void_p,)
        library.TfLiteXNNPackDelegateDelete.restype = None
        library.TfLiteXNNPackDelegateDelete.argtypes = (ctypes.c_void_p,)
    except (ImportError, OSError, AttributeError) as error:
        raise DelegateRefused(f"its functions are missing: {error}") from error
    return library
