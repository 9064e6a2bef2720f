#!/usr/bin/env python3
"""The lints find what they are there for: each rule sees a planted violation, and lets its neighbour pass."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import layering  # noqa: E402
import lint  # noqa: E402
import wording  # noqa: E402
from source import File, functions, read_tree, statements_with  # noqa: E402


def run(rule, path, text, *more):
    """The findings of one rule in a tree of one file, or of several (path, text) pairs."""
    files = [File(path, text)] + [File(p, t) for p, t in more]
    return [str(finding) for finding in rule(files)]


class Sees(unittest.TestCase):
    def finds(self, rule, path, text, *more, words=""):
        found = run(rule, path, text, *more)
        self.assertTrue(found, f"nothing found in {path}: {text!r}")
        self.assertIn(words, "\n".join(found))

    def passes(self, rule, path, text, *more):
        self.assertEqual(run(rule, path, text, *more), [])


class Layering(Sees):
    def test_an_include_against_an_arrow(self):
        rule = layering.check_arrows
        self.finds(rule, "proto/base/x.h", '#include "scheduler/rows.h"\n')
        self.finds(rule, "proto/net/x.h", '#include "scheduler/rows.h"\n')
        self.finds(rule, "scheduler/x.cpp", '#include "proto/net/http_server.h"\n')
        self.finds(rule, "scheduler/x.cpp", '#include "trainer/update/aggregate.h"\n')
        self.finds(rule, "client/daemon/x.cpp", '#include "scheduler/rows.h"\n')
        self.finds(rule, "client/daemon/x.cpp", '#include "trainer/engine/engine.h"\n')
        self.finds(rule, "server/x.cpp", '#include "trainer/engine/engine.h"\n')
        self.finds(rule, "trainer/model/x.cpp", '#include "manyhands/v1/job.pb.h"\n')
        self.passes(rule, "server/x.cpp", '#include "scheduler/rows.h"\n#include "trainer/update/aggregate.h"\n')
        self.passes(rule, "scheduler/x.cpp", '#include "proto/base/ids.h"\n#include "scheduler/rows.h"\n')
        self.passes(rule, "proto/base/x.h", '// like "scheduler/rows.h"\n// #include "scheduler/rows.h"\n')

    def test_more_of_the_scheduler_than_the_reference_run_needs(self):
        rule = layering.check_arrows
        self.finds(rule, "trainer/engine/x.cpp", '#include "scheduler/coordinator.h"\n', words="only")
        self.passes(rule, "trainer/engine/x.cpp", '#include "scheduler/planner.h"\n')

    def test_a_link_line_against_an_arrow(self):
        rule = layering.check_link_lines
        self.finds(rule, "client/CMakeLists.txt", "target_link_libraries(mh_client PUBLIC mh_scheduler)\n")
        self.finds(rule, "proto/CMakeLists.txt", "target_link_libraries(mh_base\n  PRIVATE mh_net)\n")
        self.finds(rule, "server/CMakeLists.txt", "target_link_libraries(mh_unheard PUBLIC mh_base)\n", words="no folder")
        self.passes(rule, "server/CMakeLists.txt", "target_link_libraries(mh_server PUBLIC mh_scheduler mh_net)\n")

    def test_a_library_where_it_is_not_allowed(self):
        rule = layering.check_confinement
        self.finds(rule, "server/x.cpp", "#include <torch/types.h>\n")
        self.finds(rule, "scheduler/x.cpp", "#include <ATen/ATen.h>\n")
        self.finds(rule, "trainer/engine/engine.h", "#include <ATen/ATen.h>\n")
        self.finds(rule, "trainer/update/x.cpp", "#include <boost/asio/post.hpp>\n")
        self.finds(rule, "server/accounts.cpp", "#include <sqlite3.h>\n")
        self.passes(rule, "trainer/engine/x.cpp", "#include <ATen/ATen.h>\n")
        self.passes(rule, "server/sqlite_store.cpp", "#include <sqlite3.h>\n")
        self.passes(rule, "server/x.cpp", "#include <boost/asio/post.hpp>\n")

    def test_a_decision_that_looks_at_the_world(self):
        rule = layering.check_confinement
        self.finds(rule, "scheduler/x.cpp", "#include <thread>\n")
        self.finds(rule, "scheduler/x.cpp", '#include "proto/base/file.h"\n')
        self.finds(rule, "client/daemon/host_core.cpp", "#include <boost/asio/post.hpp>\n")
        self.finds(rule, "scheduler/x.cpp", "auto now = std::chrono::system_clock::now();\n", words="argument")
        self.passes(rule, "scheduler/x.cpp", "#include <chrono>\nusing Clock = std::chrono::system_clock;\n")

    def test_torch_beside_headers_that_it_shadows(self):
        rule = layering.check_torch_meets_no_shadowed_header
        self.finds(rule, "trainer/engine/x.cpp", "#include <ATen/ATen.h>\n#include <spdlog/spdlog.h>\n")
        self.finds(rule, "trainer/engine/x.cpp", '#include <ATen/ATen.h>\n#include "trainer/engine/y.h"\n',
                   ("trainer/engine/y.h", "#include <google/protobuf/message.h>\n"))
        self.passes(rule, "trainer/engine/x.cpp", '#include <ATen/ATen.h>\n#include "proto/base/result.h"\n',
                    ("proto/base/result.h", "#include <string>\n"))

    def test_sql_outside_the_store(self):
        rule = layering.check_sql
        self.finds(rule, "server/accounts.cpp", 'auto q = "SELECT id FROM host";\n')
        self.passes(rule, "server/accounts.cpp", 'auto q = "Select a host from the list";  // SELECT id FROM host\n')
        self.passes(rule, "server/sqlite_store.cpp", 'auto q = "SELECT id FROM host";\n')


class Sizes(Sees):
    LONG = "// x\nint f(int a) {\n" + "  a += 1;\n" * 80 + "  return a;\n}\n"

    def test_a_long_file(self):
        self.finds(wording.check_file_sizes, "server/x.cpp", "// line\n" * 501)
        self.passes(wording.check_file_sizes, "server/x.cpp", "// line\n" * 500)

    def test_a_long_function(self):
        self.finds(wording.check_function_sizes, "server/x.cpp", self.LONG, words="f has 83 lines")
        self.passes(wording.check_function_sizes, "server/x.cpp", self.LONG.replace("  a += 1;\n", "", 20))

    def test_a_listed_function_may_shrink_and_not_grow(self):
        rule = wording.check_function_sizes
        self.passes(rule, "server/x.cpp", self.LONG, (wording.RATCHET, "server/x.cpp f 83\n"))
        self.finds(rule, "server/x.cpp", self.LONG, (wording.RATCHET, "server/x.cpp f 82\n"), words="83 lines")
        self.finds(rule, "server/x.cpp", self.LONG, (wording.RATCHET, "server/x.cpp f 90\n"), words="only 83")
        self.finds(rule, "server/x.cpp", "// x\n", (wording.RATCHET, "server/x.cpp f 83\n"), words="off the list")

    def test_functions_are_found_in_classes_and_after_initialisers(self):
        text = ("namespace a {\nclass B : public C {\n public:\n  B() : x_{1}, y_(2) {\n    go();\n  }\n"
                "  int get() const { return x_; }\n  int x_ = 3;\n};\nenum class E { kOne };\n"
                "const int kTable[] = {1, 2};\ntemplate <class T>\nT twice(T t) {\n  auto f = [&] { return t; };\n"
                "  if (t) {\n    f();\n  }\n  return \"}\"[0] + t;\n}\n}\n")
        found = [(name, lines) for name, _, lines in functions(File("server/x.cpp", text))]
        self.assertIn(("get", 1), found)
        self.assertIn(("twice", 7), found)
        self.assertEqual(max(lines for _, lines in found), 7)

    def test_lines(self):
        rule = wording.check_lines
        self.finds(rule, "server/x.cpp", "// " + "x" * 98 + "\n", words="101 columns")
        self.finds(rule, "server/x.cpp", "\tint a;\n", words="tab")
        self.finds(rule, "README.md", "words \n", words="white space")
        self.finds(rule, "README.md", "words", words="newline")
        self.passes(rule, "server/x.cpp", "// " + "x" * 97 + "\n")

    def test_openings(self):
        rule = wording.check_openings
        self.finds(rule, "server/x.cpp", "#include <string>\n", words="comment")
        self.finds(rule, "server/x.h", "// What it is.\n#include <string>\n", words="pragma")
        self.finds(rule, "server/x.cpp", '#include "server/y.h"\n', words="comment")
        self.passes(rule, "server/x.h", "// What it is.\n#pragma once\n")
        self.passes(rule, "server/x.cpp", '#include "server/x.h"\n')


class Words(Sees):
    def test_words_that_the_glossary_refuses(self):
        rule = wording.check_words
        self.finds(rule, "server/x.cpp", "int task_count;\n", words="workunit")
        self.finds(rule, "server/x.cpp", "struct TaskQueue;\n")
        self.finds(rule, "server/x.cpp", "int node_id;\n", words="host")
        self.finds(rule, "server/x.cpp", "int epoch;\n", words="pass")
        self.finds(rule, "scheduler/x.h", "int current_round;\n", words="step")
        self.finds(rule, "proto/manyhands/v1/job.proto", "message M { int32 epoch = 1; }\n")

    def test_words_that_mean_something_else(self):
        rule = wording.check_words
        self.passes(rule, "server/x.cpp", "auto a = std::round(b) + round(c) + round_up(d, 4);\n")
        self.passes(rule, "server/x.cpp", "auto a = now.time_since_epoch();\n")
        self.passes(rule, "scheduler/x.cpp", "#include <yaml-cpp/yaml.h>\nint line(const YAML::Node& node);\n")
        self.passes(rule, "server/x.cpp", '// a task, an epoch\nauto s = "node";\n')

    def test_leftovers(self):
        rule = wording.check_leftovers
        self.finds(rule, "server/x.cpp", "// TODO: later\n")
        self.finds(rule, "docs/x.md", "FIXME\n")
        self.finds(rule, "server/x.cpp", 'fail("not implemented");\n')
        self.passes(rule, "server/x.cpp", "// lint: allow leftover, the name of an RPC code\nfail(\"not implemented\");\n")
        self.passes(rule, "docs/x.md", "what is not implemented: toDO\n")

    def test_banned_calls(self):
        rule = wording.check_banned_calls
        for call in ("strcpy(a, b);", "sprintf(a, b);", "system(a);", "std::system(a);", "int a = rand();", "srand(1);",
                     "std::random_device d;", "std::uniform_int_distribution<int> d;", "std::mt19937 g;", "atoi(a);",
                     "assert(a);", "localtime(&a);", "using namespace std;"):
            self.finds(rule, "server/x.cpp", call + "\n")
        self.passes(rule, "proto/base/random.cpp", "std::random_device d;\n")
        self.passes(rule, "server/x.cpp", "snprintf(a, n, b); static_assert(a); io.system(); localtime_r(&a, &b); operand(1);\n")
        self.passes(rule, "server/x.cpp", '// strcpy(a, b)\nauto s = "system(x)";\n')

    def test_machine_paths(self):
        rule = wording.check_machine_paths
        self.finds(rule, "scripts/x.sh", "cd /root/src\n")
        self.finds(rule, "docs/x.md", "see /home/anna/notes\n")
        self.passes(rule, "scripts/x.sh", "cd $HOME/work/x; ls client/work/a /workunits\n")


class Coroutines(Sees):
    def test_temporaries_that_gcc_destroys_twice(self):
        rule = wording.check_coroutines
        for statement in ("co_await send({.name = s});", "co_await send(Request{s});", "auto r = co_await send(a, {1, 2});",
                          "MH_CO_TRY(auto r, co_await send(Request{s}));", "co_await post(ex, [&] { go(); });",
                          "co_await post(ex, [this]() { go(); });", "f(Request{s}, co_await get());",
                          "if (co_await send({s})) go();", "co_return co_await send(\n    {.name = s});"):
            self.finds(rule, "server/x.cpp", "awaitable<void> f() {\n  " + statement + "\n}\n")

    def test_coroutines_that_are_safe(self):
        rule = wording.check_coroutines
        for statement in ("Request r{s}; co_await send(std::move(r));", "if (co_await send(r)) { go({1}); }",
                          "for (;;) { co_await send(r); }", "auto [a, b] = co_await get(table[i]);",
                          "co_await post(ex, [] (int a) -> int; );", "while (co_await more()) {\n go(X{1});\n}",
                          "co_return Reply{1}; } void g() { auto f = [this] { go(); };",
                          "co_await send({s});  // lint: allow co_await, a class with a constructor"):
            self.passes(rule, "server/x.cpp", "awaitable<void> f() {\n  " + statement + "\n}\n")

    def test_a_capturing_lambda_that_is_a_coroutine(self):
        rule = wording.check_coroutines
        self.finds(rule, "server/x.cpp", "auto f = [this](int a) -> asio::awaitable<void> { co_return; };\n", words="captures")
        self.passes(rule, "server/x.cpp", "auto f = [](int a) -> asio::awaitable<void> { co_return; };\n")

    def test_statements_end_where_they_end(self):
        file = File("server/x.cpp", "void f() { a({1}); b(co_await c(d), e); g({2}); }")
        self.assertEqual([s.strip() for _, s in statements_with(file, "co_await")], ["b(co_await c(d), e)"])


class Tree(Sees):
    def test_a_test_that_is_not_built(self):
        rule = wording.check_tests_are_run
        cmake = ("tests/CMakeLists.txt", "add_unit_test(a\n  FOLDERS base net\n  LIBRARIES mh_base)\n")
        self.finds(rule, "tests/unit/odd/x_test.cpp", "// x\n", cmake, words="folder odd")
        self.finds(rule, "tests/unit/base/x.cpp", "// x\n", cmake, words="_test.cpp")
        self.passes(rule, "tests/unit/base/x_test.cpp", "// x\n", cmake)

    def test_a_link_to_nowhere(self):
        self.finds(wording.check_links, "docs/x.md", "[a](y.md)\n")
        self.passes(wording.check_links, "docs/x.md", "[a](z.md#part) [b](https://x.y)\n", ("docs/z.md", "x\n"))

    def test_a_script_that_does_not_parse(self):
        self.finds(wording.check_scripts_parse, "scripts/x.sh", "#!/usr/bin/env bash\nif true; then\n")
        self.finds(wording.check_scripts_parse, "scripts/x.py", "def f(:\n")
        self.passes(wording.check_scripts_parse, "scripts/x.sh", "#!/usr/bin/env bash\nif true; then :; fi\n")

    def test_comments_and_literals_are_no_code(self):
        file = File("server/x.cpp", "a(\"/* \\\" */\"); // b\nR\"(c \" )\"; 'd'; 1'000'000; /* e\n e */ f(R\"x(\")\")x\");\n")
        self.assertEqual(file.code.count("\n"), file.text.count("\n"))
        for letter in "bcde":
            self.assertNotIn(letter, file.code)
        self.assertIn("1'000'000", file.code)
        self.assertIn("f(", file.code)

    def test_a_tree_on_disk_with_a_violation_fails_the_whole_lint(self):
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, "server"))
            path = os.path.join(root, "server", "x.cpp")
            with open(path, "w", encoding="utf-8") as stream:
                stream.write("// What it is.\nint a();\n")
            self.assertEqual([str(f) for f in lint.findings(read_tree(root))], [])
            with open(path, "a", encoding="utf-8") as stream:
                stream.write("#include <sqlite3.h>\n")
            self.assertEqual(len(lint.findings(read_tree(root))), 1)

    def test_every_rule_is_tested_here(self):
        with open(os.path.abspath(__file__), encoding="utf-8") as stream:
            text = stream.read()
        for rule in lint.RULES:
            self.assertIn("." + rule.__name__, text)


if __name__ == "__main__":
    unittest.main()
