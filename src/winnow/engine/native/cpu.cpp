#include "cpu.h"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace winnow {
namespace {

bool allowed(const Kernels& kernels) {
  const char* name = std::getenv("WINNOW_SPARSE_ISA");
  return !name || !*name || std::strcmp(name, kernels.name) == 0;
}

}  // namespace

const char* missing_kernels() {
  const char* name = std::getenv("WINNOW_SPARSE_ISA");
  return name && *name ? "this processor has no instructions of the name that WINNOW_SPARSE_ISA has"
                       : "this processor has none of the instructions that the engine needs";
}

namespace {

#if defined(__x86_64__)

bool has_avx_vnni() {  // __builtin_cpu_supports of GCC 12 does not know its name
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4) && __builtin_cpu_supports("avx2");
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

const Kernels* choose(const Kernels& avx2) {
  if (has_avx512() && allowed(kAvx512)) return &kAvx512;
  if (has_avx_vnni() && has_avx2() && allowed(kAvxVnni)) return &kAvxVnni;
  return has_avx2() && allowed(avx2) ? &avx2 : nullptr;
}

}  // namespace

const Kernels* kernels() { return choose(kAvx2); }
const Kernels* seven_bit_kernels() { return choose(kAvx2SevenBits); }

#elif defined(__aarch64__)

constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP

}  // namespace

const Kernels* kernels() { return (getauxval(AT_HWCAP) & kDotProduct) && allowed(kNeon) ? &kNeon : nullptr; }
const Kernels* seven_bit_kernels() { return kernels(); }

#else

}  // namespace

const Kernels* kernels() { return nullptr; }
const Kernels* seven_bit_kernels() { return nullptr; }

#endif

}  // namespace winnow
