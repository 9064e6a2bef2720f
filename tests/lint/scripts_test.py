#!/usr/bin/env python3
"""The scripts that everything else starts with: set-up, unpacking of wheels, the summary of a test run. No network."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SCRIPTS = os.path.join(ROOT, "scripts")


def run(name, *arguments, **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("MANYHANDS_TORCH", "XDG_CACHE_HOME")}
    return subprocess.run([os.path.join(SCRIPTS, name), *arguments], env={**kept, **environment}, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)


class InFolder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="manyhands-scripts-test.")
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, name, content):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(content)
        return path


@unittest.skipUnless(shutil.which("dpkg-query"), "no Debian package manager here")
class Setup(InFolder):
    def pinned_wheels(self):
        with open(os.path.join(SCRIPTS, "torch-wheels.txt"), encoding="utf-8") as stream:
            return [line for line in stream if line[0].isalpha()]

    def test_check_names_what_is_missing_and_installs_nothing(self):
        done = run("setup.sh", "--check", XDG_CACHE_HOME=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("missing: LibTorch 2.11.0 (cpu)", done.stdout)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_whole_cache_is_enough_and_an_old_one_is_not(self):
        wheels = self.pinned_wheels()
        self.write("manyhands/torch-2.11.0/manyhands-wheels.txt", "".join(wheels))
        self.assertNotIn("LibTorch", run("setup.sh", "--check", "--cuda", XDG_CACHE_HOME=self.folder).stdout)
        self.write("manyhands/torch-2.11.0/manyhands-wheels.txt", "".join(wheels[:3]))
        self.assertNotIn("LibTorch", run("setup.sh", "--check", XDG_CACHE_HOME=self.folder).stdout)
        self.assertIn("(cuda)", run("setup.sh", "--check", "--cuda", XDG_CACHE_HOME=self.folder).stdout)
        self.write("manyhands/torch-2.11.0/manyhands-wheels.txt", wheels[0].replace("sha256:7", "sha256:8"))
        self.assertIn("(cpu)", run("setup.sh", "--check", XDG_CACHE_HOME=self.folder).stdout)

    def test_server_only_asks_for_no_torch(self):
        self.assertNotIn("LibTorch", run("setup.sh", "--check", "--server-only", XDG_CACHE_HOME=self.folder).stdout)

    def test_a_torch_of_the_users_own_is_looked_at(self):
        none = run("setup.sh", "--check", MANYHANDS_TORCH=self.folder)
        self.assertEqual(none.returncode, 1)
        self.assertIn("no torch/lib/libtorch_cpu.so", none.stdout)
        self.write("torch/lib/libtorch_cpu.so", "")
        self.write("torch/version.py", "__version__ = '2.9.1+cu130'\n")
        old = run("setup.sh", "--check", MANYHANDS_TORCH=self.folder)
        self.assertEqual(old.returncode, 1)
        self.assertIn("torch 2.9.1 in it, 2.11 is needed", old.stdout)
        self.write("torch/version.py", "__version__ = '2.11.3'\n")
        self.assertIn("LibTorch 2.11.3", run("setup.sh", "--check", MANYHANDS_TORCH=self.folder).stdout)

    def test_wrong_options_are_a_usage_error(self):
        self.assertEqual(run("setup.sh", "--chek").returncode, 2)
        self.assertEqual(run("setup.sh", "--cuda", "--server-only").returncode, 2)
        self.assertEqual(run("setup.sh", "--help").returncode, 0)

    def test_every_wheel_is_pinned_by_hash(self):
        for line in self.pinned_wheels():
            self.assertRegex(line, r"^[a-z0-9-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}\n$")


class UnpackWheels(InFolder):
    def wheel(self, files):
        path = os.path.join(self.folder, "x.whl")
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    def test_what_cpp_programs_use_is_unpacked(self):
        wheel = self.wheel({"torch/lib/libc10.so": "a", "torch/version.py": "b", "torch/nn/x.py": "c", "torch/bin/protoc": "d",
                            "torch/include/x.h": "e"})
        done = run("unpack_wheels.py", os.path.join(self.folder, "out"), wheel)
        self.assertEqual(done.returncode, 0, done.stdout)
        found = sorted(os.path.relpath(os.path.join(f, n), os.path.join(self.folder, "out"))
                       for f, _, names in os.walk(os.path.join(self.folder, "out")) for n in names)
        self.assertEqual(found, ["torch/include/x.h", "torch/lib/libc10.so", "torch/version.py"])

    def test_a_hard_link_is_replaced_and_not_written_into(self):
        old = self.write("old", "old")
        os.makedirs(os.path.join(self.folder, "out/a"))
        os.link(old, os.path.join(self.folder, "out/a/b.so"))
        run("unpack_wheels.py", os.path.join(self.folder, "out"), self.wheel({"a/b.so": "new"}))
        with open(old, encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "old")

    def test_a_name_that_leads_out_is_refused(self):
        done = run("unpack_wheels.py", os.path.join(self.folder, "out"), self.wheel({"../evil.so": "x"}))
        self.assertEqual(done.returncode, 1)
        self.assertIn("leads out", done.stdout)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "evil.so")))


class Conformance(InFolder):
    def run_with(self, go):
        """With nothing on the PATH but the shell's own tools and, perhaps, this `go`."""
        tools = os.path.join(self.folder, "tools")
        os.makedirs(tools)
        for tool in ("bash", "env", "sed", "dirname", "mkdir", "mktemp", "rm"):
            os.symlink(shutil.which(tool), os.path.join(tools, tool))
        if go:
            os.chmod(self.write("tools/go", "#!/usr/bin/env bash\n" + go), 0o755)
        return run("conformance.sh", PATH=tools, XDG_CACHE_HOME=os.path.join(self.folder, "cache"))

    def test_without_go_it_says_what_to_do(self):
        done = self.run_with(None)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("there is no Go here", done.stdout)
        self.assertIn("install Go 1.25 or newer", done.stdout)

    def test_an_old_go_is_not_enough(self):
        done = self.run_with("echo go1.19.8")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("Go here is go1.19.8", done.stdout)

    def test_another_module_than_the_pinned_one_is_not_installed(self):
        done = self.run_with("""case $1 in env) echo go1.26.0;; mod) printf '{"Sum": "h1:other"}';; *) touch "$0.used";; esac""")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("is not what was pinned", done.stdout)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "tools/go.used")))
        self.assertEqual(os.listdir(os.path.join(self.folder, "cache/manyhands")), [])


