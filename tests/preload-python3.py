# SPDX-License-Identifier: MIT
"""For preload-python3.sh: a program of many kinds of allocation, and a reader of reports.

preload-python3.py work PROOF    do the work; copy the library's lines of the maps to PROOF
preload-python3.py results FILE  the tests of a JUnit report, one line each, sorted
"""

import gc
import hashlib
import json
import multiprocessing
import re
import sqlite3
import subprocess
import sys
import threading
import xml.etree.ElementTree
import zlib


def numbers(seed):
    while True:
        seed = (seed * 1103515245 + 12345) % 2**31
        yield seed >> 8


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def tree(depth):
    return {"left": tree(depth - 1), "right": tree(depth - 1), "pad": "x" * depth} \
        if depth else list(range(5))


def work_of_thread(seed, results):
    draw = numbers(seed)
    words = {}
    for _ in range(20000):
        word = "".join(chr(97 + next(draw) % 6) for _ in range(1 + next(draw) % 5))
        words.setdefault(word, []).append(next(draw))
        if next(draw) % 50 == 0:
            words.pop(next(iter(words)))
    text = json.dumps(words, sort_keys=True)
    found = re.findall(r"\"(a[b-d]*)\"", text)
    packed = zlib.compress(text.encode())
    results[seed] = (digest(text.encode()), len(found), digest(packed))


def work_of_process(seed):
    results = {}
    work_of_thread(seed, results)
    return results[seed]


def rows():
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c BLOB)")
    base.executemany("INSERT INTO t VALUES (?, ?, ?)",
                     ((i, f"text {i * 7919 % 10007}", bytes(i % 300))
                      for i in range(20000)))
    base.execute("CREATE INDEX i ON t (b)")
    return base.execute("SELECT count(*), min(b), max(b), sum(length(c)) FROM t "
                        "WHERE b > 'text 5'").fetchone()


def cycles():
    class Node:
        pass

    for _ in range(20000):
        a, b = Node(), Node()
        a.other, b.other = b, a
    return gc.collect() >= 0


def growing():
    block = bytearray()
    for i in range(2000):
        block += bytes([i % 256]) * (i % 1000)
    big = [bytearray(3_000_000 + i) for i in range(10)]
    return digest(bytes(block)), sum(len(b) for b in big)


def work(proof):
    with open("/proc/self/maps") as maps, open(proof, "w") as out:
        out.writelines(line for line in maps if "libhakmem" in line)
    results = {}
    threads = [threading.Thread(target=work_of_thread, args=(i, results))
               for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in sorted(results):
        print("thread", seed, *results[seed])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for result in pool.map(work_of_process, range(10, 16)):
            print("process", *result)
    print("tree", digest(json.dumps(tree(11), sort_keys=True).encode()))
    print("rows", *rows())
    print("cycles", cycles())
    print("growing", *growing())
    child = subprocess.run(["echo", "said"], capture_output=True, text=True, check=True)
    print("child", child.stdout, end="")


def results(path):
    lines = []
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        outcome = case.get("result", "")
        for child in case:
            outcome += " " + child.tag
        lines.append(f"{case.get('name')}: {outcome}")
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    {"work": work, "results": results}[sys.argv[1]](sys.argv[2])
