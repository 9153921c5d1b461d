#include "simd_avx2.h"
#include "attention.h"
#include "tokens.h"

const winnow::Kernels winnow::kAvx2 = {
    "avx2",           kTileGroups, kAttentionGroups, kActivationOffset, linear_codes_of, linear_bytes_of,
    linear_values_of, normalize,   quantize,         to_lanes,          from_lanes,      attend_of,
};
