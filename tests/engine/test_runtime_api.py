"""The positions in ONNX Runtime's C API that the operators use, and what they do in an older runtime."""

import ctypes
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.engine.conftest import NAMES
from tests.engine.operators import ISA, grids, run
from winnow.engine import library
from winnow.engine.quantized_graph import Grid
from winnow.errors import UserError

VOID, TEXT, SIZE, INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
CREATE_STATUS, ERROR_CODE, ERROR_MESSAGE, RELEASE_STATUS = 0, 1, 2, 93
GET_API = ctypes.CFUNCTYPE(VOID, ctypes.c_uint32)
VERSION = ctypes.CFUNCTYPE(TEXT)


class ApiBase(ctypes.Structure):
    _fields_ = [("GetApi", GET_API), ("GetVersionString", VERSION)]


class Table:
    """The functions of the installed runtime, by position."""

    def __init__(self, version):
        (path,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*")
        get = ctypes.CDLL(str(path)).OrtGetApiBase
        get.restype = ctypes.POINTER(ApiBase)
        self.base = get().contents
        self.address = self.base.GetApi(version)

    def call(self, position, result, *arguments):
        """Call a function; the arguments are pairs of type and value."""
        address = ctypes.cast(self.address, ctypes.POINTER(VOID))[position]
        types, values = zip(*arguments, strict=True)
        return ctypes.CFUNCTYPE(result, *types)(address)(*values)

    def message(self, status):
        code, text = (self.call(at, kind, (VOID, status)) for at, kind in ((ERROR_CODE, INT), (ERROR_MESSAGE, TEXT)))
        self.call(RELEASE_STATUS, None, (VOID, status))
        return code, text.decode()


@pytest.fixture(scope="module")
def table():
    return Table(17)


def test_the_installed_runtime_has_the_version_that_is_asked_for(table):
    assert table.base.GetVersionString().decode() == onnxruntime.__version__
    assert table.address
    header = (Path(library.__file__).parent / "native/onnxruntime_api.h").read_text()
    assert "kApiVersion = 17;" in header


def test_a_status_has_its_code_and_message(table):
    status = table.call(CREATE_STATUS, VOID, (INT, 2), (TEXT, b"a problem"))
    assert table.message(status) == (2, "a problem")


def test_a_tensor_has_its_type_and_shape(table):
    # 49: CreateTensorWithDataAsOrtValue, 69: CreateCpuMemoryInfo, 92, 94, 96: release memory info, value
    data = np.arange(6, dtype=np.int32)
    memory, value, info, pointer = VOID(), VOID(), VOID(), VOID()
    assert not table.call(69, VOID, (INT, 0), (INT, 0), (VOID, ctypes.addressof(memory)))
    shape = (ctypes.c_int64 * 2)(2, 3)
    created = [(VOID, memory), (VOID, data.ctypes.data), (SIZE, data.nbytes), (VOID, ctypes.addressof(shape))]
    assert not table.call(49, VOID, *created, (SIZE, 2), (INT, 6), (VOID, ctypes.addressof(value)))
    assert not table.call(51, VOID, (VOID, value), (VOID, ctypes.addressof(pointer)))  # GetTensorMutableData
    assert pointer.value == data.ctypes.data
    assert not table.call(65, VOID, (VOID, value), (VOID, ctypes.addressof(info)))  # GetTensorTypeAndShape
    kind, count, dims = INT(), SIZE(), (ctypes.c_int64 * 2)()
    assert not table.call(60, VOID, (VOID, info), (VOID, ctypes.addressof(kind)))  # GetTensorElementType
    assert not table.call(61, VOID, (VOID, info), (VOID, ctypes.addressof(count)))  # GetDimensionsCount
    assert not table.call(62, VOID, (VOID, info), (VOID, ctypes.addressof(dims)), (SIZE, 2))  # GetDimensions
    assert (kind.value, count.value, list(dims)) == (6, 2, [2, 3])
    table.call(99, None, (VOID, info))  # ReleaseTensorTypeAndShapeInfo
    table.call(96, None, (VOID, value))  # ReleaseValue
    table.call(94, None, (VOID, memory))  # ReleaseMemoryInfo


def test_a_domain_can_be_made_and_released(table):
    domain = VOID()
    assert not table.call(26, VOID, (TEXT, b"a domain"), (VOID, ctypes.addressof(domain)))
    assert domain.value
    table.call(101, None, (VOID, domain))


def test_an_older_runtime_gets_a_message(table, compiled, tmp_path):
    own = ctypes.CDLL(str(shutil.copy(compiled, tmp_path / "copy.so")))  # its table of functions is set once
    asked = []

    def get_api(version):
        asked.append(version)
        return table.address if version == 1 else None

    base = ApiBase(GET_API(get_api), VERSION(lambda: b"1.16.3"))
    own.RegisterCustomOps.restype = VOID
    status = own.RegisterCustomOps(None, ctypes.byref(base))
    assert asked == [17, 1]
    code, text = table.message(status)
    assert (code, text) == (1, "the sparse engine needs ONNX Runtime 1.17 or newer")


def test_a_runtime_without_any_table_is_no_crash(compiled, tmp_path):
    own = ctypes.CDLL(str(shutil.copy(compiled, tmp_path / "copy.so")))
    base = ApiBase(GET_API(lambda version: None), VERSION(lambda: b"0.1"))
    own.RegisterCustomOps.restype = VOID
    assert own.RegisterCustomOps(None, ctypes.byref(base)) is None


@pytest.mark.parametrize("name", ["neon_dotprod" if "avx2" in NAMES else "avx2", "mmx", "AVX2"])
def test_an_instruction_set_that_the_processor_does_not_have_is_named(compiled, monkeypatch, name):
    monkeypatch.setenv(ISA, name)
    with pytest.raises(Exception, match=f"no instructions of the name that {ISA} has"):
        run("Pack", compiled, [("x", np.ones((1, 1, 4), np.float32))], **grids(x=Grid(1.0, 0)))
    with pytest.raises(UserError, match=f"{ISA}={name}: this processor has no instructions of this name; unset it"):
        library.instruction_set(compiled)
