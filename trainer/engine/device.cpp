// Opening the compute device; see device.h for why the order of the steps here matters.
#include "trainer/engine/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <malloc.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace mh::engine {
namespace {

/// The part of the CUDA driver's stable interface needed to look at a card before torch does.
struct CudaDriver {
  int (*init)(unsigned) = nullptr;
  int (*device_get_count)(int*) = nullptr;
  int (*device_get)(int*, int) = nullptr;
  int (*device_get_name)(char*, int, int) = nullptr;
  int (*device_get_attribute)(int*, int, int) = nullptr;

  static constexpr int kCapabilityMajor = 75;
  static constexpr int kCapabilityMinor = 76;
};

template <typename Function>
bool find_symbol(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

/// True for cards that the CUDA 13.0 wheel of torch 2.11 has kernels for: built
/// for 7.5, 8.0, 8.6, 9.0, 10.0, 12.0; code for X.Y runs on X.Z with Z >= Y.
bool is_capability_supported(int major, int minor) {
  if (major == 7) return minor >= 5;
  return major == 8 || major == 9 || major == 10 || major == 12;
}

/// Fills in name and model of card `index`, or says why it cannot be used.
Result<void> look_at_card(int index, Device& device) {
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    return fail(Errc::kUnavailable, "no NVIDIA driver (libcuda.so.1 is not there)");
  }
  CudaDriver driver;
  if (!find_symbol(library, "cuInit", driver.init) ||
      !find_symbol(library, "cuDeviceGetCount", driver.device_get_count) ||
      !find_symbol(library, "cuDeviceGet", driver.device_get) ||
      !find_symbol(library, "cuDeviceGetName", driver.device_get_name) ||
      !find_symbol(library, "cuDeviceGetAttribute", driver.device_get_attribute)) {
    return fail(Errc::kUnavailable, "the NVIDIA driver lacks functions that are needed");
  }
  if (const int code = driver.init(0); code != 0) {
    return fail(Errc::kUnavailable,
                "the NVIDIA driver does not start (error " + std::to_string(code) + ")");
  }
  int count = 0;
  if (driver.device_get_count(&count) != 0 || index >= count) {
    return fail(Errc::kUnavailable, "there is no card " + std::to_string(index) +
                                        ", the driver shows " + std::to_string(count));
  }
  int handle = 0;
  int major = 0;
  int minor = 0;
  char name[256] = {};
  if (driver.device_get(&handle, index) != 0 ||
      driver.device_get_name(name, sizeof(name) - 1, handle) != 0 ||
      driver.device_get_attribute(&major, CudaDriver::kCapabilityMajor, handle) != 0 ||
      driver.device_get_attribute(&minor, CudaDriver::kCapabilityMinor, handle) != 0) {
    return fail(Errc::kUnavailable,
                "the NVIDIA driver does not describe card " + std::to_string(index));
  }
  if (!is_capability_supported(major, minor)) {
    return fail(Errc::kUnavailable,
                std::string(name) + " has compute capability " + std::to_string(major) + "." +
                    std::to_string(minor) +
                    ", this LibTorch has kernels for 7.5, 8.x, 9.x, 10.x, 12.x");
  }
  device.name = "cuda:" + std::to_string(index);
  device.model = name;
  device.cuda_index = index;
  return {};
}

/// Loads libtorch_cuda.so from the folder of libtorch_cpu.so.
Result<void> load_cuda_libraries() {
  Dl_info info{};
  // The address of any function of libtorch_cpu; at::get_num_threads asks torch nothing about CUDA.
  if (::dladdr(reinterpret_cast<void*>(&at::get_num_threads), &info) == 0 ||
      info.dli_fname == nullptr) {
    return fail(Errc::kUnavailable, "the folder of LibTorch was not found");
  }
  const auto path = std::filesystem::path(info.dli_fname).parent_path() / "libtorch_cuda.so";
  if (::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    return fail(Errc::kUnavailable, std::string("no CUDA libraries: ") + ::dlerror());
  }
  return {};
}

Result<void> open_cuda(int index, Device& device) {
  // cuBLAS reads it when its context is made; without it its sums may differ from run to run.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/1);
  MH_TRY_VOID(look_at_card(index, device));
  MH_TRY_VOID(load_cuda_libraries());
  try {
    if (!at::globalContext().hasCUDA()) {
      return fail(Errc::kUnavailable,
                  "LibTorch does not see CUDA although its libraries are loaded");
    }
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  } catch (const std::exception& error) {
    return fail(Errc::kUnavailable, std::string("CUDA does not start: ") + error.what());
  }
  return {};
}

std::string processor_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const auto colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

/// Index asked for: -1 for the CPU, 0 for "auto" and "cuda".
Result<int> requested_index(const std::string& request) {
  if (request == "cpu") return -1;
  if (request == "auto" || request == "cuda") return 0;
  int index = 0;
  const std::string prefix = "cuda:";
  if (request.rfind(prefix, 0) == 0) {
    const char* begin = request.data() + prefix.size();
    const char* end = request.data() + request.size();
    const auto [rest, error] = std::from_chars(begin, end, index);
    if (error == std::errc() && rest == end && index >= 0 && index < 256) return index;
  }
  return fail(Errc::kInvalidArgument,
              "device \"" + request + "\" is none of auto, cpu, cuda, cuda:N");
}

void set_cuda_switches() {
  at::Context& context = at::globalContext();
  context.setAllowTF32CuDNN(false);
  context.setAllowTF32CuBLAS(false);
  context.setBenchmarkCuDNN(false);
  context.setDeterministicCuDNN(true);
  // Only a warning where an operator has no deterministic form: the engine's pooling layers keep to
  // the layout whose kernels do not use atomic additions, although torch does not know it of them.
  context.setDeterministicAlgorithms(true, /*warn_only=*/true);
  context.setDeterministicFillUninitializedMemory(false);
}

}  // namespace

Result<Device> open_device(const std::string& request, int threads) {
  if (threads < 1 || threads > 1024) {
    return fail(Errc::kInvalidArgument,
                "threads is " + std::to_string(threads) + ", allowed is 1 to 1024");
  }
  MH_TRY(const int index, requested_index(request));
  Device device;
  device.threads = threads;
  if (index >= 0) {
    const Result<void> opened = open_cuda(index, device);
    if (opened) {
      set_cuda_switches();
    } else {
      device = Device{};
      device.threads = threads;
      device.note = opened.error().message;
    }
  }
  if (!device.is_cuda()) device.model = processor_model();
  at::set_num_threads(threads);
  return device;
}

void set_compute_threads(int threads) {
  if (at::get_num_threads() != threads) at::set_num_threads(threads);
}

void keep_freed_memory() {
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  ::mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace mh::engine
