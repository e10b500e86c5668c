"""Tables as CSV files that give back exactly what was written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.errors import ParserWarning

from napari_rvae.errors import InputError, ReadError

__all__ = ["column_types", "csv_bytes", "read_table"]

#: Types of columns that a file can hold, beside text ("str").
_TYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)

#: Stands for a missing text, which is not the empty one.
_MISSING = "\\N"

#: What would end a line or be lost on the way, and how it is written.
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
_UNESCAPES = {written: plain for plain, written in _ESCAPES.items()}


def _escape(text: str) -> str:
    return re.sub(r"[\\\n\r\0]", lambda found: _ESCAPES[found[0]], text)


def _unescape(text: str) -> str:
    return re.sub(r"\\[\\nr0]", lambda found: _UNESCAPES[found[0]], text)


def _is_text(column: pd.Series) -> bool:
    return column.dtype == "str" or (
        column.dtype == object
        and pd.api.types.infer_dtype(column, skipna=True) in ("string", "empty")
    )


def column_types(table: pd.DataFrame) -> dict[str, str]:
    """Names and types of the columns of a table, in order.

    Raises
    ------
    InputError
        If there is no column, a name is no text or there twice, or a type has no place in a file.
    """
    if not len(table.columns):
        raise InputError("The table has no columns: there is nothing to write.")
    types: dict[str, str] = {}
    names: list[Any] = list(table.columns)
    for position, name in enumerate(names):
        if not isinstance(name, str) or name in types:
            raise InputError(f"The column name {name!r} is no text or is there twice: rename it.")
        column = table.iloc[:, position]
        kind = "str" if _is_text(column) else str(column.dtype)
        if kind != "str" and kind not in _TYPES:
            raise InputError(
                f"Column {name!r} is of type {kind}: make it numbers, text or True and False."
            )
        types[name] = kind
    return types


def csv_bytes(table: pd.DataFrame) -> bytes:
    r"""Return a table as the bytes of a CSV file.

    Parameters
    ----------
    table
        Columns of whole numbers, floating-point numbers, True and False, or text. The index means
        nothing and is not written.

    Returns
    -------
    bytes
        UTF-8, one line a row. Numbers have all their digits. A missing number is ``nan``, a
        missing text is ``\N``; backslash, line ends and the null character within a text are
        written as ``\\``, ``\n``, ``\r`` and ``\0``.

    Raises
    ------
    InputError
        If a column has another type.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae.io.csv_tables import csv_bytes
    >>> csv_bytes(pd.DataFrame({"y": [0.1, float("nan")], "kind": ["atom", ""]}))
    b'y,kind\n0.1,atom\nnan,\n'
    """
    types = column_types(table)
    columns: dict[str, pd.Series] = {}
    for name, kind in types.items():
        column = table[name].reset_index(drop=True)
        if kind == "str":
            missing = column.isna()
            column = column.astype("str").where(~missing, "").map(_escape).astype("str")
            column = column.where(~missing, _MISSING)
        elif kind.startswith("float"):
            column = column.astype("float64")  # a float32 as a float64 needs no second rounding
        columns[_escape(name)] = column
    text = pd.DataFrame(columns).to_csv(index=False, na_rep="nan", lineterminator="\n")
    return text.encode("utf-8", "surrogatepass")


def read_table(path: str | os.PathLike[str], types: Mapping[str, str]) -> pd.DataFrame:
    """Read a CSV file that :func:`csv_bytes` made.

    Parameters
    ----------
    path
        The file.
    types
        Names and types of its columns, as :func:`column_types` tells them.

    Returns
    -------
    DataFrame
        The table as it was, with a RangeIndex.

    Raises
    ------
    ReadError
        If the file does not hold these columns with these types.
    """
    path = Path(path)
    unknown = [kind for kind in types.values() if kind != "str" and kind not in _TYPES]
    if unknown:
        raise ReadError(f"{path.name} cannot have a column of type {unknown[0]!r}: it is damaged.")
    try:
        text = pd.read_csv(
            path,
            header=None,  # the first line goes through unchanged, odd names too
            dtype="str",
            na_filter=False,
            index_col=False,
            skip_blank_lines=False,
            encoding_errors="surrogatepass",
        )
        if list(text.iloc[0]) != [_escape(name) for name in types]:
            raise ValueError("the columns differ")  # noqa: TRY301  (one message for all)
        text = text.iloc[1:].set_axis(list(types), axis=1).reset_index(drop=True)
        return pd.DataFrame({name: _parse(text[name], kind) for name, kind in types.items()})
    except (OSError, ValueError, OverflowError, ParserWarning) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReadError(f"{path.name} is no table of ours ({reason}): it is damaged.") from None


def _parse(text: pd.Series, kind: str) -> pd.Series:
    """Turn the text of a column into its values."""
    if kind == "str":
        return _plain_text(text)
    if kind == "bool":
        wrong = ~text.isin(("True", "False"))
        if wrong.any():
            raise ValueError(f"{text[wrong].iloc[0]!r} is neither True nor False")
        return text == "True"
    # by way of Python's numbers: pandas' own parser can be off in the last digit
    values = text.to_numpy(object)
    if kind.startswith("float"):
        return pd.Series(values.astype(np.float64).astype(kind))
    return pd.Series(np.array([int(value) for value in values], dtype=kind))


def _plain_text(text: pd.Series) -> pd.Series:
    """Undo the escapes of a text column."""
    marked = text.str.contains("\\", regex=False)
    if not marked.any():
        return text
    missing = text == _MISSING
    text = text.where(~marked, text[marked].map(_unescape).reindex(text.index))
    return text.where(~missing).astype("str")
