"""The source tree as the lints see it: files, their code without comments and strings, statements, functions."""
import os
import re
import subprocess
from dataclasses import dataclass, field

CODE = (".h", ".cpp")


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: [{self.rule}] {self.message}"


def _blank(match):
    """The same number of lines and columns, nothing in them."""
    return re.sub(r"[^\n]", " ", match.group(0))


_COMMENT_OR_LITERAL = re.compile(
    r"""//[^\n]*(?:\\\n[^\n]*)*            # line comment
      | /\*.*?\*/                          # block comment
      | R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"   # raw string
      | "(?:[^"\\\n]|\\.)*"                # string
      | (?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+'  # character, not the separator of digits
    """,
    re.VERBOSE | re.DOTALL,
)


def _blank_comment(match):
    return _blank(match) if match.group(0).startswith(("//", "/*")) else match.group(0)


def _blank_literal(match):
    text = match.group(0)
    if text.startswith(("//", "/*")) or len(text) < 2:
        return _blank(match)
    return text[0] + _blank(re.match(r"(?s).*", text[1:-1])) + text[-1]


@dataclass
class File:
    path: str  # relative to the root, with '/'
    text: str
    code: str = field(default="", repr=False)  # comments and the insides of literals blanked
    no_comments: str = field(default="", repr=False)  # comments blanked, literals kept

    def __post_init__(self):
        if self.path.endswith(CODE) or self.path.endswith(".proto"):
            self.code = _COMMENT_OR_LITERAL.sub(_blank_literal, self.text)
            self.no_comments = _COMMENT_OR_LITERAL.sub(_blank_comment, self.text)

    @property
    def is_code(self):
        return self.path.endswith(CODE)

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def includes(self):
        """(line, target, is_quoted) of each #include."""
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', self.no_comments, re.M):
            yield self.line_of(match.start(2)), match.group(2), match.group(1) == '"'

    def allows(self, rule, line):
        """Whether the line, or the one above it, carries `lint: allow RULE`."""
        lines = self.text.split("\n")
        return any(f"lint: allow {rule}" in text for text in lines[max(0, line - 2):line])


def read_tree(root):
    """Every text file that git tracks or would track; without git, every file outside build/."""
    try:
        names = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = [s for s in subfolders if s not in (".git", "build", "__pycache__")]
            names += [os.path.relpath(os.path.join(folder, name), root) for name in files]
    tree = []
    for name in sorted(set(filter(None, names))):
        path = os.path.join(root, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, "rb") as stream:
            content = stream.read()
        if b"\0" in content:
            continue
        tree.append(File(name.replace(os.sep, "/"), content.decode("utf-8", "replace")))
    return tree


def functions(file):
    """(name, first line, number of lines) of each function body, from its opening to its closing brace.

    Braces are matched on the blanked code; what stands before a brace says what it opens. A lambda counts with the
    function around it."""
    stack = []
    boundary = 0
    code = re.sub(r"^[ \t]*#[^\n]*(?:\\\n[^\n]*)*", lambda m: _blank(m), file.code, flags=re.M)
    for match in re.finditer(r"[{};]", code):
        at = match.start()
        if match.group(0) == "{":
            head = code[boundary:at].strip()
            head = re.sub(r"^(?:public|private|protected)\s*:\s*", "", head)
            inside = bool(stack) and stack[-1][0] in ("function", "inner", "data")
            if inside:
                kind = "inner"
            elif re.match(r"(inline\s+)?namespace\b|extern\b\s*\"", head):
                kind = "namespace"
            elif re.match(r"(template\s*<.*>\s*)?(typedef\s+)?(class|struct|union|enum)\b[^()]*$", head, re.S):
                kind = "type"
            elif head.endswith("=") or (head and "(" not in head and not head.startswith(",")):
                kind = "data"
            else:
                kind = "function"
            name = re.search(r"([~\w:]+(?:<[^<>()]*>)?)\s*\(", head)
            stack.append((kind, at, name.group(1) if name else "(body)"))
        elif match.group(0) == "}" and stack:
            kind, start, name = stack.pop()
            if kind == "function":
                first, last = file.line_of(start), file.line_of(at)
                yield name, first, last - first + 1
        boundary = match.end()


def statements_with(file, word):
    """(offset, statement) of each full expression that contains `word`: back to the ; { or } before it, forward to
    the ; or to the block that it opens. Offset is that of the word."""
    code = file.code
    for match in re.finditer(rf"\b{word}\b", code):
        start, depth = match.start(), 0
        while start > 0:
            c = code[start - 1]
            if c in ")]":
                depth += 1
            elif c in "([":
                depth -= 1
            elif c == "}" and (depth > 0 or re.match(r"\s*[,).]", code[start:start + 200])):
                depth_braces, start = 1, start - 1
                while start > 0 and depth_braces:
                    start -= 1
                    depth_braces += {"}": 1, "{": -1}.get(code[start], 0)
                continue
            elif c in ";{}" and not (c == "{" and _opens_argument(code, start - 1)):
                break
            start -= 1
        end, depth = match.end(), code.count("(", start, match.end()) - code.count(")", start, match.end())
        while end < len(code):
            c = code[end]
            if c == "(":
                depth += 1
            elif c == ")":
                depth -= 1
            elif c == ";" and depth <= 0:
                break
            elif c == "{" and depth <= 0 and re.search(r"\)\s*$|\belse\s*$|\bdo\s*$", code[start:end]):
                break
            end += 1
        yield match.start(), code[start:end]


def _opens_argument(code, at):
    """Whether the brace at `at` opens a braced argument, `f({` or `f(a, T{`, rather than a block."""
    before = code[:at].rstrip()
    return before.endswith(("(", ",")) and not before.endswith("){")
