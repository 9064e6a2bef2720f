"""Who may include and link whom: the arrows of docs/architecture.md."""
import re

from source import Finding

# folder -> folders it may use. The longest folder that fits a path decides.
ARROWS = {
    "proto/base": (),
    "proto": ("proto/base",),
    "proto/net": ("proto/base", "proto"),
    "trainer/model": ("proto/base",),
    "trainer/update": ("proto/base", "trainer/model"),
    "trainer/robust": ("proto/base", "trainer/model", "trainer/update"),
    "scheduler": ("proto/base", "proto", "trainer/model"),
    "trainer/engine": ("proto/base", "trainer/model", "trainer/update", "trainer/robust", "scheduler"),
    "server": ("proto/base", "proto", "proto/net", "scheduler", "trainer/model", "trainer/update", "trainer/robust"),
    "client/sandbox": ("proto/base",),
    "client/daemon": ("proto/base", "proto", "proto/net", "client/sandbox"),
    "client/cli/import": ("proto/base",),
    "client/cli": ("proto/base", "proto", "proto/net", "client/cli/import", "trainer/model", "trainer/update",
                   "trainer/robust"),
}
# Of a folder that may be used, only these headers: the reference run needs the plan of a job, not the coordinator.
ONLY_HEADERS = {
    ("trainer/engine", "scheduler"): ("job_spec.h", "job_check.h", "planner.h"),
}
LIBRARIES = {
    "mh_base": "proto/base", "mh_proto": "proto", "mh_net_core": "proto/net", "mh_net": "proto/net",
    "mh_model": "trainer/model", "mh_update": "trainer/update", "mh_robust": "trainer/robust", "mh_scheduler": "scheduler",
    "mh_engine": "trainer/engine", "mh_trainer": "trainer/engine", "mh_server": "server",
    "mh_sandbox_layers": "client/sandbox", "mh_sandbox": "client/sandbox", "manyhands-sandbox": "client/sandbox",
    "mh_client_core": "client/daemon", "mh_client": "client/daemon", "mh_import": "client/cli/import",
    "mh_cli_core": "client/cli", "mh_cli": "client/cli",
    "manyhands-server": "server", "manyhands-client": "client/daemon", "manyhands": "client/cli",
    "manyhands-trainer": "trainer/engine", "manyhands-trainer-packaged": "trainer/engine",
}
TORCH = re.compile(r"(torch|ATen|c10|caffe2)/")
ASIO = re.compile(r"boost/(asio|beast)\b")
# What the wheel's include folder shadows, so that no file may see both.
SHADOWED = re.compile(r"(google/protobuf|spdlog|fmt)/|.*\.pb\.h$")
# Folders and files that decide: no I/O, clock or thread in them.
PURE = re.compile(r"scheduler/|trainer/model/|client/daemon/host_(core|work|status|types)\b")
PURE_BANNED = re.compile(
    r"(thread|mutex|shared_mutex|condition_variable|future|fstream|filesystem|random|unistd\.h|fcntl\.h|sys/.*|sqlite3\.h"
    r"|iostream|proto/base/file\.h|proto/base/log\.h)$|boost/(asio|beast)\b")


def folder_of(path):
    best = ""
    for folder in ARROWS:
        if (path + "/").startswith(folder + "/") and len(folder) > len(best):
            best = folder
    if not best and path.startswith("manyhands/v1/"):
        best = "proto"  # generated
    return best


def check_arrows(tree):
    for file in tree:
        here = folder_of(file.path)
        if not file.is_code or not here:
            continue
        for line, target, is_quoted in file.includes():
            there = folder_of(target)
            if not is_quoted or not there or there == here:
                continue
            if there not in ARROWS[here]:
                yield Finding(file.path, line, "arrows", f"{here} must not include {there} ({target})")
            only = ONLY_HEADERS.get((here, there))
            if only and target.split("/")[-1] not in only:
                yield Finding(file.path, line, "arrows",
                              f"{here} may include of {there} only {', '.join(only)}, not {target}")


