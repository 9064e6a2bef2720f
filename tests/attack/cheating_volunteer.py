#!/usr/bin/env python3
"""A volunteer that cheats: the real manyhands-client with a trainer that spoils what it hands over.

    cheating_volunteer.py --cheat sign-flip --dir DIR [--factor 1] [--honest N] [-- OPTION...]
    cheating_volunteer.py --cheat stale-noise --dir DIR [--noise 0.3] [--honest N] [-- OPTION...]

DIR is a client's folder, attached with 'manyhands-client attach … --dir DIR'; OPTIONs go to 'manyhands-client run'.
The client starts this program in the place of manyhands-trainer; it starts the real one and passes frames both ways
(docs/file-formats.md), except for the updates that it spoils:

  sign-flip    computes honestly and sends -FACTOR times the gradient
  stale-noise  computes one workunit, then none: it sends that update again and again, with noise of NOISE times its norm,
               as the update of whatever is asked for, and claims the loss that goes with it

Either hands over N workunits honestly before.

Nothing in the product knows of this program. It is for tests and for 'make demo-attack'.
"""
import argparse
import array
import hashlib
import json
import math
import os
import pathlib
import random
import struct
import subprocess
import sys
import threading
import zlib

# How the options reach this program when the client starts it as its trainer.
SETTINGS = "MANYHANDS_TEST_CHEAT"
REPO = pathlib.Path(__file__).resolve().parents[2]
FRAME_BYTES_MAX = 1 << 20
PACK_HEADER_BYTES = 96
PACK_STEP, PACK_SAMPLES, PACK_CRC = 40, 48, 88
# Noise is drawn once; an update takes a stretch of it that begins anywhere.
NOISE_POOL = 1 << 16


def read_exactly(stream, count):
    """`count` bytes, or fewer at the end of the stream."""
    parts = []
    while count > 0:
        part = stream.read(count)
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_frame(stream):
    """The next message; None at the end of the stream."""
    header = read_exactly(stream, 4)
    if len(header) < 4:
        return None
    size = struct.unpack("<I", header)[0]
    if size > FRAME_BYTES_MAX:
        return None
    body = read_exactly(stream, size)
    return json.loads(body) if len(body) == size else None


class FrameWriter:
    """Whole frames only, whichever thread writes."""

    def __init__(self, stream):
        self.stream = stream
        self.lock = threading.Lock()

    def write(self, message):
        body = json.dumps(message).encode()
        with self.lock:
            self.stream.write(struct.pack("<I", len(body)) + body)
            self.stream.flush()


class Update:
    """A gradient sum in a tensor pack (trainer/update/tensor_pack.h)."""

    def __init__(self, path):
        content = pathlib.Path(path).read_bytes()
        self.header = bytearray(content[:PACK_HEADER_BYTES])
        self.values = array.array("f", content[PACK_HEADER_BYTES:])

    def samples(self):
        return struct.unpack_from("<Q", self.header, PACK_SAMPLES)[0]

    def norm(self):
        return math.sqrt(math.fsum(value * value for value in self.values))

    def write(self, path, step=None, samples=None):
        """Returns (size, SHA-256 in hex)."""
        if step is not None:
            struct.pack_into("<Q", self.header, PACK_STEP, step)
            struct.pack_into("<Q", self.header, PACK_SAMPLES, samples)
            struct.pack_into("<I", self.header, PACK_CRC, zlib.crc32(self.header[:PACK_CRC]))
        content = bytes(self.header) + self.values.tobytes()
        # The client made the file, and takes no other.
        pathlib.Path(path).write_bytes(content)
        return len(content), hashlib.sha256(content).hexdigest()


class SignFlip:
    """Honest work, turned round."""

    def __init__(self, settings):
        self.factor = -settings["factor"]
        self.honest_left = settings["honest"]

    def answer(self, _request):
        return None

    def spoil(self, request, done):
        if self.honest_left > 0:
            self.honest_left -= 1
            return done
        update = Update(request["update_path"])
        update.values = array.array("f", [self.factor * value for value in update.values])
        done["update_bytes"], done["update_digest"] = update.write(request["update_path"])
        return done


