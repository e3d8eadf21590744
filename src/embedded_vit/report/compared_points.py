"""Points of other work, read from a CSV file, which a report draws beside its own rows.

`docs/file-formats.md` describes the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator
from typing_extensions import Self

from embedded_vit.config import Config, nearest_name
from embedded_vit.errors import ConfigError, FileFormatError

__all__ = ["ComparedPoint", "read_compared_points"]

COSTS = ("macs", "parameters", "file_bytes", "latency_ms")


class ComparedPoint(Config):
    """A network that somebody else measured; unknown values are None."""

    name: str = Field(min_length=1)
    dice: float | None = Field(default=None, ge=0, le=1)
    macs: float | None = Field(default=None, gt=0, description="multiply-accumulates of one image")
    parameters: float | None = Field(default=None, gt=0)
    file_bytes: float | None = Field(default=None, gt=0)
    latency_ms: float | None = Field(default=None, gt=0, description="latency of one image on one thread")
    zero_weights: float | None = Field(default=None, ge=0, le=1, description="share of the weights that are zero")
    dice_change: float | None = Field(
        default=None, ge=-1, le=1, description="Dice less that of the same network before its weights were set to zero"
    )

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        has_cost = any(getattr(self, cost) is not None for cost in COSTS)
        if (self.dice is None or not has_cost) and (self.zero_weights is None or self.dice_change is None):
            raise ValueError(
                f"nothing to draw: expected dice and one of {', '.join(COSTS)}, or zero_weights and dice_change"
            )
        return self


def read_compared_points(path: Path) -> list[ComparedPoint]:
    """Read the points of a CSV file.

    Raises:
        FileFormatError: The file cannot be read, or is not as `docs/file-formats.md` says; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # a spreadsheet may write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: cannot read it as text ({error})") from error
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True, strict=True)
    try:
        _check_header(path, reader.fieldnames or [])
        points = [_point(row, f"{path}, line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise FileFormatError(f"{path}, line {reader.reader.line_num}: not CSV ({error})") from error
    if not points:
        raise FileFormatError(f"{path}: expected a line for each point below the header, got none")
    return points


def _check_header(path: Path, columns: Sequence[str]) -> None:
    known = tuple(ComparedPoint.model_fields)
    for column in columns:
        if column not in known:
            raise FileFormatError(f"{path}: unknown column '{column:.40}'{nearest_name(column, known)}")
    if "name" not in columns or len(set(columns)) < len(columns):
        raise FileFormatError(
            f"{path}: the first line must name each column once, 'name' among them; got '{','.join(columns):.80}'"
        )


def _point(row: dict[str, str | None], source: str) -> ComparedPoint:
    if None in row or None in row.values():
        raise FileFormatError(f"{source}: the line has more or fewer cells than the header")
    values = {column: cell for column, cell in row.items() if cell and cell.strip()}
    try:
        return ComparedPoint.parse(values, source=source)
    except ConfigError as error:
        raise FileFormatError(str(error)) from error
