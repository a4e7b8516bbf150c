"""The OCaml benchmark over a Merkle tree, compiled and run on this machine."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from guestbench.guest.contract import find_reports
from guestbench.provision.programs import program_sources

pytestmark = pytest.mark.skipif(shutil.which("ocamlopt") is None, reason="ocamlopt is not installed")

PARTS = ("build_info.ml", "bench.ml", "merkle_store.ml", "linux.ml", "main.ml", "stubs.c")
SMALL = ("commits=7", "depth=2", "width=3", "changes=4")


@pytest.fixture(scope="session")
def merkle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled once."""
    work = tmp_path_factory.mktemp("merkle")
    for name, path in program_sources("merkle").items():
        shutil.copyfile(path, work / name)
    info = {"source": "0123456789abcdef", "compiler": "ocaml-4.13.1", "flags": "-static"}
    (work / "build_info.ml").write_text("".join(f'let {key} = "{value}"\n' for key, value in info.items()))
    subprocess.run(["ocamlopt", "-o", "merkle", *PARTS], cwd=work, check=True, capture_output=True)
    return work / "merkle"


def run(program: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a run."""
    done = subprocess.run([program, *arguments], capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout.decode()


def digest_of(output: str) -> str:
    """The digest on the end line."""
    found = re.search(
        r"^\[work end merkle done=\d+ digest=([0-9a-f]{32}) guest_ns=\d+\]$", output, re.MULTILINE
    )
    assert found is not None, output
    return found[1]


def fact(output: str, name: str) -> int:
    """One of the numbers behind the end."""
    found = re.search(rf"^{name}=(\d+)$", output, re.MULTILINE)
    assert found is not None, output
    return int(found[1])


# --- the scheme once more, from its description alone -----------------------------------------------------


class Model:
    """The store and the benchmark as merkle_store.ml and bench.ml describe them."""

    def __init__(self, commits: int, depth: int, width: int, changes: int) -> None:
        self.depth, self.width = depth, width
        self.objects: dict[bytes, bytes] = {}
        self.values = dict.fromkeys(range(width**depth), 0)
        state = 20_000_101
        parent = b""
        roots = b""
        for number in range(commits + 1):
            for _ in range(changes if number else 0):
                state = (25_214_903_917 * state + 11) % 2**48
                leaf = (state >> 17) % width**depth
                state = (25_214_903_917 * state + 11) % 2**48
                self.values[leaf] = (state >> 17) % 1_000_000_000
            root = self.put_node(0, width**depth)
            parent = self.put(b"c%d %s%s" % (number, root, parent))
            roots += root.hex().encode() + b"\n" if number else b""
        self.digest = hashlib.md5(roots).hexdigest()

    def put(self, data: bytes) -> bytes:
        """Keep an object."""
        name = hashlib.md5(data).digest()
        self.objects[name] = data
        return name

    def put_node(self, first: int, count: int) -> bytes:
        """Keep the subtree of `count` leaves from `first` on."""
        if count == 1:
            return self.put(b"l" + (b"%d %d" % (first, self.values[first])).ljust(64, b"."))
        share = count // self.width
        children = (self.put_node(first + i * share, share) for i in range(self.width))
        return self.put(b"n" + b"".join(b"\x02%02x%s" % (i, child) for i, child in enumerate(children)))

    def count(self, kind: bytes) -> int:
        """How many different objects of a kind there are."""
        return sum(data.startswith(kind) for data in self.objects.values())


def test_lines_follow_the_contract(merkle: Path) -> None:
    """A run would report that the guest does no work, or credit it with other work."""
    status, output = run(merkle, *SMALL)
    assert status == 0
    lines = output.splitlines()
    assert lines[0] == "[init done]"
    assert lines[1] == (
        "[work begin merkle source=0123456789abcdef compiler=ocaml-4.13.1 flags=-static"
        " commits=7 depth=2 width=3 changes=4]"
    )
    assert re.search(r"done=7 digest=[0-9a-f]{32} guest_ns=[1-9]\d*\]\n\[run done\]\n", output)
    assert fact(output, "top_heap_words") > 0
    (report,) = find_reports(output.encode(), lambda _: 0)
    assert report.end_ns is not None


def test_digest_depends_on_the_parameters_alone(merkle: Path) -> None:
    """Two guests could do different work and be compared as if they did the same."""
    digests = [digest_of(run(merkle, *SMALL)[1]) for _ in range(2)]
    assert digests[0] == digests[1]
    others = [("commits=8", *SMALL[1:]), (*SMALL[:3], "changes=5"), (SMALL[0], "depth=3", *SMALL[2:])]
    assert len({digests[0], *(digest_of(run(merkle, *words)[1]) for words in others)}) == 4


@pytest.mark.parametrize("shape", [(7, 2, 3, 4), (25, 3, 4, 9), (3, 1, 17, 40)])
def test_digest_is_that_of_a_merkle_tree(merkle: Path, shape: tuple[int, int, int, int]) -> None:
    """The program could skip its work, or do it wrong on every system alike, without being noticed."""
    names = ("commits", "depth", "width", "changes")
    output = run(merkle, *(f"{name}={value}" for name, value in zip(names, shape, strict=True)))[1]
    model = Model(*shape)
    assert digest_of(output) == model.digest
    assert fact(output, "merkle_leaves") == model.count(b"l")
    assert fact(output, "merkle_nodes") == model.count(b"n")
    assert fact(output, "merkle_commits") == model.count(b"c")


def test_commits_share_what_they_do_not_change(merkle: Path) -> None:
    """Memory would grow by a whole tree with each commit, and a small guest would run out of it."""
    output = run(merkle, "commits=50", "depth=3", "width=8", "changes=1")[1]
    whole = 8**2 + 8 + 1
    assert fact(output, "merkle_nodes") <= whole + 50 * 3


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("commits", "'commits' is not of the form key=value"),
        ("speed=1", "there is no parameter 'speed'"),
        ("commits=0", "commits must be a number from 1"),
        ("commits=0x10", "commits must be a number"),
        ("width=1", "width must be a number from 2"),
        ("changes=-1", "changes must be a number"),
        ("depth=8", "width=16 and depth=8 make more than 1000000 leaves"),
    ],
)
def test_wrong_arguments_are_errors(merkle: Path, word: str, why: str) -> None:
    """A mistyped parameter would silently measure the default work."""
    status, output = run(merkle, word)
    assert status == 2
    assert output.startswith("error: ")
    assert why in output
    assert "[work" not in output
