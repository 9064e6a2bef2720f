"""Sizes, words, banned calls, coroutine traps, leftovers: what docs/decisions and the style of the code settle."""
import os
import re
import subprocess

from source import Finding, functions, statements_with

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
RATCHET = "tests/lint/long_functions.txt"
SELF = "tests/lint/"


def check_file_sizes(tree):
    for file in tree:
        lines = file.text.count("\n")
        if file.path.endswith((".h", ".cpp", ".py", ".sh", ".proto")) and lines > FILE_LINES_MAX:
            yield Finding(file.path, 1, "size", f"{lines} lines, the ceiling is {FILE_LINES_MAX}: split it")


def check_function_sizes(tree):
    """Functions over the ceiling must be listed with their length, may not grow, and leave the list when they fit."""
    allowed = {}
    for file in tree:
        if file.path == RATCHET:
            for line in file.text.splitlines():
                if line.strip() and not line.startswith("#"):
                    path, name, lines = line.split()
                    allowed[(path, name)] = int(lines)
    used = set()
    for file in tree:
        if not file.is_code:
            continue
        for name, line, lines in functions(file):
            if lines <= FUNCTION_LINES_MAX:
                continue
            limit = allowed.get((file.path, name), FUNCTION_LINES_MAX)
            used.add((file.path, name))
            if lines > limit:
                yield Finding(file.path, line, "size",
                              f"{name} has {lines} lines, the ceiling is {limit}: split it")
            elif lines < limit:
                yield Finding(RATCHET, 1, "size", f"{file.path} {name} has only {lines} lines now: list that")
    for path, name in sorted(set(allowed) - used):
        yield Finding(RATCHET, 1, "size", f"{path} {name} is within the ceiling or gone: take it off the list")


def check_lines(tree):
    for file in tree:
        if file.path.startswith("tests/golden/") or file.path == "LICENSE":
            continue
        lines = file.text.split("\n")
        for number, line in enumerate(lines, 1):
            if line.endswith((" ", "\t", "\r")):
                yield Finding(file.path, number, "line", "white space at the end")
            if file.path.endswith((".h", ".cpp", ".proto")):
                if "\t" in line:
                    yield Finding(file.path, number, "line", "tab")
                if len(line) > COLUMNS_MAX and "://" not in line:
                    yield Finding(file.path, number, "line", f"{len(line)} columns, the limit is {COLUMNS_MAX}")
        if file.text and not file.text.endswith("\n"):
            yield Finding(file.path, len(lines), "line", "no newline at the end of the file")


def check_openings(tree):
    """Headers have #pragma once and open with a comment that says what they are; so does every source file, unless
    it begins with its own header, which has said it."""
    for file in tree:
        if not file.is_code:
            continue
        name = os.path.splitext(file.path)[0]
        own = (f'#include "{name}.h"\n', f'#include "{re.sub(r"^tests/unit/|_test$", "", name)}.h"\n')
        if not file.text.startswith(("//",) + (own if file.path.endswith(".cpp") else ())):
            yield Finding(file.path, 1, "opening", "opens without a comment on what it is and where it stands")
        if file.path.endswith(".h") and "\n#pragma once\n" not in file.text:
            yield Finding(file.path, 1, "opening", "no #pragma once")


# The glossary's words: never these for workunit, host, step, pass.
BANNED_WORDS = {"task", "tasks", "node", "nodes", "epoch", "epochs"}
INSTEAD = {"task": "workunit", "node": "host", "epoch": "pass", "round": "step"}
ALLOWED_IDENTIFIERS = {"time_since_epoch", "node_type"}
ROUND = re.compile(r"(?:.*_)?rounds?(?:_(?:id|number|count|index))?$")
ROUND_FUNCTIONS = {"round", "lround", "llround"}


def words_of(identifier):
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", identifier)
    return [word.lower() for word in spaced.split("_") if word]


