# mh_warnings: what every target of ours compiles with. Warnings are errors.
# g++ 12 sees overlapping copies in `"x" + std::string` when it inlines it (GCC bug 105651).
add_library(mh_warnings INTERFACE)
target_compile_options(mh_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Werror -Wno-restrict)
