# retort_library(NAME SRCS a.cc ... DEPS x y ... [TORCH])
#   One folder, one library: target retort_NAME, alias retort::NAME. Includes are written from the
#   repository's root. TORCH adds LibTorch and its precompiled header.
function(retort_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SRCS;DEPS" ${ARGN})
  add_library(retort_${name} STATIC ${ARG_SRCS})
  add_library(retort::${name} ALIAS retort_${name})
  target_include_directories(retort_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(retort_${name} PUBLIC ${ARG_DEPS})
  if(ARG_TORCH)
    retort_use_torch(retort_${name})
  endif()
endfunction()

# retort_program(NAME SRCS a.cc ... DEPS x y ... [TORCH]): an executable bin/NAME.
function(retort_program name)
  cmake_parse_arguments(ARG "TORCH" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  if(ARG_TORCH)
    retort_use_torch(${name})
  endif()
endfunction()

# retort_test(NAME SRCS a_test.cc ... DEPS x ... TIER unit|golden|system|full SECONDS n [TORCH] [PLAIN_TOO] [GRPC])
#   One test program = one ctest entry, labelled with its tier, limited to ten times the seconds it states
#   (sanitizers and busy neighbours). PLAIN_TOO: a second entry, NAME_plain, runs it with RETORT_KERNELS=off.
#   GRPC: it makes calls within its process; the thread sanitizer, which does not see the locks in Debian's gRPC
#   and finds a thousand races that are none, shows it as not run.
function(retort_test name)
  cmake_parse_arguments(ARG "TORCH;PLAIN_TOO;GRPC" "TIER;SECONDS" "SRCS;DEPS" ${ARGN})
  if(NOT ARG_TIER OR NOT ARG_SECONDS)
    message(FATAL_ERROR "retort_test(${name}): state TIER and SECONDS")
  endif()
  add_executable(${name} ${ARG_SRCS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE
    RETORT_SOURCE_DIR="${CMAKE_SOURCE_DIR}" RETORT_BIN_DIR="${CMAKE_BINARY_DIR}/bin")
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest)
  if(ARG_TORCH)
    retort_use_torch(${name})
    target_link_libraries(${name} PRIVATE retort::torch_test_main)
  else()
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
  endif()
  math(EXPR limit "${ARG_SECONDS} * 10 + 20")
  add_test(NAME ${name} COMMAND ${name})
  # Waiting OpenMP threads sleep: spinning ones make a test 20 times slower beside a busy neighbour.
  set(environment OMP_WAIT_POLICY=passive TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/cmake/tsan.suppressions)
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "${environment}" LABELS ${ARG_TIER} TIMEOUT ${limit})
  if(ARG_GRPC AND RETORT_SANITIZE MATCHES thread)
    set_tests_properties(${name} PROPERTIES DISABLED TRUE)
  endif()
  if(ARG_PLAIN_TOO)
    add_test(NAME ${name}_plain COMMAND ${name})
    set_tests_properties(${name}_plain PROPERTIES
      ENVIRONMENT "${environment};RETORT_KERNELS=off" LABELS ${ARG_TIER} TIMEOUT ${limit})
  endif()
endfunction()

# retort_simd_sources(TARGET file.cc ...): compiles each file once per instruction set, with RETORT_ISA naming
# the namespace of that version (kernels/base/instruction_set.h chooses among them at run time).
function(retort_simd_sources target)
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  set(portable_options "")
  set(avx2_options -mavx2 -mfma)
  # -Wno-...: GCC 12 warns of its own header's undefined vectors (GCC bug 105593).
  set(avx512_options -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
    -Wno-uninitialized -Wno-maybe-uninitialized)
  foreach(isa portable avx2 avx512)
    add_library(${target}_${isa} OBJECT ${ARGN})
    target_include_directories(${target}_${isa} PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_definitions(${target}_${isa} PRIVATE RETORT_ISA=${isa})
    # GCC 12 finds undefined loops in the row counts of tiles that constant shapes never reach.
    target_compile_options(${target}_${isa} PRIVATE -Wno-aggressive-loop-optimizations ${${isa}_options})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
  endforeach()
endfunction()

# retort_kernel(NAME SRCS a.cc ... SIMD b.cc ... DEPS x ...): a library of kernels/, with its SIMD sources.
function(retort_kernel name)
  cmake_parse_arguments(ARG "" "" "SRCS;SIMD;DEPS" ${ARGN})
  retort_library(${name} SRCS ${ARG_SRCS} DEPS ${ARG_DEPS})
  retort_simd_sources(retort_${name} ${ARG_SIMD})
endfunction()