def check_words(tree):
    for file in tree:
        if not file.is_code and not file.path.endswith(".proto"):
            continue
        code = re.sub(r"^[ \t]*#[ \t]*include[^\n]*", lambda m: " " * len(m.group(0)), file.code, flags=re.M)
        is_yaml = "yaml" in file.text.lower()
        for match in re.finditer(r"(?<![\w.])(?:\w+::)*(\w+)", code):
            identifier = match.group(1)
            if match.group(0).startswith(("std::", "YAML::", "torch::", "at::", "google::")):
                continue
            if identifier in ALLOWED_IDENTIFIERS or identifier.isdigit():
                continue
            found = BANNED_WORDS.intersection(words_of(identifier))
            if is_yaml:
                found -= {"node", "nodes"}  # there it is a node of a document, not of a cluster
            is_call = re.match(r"\s*\(", code[match.end():])
            is_round_trip = file.path.startswith("tests/") and identifier == "round"
            if ROUND.match(identifier.lower()) and not is_round_trip and not (
                    identifier in ROUND_FUNCTIONS and is_call):
                found = {"round"}
            for word in found:
                noun = word.rstrip("s")
                yield Finding(file.path, file.line_of(match.start(1)), "words",
                              f"'{identifier}': the glossary says {INSTEAD[noun]}, never {noun}")


LEFTOVER = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
PROMISE = re.compile(r"\bnot (?:yet )?implemented\b", re.I)


def check_leftovers(tree):
    for file in tree:
        if file.path.startswith(SELF) or file.path == "LICENSE":
            continue
        found = list(LEFTOVER.finditer(file.text)) + (list(PROMISE.finditer(file.text)) if file.is_code else [])
        for match in found:
            line = file.line_of(match.start())
            if not file.allows("leftover", line):
                yield Finding(file.path, line, "leftover", f"'{match.group(0)}'")