class StaleNoise:
    """One honest update, sold again and again."""

    def __init__(self, settings):
        self.noise = settings["noise"]
        self.honest_left = settings["honest"]
        self.random = random.Random(settings["seed"])
        self.pool = None
        self.template = None
        self.done = None

    def answer(self, request):
        """A finished result at once, once there is something to sell; else None."""
        return None if self.template is None else self.sell(request)

    def sell(self, request):
        update = self.noisy()
        samples = request["end"] - request["begin"]
        size, digest = update.write(request["update_path"], request["step"], samples)
        share = samples / self.template.samples()
        return {**self.done, "result_id": request["result_id"], "loss_sum": self.done["loss_sum"] * share,
                "correct_count": int(self.done["correct_count"] * share), "update_bytes": size, "update_digest": digest}

    def noisy(self):
        update = Update.__new__(Update)
        update.header = bytearray(self.template.header)
        begin = self.random.randrange(NOISE_POOL)
        noise = self.pool[begin:] + self.pool[:begin]
        repeats = -(-len(self.template.values) // NOISE_POOL)
        update.values = array.array(
            "f", [value + extra for value, extra in zip(self.template.values, noise * repeats)])
        return update

    def spoil(self, request, done):
        if self.honest_left > 0:
            self.honest_left -= 1
            return done
        if self.template is None:
            self.keep(request, done)
        return self.sell(request)

    def keep(self, request, done):
        self.template = Update(request["update_path"])
        self.done = done
        sigma = self.noise * self.template.norm() / math.sqrt(len(self.template.values))
        self.pool = array.array("f", [self.random.gauss(0, sigma) for _ in range(NOISE_POOL)])


CHEATS = {"sign-flip": SignFlip, "stale-noise": StaleNoise}


class Proxy:
    """Between the client (our stdin and stdout) and the real trainer (its child)."""

    def __init__(self, settings, arguments):
        self.cheat = CHEATS[settings["cheat"]](settings)
        self.trainer = subprocess.Popen([settings["trainer"], *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.to_client = FrameWriter(sys.stdout.buffer)
        self.to_trainer = FrameWriter(self.trainer.stdin)
        # What the trainer computes, by result id. Guarded by lock, as is the cheat.
        self.requests = {}
        self.lock = threading.Lock()

    def pass_requests(self):
        while (message := read_frame(sys.stdin.buffer)) is not None:
            if message["type"] == "compute" and message["kind"] == "gradient":
                with self.lock:
                    answer = self.cheat.answer(message)
                    if answer is None:
                        self.requests[message["result_id"]] = message
                if answer is not None:
                    self.to_client.write(answer)
                    continue
            self.to_trainer.write(message)
        self.trainer.stdin.close()

    def pass_answers(self):
        while (message := read_frame(self.trainer.stdout)) is not None:
            if message["type"] in ("done", "failed"):
                with self.lock:
                    request = self.requests.pop(message["result_id"], None)
                    if request is not None and message["type"] == "done":
                        message = self.cheat.spoil(request, message)
            self.to_client.write(message)

    def run(self):
        threading.Thread(target=self.pass_requests, daemon=True).start()
        try:
            self.pass_answers()
        except BrokenPipeError:
            return 0
        return self.trainer.wait()


def find_program(name, chosen):
    """`chosen`, or the program in MANYHANDS_BIN, else in the checkout's build folder."""
    folder = pathlib.Path(os.environ.get("MANYHANDS_BIN", REPO / "build" / "release" / "bin"))
    program = pathlib.Path(chosen) if chosen else folder / name
    if not os.access(program, os.X_OK):
        sys.exit(f"cheating_volunteer.py: {program} is no program: run 'make build', or set MANYHANDS_BIN")
    return str(program.resolve())


def parse_options():
    summary, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cheat", required=True, choices=sorted(CHEATS))
    parser.add_argument("--dir", required=True, help="folder of an attached client")
    parser.add_argument("--factor", type=float, default=1, help="sign-flip: times the gradient [1]")
    parser.add_argument("--noise", type=float, default=0.3, help="stale-noise: norm of the noise over the update's [0.3]")
    parser.add_argument("--honest", type=int, default=0, help="workunits computed honestly before the cheating [0]")
    parser.add_argument("--seed", type=int, default=1, help="of the noise [1]")
    parser.add_argument("--client", help="the client program [manyhands-client of the build]")
    parser.add_argument("--trainer", help="the real trainer [manyhands-trainer of the build]")
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="for 'manyhands-client run'")
    options = parser.parse_args()
    if options.factor <= 0 or options.noise < 0 or options.honest < 0:
        parser.error("--factor must be above 0, --noise and --honest at least 0")
    return options


def become_client(options):
    client = find_program("manyhands-client", options.client)
    settings = {"cheat": options.cheat, "factor": options.factor, "noise": options.noise, "honest": options.honest,
                "seed": options.seed, "trainer": find_program("manyhands-trainer", options.trainer)}
    os.environ[SETTINGS] = json.dumps(settings)
    os.execv(client, [client, "run", "--dir", options.dir, "--sandbox", "off", "--trainer", str(pathlib.Path(__file__).resolve()),
                      *options.options])


def main():
    if sys.argv[1:2] == ["serve"] and SETTINGS in os.environ:
        sys.exit(Proxy(json.loads(os.environ[SETTINGS]), sys.argv[1:]).run())
    become_client(parse_options())


if __name__ == "__main__":
    main()
