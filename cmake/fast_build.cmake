# ccache and mold where this machine has them; a launcher or linker that the user named stays.
find_program(SLUICE_CCACHE ccache)
if(SLUICE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # ccache caches users of a precompiled header only with these; they hold however the build is started.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${SLUICE_CCACHE})
endif()
if(CMAKE_CXX_COMPILER_LAUNCHER MATCHES "ccache")
  add_compile_options(-fpch-preprocess)  # without it ccache refuses sources that use a precompiled header
endif()

include(CheckLinkerFlag)
check_linker_flag(CXX -fuse-ld=mold SLUICE_MOLD)
if(SLUICE_MOLD AND NOT CMAKE_EXE_LINKER_FLAGS MATCHES "-fuse-ld=")
  add_link_options(-fuse-ld=mold)
endif()
