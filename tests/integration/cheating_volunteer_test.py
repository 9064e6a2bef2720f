"""The cheating volunteer (tests/attack) really cheats: what it hands over is what it says it is."""

import array
import json
import os
import pathlib
import stat
import struct
import subprocess
import tempfile
import unittest
import zlib

import harness

PROGRAM = harness.REPO / "tests" / "attack" / "cheating_volunteer.py"

# Stands for manyhands-trainer: writes an honest update, the numbers 1, 2, 3, … times the step plus one.
TRAINER = '''#!/usr/bin/env python3
import array, hashlib, json, struct, sys, zlib

def send(message):
    body = json.dumps(message).encode()
    sys.stdout.buffer.write(struct.pack("<I", len(body)) + body)
    sys.stdout.buffer.flush()

send({"type": "ready", "device": "cpu", "device_model": "none", "threads": 1, "note": ""})
while len(head := sys.stdin.buffer.read(4)) == 4:
    request = json.loads(sys.stdin.buffer.read(struct.unpack("<I", head)[0]))
    if request["type"] != "compute":
        continue
    done = {"type": "done", "result_id": request["result_id"], "loss_sum": 16.0, "correct_count": 4, "compute_ms": 1,
            "update_bytes": 0, "update_digest": ""}
    if request["kind"] == "gradient":
        header = struct.pack("<8sIIIIQQQQ32s", b"MHPACK1\\n", 1, 2, 1, 1, 1000, 4000, request["step"],
                             request["end"] - request["begin"], bytes(range(32)))
        header += struct.pack("<II", zlib.crc32(header), 0)
        content = header + array.array("f", [(i + 1) * (request["step"] + 1) for i in range(1000)]).tobytes()
        with open(request["update_path"], "wb") as stream:
            stream.write(content)
        done.update(update_bytes=len(content), update_digest=hashlib.sha256(content).hexdigest())
    send(done)
'''


class Cheat:
    """The program as the client starts it, spoken to in frames."""

    def __init__(self, folder, **settings):
        trainer = pathlib.Path(folder) / "trainer.py"
        trainer.write_text(TRAINER)
        trainer.chmod(trainer.stat().st_mode | stat.S_IXUSR)
        known = {"factor": 1, "noise": 0.3, "honest": 0, "seed": 1, "trainer": str(trainer), **settings}
        self.folder = pathlib.Path(folder)
        self.process = subprocess.Popen([str(PROGRAM), "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, "MANYHANDS_TEST_CHEAT": json.dumps(known)})
        assert self.receive()["type"] == "ready"

    def send(self, message):
        body = json.dumps(message).encode()
        self.process.stdin.write(struct.pack("<I", len(body)) + body)
        self.process.stdin.flush()

    def receive(self):
        size = struct.unpack("<I", self.process.stdout.read(4))[0]
        return json.loads(self.process.stdout.read(size))

    def compute(self, result_id, step, kind="gradient", samples=8):
        """(answer, header fields, values)"""
        path = self.folder / f"{result_id}.update"
        self.send({"type": "compute", "result_id": result_id, "kind": kind, "step": step, "begin": 0, "end": samples,
                   "update_path": str(path)})
        answer = self.receive()
        if kind != "gradient":
            return answer, None, None
        content = path.read_bytes()
        assert len(content) == answer["update_bytes"] == 96 + 4000
        assert struct.unpack("<I", content[88:92])[0] == zlib.crc32(content[:88]), "a header whose sum is wrong"
        return answer, struct.unpack("<QQ", content[40:56]), array.array("f", content[96:])

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(timeout=10)
        self.process.stdout.close()
        return code


class CheatingVolunteer(unittest.TestCase):
    def start(self, **settings):
        folder = tempfile.TemporaryDirectory(prefix="manyhands-cheat-")
        self.addCleanup(folder.cleanup)
        cheat = Cheat(folder.name, **settings)
        self.addCleanup(lambda: self.assertEqual(cheat.close(), 0))
        return cheat

    def test_a_sign_flip_turns_the_gradient_round(self):
        cheat = self.start(cheat="sign-flip", factor=2)
        answer, (step, samples), values = cheat.compute(7, step=4)
        self.assertEqual((answer["result_id"], step, samples), (7, 4, 8))
        self.assertEqual(list(values), [-2 * 5 * (i + 1) for i in range(1000)])

    def test_honest_workunits_come_before(self):
        cheat = self.start(cheat="sign-flip", honest=2)
        signs = [cheat.compute(result, step=0)[2][0] for result in (1, 2, 3, 4)]
        self.assertEqual(signs, [1, 1, -1, -1])

    def test_stale_noise_sells_one_update_for_every_step(self):
        cheat = self.start(cheat="stale-noise", noise=0.1)
        first = cheat.compute(1, step=0)[2]
        honest = [i + 1 for i in range(1000)]
        norm = sum(value * value for value in honest) ** 0.5
        for values in (first, self.resold(cheat)):
            distance = sum((a - b) ** 2 for a, b in zip(values, honest)) ** 0.5
            self.assertAlmostEqual(distance / norm, 0.1, delta=0.02)

    def resold(self, cheat):
        # The trainer that stands behind it would answer with 100 times the numbers.
        answer, (step, samples), values = cheat.compute(2, step=99, samples=16)
        self.assertEqual((answer["result_id"], step, samples), (2, 99, 16))
        self.assertEqual((answer["loss_sum"], answer["correct_count"]), (32, 8))
        return values

    def test_evaluations_are_passed_on(self):
        cheat = self.start(cheat="stale-noise")
        self.assertEqual(cheat.compute(9, step=1, kind="evaluation")[0]["loss_sum"], 16)

    def test_wrong_options_are_a_usage_error(self):
        for options in (["--cheat", "bribe", "--dir", "x"], ["--cheat", "sign-flip"],
                        ["--cheat", "sign-flip", "--dir", "x", "--factor", "0"]):
            done = subprocess.run([str(PROGRAM), *options], capture_output=True, timeout=20)
            self.assertEqual(done.returncode, 2, options)
        self.assertEqual(subprocess.run([str(PROGRAM), "--help"], capture_output=True, timeout=20).returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
