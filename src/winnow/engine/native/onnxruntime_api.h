// The part of ONNX Runtime's C API that the operators use. The API is a table of functions that only grows; a version
// of the table is asked for by number, and older runtimes refuse it. Positions were counted in version 17 and are
// checked by a test against the installed runtime.
#pragma once
#include <cstddef>
#include <cstdint>

struct OrtStatus;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;
struct OrtShapeInferContext;
struct OrtCustomOp;

namespace winnow {

constexpr uint32_t kApiVersion = 17;  // of ONNX Runtime 1.17, the first with KernelContext_ParallelFor

enum ErrorCode { kFail = 1, kInvalidArgument = 2 };
enum ElementType { kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kInt64 = 7 };

// The table of functions, by position.
class Api {
 public:
  explicit Api(void* const* table) : table_(table) {}
  explicit operator bool() const { return table_ != nullptr; }

  OrtStatus* create_status(ErrorCode code, const char* message) const { return call<0, OrtStatus*>(code, message); }
  void release_status(OrtStatus* status) const { call<93, void>(status); }

  OrtStatus* create_domain(const char* name, OrtCustomOpDomain** out) const { return call<26, OrtStatus*>(name, out); }
  OrtStatus* add_to_domain(OrtCustomOpDomain* domain, const OrtCustomOp* op) const {
    return call<27, OrtStatus*>(domain, op);
  }
  OrtStatus* add_domain(OrtSessionOptions* options, OrtCustomOpDomain* domain) const {
    return call<28, OrtStatus*>(options, domain);
  }
  void release_domain(OrtCustomOpDomain* domain) const { call<101, void>(domain); }

  OrtStatus* tensor_data(OrtValue* value, void** out) const { return call<51, OrtStatus*>(value, out); }
  OrtStatus* element_type(const OrtTensorTypeAndShapeInfo* info, int* out) const {
    return call<60, OrtStatus*>(info, out);
  }
  OrtStatus* dimension_count(const OrtTensorTypeAndShapeInfo* info, size_t* out) const {
    return call<61, OrtStatus*>(info, out);
  }
  OrtStatus* dimensions(const OrtTensorTypeAndShapeInfo* info, int64_t* out, size_t count) const {
    return call<62, OrtStatus*>(info, out, count);
  }
  OrtStatus* type_and_shape(const OrtValue* value, OrtTensorTypeAndShapeInfo** out) const {
    return call<65, OrtStatus*>(value, out);
  }
  void release_type_and_shape(OrtTensorTypeAndShapeInfo* info) const { call<99, void>(info); }

  OrtStatus* attribute(const OrtKernelInfo* info, const char* name, float* out) const {
    return call<85, OrtStatus*>(info, name, out);
  }
  OrtStatus* attribute(const OrtKernelInfo* info, const char* name, int64_t* out) const {
    return call<86, OrtStatus*>(info, name, out);
  }
  OrtStatus* constant_input(const OrtKernelInfo* info, size_t index, int* is_constant, const OrtValue** out) const {
    return call<249, OrtStatus*>(info, index, is_constant, out);
  }

  OrtStatus* input_count(const OrtKernelContext* context, size_t* out) const {
    return call<88, OrtStatus*>(context, out);
  }
  OrtStatus* output_count(const OrtKernelContext* context, size_t* out) const {
    return call<89, OrtStatus*>(context, out);
  }
  OrtStatus* input(const OrtKernelContext* context, size_t index, const OrtValue** out) const {
    return call<90, OrtStatus*>(context, index, out);
  }
  OrtStatus* output(OrtKernelContext* context, size_t index, const int64_t* shape, size_t dimensions,
                    OrtValue** out) const {
    return call<91, OrtStatus*>(context, index, shape, dimensions, out);
  }
  // Calls task(data, i) for i in 0..count - 1 on the threads of the session.
  OrtStatus* parallel_for(const OrtKernelContext* context, void (*task)(void*, size_t), size_t count,
                          void* data) const {
    return call<274, OrtStatus*>(context, task, count, size_t{0}, data);
  }

 private:
  template <int Position, class Result, class... Arguments>
  Result call(Arguments... arguments) const {
    return reinterpret_cast<Result (*)(Arguments...)>(table_[Position])(arguments...);
  }

  void* const* table_;
};

}  // namespace winnow

struct OrtApiBase {
  void* const* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

// Version 17 of the struct. A struct that ends before that of the version it names crashes the runtime.
struct OrtCustomOp {
  uint32_t version = winnow::kApiVersion;
  void* (*CreateKernel)(const OrtCustomOp*, void* const* api, const OrtKernelInfo*) = nullptr;
  const char* (*GetName)(const OrtCustomOp*) = nullptr;
  const char* (*GetExecutionProviderType)(const OrtCustomOp*) = nullptr;
  int (*GetInputType)(const OrtCustomOp*, size_t) = nullptr;
  size_t (*GetInputTypeCount)(const OrtCustomOp*) = nullptr;
  int (*GetOutputType)(const OrtCustomOp*, size_t) = nullptr;
  size_t (*GetOutputTypeCount)(const OrtCustomOp*) = nullptr;
  void (*KernelCompute)(void* kernel, OrtKernelContext*) = nullptr;
  void (*KernelDestroy)(void* kernel) = nullptr;
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t) = nullptr;  // 0: required, 1: optional
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t) = nullptr;
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t) = nullptr;
  int (*GetVariadicInputMinArity)(const OrtCustomOp*) = nullptr;
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*) = nullptr;
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*) = nullptr;
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*) = nullptr;
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, void* const* api, const OrtKernelInfo*, void** kernel) = nullptr;
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*) = nullptr;
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*) = nullptr;
  int (*GetStartVersion)(const OrtCustomOp*) = nullptr;
  int (*GetEndVersion)(const OrtCustomOp*) = nullptr;
};
