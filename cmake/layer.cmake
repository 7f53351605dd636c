# sluice_layer(NAME [DEPENDS layer...] [LIBRARIES target...] [TORCH]): the static library of src/NAME.
# Every .cpp of the folder belongs to it; a folder without sources is header-only.
function(sluice_layer name)
  cmake_parse_arguments(LAYER "TORCH" "" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  if(sources)
    add_library(sluice_${name} STATIC ${sources})
    set(scope PUBLIC)
    sluice_compile_options(sluice_${name})
    if(LAYER_TORCH)
      target_precompile_headers(sluice_${name} REUSE_FROM sluice_torch_pch)
    endif()
  else()
    add_library(sluice_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(sluice_${name} ${scope} ${PROJECT_SOURCE_DIR}/src)
  foreach(dependency ${LAYER_DEPENDS})
    target_link_libraries(sluice_${name} ${scope} sluice_${dependency})
  endforeach()
  target_link_libraries(sluice_${name} ${scope} ${LAYER_LIBRARIES})
  if(LAYER_TORCH)
    target_link_libraries(sluice_${name} ${scope} sluice_torch)
  endif()
endfunction()

# -ffp-contract=off: a fused multiply-add here and none there would make bits depend on the compiler.
function(sluice_compile_options target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
                                           -ffp-contract=off -Winvalid-pch)
  if(SLUICE_SANITIZE)
    # Undefined behaviour ends the test instead of printing a line that nobody reads.
    target_compile_options(${target} PUBLIC -fsanitize=${SLUICE_SANITIZE} -fno-sanitize-recover=all
                                            -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${SLUICE_SANITIZE})
  endif()
endfunction()