def check_link_lines(tree):
    for file in tree:
        if not file.path.endswith("CMakeLists.txt") or file.path.startswith("tests/"):
            continue
        text = re.sub(r"#[^\n]*", lambda m: " " * len(m.group(0)), file.text)
        for match in re.finditer(r"target_link_libraries\(\s*(\S+)([^)]*)\)", text):
            here = LIBRARIES.get(match.group(1))
            if match.group(1).startswith(("mh_", "manyhands")) and not here:
                yield Finding(file.path, file.line_of(match.start()), "arrows",
                              f"library {match.group(1)} has no folder in tests/lint/layering.py")
            for name in match.group(2).split():
                there = LIBRARIES.get(name)
                if here and there and there != here and there not in ARROWS[here]:
                    yield Finding(file.path, file.line_of(match.start()), "arrows",
                                  f"{match.group(1)} ({here}) must not link {name} ({there})")


def check_confinement(tree):
    for file in tree:
        if not file.is_code or file.path.startswith("tests/"):
            continue
        for line, target, _ in file.includes():
            if TORCH.match(target) and not file.path.startswith("trainer/engine/"):
                yield Finding(file.path, line, "confinement", f"torch only in trainer/engine ({target})")
            if TORCH.match(target) and file.path.endswith(".h") and file.path.count("/") == 2 and \
                    file.path in PUBLIC_ENGINE_HEADERS:
                yield Finding(file.path, line, "confinement", "this header is what torch-free code includes")
            if ASIO.match(target) and not file.path.startswith(("proto/net/", "server/", "client/")):
                yield Finding(file.path, line, "confinement",
                              f"Asio only in proto/net, server, client ({target})")
            if target == "sqlite3.h" and not file.path.startswith("server/sqlite_"):
                yield Finding(file.path, line, "confinement", "sqlite3.h only in server/sqlite_*")
            if PURE.match(file.path) and PURE_BANNED.match(target):
                yield Finding(file.path, line, "confinement", f"this file decides: no I/O, clock, thread ({target})")
        if PURE.match(file.path):
            for match in re.finditer(r"\b(system_clock|steady_clock)::now\b|\bClock::(system|real)\b", file.code):
                yield Finding(file.path, file.line_of(match.start()), "confinement",
                              "this file decides: `now` is an argument")


PUBLIC_ENGINE_HEADERS = ("trainer/engine/engine.h", "trainer/engine/device.h", "trainer/engine/frames.h")


def check_torch_meets_no_shadowed_header(tree):
    """No translation unit of ours sees torch's headers and those that its folder shadows, by whatever way."""
    by_path = {file.path: file for file in tree if file.is_code}

    def reached(path, seen):
        for _, target, is_quoted in by_path[path].includes():
            yield target
            if is_quoted and target in by_path and target not in seen:
                seen.add(target)
                yield from reached(target, seen)

    for path, file in by_path.items():
        if not path.startswith("trainer/") or not path.endswith(".cpp"):
            continue
        targets = list(reached(path, {path}))
        shadowed = sorted(t for t in targets if SHADOWED.match(t))
        if shadowed and any(TORCH.match(t) for t in targets):
            yield Finding(path, 1, "torch-shadow",
                          f"sees torch and {shadowed[0]}, whose headers torch's include folder shadows")


SQL = re.compile(
    r"\b(SELECT\s.+?\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|DELETE\s+FROM\s|UPDATE\s+\w+\s+SET\s"
    r"|CREATE\s+(UNIQUE\s+)?(TABLE|INDEX)\s|BEGIN\s+IMMEDIATE|PRAGMA\s+\w)", re.S)


def check_sql(tree):
    for file in tree:
        if not file.is_code or file.path.startswith(("server/sqlite_", "tests/")):
            continue
        for match in re.finditer(r'"(?:[^"\\\n]|\\.)*"', file.no_comments):
            if SQL.search(match.group(0)):
                yield Finding(file.path, file.line_of(match.start()), "sql", "SQL only in server/sqlite_*")


RULES = (check_arrows, check_link_lines, check_confinement, check_torch_meets_no_shadowed_header, check_sql)
