// Choice of the device that the trainer computes on. Torch-free header.
//
// open_device() must be the first thing that touches torch in the process: torch caches the answer
// to "is there CUDA?" at the first question or seed, so libtorch_cuda has to be in the process
// before that. Threads: call once, from the main thread, before any other engine call.
#pragma once

#include <string>

#include "proto/base/result.h"

namespace mh::engine {

/// The device in use.
struct Device {
  /// "cpu" or "cuda:N".
  std::string name = "cpu";
  /// Name of the processor or card, as its maker writes it.
  std::string model;
  /// Why the CPU is used although CUDA was asked for or allowed; empty on CUDA and when the CPU was
  /// asked for.
  std::string note;
  /// Number of the CUDA device, -1 for the CPU.
  int cuda_index = -1;
  /// Threads that the CPU computes with.
  int threads = 1;

  bool is_cuda() const { return cuda_index >= 0; }
};

/// Opens the device named by `request` ("auto", "cpu", "cuda", "cuda:N") and sets torch's
/// process-wide switches: `threads` compute threads, no TF32, no autotuning, deterministic
/// algorithms. Falls back to the CPU, with the reason in Device::note, when the CUDA driver or
/// libraries are missing or the card is too old for this LibTorch. Errors: kInvalidArgument for a
/// malformed request or threads outside 1..1024.
Result<Device> open_device(const std::string& request, int threads);

/// CPU threads of the computations that follow; a job says how many, because they decide the bits.
/// Cheap when nothing changes. Requires: 1 to 1024.
void set_compute_threads(int threads);

/// Makes malloc keep memory instead of returning it to the kernel between micro-batches (page
/// faults of freshly mapped buffers cost up to a third of the speed). Call at the start of main().
void keep_freed_memory();

}  // namespace mh::engine
