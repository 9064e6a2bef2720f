# LibTorch in the layout of the PyPI wheels (site-packages), as the imported target manyhands::torch.
# find_package(Torch) is not used: in a CUDA wheel it demands a CUDA toolkit (docs/decisions/0001-dependencies.md).
#
# Looked for in MANYHANDS_TORCH (CMake variable, then environment), then in the per-user cache that scripts/setup.sh
# fills. Without it trainer/engine is left out, unless MANYHANDS_REQUIRE_TORCH is ON.
#
# Its include folder shadows the headers of protobuf and fmt: a source file sees torch, or those, never both.
option(MANYHANDS_REQUIRE_TORCH "Stop when LibTorch is not found" OFF)
set(torch_version 2.11)

# The environment is read anew at each configuration, so that it is not frozen in a cache.
if(MANYHANDS_TORCH)
  set(torch_folder "${MANYHANDS_TORCH}")
elseif(NOT "$ENV{MANYHANDS_TORCH}" STREQUAL "")
  set(torch_folder "$ENV{MANYHANDS_TORCH}")
elseif(NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
  set(torch_folder "$ENV{XDG_CACHE_HOME}/manyhands/torch-${torch_version}.0")
else()
  set(torch_folder "$ENV{HOME}/.cache/manyhands/torch-${torch_version}.0")
endif()

if(NOT EXISTS "${torch_folder}/torch/lib/libtorch_cpu.so")
  if(MANYHANDS_REQUIRE_TORCH)
    message(FATAL_ERROR "No LibTorch in ${torch_folder}: run scripts/setup.sh, or set MANYHANDS_TORCH to a "
      "site-packages folder with torch ${torch_version}")
  endif()
  message(STATUS "No LibTorch in ${torch_folder}: manyhands-trainer is left out (scripts/setup.sh installs it)")
  return()
endif()

file(STRINGS "${torch_folder}/torch/version.py" version_line REGEX "^__version__")
if(NOT version_line MATCHES "'${torch_version}\\.[0-9]")
  message(FATAL_ERROR "LibTorch in ${torch_folder} is not ${torch_version}: ${version_line}")
endif()
message(STATUS "LibTorch ${torch_version}: ${torch_folder}")

# Only these two are linked. libtorch_cuda.so is opened at run time, so one program serves hosts with and without GPU.
foreach(name torch_cpu c10)
  add_library(manyhands_${name} SHARED IMPORTED GLOBAL)
  set_target_properties(manyhands_${name} PROPERTIES
    IMPORTED_LOCATION "${torch_folder}/torch/lib/lib${name}.so")
endforeach()
add_library(manyhands_torch INTERFACE)
target_include_directories(manyhands_torch SYSTEM INTERFACE
  "${torch_folder}/torch/include" "${torch_folder}/torch/include/torch/csrc/api/include")
target_link_libraries(manyhands_torch INTERFACE manyhands_torch_cpu manyhands_c10)
# The libraries find each other by their own RPATH, relative to where they lie; the linker does not follow it.
target_link_options(manyhands_torch INTERFACE "LINKER:--allow-shlib-undefined")
add_library(manyhands::torch ALIAS manyhands_torch)
