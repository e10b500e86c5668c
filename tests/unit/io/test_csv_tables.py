import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pandas.testing import assert_frame_equal

from napari_rvae.errors import InputError, ReadError
from napari_rvae.io.csv_tables import column_types, csv_bytes, read_table
from napari_rvae.tables import make_sites

_NUMBERS = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
]

# words that other readers take for missing values, and what breaks lines, quotes and escapes
_odd = st.sampled_from(["", "NaN", "nan", "NA", "None", "null", "\\N", "\\\\N", "\\", "1", "True"])
_text = _odd | st.text(max_size=8) | st.text(st.sampled_from('\\nr0\n\r\0",\t \ud800'), max_size=6)


@st.composite
def _tables(draw):
    names = draw(st.lists(_text, min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(0, 6))
    columns = {}
    for name in names:
        kind = draw(st.sampled_from([*_NUMBERS, "str"]))
        if kind == "str":
            values = draw(st.lists(_text | st.none(), min_size=rows, max_size=rows))
            columns[name] = pd.Series(values, dtype="str")
        else:
            columns[name] = draw(npst.arrays(np.dtype(kind), rows))
    return pd.DataFrame(columns)


@given(table=_tables())
def test_round_trip_is_exact(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(csv_bytes(table))
    again = read_table(path, column_types(table))
    assert_frame_equal(again, table, check_exact=True)
    for name in table:
        if table[name].dtype.kind == "f":  # assert_frame_equal takes 0.0 for -0.0
            signs = [np.signbit(column[name].fillna(0)) for column in (again, table)]
            np.testing.assert_array_equal(*signs)
        if table[name].dtype == "str":
            assert again[name].isna().tolist() == table[name].isna().tolist()


@given(table=_tables())
def test_the_same_table_gives_the_same_bytes_and_a_line_a_row(table):
    written = csv_bytes(table)
    assert written == csv_bytes(table.set_axis(range(7, 7 + len(table))))
    assert written.count(b"\n") == len(table) + 1
    assert b"\r" not in written
    assert b"\0" not in written


def test_sites_are_readable_by_people():
    sites = make_sites(frame=0, y=[1 / 3, 2.0], x=[5e-324, np.nan], source="a, b")
    assert csv_bytes(sites).decode().splitlines() == [
        "site_id,source,frame,y,x,kind",
        '0,"a, b",0,0.3333333333333333,5e-324,atom',
        '1,"a, b",0,2.0,nan,atom',
    ]


def test_text_in_object_columns_is_text():
    table = pd.DataFrame({"a": pd.Series(["x", None, ""], dtype=object)})
    assert column_types(table) == {"a": "str"}
    assert csv_bytes(table) == b'a\nx\n\\N\n""\n'


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, "a"], dtype=object),
        pd.Series([[1], [2]], dtype=object),
        pd.Series(["a"], dtype="category"),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([1j]),
        pd.Series(pd.to_datetime(["2020-01-01"])),
    ],
)
def test_other_types_are_refused(column):
    with pytest.raises(InputError, match="'bad' is of type"):
        csv_bytes(pd.DataFrame({"bad": column}))


def test_bad_column_names_are_refused():
    with pytest.raises(InputError, match="no columns"):
        csv_bytes(pd.DataFrame())
    with pytest.raises(InputError, match="column name 1"):
        csv_bytes(pd.DataFrame({1: [0]}))
    with pytest.raises(InputError, match="twice"):
        csv_bytes(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize(
    ("content", "types"),
    [
        (b"", {"a": "int64"}),
        (b"a\nx\n", {"a": "int64"}),
        (b"a\n1\n", {"b": "int64"}),
        (b"a,b\n1,2\n", {"a": "int64"}),
        (b"a\n1,2\n", {"a": "int64"}),
        (b"a\n1\n", {"a": "object"}),
        (b"a\n300\n", {"a": "int8"}),
        (b'a\n"x\n', {"a": "str"}),
        (b"a\n\xff\xff\n", {"a": "str"}),
    ],
)
def test_damaged_tables_are_one_line(tmp_path, one_line, content, types):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(ReadError) as caught:
        read_table(path, types)
    one_line(caught, "a.csv")
    with pytest.raises(ReadError):
        read_table(tmp_path / "none.csv", types)
