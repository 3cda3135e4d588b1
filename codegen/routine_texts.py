"""The texts of the kernels of `routines`: p are pointers, k integers, lo and hi the range of the outermost loop."""

from __future__ import annotations

from textwrap import indent

__all__ = ["CHOLESKY", "CUMSUM", "CUMSUM_ROWS", "LOGDET", "ORDER", "PLACES", "SEARCH", "SOLVE", "SUBSTITUTE"]

# Where a mask holds, found without a branch on what is read. Where fewer elements hold than were counted, a look
# refuses the result: the rest has only to be written.
PLACES = """\
def kernel(p0, p1, k0, lo, hi):
    done = 0
    i0 = lo
    while done < k0 and i0 < hi:
        p1[done] = i0
        done = done + to_i64(p0[i0])
        i0 = i0 + 1
    while done < k0:
        p1[done] = 0
        done = done + 1
"""

# Running sums of k0 numbers. A number waits for the one before, so four runs go side by side.
CUMSUM = """\
def kernel(p0, p1, k0, k1, k2, lo, hi):
    i0 = lo
    while i0 + 4 <= hi:
        a = to_TYPE(0)
        b = to_TYPE(0)
        c = to_TYPE(0)
        d = to_TYPE(0)
        x = i0 * k1
        y = i0 * k0
        for i1 in range(k0):
            a = a + to_TYPE(p0[x])
            b = b + to_TYPE(p0[x + k1])
            c = c + to_TYPE(p0[x + 2 * k1])
            d = d + to_TYPE(p0[x + 3 * k1])
            p1[y + i1] = a
            p1[y + k0 + i1] = b
            p1[y + 2 * k0 + i1] = c
            p1[y + 3 * k0 + i1] = d
            x = x + k2
        i0 = i0 + 4
    while i0 < hi:
        a = to_TYPE(0)
        x = i0 * k1
        y = i0 * k0
        for i1 in range(k0):
            a = a + to_TYPE(p0[x])
            p1[y + i1] = a
            x = x + k2
        i0 = i0 + 1
"""

# The same of k0 rows of k3 numbers: element by element.
CUMSUM_ROWS = """\
def kernel(p0, p1, k0, k1, k2, k3, k4, lo, hi):
    for i0 in range(lo, hi):
        x = i0 * k1
        y = i0 * k0 * k3
        for i2 in range(k3):
            p1[y + i2] = to_TYPE(p0[x + i2 * k4])
        for i1 in range(1, k0):
            x = x + k2
            z = y
            y = y + k3
            for i2 in range(k3):
                p1[y + i2] = p1[z + i2] + to_TYPE(p0[x + i2 * k4])
"""

# How many of k0 sorted numbers come before each value. NaN is the largest number. No branch depends on what is read,
# so the steps of several values go side by side.
SEARCH = """\
def kernel(p0, p1, p2, k0, k1, lo, hi):
    for i0 in range(lo, hi):
        v = p1[i0]
        done = 0
        left = k0
        while left > 1:
            half = left >> 1
            x = p0[(done + half - 1) * k1]
            done = select(BEFORE, done + half, done)
            left = left - half
        if left > 0:
            x = p0[done * k1]
            done = done + to_i64(BEFORE)
        p2[i0] = done
"""

# The element in hand (i, of value v) goes down a heap of `size` indices from place `at`; above stands what comes last.
_SINK = """\
child = 2 * at + 1
while child < size:
    j = p1[y + child * k3]
    w = p0[x + j * k2]
    if child + 1 < size:
        k = p1[y + (child + 1) * k3]
        z = p0[x + k * k2]
        if BEFORE(w, z) or (j < k and not BEFORE(z, w)):
            child = child + 1
            j = k
            w = z
    if BEFORE(v, w) or (i < j and not BEFORE(w, v)):
        p1[y + at * k3] = j
        at = child
        child = 2 * at + 1
    else:
        child = size
p1[y + at * k3] = i
"""

# The indices of those k5 of k0 elements that come first, in order. A heap holds the first so far; an element that comes
# before the last of these takes its place.
ORDER = f"""\
def kernel(p0, p1, k0, k1, k2, k3, k4, k5, lo, hi):
    for b in range(lo, hi):
        for c in range(k3):
            x = b * k1 + c * k4
            y = b * k5 * k3 + c
            for e in range(k5):
                p1[y + e * k3] = e
            size = k5
            for step in range(k5 >> 1):
                at = (k5 >> 1) - 1 - step
                i = p1[y + at * k3]
                v = p0[x + i * k2]
{indent(_SINK, " " * 16)}\
            last = p0[x + p1[y] * k2]
            for e in range(k5, k0):
                v = p0[x + e * k2]
                if BEFORE(v, last):
                    i = e
                    at = 0
{indent(_SINK, " " * 20)}\
                    last = p0[x + p1[y] * k2]
            for step in range(1, k5):
                size = k5 - step
                i = p1[y + size * k3]
                v = p0[x + i * k2]
                p1[y + size * k3] = p1[y]
                at = 0
{indent(_SINK, " " * 16)}\
"""

