# sluice_add_suites(PROGRAM PREFIX): one ctest entry PREFIX.SUITE for each GoogleTest suite of PROGRAM, listed after each
# link. A process per suite rather than per test: loading libtorch takes longer than most tests.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  function(sluice_add_suites program prefix)
    set(list ${CMAKE_CURRENT_BINARY_DIR}/${program}_suites.cmake)
    add_custom_command(TARGET ${program} POST_BUILD VERBATIM
      COMMAND ${CMAKE_COMMAND} -D PROGRAM=$<TARGET_FILE:${program}> -D PREFIX=${prefix} -D LIST=${list}
              -D RESULTS=${CMAKE_BINARY_DIR}/test-results -P ${PROJECT_SOURCE_DIR}/cmake/test_suites.cmake)
    file(WRITE ${list}.in "if(EXISTS \"${list}\")\n  include(\"${list}\")\nelse()\n  add_test(${program}_NOT_BUILT ${program}_NOT_BUILT)\nendif()\n")
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${list}.in)
  endfunction()
  return()
endif()

execute_process(COMMAND ${PROGRAM} --gtest_list_tests OUTPUT_VARIABLE listed COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "(^|\n)[^ \n]+\\." suites "${listed}")
set(entries "")
foreach(suite ${suites})
  string(STRIP "${suite}" suite)
  string(REGEX REPLACE "\\.$" "" suite "${suite}")
  string(REPLACE "/" "_" file "${PREFIX}.${suite}")
  set(label unit)
  if(suite MATCHES "(^|/)Slow")
    set(label slow)
  endif()
  # Programs that share the cores must not spin while they wait for their own threads.
  string(APPEND entries
    "add_test([=[${PREFIX}.${suite}]=] [=[${PROGRAM}]=] [=[--gtest_filter=${suite}.*]=])\n"
    "set_tests_properties([=[${PREFIX}.${suite}]=] PROPERTIES LABELS ${label} TIMEOUT 900\n"
    "  ENVIRONMENT \"GOMP_SPINCOUNT=0;GTEST_OUTPUT=xml:${RESULTS}/${file}.xml\")\n")
endforeach()
file(WRITE ${LIST} "${entries}")
