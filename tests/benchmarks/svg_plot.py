"""Figures over the logarithm of a size, as plain SVG: one panel for each series, beside growth with the logarithm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from msgspec import Struct

WIDTH, PANEL_HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 44, 44
"""The margins of a panel."""

Points = Mapping[int, float]
"""Value by size."""


class Panel(Struct, frozen=True):
    """One series."""

    title: str
    unit: str
    points: Points


def logarithm(points: Points) -> dict[int, float]:
    """What the values would be if they grew with the logarithm of the size, from the first one on."""
    first = min(points)
    return {size: points[first] * math.log(size) / math.log(first) for size in points}


def svg(panels: list[Panel], x_label: str) -> str:
    """All panels, one below the other."""
    height = PANEL_HEIGHT * len(panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        lines += [f'<g transform="translate(0 {number * PANEL_HEIGHT})">', *_panel(panel, x_label), "</g>"]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(panel: Panel, x_label: str) -> list[str]:
    reference = logarithm(panel.points)
    top = _round_up(max(*panel.points.values(), *reference.values()))
    smallest, largest = math.log(min(panel.points)), math.log(max(panel.points))
    right, bottom = WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM

    def x(size: int) -> float:
        return LEFT + (math.log(size) - smallest) / ((largest - smallest) or 1) * (right - LEFT)

    def y(value: float) -> float:
        return bottom - value / top * (bottom - TOP)

    def curve(points: Points, style: str) -> str:
        corners = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in points.items())
        return f'<polyline points="{corners}" fill="none" {style}/>'

    lines = [f'<text x="{LEFT}" y="20" font-size="14">{escape(panel.title)}</text>']
    for step in range(5):
        value = top * step / 4
        lines.append(f'<path d="M{LEFT} {y(value):.1f}H{right}" stroke="#ddd"/>')
        label = f"{value:g} {escape(panel.unit)}"
        lines.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>')
    for size in panel.points:
        lines.append(f'<path d="M{x(size):.1f} {bottom}v5" stroke="black"/>')
        lines.append(f'<text x="{x(size):.1f}" y="{bottom + 18}" text-anchor="middle">{size:,}</text>')
    lines.append(f'<path d="M{LEFT} {bottom}H{right}" stroke="black"/>')
    lines.append(f'<text x="{right}" y="{bottom + 34}" text-anchor="end">{escape(x_label)}, logarithmic</text>')
    lines.append(curve(reference, 'stroke="#999" stroke-dasharray="6 4"'))
    lines.append(f'<text x="{right - 4}" y="{y(reference[max(reference)]) - 6:.1f}" text-anchor="end" '
                 f'fill="#777">log({escape(x_label)}), from the first point on</text>')  # fmt: skip
    lines.append(curve(panel.points, 'stroke="#06c" stroke-width="2"'))
    for size, value in panel.points.items():
        lines.append(f'<circle cx="{x(size):.1f}" cy="{y(value):.1f}" r="3.5" fill="#06c"/>')
        lines.append(f'<text x="{x(size):.1f}" y="{y(value) + 18:.1f}" text-anchor="middle">{value:.3g}</text>')
    return lines


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten: an axis of four equal parts has short labels."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next((factor * power for factor in (1, 2, 4, 8) if factor * power >= value), 10 * power)
