"""The engine built in other ways: with sanitizers, and its kernels on their own, for this processor and others."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from winnow.engine import library

ROOT = Path(__file__).parents[2]
CROSS = "aarch64-linux-gnu-g++"
pytestmark = pytest.mark.slow


def run(*command, **environment):
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_the_operators_give_sanitizers_nothing_to_report(tmp_path):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g"]
    library.build(tmp_path / "sanitized.so", flags=flags)
    # Python is not built with sanitizers: theirs have to be there first, and libstdc++ for its exceptions
    names = ("libasan.so", "libubsan.so", "libstdc++.so")
    preloaded = [run(library.find_compiler(), f"-print-file-name={name}").strip() for name in names]
    tests = [f"tests/engine/test_{name}.py" for name in ("operators", "damaged_graphs", "sessions")]
    out = run(
        sys.executable,
        *("-m", "pytest", "-p", "no:cacheprovider", "--capture=no", *tests, "-k", "not leave_no_memory"),
        SPARSE_LIBRARY=str(tmp_path / "sanitized.so"),
        ASAN_OPTIONS="detect_leaks=0",  # those of Python
        UBSAN_OPTIONS="print_stacktrace=1",
        LD_PRELOAD=" ".join(preloaded),
    )
    assert "passed" in out


def native_check(compiler, folder):
    """The file that compares all kernels of a compiler's processor with plain loops."""
    machine = library._machine_of(compiler)
    files = {name: [] for name in ("cpu", "packed_matrix")} | library._KERNELS[machine]
    objects = []
    for name, flags in files.items():
        objects.append(str(folder / f"{name}.o"))
        run(compiler, *library._FLAGS, *flags, "-c", str(library._SOURCES / f"{name}.cpp"), "-o", objects[-1])
    program = str(folder / "check")
    source = str(Path(__file__).parent / "native_check.cpp")
    run(compiler, *library._FLAGS, f"-I{library._SOURCES}", source, *objects, "-static", "-o", program)
    return program


def test_the_kernels_of_this_processor_compute_what_plain_loops_do(tmp_path):
    program = native_check(library.find_compiler(), tmp_path)
    assert run(program).endswith("\n0 differences\n")
    if platform.machine() == "x86_64" and shutil.which("qemu-x86_64"):
        older = run("qemu-x86_64", "-cpu", "Haswell", program)  # has AVX2 only
        assert older == "checked avx2\n0 differences\n"


def test_the_kernels_for_arm_compute_what_plain_loops_do(tmp_path):
    for tool in (CROSS, "qemu-aarch64"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    program = native_check(CROSS, tmp_path)
    assert run("qemu-aarch64", program) == "checked neon_dotprod\n0 differences\n"


def test_the_library_for_arm_is_built_by_a_cross_compiler(tmp_path):
    if shutil.which(CROSS) is None:
        pytest.skip(f"{CROSS} is not installed")
    output = tmp_path / "arm.so"
    out = run(sys.executable, "-m", "winnow.engine.library", str(output), CXX=CROSS)
    assert out.startswith(f"{output}: ")
    assert output.read_bytes()[18:20] == b"\xb7\x00"  # EM_AARCH64
