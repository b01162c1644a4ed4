#!/usr/bin/env python3
"""Writes a page to a disk with O_DIRECT again and again, while another thread changes it."""

import json
import mmap
import os
import sys
import threading
import time

disk, seconds, words = sys.argv[1], float(sys.argv[2]), sys.argv[3]
with open(words, encoding="utf-8") as file:
    print(json.load(file)["greeting"], flush=True)

SECTOR = 512
pages = mmap.mmap(-1, 256 << 10)
over = threading.Event()


def scribble():
    count = 0
    while not over.is_set():
        count = (count + 1) % 256
        pages[::SECTOR] = bytes([count]) * (len(pages) // SECTOR)


scribbler = threading.Thread(target=scribble)
scribbler.start()
target = os.open(disk, os.O_RDWR | os.O_DIRECT)
end = time.monotonic() + seconds
while time.monotonic() < end:
    os.pwritev(target, [pages], 0)
over.set()
scribbler.join()
