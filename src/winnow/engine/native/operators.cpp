// Registers the operators of the domain "winnow" with ONNX Runtime.
#include "attention_operator.h"
#include "linear_operators.h"
#include "token_operators.h"

namespace winnow {
namespace {

// The functions through which the runtime uses an operator.
template <class Operator>
struct Registered : OrtCustomOp {
  Registered() {
    GetName = [](const OrtCustomOp*) { return Operator::kName; };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
    GetInputTypeCount = [](const OrtCustomOp*) { return std::size(Operator::kInputs); };
    GetInputType = [](const OrtCustomOp*, size_t i) -> int { return Operator::kInputs[i]; };
    GetOutputTypeCount = [](const OrtCustomOp*) { return std::size(Operator::kOutputs); };
    GetOutputType = [](const OrtCustomOp*, size_t i) -> int { return Operator::kOutputs[i]; };
    GetInputCharacteristic = GetOutputCharacteristic =
        GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
    GetVariadicInputMinArity = GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
    GetVariadicInputHomogeneity = GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
    CreateKernelV2 = [](const OrtCustomOp*, void* const*, const OrtKernelInfo* info, void** kernel) {
      return guarded([&] { *kernel = new Operator(Node(info)); });
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      return guarded([&] { static_cast<const Operator*>(kernel)->compute(Call(context)); });
    };
    KernelDestroy = [](void* kernel) { delete static_cast<Operator*>(kernel); };
  }
};

// One domain for all sessions of the process: the runtime keeps pointers to it and its operators.
OrtCustomOpDomain* domain() {
  static OrtCustomOpDomain* const made = [] {
    static const Registered<Pack> pack;
    static const Registered<Unpack> unpack;
    static const Registered<Linear> linear;
    static const Registered<LinearActivation> linear_activation;
    static const Registered<LinearNorm> linear_norm;
    static const Registered<SelfAttention> self_attention;
    OrtCustomOpDomain* domain = nullptr;
    must(api.create_domain("winnow", &domain));
    const OrtCustomOp* operators[] = {&pack, &unpack, &linear, &linear_activation, &linear_norm, &self_attention};
    for (const OrtCustomOp* each : operators) must(api.add_to_domain(domain, each));
    return domain;
  }();
  return made;
}

}  // namespace
}  // namespace winnow

#define EXPORTED extern "C" __attribute__((visibility("default")))

// What `register_custom_ops_library` of ONNX Runtime calls.
EXPORTED OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace winnow;
  static void* const* const table = base->GetApi(kApiVersion);
  if (!table) {  // an older runtime; its first function makes a status in every version
    const Api oldest(base->GetApi(1));
    return oldest ? oldest.create_status(kFail, "the sparse engine needs ONNX Runtime 1.17 or newer") : nullptr;
  }
  static const bool once = (api = Api(table), true);
  (void)once;
  return guarded([&] {
    require(kernels() != nullptr, missing_kernels());
    must(api.add_domain(options, domain()));
  });
}

// The instruction set that this library uses here, or an empty text.
EXPORTED const char* winnow_instruction_set() {
  const winnow::Kernels* kernels = winnow::kernels();
  return kernels ? kernels->name : "";
}
