# sluice_plugin(NAME LAYER [LIBRARIES target...]): the module lib/sluice_NAME.so from NAME.cpp of the current folder, with
# a copy of its own of LAYER and those below; only the entry that src/base/plugin.h loads it by crosses.
function(sluice_plugin name layer)
  cmake_parse_arguments(PLUGIN "" "" "LIBRARIES" ${ARGN})
  add_library(sluice_plugin_${name} MODULE ${name}.cpp)
  sluice_compile_options(sluice_plugin_${name})
  target_link_libraries(sluice_plugin_${name} PRIVATE sluice_${layer} ${PLUGIN_LIBRARIES})
  set_target_properties(sluice_plugin_${name} PROPERTIES PREFIX "" OUTPUT_NAME sluice_${name}
                        CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_link_options(sluice_plugin_${name} PRIVATE -Wl,--exclude-libs,ALL)
  set_property(GLOBAL APPEND PROPERTY SLUICE_PLUGINS sluice_plugin_${name})
endfunction()
