# libtorch from its Python wheel: headers and libraries only. Found in this order: -DTORCH_HOME or the environment's
# TORCH_HOME, what tools/setup.sh unpacked, the active Python's torch. Imported targets are ours, because
# find_package(Torch) on a CUDA wheel demands a CUDA toolkit.
set(SLUICE_TORCH_VERSION 2.11.0)
# torch.hub keeps its downloads under the same variable's name, so a folder without libraries is no error.
if(NOT TORCH_HOME AND EXISTS $ENV{TORCH_HOME}/lib/libtorch_cpu.so)
  set(TORCH_HOME "$ENV{TORCH_HOME}")
endif()
if(NOT TORCH_HOME AND EXISTS ${PROJECT_SOURCE_DIR}/.deps/torch/lib/libtorch_cpu.so)
  set(TORCH_HOME ${PROJECT_SOURCE_DIR}/.deps/torch)
endif()
if(NOT TORCH_HOME)
  execute_process(
    COMMAND python3 -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE TORCH_HOME OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EXISTS ${TORCH_HOME}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch not found (TORCH_HOME='${TORCH_HOME}'): run tools/setup.sh, or set TORCH_HOME to the "
                      "torch/ folder of a torch ${SLUICE_TORCH_VERSION} wheel")
endif()
file(READ ${TORCH_HOME}/version.py torch_version_py)
string(REGEX MATCH "__version__ = '([0-9.]+)" unused "${torch_version_py}")
if(NOT CMAKE_MATCH_1 VERSION_EQUAL SLUICE_TORCH_VERSION)
  message(FATAL_ERROR "torch ${SLUICE_TORCH_VERSION} is needed, ${TORCH_HOME} holds ${CMAKE_MATCH_1}: run tools/setup.sh")
endif()
message(STATUS "torch ${CMAKE_MATCH_1} in ${TORCH_HOME}")

get_filename_component(torch_site ${TORCH_HOME} DIRECTORY)
set(torch_cuda_runtime ${torch_site}/nvidia/cu13/lib)
add_library(sluice_torch INTERFACE)
target_include_directories(sluice_torch SYSTEM INTERFACE ${TORCH_HOME}/include
                                                         ${TORCH_HOME}/include/torch/csrc/api/include)
# The wheel is built with NDEBUG, and classes of its headers (at::RecordFunction) have other members without it.
target_compile_definitions(sluice_torch INTERFACE NDEBUG)
target_link_libraries(sluice_torch INTERFACE ${TORCH_HOME}/lib/libtorch_cpu.so ${TORCH_HOME}/lib/libc10.so
                                             ${TORCH_HOME}/lib/libgomp.so.1)
target_link_options(sluice_torch INTERFACE -Wl,-rpath-link,${torch_cuda_runtime} -Wl,-rpath-link,${TORCH_HOME}/lib
                                           -Wl,-rpath,${TORCH_HOME}/lib -Wl,-rpath,${torch_cuda_runtime})

# One precompiled header for every torch-using file: 22 s once instead of 11 s a file.
file(WRITE ${CMAKE_BINARY_DIR}/torch_pch.cpp "")
add_library(sluice_torch_pch STATIC ${CMAKE_BINARY_DIR}/torch_pch.cpp)
target_link_libraries(sluice_torch_pch PUBLIC sluice_torch)
target_precompile_headers(sluice_torch_pch PUBLIC <ATen/ATen.h> <torch/csrc/autograd/autograd.h>
                          <torch/csrc/autograd/custom_function.h>)
sluice_compile_options(sluice_torch_pch)
