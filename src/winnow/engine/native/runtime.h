// ONNX Runtime's C API with exceptions and plain types.
#pragma once
#include <atomic>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"
#include "onnxruntime_api.h"
#include "packed_matrix.h"

namespace winnow {

// Of the runtime that has loaded this library; set once, when the operators are registered.
extern Api api;

// An error of the runtime, to be returned to it.
struct RuntimeError {
  OrtStatus* status;
};

inline void must(OrtStatus* status) {
  if (status) throw RuntimeError{status};
}

inline void require(bool holds, const std::string& problem) {
  if (!holds) throw std::invalid_argument(problem);
}

// Runs f and turns exceptions into a status of the runtime.
template <class Function>
OrtStatus* guarded(Function&& f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const RuntimeError& error) {
    return error.status;
  } catch (const std::invalid_argument& error) {
    return api.create_status(kInvalidArgument, (std::string("sparse engine: ") + error.what()).c_str());
  } catch (const std::exception& error) {
    return api.create_status(kFail, (std::string("sparse engine: ") + error.what()).c_str());
  }
}

// A tensor of the runtime, which owns the data.
struct Tensor {
  void* data = nullptr;
  int type = 0;
  std::vector<int64_t> shape;

  explicit Tensor(const OrtValue* value);

  size_t size() const;
  template <class T>
  const T* as(ElementType expected) const {
    require(type == expected, "an input has another type than the operator takes");
    return static_cast<const T*>(data);
  }
};

// Attributes and constant inputs of a node, at the time when its kernel is made.
class Node {
 public:
  explicit Node(const OrtKernelInfo* info) : info_(info) {}
  float number(const char* name) const;
  int integer(const char* name, int low, int high) const;
  Grid grid(const std::string& prefix) const;  // attributes <prefix>_scale, <prefix>_zero_point, <prefix>_high
  Tensor constant(size_t input) const;
  // Four constant inputs, blocks, bits, scales and biases; attributes <prefix>rows and columns.
  PackedMatrix matrix(size_t input, const char* rows, const char* columns, Grid grid, const Kernels& kernels) const;

 private:
  const OrtKernelInfo* info_;
};

// One call of a kernel.
class Call {
 public:
  explicit Call(OrtKernelContext* context) : context_(context) {}
  Tensor input(size_t index) const;
  template <class T>
  T* output(size_t index, const std::vector<int64_t>& shape) const {
    return static_cast<T*>(output_data(index, shape));
  }
  bool has_output(size_t index) const;

  // Calls f(0) ... f(count - 1) on the threads of the session. What f throws is out of memory.
  template <class Function>
  void parallel(size_t count, Function&& f) const {
    std::atomic<bool> failed{false};
    auto task = [&](size_t i) noexcept {
      try {
        f(i);
      } catch (...) {
        failed = true;
      }
    };
    must(api.parallel_for(
        context_, [](void* data, size_t i) { (*static_cast<decltype(task)*>(data))(i); }, count, &task));
    if (failed) throw std::bad_alloc();
  }

 private:
  void* output_data(size_t index, const std::vector<int64_t>& shape) const;
  OrtKernelContext* context_;
};

// Memory of the calling thread that is kept from call to call.
class Scratch {
 public:
  // At least this many bytes, aligned to cache lines; what is at most alive at once is one piece for each slot.
  static void* of_thread(int slot, size_t bytes);
  template <class T>
  static T* of_thread(int slot, size_t count) {
    return static_cast<T*>(of_thread(slot, count * sizeof(T)));
  }
};

}  // namespace winnow
