#!/usr/bin/env python3
"""`manyhands aggregate` on files written by hand: the reference's numbers to 1e-6, and what it refuses."""

import json
import pathlib
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import BIN, run  # noqa: E402

ROWS = [
    [0.277, -1.009, 1.528, -1.662], [1.047, -1.216, 0.927, -0.405], [0.233, 0.233, 1.633, -1.033],
    [-0.193, 0.150, 0.899, -2.092], [-0.484, -0.085, 1.579, -1.254], [0.451, -1.253, 1.159, -1.912],
    [0.531, 0.174, 0.810, -0.991], [0.742, -0.501, 1.522, -0.549], [-0.385, -1.286, 0.238, -0.428],
    [1.900, -1.750, 1.800, -2.300], [1.700, -1.950, 1.600, -2.100]]
HONEST_MEAN = [0.246555556, -0.532555556, 1.143888889, -1.147333333]
MEAN_OF_ALL = [0.529000000, -0.772090909, 1.245000000, -1.338727273]
# (rule, further options, expected)
GOLDEN = [
    ("mean", "", MEAN_OF_ALL),
    ("median", "", [0.451, -1.009, 1.522, -1.254]),
    ("trimmed_mean", "", [0.441142857, -0.742857143, 1.316285714, -1.356142857]),
    ("meamed", "", [0.246555556, -0.988888889, 1.405222222, -1.335666667]),
    ("geometric_median", "", [0.442365051, -0.680155811, 1.269726563, -1.295804150]),
    ("krum", "", ROWS[0]),
    ("krum", "--convention paper", ROWS[0]),
    ("multi_krum", "", HONEST_MEAN),
    ("multi_krum", "--convention paper", [0.222428571, -0.327285714, 1.304285714, -1.356142857]),
    ("mda", "", HONEST_MEAN),
    ("centered_clipping", "", MEAN_OF_ALL),
    ("centered_clipping", "--iterations 3 --tau 1", [0.403738917, -0.613991062, 1.174169202, -1.175381772]),
    ("caf", "", [0.307997863, -0.594201702, 1.155380039, -1.156102490]),
    ("trimmed_mean", "--pre nnm", [0.369253968, -0.613396825, 1.200904762, -1.217142857]),
    ("median", "--pre nnm", HONEST_MEAN),
    ("krum", "--pre nnm", HONEST_MEAN),
    ("geometric_median", "--pre nnm", [0.343936315, -0.593606712, 1.186428680, -1.201777962]),
    ("trimmed_mean", "--pre arc", [0.438319273, -0.710846518, 1.172868047, -1.195795242]),
    ("trimmed_mean", "--pre clipping --pre nnm", [0.432810630, -0.521945441, 1.092304718, -1.114728768]),
    ("median", "--pre bucketing --bucket-size 2 --bucket-order given",
     [0.649250000, -0.890750000, 1.246750000, -1.463250000]),
]


def safetensors(tensors, dtype="F32", padding=0):
    """The bytes of a file: {name: (shape, values)}."""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        packed = struct.pack(f"<{len(values)}{'f' if dtype == 'F32' else 'd'}", *values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode() + b" " * padding
    return struct.pack("<Q", len(text)) + text + data


def read_safetensors(path):
    blob = path.read_bytes()
    size, = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8:8 + size])
    metadata = header.pop("__metadata__")
    values = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        values[name] = (tensor["shape"], list(struct.unpack(f"<{(end - begin) // 4}f",
                                                            blob[8 + size + begin:8 + size + end])))
    return values, metadata


