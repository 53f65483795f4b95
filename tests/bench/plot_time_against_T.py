#!/usr/bin/env python3
"""Draws docs/img/time_against_T.svg from the figures of `kernel_bench --json length`:

    build/release/bench/kernel_bench --json length | tests/bench/plot_time_against_T.py >docs/img/time_against_T.svg
"""
import json
import math
import re
import sys

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 20, 50
# Readable on white and on black alike.
SERIES = {
    "mixing_loss materialised": ("stage 1 materialised", "#d9480f", "6 4"),
    "mixing_loss": ("mixing_loss", "#d9480f", ""),
    "ssd einsum": ("einsum SSD, chunks of 64", "#1c7ed6", "6 4"),
    "ssd": ("ssd", "#1c7ed6", ""),
}


def read_points(lines):
    points = {name: [] for name in SERIES}
    for line in lines:
        record = json.loads(line)
        match = re.fullmatch(r"time_against_T (.+) T=(\d+)", record["name"])
        if match:
            points[match[1]].append((int(match[2]), record["value"]))
    return points


def main():
    points = read_points(sys.stdin)
    tokens = sorted({t for line in points.values() for t, _ in line})
    times = [ms for line in points.values() for _, ms in line]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))

    def x(t):
        share = math.log(t / tokens[0]) / math.log(tokens[-1] / tokens[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(ms):
        return HEIGHT - BOTTOM - (math.log10(ms) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(left, top, words, anchor, colour="#868e96"):
        print(f'<text x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>')

    def line(x1, y1, x2, y2):
        print(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#868e96" stroke-opacity="0.35"/>')

    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
          ' font-family="sans-serif" font-size="13">')
    print("<title>Time of forward and backward against the number of tokens</title>")
    for power in range(low, high + 1):
        line(LEFT, y(10.0**power), WIDTH - RIGHT, y(10.0**power))
        text(LEFT - 8, y(10.0**power) + 4, f"{10.0**power:g}", "end")
    for t in tokens:
        line(x(t), TOP, x(t), HEIGHT - BOTTOM)
        text(x(t), HEIGHT - BOTTOM + 18, str(t), "middle")
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "tokens T", "middle")
    print(f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle"'
          ' fill="#868e96">forward + backward, ms</text>')
    taken = []
    for name, (label, colour, dashes) in SERIES.items():
        if not points[name]:
            continue
        path = " ".join(f"{x(t):.1f},{y(ms):.1f}" for t, ms in points[name])
        print(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>')
        for t, ms in points[name]:
            print(f'<circle cx="{x(t):.1f}" cy="{y(ms):.1f}" r="3" fill="{colour}"/>')
        t, ms = points[name][-1]
        below = y(ms) + 4
        while any(abs(below - other) < 16 for other in taken):
            below += 16
        taken.append(below)
        text(x(t) + 10, below, label, "start", colour)
    print("</svg>")


if __name__ == "__main__":
    main()
