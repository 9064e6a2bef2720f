# MANYHANDS_SANITIZE: `address` (ASan and UBSan), `thread` (TSan) or empty. Set by the presets asan and tsan.
set(MANYHANDS_SANITIZE "" CACHE STRING "address, thread or empty")
if(MANYHANDS_SANITIZE STREQUAL "address")
  # g++ 12 takes members of a variant for uninitialised once the sanitizer has rewritten them.
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
    -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=address,undefined)
elseif(MANYHANDS_SANITIZE STREQUAL "thread")
  # g++ 12 warns that TSan does not see the fences inside Asio.
  add_compile_options(-fsanitize=thread -Wno-tsan)
  add_link_options(-fsanitize=thread)
elseif(NOT MANYHANDS_SANITIZE STREQUAL "")
  message(FATAL_ERROR "MANYHANDS_SANITIZE is '${MANYHANDS_SANITIZE}': it must be address, thread or empty")
endif()