class AggregateTest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.scratch.name)
        self.files = []
        for index, row in enumerate(ROWS):
            # Headers of all lengths: the values lie at any alignment.
            self.files.append(self.write(f"{index}.safetensors", {"a.weight": ([1, 3], row[:3]), "b": ([1], row[3:])},
                                         padding=index))

    def tearDown(self):
        self.scratch.cleanup()

    def write(self, name, tensors, **options):
        path = self.folder / name
        path.write_bytes(safetensors(tensors, **options))
        return path

    def aggregate(self, *options, files=None, expect=0, out="out.safetensors"):
        return run(BIN / "manyhands", "aggregate", "--out", self.folder / out, *options,
                   *(self.files if files is None else files), expect=expect)

    def refusal(self, *options, **more):
        out, err = self.aggregate(*options, expect=2, **more)
        self.assertEqual(out, "")
        self.assertFalse((self.folder / "out.safetensors").exists())
        return err

    def test_the_references_numbers(self):
        for rule, options, expected in GOLDEN:
            with self.subTest(rule=rule, options=options):
                f = "0" if rule == "centered_clipping" else "2"
                self.aggregate("--rule", rule, "--f", f, "--force", *options.split())
                values, metadata = read_safetensors(self.folder / "out.safetensors")
                self.assertEqual([(name, shape) for name, (shape, _) in sorted(values.items())],
                                 [("a.weight", [1, 3]), ("b", [1])])
                got = values["a.weight"][1] + values["b"][1]
                for number, wanted in zip(got, expected):
                    self.assertAlmostEqual(number, wanted, delta=1e-6)
                self.assertEqual((metadata["rule"], metadata["f"]), (rule, f))
                self.assertEqual(len(metadata["inputs_sha256"].split(",")), len(ROWS))

    def test_the_order_of_files_and_of_tensors_changes_no_bit(self):
        self.aggregate("--rule", "caf", "--f", "2", out="one.safetensors")
        row = ROWS[4]
        other = self.write("other.safetensors", {"b": ([1], row[3:]), "a.weight": ([1, 3], row[:3])})
        files = [path for path in reversed(self.files) if path != self.files[4]] + [other]
        self.aggregate("--rule", "caf", "--f", "2", files=files, out="two.safetensors")
        self.assertEqual(read_safetensors(self.folder / "one.safetensors")[0],
                         read_safetensors(self.folder / "two.safetensors")[0])

    def test_json_names_inputs_and_weights(self):
        out, _ = self.aggregate("--rule", "krum", "--f", "2", "--json")
        reply = json.loads(out)
        self.assertEqual([entry["weight"] for entry in reply["inputs"]], [1] + [0] * 10)
        self.assertEqual((reply["elements"], reply["passes"]), (4, 2))

    def test_what_is_wrong_is_said(self):
        self.assertIn("trimmed_mean needs 2f < n: f = 6, n = 11", self.refusal("--rule", "trimmed_mean", "--f", "6"))
        self.assertIn("no rule is named 'average': there are mean, median", self.refusal("--rule", "average"))
        self.assertIn("give --rule", self.refusal())
        self.assertIn("no inputs", self.refusal("--rule", "mean", files=[]))
        nan = self.write("nan.safetensors", {"a.weight": ([1, 3], [0, float("nan"), 0]), "b": ([1], [1])})
        self.assertIn("nan.safetensors: tensor a.weight, element 1 is NaN",
                      self.refusal("--rule", "krum", "--f", "2", files=self.files + [nan]))
        wide = self.write("wide.safetensors", {"a.weight": ([3], [0, 0, 0]), "b": ([1], [1])})
        self.assertIn("tensor a.weight is 3, not 1×3 as in", self.refusal("--rule", "mean", files=self.files + [wide]))
        double = self.write("double.safetensors", {"a.weight": ([1, 3], [0, 0, 0]), "b": ([1], [1])}, dtype="F64")
        self.assertIn("dtype of a.weight is F64, not F32", self.refusal("--rule", "mean", files=[double]))
        self.assertIn("cannot", self.aggregate("--rule", "mean", files=[self.folder / "none"], expect=1)[1])

    def test_an_output_is_not_overwritten_unless_told(self):
        self.aggregate("--rule", "mean")
        self.assertIn("is there already", self.aggregate("--rule", "mean", expect=2)[1])
        self.aggregate("--rule", "mean", "--force")
        self.assertEqual([path.name for path in self.folder.glob("out*")], ["out.safetensors"])

    def test_rules_are_listed(self):
        out, _ = run(BIN / "manyhands", "aggregate", "--list-rules", "--json")
        rules = json.loads(out)["rules"]
        self.assertEqual([rule["name"] for rule in rules if rule["kind"] == "pre"],
                         ["nnm", "bucketing", "clipping", "arc"])
        self.assertTrue(all(rule["definition"] and rule["cost"] and rule["condition"] and rule["source"]
                            for rule in rules))
        text, _ = run(BIN / "manyhands", "aggregate", "--list-rules")
        self.assertIn("trimmed_mean\n    definition", text)


if __name__ == "__main__":
    unittest.main()
