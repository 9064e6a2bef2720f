# mh_warnings: what every target of ours compiles with. Warnings are errors.
add_library(mh_warnings INTERFACE)
target_compile_options(mh_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Werror)
