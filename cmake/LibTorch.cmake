# LibTorch from the unpacked PyPI wheels that `./dev setup` keeps in the cache directory (docs/HACKING.md).
if(DEFINED ENV{XDG_CACHE_HOME})
  set(_cache $ENV{XDG_CACHE_HOME})
else()
  set(_cache $ENV{HOME}/.cache)
endif()
set(RETORT_LIBTORCH ${_cache}/retort/libtorch-2.11.0 CACHE PATH "Unpacked torch and nvidia wheels")
if(NOT EXISTS ${RETORT_LIBTORCH}/torch/lib/libtorch_cpu.so)
  message(FATAL_ERROR "No LibTorch under ${RETORT_LIBTORCH}: run ./dev setup")
endif()

add_library(retort_libtorch INTERFACE)
# After the system's directories: the wheel ships headers of another protobuf.
target_compile_options(retort_libtorch INTERFACE "SHELL:-idirafter ${RETORT_LIBTORCH}/torch/include")
# -fopenmp: at::parallel_for is a template and runs serially in files compiled without it.
target_compile_options(retort_libtorch INTERFACE -fopenmp)
# The CUDA wheels hold only what libtorch_cpu itself loads; its other CUDA symbols stay unresolved and unused.
target_link_options(retort_libtorch INTERFACE
  -Wl,--unresolved-symbols=ignore-in-shared-libs
  -Wl,-rpath,${RETORT_LIBTORCH}/torch/lib -Wl,-rpath,${RETORT_LIBTORCH}/nvidia/cu13/lib)
target_link_libraries(retort_libtorch INTERFACE
  ${RETORT_LIBTORCH}/torch/lib/libtorch_cpu.so ${RETORT_LIBTORCH}/torch/lib/libc10.so
  ${RETORT_LIBTORCH}/torch/lib/libgomp.so.1)  # the threads that LibTorch itself uses

# One precompiled ATen header for every torch target: 9 s once instead of 7 s per file.
file(WRITE ${CMAKE_BINARY_DIR}/pch/empty.cc "")
add_library(retort_torch_pch STATIC ${CMAKE_BINARY_DIR}/pch/empty.cc)
target_link_libraries(retort_torch_pch PRIVATE retort_libtorch)
target_precompile_headers(retort_torch_pch PRIVATE <ATen/ATen.h> <ATen/Parallel.h> <ATen/core/grad_mode.h>)

function(retort_use_torch target)
  target_link_libraries(${target} PUBLIC retort_libtorch)
  target_precompile_headers(${target} REUSE_FROM retort_torch_pch)
endfunction()
