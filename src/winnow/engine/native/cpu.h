// The kernels for this processor.
#pragma once
#include "kernels.h"

namespace winnow {

// The fastest kernels that the processor can run, or null if it can run none. WINNOW_SPARSE_ISA names slower ones to
// use instead: avx512_vnni, avx_vnni, avx2, neon_dotprod.
const Kernels* kernels();

// Why there are no kernels.
const char* missing_kernels();

// The same as kernels() for codes that are at most 127, which AVX2 multiplies faster.
const Kernels* seven_bit_kernels();

}  // namespace winnow