class TestSummary(InFolder):
    def summary(self, *programs):
        cases = "".join(f'<testcase name="p" status="{status}"><system-out><![CDATA[{output}]]></system-out></testcase>'
                        for status, output in programs)
        return run("test_summary.py", self.write("r.xml", f"<testsuite>{cases}</testsuite>"))

    def test_cases_are_counted_inside_the_programs(self):
        done = self.summary(("run", "[==========] 9 tests\n[  PASSED  ] 9 tests.\n"), ("run", "Ran 4 tests in 1s\n\nOK (skipped=1)\n"),
                            ("run", "lint: 0 findings\n"))
        self.assertEqual((done.stdout, done.returncode), ("13 passed, 0 failed, 1 skipped\n", 0))

    def test_failures_are_counted(self):
        done = self.summary(("fail", "[  FAILED  ] A.B (3 ms)\n[  PASSED  ] 8 tests.\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] A.B\n"),
                            ("fail", "Ran 4 tests in 1s\n\nFAILED (failures=1, errors=1)\n"))
        self.assertEqual((done.stdout, done.returncode), ("10 passed, 3 failed\n", 1))

    def test_a_program_that_dies_is_a_failure(self):
        done = self.summary(("fail", "[ RUN      ] A.B\n"), ("run", "[  PASSED  ] 2 tests.\n"))
        self.assertEqual((done.stdout, done.returncode), ("2 passed, 1 failed\n", 1))

    def test_nothing_counted_is_a_failure(self):
        self.assertEqual(self.summary().returncode, 1)
        self.assertEqual(run("test_summary.py", os.path.join(self.folder, "none.xml")).returncode, 1)


if __name__ == "__main__":
    unittest.main()