BANNED_CALLS = (
    (r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca)\s*\(", "no bound or no reentrancy", None),
    (r"(?<![\w.>])(?:std::)?(system|popen)\s*\(", "a shell is never needed", None),
    (r"(?<![\w.>:])(?:std::)?s?rand\s*\(\s*\w*\s*\)", "randomness comes from proto/base/random.h", None),
    (r"\brandom_device\b", "randomness comes from proto/base/random.h", "proto/base/"),
    (r"\bstd::\w+_distribution\b", "not the same on every library: use proto/base/random.h", None),
    (r"\bstd::(mt19937\w*|default_random_engine)\b", "use proto/base/random.h", None),
    (r"(?<![\w.>:])(?:std::)?(atoi|atol|atoll|atof)\s*\(", "reports no error: use std::from_chars", None),
    (r"(?<![\w.>])(?:std::)?(gmtime|localtime|asctime|ctime)\s*\(", "not safe with threads", None),
    (r"(?<![\w.>:])assert\s*\(", "MH_CHECK stays on in release builds", None),
    (r"\busing\s+namespace\s+std\b", "name what you use", None),
)


def check_banned_calls(tree):
    for file in tree:
        if not file.is_code:
            continue
        for pattern, why, allowed in BANNED_CALLS:
            for match in re.finditer(pattern, file.code):
                line = file.line_of(match.start())
                if (allowed and file.path.startswith(allowed)) or file.allows("banned-call", line):
                    continue
                yield Finding(file.path, line, "banned-call", f"{match.group(0).strip()}: {why}")


CAPTURING_LAMBDA = re.compile(r"(?:^|[(,={&|?:]|\breturn)\s*\[[^\[\]]*[\w&=][^\[\]]*\]\s*(?:\(|\{|mutable\b)")
CAPTURING_COROUTINE = re.compile(r"\[[^\[\]]*[\w&=][^\[\]]*\]\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*(?:mutable\s*)?(?:noexcept\s*)?->\s*(?:\w+::)*awaitable\s*<")


def check_coroutines(tree):
    """g++ 12.2 destroys a braced temporary or capturing lambda twice when its full expression also has co_await."""
    for file in tree:
        if not file.is_code:
            continue
        for offset, statement in statements_with(file, "co_await"):
            line = file.line_of(offset)
            if file.allows("co_await", line):
                continue
            if re.search(r"[\w(,=>]\s*\{", statement) and "co_await" in statement:
                yield Finding(file.path, line, "co_await",
                              "braced temporary in a statement with co_await: name it first (g++ 12.2 destroys it twice)")
            elif CAPTURING_LAMBDA.search(statement):
                yield Finding(file.path, line, "co_await",
                              "capturing lambda in a statement with co_await: name it first (g++ 12.2 destroys it twice)")
        for match in CAPTURING_COROUTINE.finditer(file.code):
            if not file.allows("co_await", file.line_of(match.start())):
                yield Finding(file.path, file.line_of(match.start()), "co_await",
                              "a capturing lambda is a coroutine: its captures die before it does, pass arguments by value")


MACHINE_PATH = re.compile(r"(?<![\w.$}/])/(?:root|work|home/\w+)/[\w.]|/tmp/team\b|files\.pythonhosted\.org|\.pyenv\b")


def check_machine_paths(tree):
    for file in tree:
        if file.path.startswith(SELF):
            continue
        for match in MACHINE_PATH.finditer(file.text):
            yield Finding(file.path, file.line_of(match.start()), "machine-path",
                          f"'{match.group(0)}' is a place on somebody's machine")


def check_tests_are_run(tree):
    """A unit test in a folder that tests/CMakeLists.txt does not name would never be built."""
    listed = set()
    for file in tree:
        if file.path == "tests/CMakeLists.txt":
            for match in re.finditer(r"FOLDERS\s+([\w\s]+?)\s+LIBRARIES", file.text):
                listed.update(match.group(1).split())
    for file in tree:
        match = re.match(r"tests/unit/(.*)/([^/]+)\.cpp$", file.path)
        if match and match.group(1) not in listed:
            yield Finding(file.path, 1, "tests", f"tests/CMakeLists.txt does not name the folder {match.group(1)}")
        elif match and not match.group(2).endswith("_test"):
            yield Finding(file.path, 1, "tests", "a file of unit tests is named *_test.cpp, else it is not built")


def check_links(tree):
    """Relative links of the documents lead to a file of the tree."""
    paths = {file.path for file in tree}
    folders = {os.path.dirname(path) for path in paths}
    for path in list(folders):
        while path:
            folders.add(path)
            path = os.path.dirname(path)
    for file in tree:
        if not file.path.endswith(".md"):
            continue
        text = re.sub(r"```.*?```", lambda m: re.sub(r"[^\n]", " ", m.group(0)), file.text, flags=re.S)
        for match in re.finditer(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", text):
            if "://" in match.group(1) or match.group(1).startswith("mailto:"):
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(file.path), match.group(1)))
            if target not in paths and target not in folders:
                yield Finding(file.path, file.line_of(match.start()), "link", f"{match.group(1)} does not exist")


def check_scripts_parse(tree):
    for file in tree:
        if file.path.endswith(".py"):
            try:
                compile(file.text, file.path, "exec")
            except SyntaxError as error:
                yield Finding(file.path, error.lineno or 1, "script", error.msg)
        elif re.match(r"#!.*\bbash\b", file.text):
            done = subprocess.run(["bash", "-n"], input=file.text, text=True, capture_output=True)
            if done.returncode:
                yield Finding(file.path, 1, "script", done.stderr.strip().split("\n")[0])


RULES = (check_file_sizes, check_function_sizes, check_lines, check_openings, check_words, check_leftovers,
         check_banned_calls, check_coroutines, check_machine_paths, check_tests_are_run, check_links,
         check_scripts_parse)