# Elimination with the largest element of a column as pivot, right sides along with the matrix.
_ELIMINATE = """\
        for k in range(k0):
            row = k
            best = fabs(PF[k * k0 + k])
            for i in range(k + 1, k0):
                size = fabs(PF[i * k0 + k])
                if size > best:
                    best = size
                    row = i
            if row != k:
                for j in range(k, k0):
                    held = PF[k * k0 + j]
                    PF[k * k0 + j] = PF[row * k0 + j]
                    PF[row * k0 + j] = held
SWAPPED            pivot = PF[k * k0 + k]
FOUND            for i in range(k + 1, k0):
                factor = PF[i * k0 + k] / pivot
                for j in range(k + 1, k0):
                    PF[i * k0 + j] = PF[i * k0 + j] - factor * PF[k * k0 + j]
"""

SOLVE = """\
def kernel(p0, p1, p2, p3, p4, k0, k1, k2, k3, k4, k5, k6, k7, lo, hi):
    bad = 0
    for b in range(lo, hi):
        for i in range(k0):
            for j in range(k0):
                p3[i * k0 + j] = p0[b * k2 + i * k3 + j * k4]
        y = b * k0 * k1
        for i in range(k0):
            for j in range(k1):
                p2[y + i * k1 + j] = p1[b * k5 + i * k6 + j * k7]
""" + _ELIMINATE.replace("SWAPPED", """\
                for j in range(k1):
                    held = p2[y + k * k1 + j]
                    p2[y + k * k1 + j] = p2[y + row * k1 + j]
                    p2[y + row * k1 + j] = held
""").replace("FOUND", """\
            bad = rmax(bad, to_i64(pivot == 0))
""").replace("PF", "p3") + """\
                for j in range(k1):
                    p2[y + i * k1 + j] = p2[y + i * k1 + j] - factor * p2[y + k * k1 + j]
        for step in range(k0):
            k = k0 - 1 - step
            pivot = p3[k * k0 + k]
            for j in range(k1):
                p2[y + k * k1 + j] = p2[y + k * k1 + j] / pivot
            for i in range(k):
                factor = p3[i * k0 + k]
                for j in range(k1):
                    p2[y + i * k1 + j] = p2[y + i * k1 + j] - factor * p2[y + k * k1 + j]
    if bad > 0:
        p4[0] = bad
"""

# A triangle: rows from k8 on, upwards or downwards as k9 says.
SUBSTITUTE = """\
def kernel(p0, p1, p2, p3, k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, lo, hi):
    bad = 0
    for b in range(lo, hi):
        y = b * k0 * k1
        for i in range(k0):
            for j in range(k1):
                p2[y + i * k1 + j] = p1[b * k5 + i * k6 + j * k7]
        for step in range(k0):
            k = k8 + k9 * step
            pivot = p0[b * k2 + k * k3 + k * k4]
            bad = rmax(bad, to_i64(pivot == 0))
            for j in range(k1):
                p2[y + k * k1 + j] = p2[y + k * k1 + j] / pivot
            for other in range(step + 1, k0):
                i = k8 + k9 * other
                factor = p0[b * k2 + i * k3 + k * k4]
                for j in range(k1):
                    p2[y + i * k1 + j] = p2[y + i * k1 + j] - factor * p2[y + k * k1 + j]
    if bad > 0:
        p3[0] = bad
"""

# The rows of the transposed factor are those of an elimination without exchanges; of the matrix the lower half is read.
CHOLESKY = """\
def kernel(p0, p1, p2, p3, k0, k1, k2, k3, lo, hi):
    bad = 0
    for b in range(lo, hi):
        for i in range(k0):
            for j in range(i, k0):
                p2[i * k0 + j] = p0[b * k1 + j * k2 + i * k3]
        y = b * k0 * k0
        for k in range(k0):
            bad = rmax(bad, to_i64(not p2[k * k0 + k] > 0))
            pivot = sqrt(p2[k * k0 + k])
            for j in range(k, k0):
                p2[k * k0 + j] = p2[k * k0 + j] / pivot
            for i in range(k + 1, k0):
                factor = p2[k * k0 + i]
                for j in range(i, k0):
                    p2[i * k0 + j] = p2[i * k0 + j] - factor * p2[k * k0 + j]
            for i in range(k):
                p1[y + i * k0 + k] = to_TYPE(0)
            for i in range(k, k0):
                p1[y + i * k0 + k] = p2[k * k0 + i]
    if bad > 0:
        p3[0] = bad
"""

# Sign and logarithm of a determinant. A column of zeros needs no elimination.
LOGDET = """\
def kernel(p0, p1, p2, k0, k1, k2, k3, lo, hi):
    for b in range(lo, hi):
        sign = to_TYPE(1)
        done = to_TYPE(0)
        for i in range(k0):
            for j in range(k0):
                p2[i * k0 + j] = p0[b * k1 + i * k2 + j * k3]
""" + _ELIMINATE.replace("SWAPPED", """\
                sign = -sign
""").replace("FOUND", """\
            sign = select(pivot < 0, -sign, select(pivot == 0, to_TYPE(0), sign))
            done = done + vm_log_TYPE(fabs(pivot))
            pivot = select(pivot == 0, to_TYPE(1), pivot)
""").replace("PF", "p2") + """\
        p1[2 * b] = sign
        p1[2 * b + 1] = done
"""
