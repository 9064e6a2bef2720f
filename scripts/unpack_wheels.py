#!/usr/bin/env python3
"""Unpacks wheels into one site-packages folder, as pip would, but only what C++ programs use.

    unpack_wheels.py FOLDER WHEEL...

Left out: Python sources and bindings, command-line tools, static libraries (a third of the files). A file
that is there already is replaced, not written into: it may be a hard link of another installation. The
caller has compared the hashes of the wheels.
"""
import os
import shutil
import sys
import zipfile

LEFT_OUT_ENDINGS = (".py", ".pyi", ".a", ".pyc", ".pxd", ".ipynb")
LEFT_OUT_FOLDERS = ("torch/bin/", "torch/test/", "torch/testing/", "torch/_inductor/", "torchgen/", "functorch/")
LEFT_OUT_FILES = ("torch/lib/libtorch_python.so",)
KEPT = ("torch/version.py",)


def is_wanted(name):
    if name in KEPT:
        return True
    return not (name.endswith("/") or name.endswith(LEFT_OUT_ENDINGS)
                or name.startswith(LEFT_OUT_FOLDERS) or name in LEFT_OUT_FILES)


def unpack(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            if not is_wanted(item.filename):
                continue
            path = os.path.normpath(os.path.join(folder, item.filename))
            if not path.startswith(folder + os.sep):
                sys.exit(f"unpack_wheels: {wheel}: '{item.filename}' leads out of the folder")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.lexists(path):
                os.unlink(path)
            with archive.open(item) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder = os.path.abspath(sys.argv[1])
    for wheel in sys.argv[2:]:
        unpack(wheel, folder)


if __name__ == "__main__":
    main()
