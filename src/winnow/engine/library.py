"""The compiled operators: shipped in a wheel, or compiled once for a machine and kept in the user's cache folder.

``python -m winnow.engine.library FILE`` compiles them into a file; CXX names the compiler, also a cross-compiler.
"""

import argparse
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from winnow.errors import UserError, short_errors
from winnow.files.atomic import save_folder
from winnow.files.locks import named_lock

LIBRARY = "libwinnow_sparse.so"
_SOURCES = Path(__file__).parent / "native"
_SHIPPED = Path(__file__).parent / LIBRARY  # in a wheel that was built with it
_COMPILERS = ("g++", "clang++", "c++")
_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-maybe-uninitialized"]
_LINK_FLAGS = ["-shared", "-static-libgcc", "-static-libstdc++", "-Wl,-s"]
_COMMON = ["cpu", "operators", "packed_matrix", "runtime"]
_AVX2 = ["-mavx2", "-mfma"]
# Processor -> the files for its instruction sets, with their flags; one library has all of them and chooses at load.
_KERNELS: dict[str, dict[str, list[str]]] = {
    "x86_64": {
        "kernels_avx512": [*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"],
        "kernels_avx_vnni": [*_AVX2, "-mavxvnni"],
        "kernels_avx2": _AVX2,
        "kernels_avx2_seven_bits": _AVX2,
    },
    "aarch64": {"kernels_neon": ["-march=armv8.2-a+dotprod"]},
}


def library() -> Path:
    """The library for this machine; the first call on a machine compiles it, with a line that says so.

    Raises:
        UserError: if there is no compiler, it fails, or the cache folder cannot be written.
    """
    if _SHIPPED.is_file():
        return _SHIPPED
    compiler = find_compiler()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "winnow"
    folder = cache / f"sparse-{_key(compiler)}"
    if not (folder / LIBRARY).is_file():
        try:
            with named_lock(cache, folder.name, waiting="another command compiles the sparse engine; waiting for it"):
                if not (folder / LIBRARY).is_file():
                    print("compiling the sparse engine, once for this machine (about 20 seconds)", file=sys.stderr)
                    save_folder(folder, lambda partial: build(partial / LIBRARY, compiler))
        except OSError as error:
            raise UserError(
                f"engine=sparse: the compiled engine cannot be written to {cache} ({error.strerror}); set "
                "XDG_CACHE_HOME to a folder that can be written, or choose another engine."
            ) from error
    return folder / LIBRARY


def instruction_set(path: Path) -> str:
    """The instructions with which a library computes on this processor: avx512_vnni, avx_vnni, avx2 or neon_dotprod.

    Raises:
        UserError: if the library cannot be loaded, or if this processor has none of these instructions.
    """
    try:
        function = ctypes.CDLL(str(path)).winnow_instruction_set
    except (OSError, AttributeError) as error:
        raise UserError(f"{path} is damaged or for another machine ({error}); delete it.") from error
    function.restype = ctypes.c_char_p
    name: str = function().decode()
    if not name and (wanted := os.environ.get("WINNOW_SPARSE_ISA")):
        raise UserError(f"WINNOW_SPARSE_ISA={wanted}: this processor has no instructions of this name; unset it.")
    if not name:
        raise UserError("engine=sparse: this processor has none of AVX2, VNNI and NEON dotprod; choose another engine.")
    return name


def find_compiler() -> str:
    """The compiler of CXX, else the first one that is installed.

    Raises:
        UserError: if there is none.
    """
    wanted = os.environ.get("CXX")
    found = wanted or next((name for name in _COMPILERS if shutil.which(name)), None)
    if found is None or shutil.which(found.split()[0]) is None:
        missing = f"CXX={wanted} is not installed" if wanted else "there is no C++ compiler"
        raise UserError(f"engine=sparse: {missing} on this machine; install g++, or choose another engine.")
    return found


def build(output: Path, compiler: str | None = None, flags: Sequence[str] = ()) -> None:
    """Compile the library into a file.

    Args:
        output: file to write.
        compiler: of C++17; None: that of CXX, else the first one that is installed.
        flags: further ones, of compiler and linker, such as ``-fsanitize=address``.

    Raises:
        UserError: if there is no compiler, or it fails.
    """
    compiler = compiler or find_compiler()
    machine = _machine_of(compiler)
    if sys.platform != "linux":
        raise UserError(f"engine=sparse runs on Linux only, this is {sys.platform}; choose another engine.")
    if machine not in _KERNELS:
        raise UserError(f"engine=sparse: there are no kernels for {machine}, only for {' and '.join(_KERNELS)}.")
    files = {**{name: list[str]() for name in _COMMON}, **_KERNELS[machine]}
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as threads:
        objects = {name: str(Path(scratch) / f"{name}.o") for name in files}
        commands = [
            [compiler, *_FLAGS, *files[name], *flags, "-c", str(_SOURCES / f"{name}.cpp"), "-o", objects[name]]
            for name in sorted(files, reverse=True)
        ]
        list(threads.map(_run, commands))
        _run([compiler, *objects.values(), *_LINK_FLAGS, *flags, "-o", str(output)])


def _machine_of(compiler: str) -> str:
    """The processor for which a compiler makes code."""
    target = _run([compiler, "-dumpmachine"]).split("-")[0]
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(target, target)


def _key(compiler: str) -> str:
    """Changes with the sources, the flags and the compiler."""
    digest = hashlib.sha256(repr((_FLAGS, _LINK_FLAGS, _KERNELS)).encode())
    digest.update(_run([compiler, "--version"]).encode())
    for path in sorted(_SOURCES.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _run(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except OSError as error:
        raise UserError(f"engine=sparse: {command[0]} cannot be run ({error}); install g++.") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line] or error.stderr.splitlines() or [""]
        raise UserError(
            f"engine=sparse: {command[0]} could not compile the engine ({lines[0].strip()}); install g++ 10 or newer, "
            "or choose another engine."
        ) from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="to write")
    options = parser.parse_args()
    with short_errors():
        started = time.monotonic()
        build(options.file)
        print(f"{options.file}: {options.file.stat().st_size:,} bytes, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
