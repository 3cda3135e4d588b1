"""Compiled code on disk: found again, never trusted when damaged; whatever happens to it, results are right."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.__main__ import main
from retape.codegen import cache, identity, kernels
from retape.codegen.native import engine, objects, player
from retape.ir.errors import CacheRefused

ROOT = Path(__file__).resolve().parent.parent
POSIX = pytest.mark.skipif(os.name == "nt", reason="permissions, pipes and forks of POSIX")
SIMPLE = pytest.mark.skipif(not objects.possible(), reason="object code of another kind, which LLVM loads")

MLP = """
import json, sys
import numpy as np
import retape as rt
sys.path.insert(0, {root!r})
from benchmarks.workloads import mlp
from retape.codegen import cache
call = mlp.retape(mlp.tiny())
call()
value, parameters = call()
found = [np.asarray(a, np.float64).tolist() for a in (value, *parameters)]
packages = [m for m in ("numba", "llvmlite", "sympy", "scipy.linalg", "retape.codegen.lower") if m in sys.modules]
store = cache.current()
print(json.dumps([found, packages, [store.hits, store.misses, store.damaged]]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder in use, in a process that has no kernel yet."""
    player.player()  # so that only kernels are counted
    place = tmp_path / "kernels"
    monkeypatch.setenv(cache.FOLDER, str(place))
    monkeypatch.setattr(kernels, "_built", {})
    cache._open.cache_clear()
    yield place
    cache._open.cache_clear()


def forget() -> None:
    """As in a new process: no kernel is known, nothing has been counted."""
    kernels._built.clear()
    cache._open.cache_clear()


def compute() -> tuple[Any, Any]:
    """A compiled value and gradient, and what eager code gives."""
    def f(x: Any) -> Any:
        return (rt.tanh(x) * 2.0 + 1.0).sum()

    x = np.linspace(-1.0, 1.0, 1001)
    compiled = rt.compile(rt.func.value_and_grad(f), fallback="error")
    compiled(x)
    return compiled(x), rt.func.value_and_grad(f)(x)


def compute_another() -> None:
    """A second kernel, small and soon built."""
    x = np.arange(100.0)
    compiled = rt.compile(lambda x: x * 5.0, fallback="error")
    for _ in range(2):
        assert np.array_equal(compiled(x), x * 5.0)


def check() -> cache.Cache:
    """Compile and compare; the cache as it was met."""
    found, expected = compute()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    return cache.current()


def entries(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.suffix in (".kernel", ".program"))


def start(script: str, place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script], env={**os.environ, cache.FOLDER: str(place)}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def code(place: Path, name: str, size: int = 100) -> cache.Entry:
    """Some bytes that stand for object code."""
    return cache.Entry(name, name.encode() * size)


# ---- found again


def test_a_process_that_finds_its_kernels_imports_no_compiler(tmp_path: Path) -> None:
    script = MLP.format(root=str(ROOT))
    cold = finish(start(script, tmp_path / "one"))
    stored = {path.name: path.read_bytes() for path in entries(tmp_path / "one")}
    warm = finish(start(script, tmp_path / "one"))
    assert cold[0] == warm[0]
    assert {"llvmlite", "retape.codegen.lower"} <= set(cold[1])
    assert "numba" not in cold[1]
    assert not set(warm[1]) - (set() if objects.possible() else {"llvmlite"})
    assert cold[2] == [0, len(stored), 0] and warm[2] == [len(stored), 0, 0]
    assert len(stored) >= 6  # kernels, the player, the matrix product, the program
    # no address of a process is in what is kept: another one, with other addresses, makes the same bytes
    finish(start(script, tmp_path / "two"))
    assert {path.name: path.read_bytes() for path in entries(tmp_path / "two")} == stored


def test_kernels_are_loaded_once_for_each_text(folder: Path) -> None:
    first = check()
    assert first.misses == len(entries(folder)) and not first.hits
    assert check().misses == first.misses  # known to the process
    forget()
    second = check()
    assert (second.hits, second.misses) == (first.misses, 0)


def test_a_loaded_kernel_can_be_looked_at(folder: Path) -> None:
    x = np.linspace(0.0, 1.0, 500)
    shown = []
    for _ in range(2):
        kernel = rt.compile(lambda x: (x * 3.0).sum()).specialize(x).kernels[0]
        shown.append((kernel.source, kernel.text, kernel.llvm, kernel.asm))
        forget()
    assert shown[0] == shown[1] and "define" in shown[0][2] and "ret" in shown[0][3]


@pytest.mark.parametrize("change", ["version_of", "processor", "source_hash"])
def test_keys_depend_on_the_environment(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key("kernel", "text")
    monkeypatch.setattr(identity, change, lambda *_: "another")
    identity.identity.cache_clear()
    try:
        assert cache.key("kernel", "text") != before
    finally:
        monkeypatch.undo()
        identity.identity.cache_clear()
    assert cache.key("kernel", "text") == before


def test_keys_depend_on_text_types_and_options() -> None:
    parts = [("text",), ("text", ("f64",)), ("text", ("f32",)), ("text", ("f64",), 1), ("text", ("f64",), 1, ()),
             ("text", ("f64",), 1, (("contract", False),)), ("text", ("f64",), 1, (("contract", True),))]
    assert len({cache.key(*p) for p in parts}) == len(parts)


def test_versions_are_those_of_the_metadata() -> None:
    from importlib.metadata import version

    assert [identity.version_of(p) for p in ("numba", "llvmlite")] == [version("numba"), version("llvmlite")]
    with pytest.raises(LookupError, match="no_such_package is not installed"):
        identity.version_of("no_such_package")


def test_options_of_a_kernel_are_part_of_it(folder: Path) -> None:
    x = np.linspace(0.0, 1.0, 500)
    emitted = rt.compile(lambda x: x * 3.0 + 1.0).specialize(x).kernels[0].emitted
    plain, strict = kernels.kernel_for(emitted), kernels.kernel_for(emitted, contract=False)
    assert plain.built.symbol != strict.built.symbol and plain.built.object_code != strict.built.object_code
    forget()
    assert kernels.kernel_for(emitted, contract=False).built.object_code == strict.built.object_code
    assert cache.current().hits == 1


# ---- damaged


def _set(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _altered(place: int) -> Callable[[Path, Path], None]:
    def alter(b: bytes) -> bytes:
        at = min(place, len(b) - 1)
        return b[:at] + bytes([b[at] ^ 1]) + b[at:][1:]

    return lambda path, _: _set(path, alter)


def _pipe(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def _enormous(path: Path, _: Path) -> None:
    with open(path, "ab") as file:
        file.truncate(1 << 40)


DAMAGES: dict[str, Callable[[Path, Path], None]] = {
    "empty": lambda path, _: path.write_bytes(b"") and None,
    "cut in the mark": lambda path, _: _set(path, lambda b: b[:10]),
    "cut in the header": lambda path, _: _set(path, lambda b: b[:60]),
    "cut in the code": lambda path, _: _set(path, lambda b: b[:-1]),
    "lengthened": lambda path, _: _set(path, lambda b: b + b"\0"),
    "mark altered": _altered(3),
    "hash altered": _altered(20),
    "key altered": _altered(50),
    "name altered": _altered(90),
    "code altered": _altered(700),
    "last byte altered": _altered(-1),
    "zeros": lambda path, _: _set(path, lambda b: bytes(len(b))),
    "foreign": lambda path, _: path.write_text("#!/bin/sh\necho hello\n") and None,
    "foreign object": lambda path, _: path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(500)) and None,
    "another entry": lambda path, other: path.write_bytes(other.read_bytes()) and None,
    "a folder": _folder,
    "a pipe": _pipe,
    "enormous": _enormous,
}


@POSIX
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_repaired(damage: str, folder: Path) -> None:
    check()
    compute_another()
    good = {path: path.read_bytes() for path in entries(folder)}
    assert len(good) >= 2
    others = [*list(good)[1:], next(iter(good))]
    for path, other in zip(good, others, strict=True):
        _set(other, lambda _, other=other: good[other])
        DAMAGES[damage](path, other)
        forget()
        found = check()
        compute_another()
        assert found.damaged == 1 and found.hits == len(good) - 1
        if damage == "a folder":  # nothing that isn't the cache's own is removed
            assert path.is_dir() and found.failed
            path.rmdir()
            path.write_bytes(good[path])
        assert path.is_file() and path.read_bytes() == good[path]
    assert not list(folder.glob("*.unfinished"))


@POSIX
def test_writers_that_are_killed_leave_nothing_wrong(tmp_path: Path) -> None:
    script = """
import json, os, random, signal, sys, time
from retape.codegen import cache
def entry(i): return cache.Entry(f"name{i}", bytes([i]) * (200_000 + i))
random.seed(1)
keys = [f"{i:064x}" for i in range(8)]
right = unfinished = 0
for turn in range(60):
    child = os.fork()
    if not child:
        while True:
            for i, key in enumerate(keys):
                cache.current().store(key, entry(i))
    time.sleep(random.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for i, key in enumerate(keys):
        found = cache.current().find(key)
        assert found is None or found == entry(i)
        right += found is not None
store = cache.current()
print(json.dumps([right, store.damaged, len([n for *_, n in store.files() if n.endswith("unfinished")])]))
"""
    right, damaged, unfinished = finish(start(script, tmp_path / "cache"))
    assert right > 100 and not damaged and unfinished <= 60


# ---- nothing can be stored


def _refuse(number: int) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return refused


def _full_while_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: str, data: bytes) -> None:
        Path(path).write_bytes(data[: len(data) // 2])
        _refuse(errno.ENOSPC)()

    monkeypatch.setattr(cache, "_write", write)


def _read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def opened(path: Any, flags: int, *mode: int) -> int:
        return _refuse(errno.EROFS)() if flags & os.O_CREAT and ".unfinished" in str(path) else real(path, flags, *mode)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "utime", _refuse(errno.EROFS))


@pytest.mark.parametrize("trouble", [
    _full_while_writing, _read_only, lambda m: m.setattr(os, "replace", _refuse(errno.ENOSPC))],
    ids=["full while writing", "read-only", "full while renaming"])
def test_without_room_everything_works(trouble: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble(monkeypatch)
    found = check()
    assert found.failed and found.misses and not list(folder.iterdir())
    monkeypatch.undo()


def test_what_a_read_only_folder_holds_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check()
    forget()
    with monkeypatch.context() as patch:
        _read_only(patch)
        found = check()
    assert found.hits and not found.misses
    if os.name != "nt" and os.geteuid():  # the superuser may write everywhere
        folder.chmod(0o500)
        forget()
        compute_another()
        assert cache.current().failed
        folder.chmod(0o700)


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "file" / "cache"))
    assert check().why


# ---- several at once


def test_processes_that_compile_the_same(tmp_path: Path) -> None:
    script = MLP.format(root=str(ROOT))
    answers = [finish(p) for p in [start(script, tmp_path / "cache") for _ in range(3)]]
    assert answers[0][0] == answers[1][0] == answers[2][0]
    assert not list((tmp_path / "cache").glob("*.unfinished"))
    again = finish(start(script, tmp_path / "cache"))
    assert again[0] == answers[0][0] and again[2] == [len(entries(tmp_path / "cache")), 0, 0]


def test_threads_that_compile_the_same(folder: Path) -> None:
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(3):
                check()
        except BaseException as error:
            wrong.append(error)

    for _ in range(2):  # built, then loaded
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        forget()


@POSIX
def test_fork_after_loading(folder: Path) -> None:
    script = """
import json, os, sys
import numpy as np
import retape as rt
x = np.linspace(0.0, 1.0, 300)
f, g = rt.compile(lambda x: (x * 2.0 + 1.0).sum()), rt.compile(lambda x: (x * x).sum())
right = abs(f(x) - 600.0) < 1e-9 and abs(f(x) - 600.0) < 1e-9
child = os.fork()
right = right and abs(f(x) - 600.0) < 1e-9
right = right and abs(g(x) - g(x)) < 1e-9
if not child:
    os._exit(0 if right else 1)
print(json.dumps([bool(right), os.waitpid(child, 0)[1]]))
"""
    for _ in range(2):  # built, then loaded
        assert finish(start(script, folder)) == [True, 0]


@POSIX
def test_fork_while_another_thread_builds(tmp_path: Path) -> None:
    script = """
import json, os, threading, time
import numpy as np
import retape as rt
x = np.linspace(0.0, 1.0, 300)
def build(i):
    f = rt.compile(lambda x: (x * 1.5 + i / 7.0).sum(), fallback="error")
    return abs(float(f(x)) - float(f(x))) < 1e-9
assert rt.compile(lambda x: x * 2.0)(x)[-1] == 2.0  # recorded, so that Python's own imports are behind us
stop = threading.Event()
def work():
    i = 0
    while not stop.is_set():
        i += 1
        build(i)
thread = threading.Thread(target=work)
thread.start()
statuses = []
for n in range(12):
    time.sleep(0.023 * n)  # from the middle of the compiler's import on
    child = os.fork()
    if not child:
        os._exit(0 if build(1000 + n) else 1)
    deadline = time.monotonic() + 20.0
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    if not done:
        os.kill(child, 9)
        os.waitpid(child, 0)
    statuses.append(status if done else "hangs")
stop.set()
thread.join()
print(json.dumps(statuses))
"""
    assert finish(start(script, tmp_path / "cache")) == [0] * 12


# ---- size


def names(place: Path) -> set[str]:
    return {path.stem[-1] for path in entries(place)}


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = cache.Cache(str(tmp_path), limit=5000)
    (tmp_path / "notes.txt").write_text("x" * 100_000)
    keys = [f"{i:064x}" for i in range(10)]
    for i, key in enumerate(keys[:4]):
        store.store(key, code(tmp_path, str(i), 900))
        os.utime(tmp_path / f"{key}.kernel", ns=(i, i))
    assert names(tmp_path) == {"0", "1", "2", "3"}
    assert store.find(keys[0]) == code(tmp_path, "0", 900)  # used: now 1 is the one to go
    store.store(keys[4], code(tmp_path, "4", 900))
    store.store(keys[5], code(tmp_path, "5", 900))
    assert names(tmp_path) == {"0", "3", "4", "5"}
    assert sum(size for _, size, _ in store.files()) <= 5000
    store.store(keys[6], code(tmp_path, "6", 6000))  # would never fit
    assert names(tmp_path) == {"0", "3", "4", "5"} and (tmp_path / "notes.txt").exists()


def test_the_size_is_kept_by_many_writers(tmp_path: Path) -> None:
    """Each counts the files only now and then, so together they may be over by a part of the size each."""
    stores = [cache.Cache(str(tmp_path), limit=64_000) for _ in range(3)]
    for i in range(300):
        stores[i % 3].store(f"{i:064x}", code(tmp_path, "n", 1000))
        assert sum(size for _, size, _ in stores[0].files()) <= 64_000 + 3 * 4000
    assert len(entries(tmp_path)) > 40


def test_what_killed_writers_left_goes(tmp_path: Path) -> None:
    left = [tmp_path / f"{i:016x}.unfinished" for i in range(2)]
    for path in left:
        path.write_bytes(b"part of an entry")
    os.utime(left[0], (1, 1))
    cache.Cache(str(tmp_path)).store("0" * 64, code(tmp_path, "n"))
    assert [path.exists() for path in left] == [False, True]


@pytest.mark.parametrize(("text", "size"), [
    ("", 512 << 20), ("1000", 1000), ("64k", 64 << 10), ("2 MB", 2 << 20), ("1.5G", 3 << 29), ("0", 0)])
def test_size_as_text(text: str, size: int) -> None:
    assert cache._limit(text) == size


def test_no_size() -> None:
    with pytest.warns(CacheRefused, match=r"(?s)RT504.*RETAPE_CACHE_SIZE is 'much'.*fix"):
        assert cache._limit("much") == 512 << 20


# ---- which folder


@POSIX
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o702])
def test_a_folder_that_others_may_write_is_refused(mode: int, folder: Path) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.warns(CacheRefused, match="RT504.*isn't used") as seen:
        found = check()
        check()
    assert len(seen) == 1 and str(folder) in str(seen[0].message) and "chmod 700" in str(seen[0].message)
    assert "other users may write" in found.why and not list(folder.iterdir())


@POSIX
def test_a_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.warns(CacheRefused, match="belongs to another user"):
        check()
    assert not list(folder.iterdir())


@POSIX
def test_folder_and_files_are_private(folder: Path) -> None:
    check()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *entries(folder))]
    assert modes == [0o700] + [0o600] * (len(modes) - 1) and len(modes) > 1


@pytest.mark.parametrize("value", ["", " ", "off", "OFF"])
def test_switched_off(value: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.FOLDER, value)
    found = check()
    assert found.why and not found.misses and not folder.exists()


@POSIX
def test_usual_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache._usual_folder() == "/home/someone/.cache/retape"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache._usual_folder() == "/home/someone/.cache/retape"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache._usual_folder() == "/caches/retape"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache._usual_folder() == "/home/someone/Library/Caches/retape"


# ---- the command line


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check()
    (folder / "notes.txt").write_text("mine")
    count = len(entries(folder))
    assert main(["cache", "info"]) == 0
    shown = capsys.readouterr().out
    assert f"folder   {folder}" in shown and f"files    {count}, " in shown and "of at most 512 MB" in shown
    assert main(["cache", "clear"]) == 0
    assert f"removed {count} file(s)" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    forget()
    assert check().misses == count


def test_command_without_a_cache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(cache.FOLDER, "")
    assert main(["cache", "info"]) == 0
    assert "not used RETAPE_CACHE_DIR is ''" in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0


def test_doctor_builds_in_spite_of_the_cache(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert str(folder) in shown and "build and agree" in shown
    assert not entries(folder)


# ---- object code in memory


def region(address: int) -> str:
    """The permissions of the memory that an address lies in; nothing if it lies in none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, permissions = line.split()[:2]
        low, high = (int(bound, 16) for bound in bounds.split("-"))
        if low <= address < high:
            return permissions
    return ""


PLAIN = """
@table = {kind} [2 x i64] [i64 40, i64 2]
declare double @{function}(double)
define i64 @answer() {{
  %place = getelementptr [2 x i64], ptr @table, i64 0, i64 1
  %a = load i64, ptr @table
  %b = load i64, ptr %place
  %c = add i64 %a, %b
  ret i64 %c
}}
define double @call(double %x) {{
  %y = call double @{function}(double %x)
  ret double %y
}}
"""


def compiled(kind: str = "private constant", function: str = "cos") -> bytes:
    return engine.emit(engine.parse(PLAIN.format(kind=kind, function=function)), effort=0)


@SIMPLE
def test_code_is_placed_and_linked() -> None:
    found = objects.load(compiled(), ["answer", "call"], {})
    assert found is not None
    addresses, keep = found
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(addresses["answer"])() == 42
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(addresses["call"])(0.5) == np.cos(0.5)
    assert region(addresses["answer"]) == "r-xp"
    del keep, found
    assert "x" not in region(addresses["answer"])


@pytest.mark.parametrize("simply", [pytest.param(True, marks=SIMPLE), False])
def test_names_are_taken_from_those_given(simply: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    double = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
    triple = double(lambda x: 3.0 * x)
    given = {"retape_triple": ctypes.cast(triple, ctypes.c_void_p).value or 0}
    monkeypatch.setattr(objects, "possible", lambda: simply)
    loaded = engine.load(compiled(function="retape_triple"), "call", given=given)
    assert double(loaded.addresses["call"])(2.0) == 6.0


@SIMPLE
@pytest.mark.parametrize("make", [
    lambda: compiled("global"), lambda: compiled(function="no_such_function"), lambda: b"",
    lambda: b"\x7fELF\x01\x01" + bytes(200), lambda: compiled()[:4] * 40,
], ids=["writable data", "unknown function", "nothing", "32 bits", "no object"])
def test_what_is_not_known_is_left_to_llvm(make: Callable[[], bytes]) -> None:
    assert objects.load(make(), ["answer", "call"], {}) is None


@SIMPLE
def test_a_function_that_is_not_there() -> None:
    assert objects.load(compiled(), ["answer", "other"], {}) is None


def test_everything_works_with_llvm_as_the_loader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "possible", lambda: False)
    check()
    forget()
    assert check().hits
    functions = player._native() if player.layout_holds() else player._documented()
    table, a = np.zeros(1, np.int64), np.zeros(3)
    functions.fill(table, np.array([0]), (a,))
    assert table[0] == a.ctypes.data
    with pytest.raises(TypeError, match="expected a tuple"):
        functions.fill(table, np.array([0]), (1,))
