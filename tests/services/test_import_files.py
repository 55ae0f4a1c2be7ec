"""What is read of a file's rows: CSV's cells and quotes, values that Python has no form for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studio.services import import_mapping
from studio.services.errors import StudioError
from studio.services.import_files import RowRefused, UnreadableRow, read_rows
from studio.services.import_rows import RowPairs, row_pairs

HEADER = "prompt,chosen,rejected\n"


def parsed(path: Path, mapping: dict[str, str] | None = None) -> list[RowPairs | str]:
    """Each row as it would be imported, or why it is refused."""
    found: list[RowPairs | str] = []
    for _, row in read_rows(path):
        try:
            if isinstance(row, UnreadableRow):
                raise RowRefused(row.reason, row.seen)
            found.append(row_pairs(import_mapping.mapped_row(row, mapping) if mapping else row))
        except RowRefused as refused:
            found.append(f"{refused.reason} ({refused.seen})" if refused.seen else refused.reason)
    return found


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    return path


def parquet(tmp_path: Path, **columns: Any) -> Path:
    texts = {"prompt": ["q", "r"], "chosen": ["x", "y"], "rejected": ["z", "z"]}
    pq.write_table(pa.table(texts | columns), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


# --- CSV -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('q,a,b\nq,"a,b\n' + "q,c,d\n" * 50, "in the row of line 3 a quote opens that nothing"),
        ('q,"a,b\n' + "q,c,d\n" * 50 + 'q,"c",d\n', "row of line 2 a quote closes at line 53"),
        ('q,"a,b\n' + "q,c,d\n" * 800_000, "line 2 has a cell longer than 4 MB; close its quote"),
        ('q,"a" said she,b\n', "line 2 a quote closes at line 2 and text follows"),
    ],
)
def test_a_quote_that_nothing_closes_swallows_no_rows(
    tmp_path: Path, rows: str, message: str
) -> None:
    with pytest.raises(StudioError, match=message):
        parsed(csv(tmp_path, HEADER + rows))


def test_quotes_and_line_breaks_inside_cells_are_read(tmp_path: Path) -> None:
    rows = parsed(csv(tmp_path, HEADER + '"q\n1","say ""a""",5" pipe\n\nr,"x,y",z'))
    assert [row.answers for row in rows if isinstance(row, RowPairs)] == [
        ('say "a"', '5" pipe'),
        ("x,y", "z"),
    ]


def test_a_row_with_too_many_cells_says_which_lines_it_took(tmp_path: Path) -> None:
    rows = parsed(csv(tmp_path, HEADER + 'q,"a,b\nq,c",d,e\n'))
    assert rows == ["more cells than the header has columns (lines 2 to 3)"]


def test_an_empty_cell_is_no_answer(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER + 'p,,b\np,a,\np, ,b\np,"",b\n,a,b\n')
    assert parsed(path) == [
        "no 'chosen' (it is empty)",
        "no 'rejected' (it is empty)",
        "no 'chosen' (it is empty)",
        "no 'chosen' (it is empty)",
        "no 'prompt' (and 'chosen' is str)",
    ]
    mapping = {"prompt": "prompt", "answer_a": "chosen", "answer_b": "rejected"}
    assert parsed(path, mapping)[0] == "an answer in 'answers' is no text (it is empty)"
    mapping = {"prompt": "rejected", "answer_a": "prompt", "answer_b": "rejected"}
    assert "the row has no verdict" in str(parsed(path, mapping | {"verdict": "chosen"})[0])
    empty = {"prompt": "q", "chosen": "", "rejected": "b"}
    assert row_pairs(empty).answers == ("", "b")  # JSON tells an empty answer from none


def test_an_answer_that_is_a_json_list_is_text_unless_it_is_messages(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "prompt,chosen,rejected,tags\n"
        'q,"[""a"", ""b""]","[{""role"": ""x""}]","[""t""]"\n'
        'q,[],"[1, 2]",\n'
        'q,"[{""role"": ""assistant"", ""content"": ""hi""}]",no,\n',
    )
    rows = parsed(path)
    assert [row.answers for row in rows if isinstance(row, RowPairs)] == [
        ('["a", "b"]', '[{"role": "x"}]'),
        ("[]", "[1, 2]"),
        ("hi", "no"),
    ]
    assert isinstance(rows[0], RowPairs)
    assert rows[0].meta == {"tags": '["t"]'}
    mapping = {"prompt": "prompt", "answer_a": "chosen", "answer_b": "rejected"}
    mapped = parsed(path, mapping)[0]
    assert isinstance(mapped, RowPairs)
    assert mapped.answers == ('["a", "b"]', '[{"role": "x"}]')


def test_lists_of_answers_and_scores_are_read_from_cells(tmp_path: Path) -> None:
    (row,) = parsed(csv(tmp_path, 'prompt,responses,scores\nq,"[""a"", ""b""]","[1, 0.5]"\n'))
    assert isinstance(row, RowPairs)
    assert (row.answers, row.scores) == (("a", "b"), (1.0, 0.5))


def test_a_column_that_is_there_twice_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="the column 'chosen' more than once; rename one"):
        parsed(csv(tmp_path, "prompt,chosen,chosen,rejected\nq,a,b,c\n"))
    texts = [pa.array(["x"])] * 4
    pq.write_table(
        pa.Table.from_arrays(texts, names=["prompt", "chosen", "chosen", "rejected"]),
        tmp_path / "rows.parquet",
    )
    with pytest.raises(StudioError, match="the column 'chosen' more than once; rename one"):
        parsed(tmp_path / "rows.parquet")


def test_columns_without_a_name_get_one(tmp_path: Path) -> None:
    (row,) = parsed(csv(tmp_path, "prompt,chosen,rejected,,\nq,a,b,1,\n"))
    assert isinstance(row, RowPairs)
    assert row.meta == {"column 4": "1"}


# --- Parquet ---------------------------------------------------------------------------------


def test_a_text_that_is_not_utf8_is_refused_by_row(tmp_path: Path) -> None:
    raw = pa.array([b"a\xff", b"good"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    first, second = parsed(parquet(tmp_path, chosen=texts))
    assert first == "column 'chosen' is not UTF-8; write it as UTF-8 (byte 0xff at 1)"
    assert isinstance(second, RowPairs)


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ms"), pa.timestamp("us"), pa.duration("s"), pa.date32()]
)
def test_a_time_beyond_the_calendar_is_kept_as_its_number(
    tmp_path: Path, kind: pa.DataType
) -> None:
    number = 2**31 - 1 if kind == pa.date32() else 2**62
    column = pa.array([number, 0], pa.int32() if kind == pa.date32() else pa.int64()).cast(kind)
    first, second = parsed(parquet(tmp_path, when=column))
    assert isinstance(first, RowPairs)
    assert first.meta == {"when": number}
    assert isinstance(second, RowPairs)


def test_a_list_of_such_times_is_refused_by_row(tmp_path: Path) -> None:
    column = pa.array([[2**62], [0]], pa.list_(pa.timestamp("ms")))
    first, second = parsed(parquet(tmp_path, whens=column))
    assert str(first).startswith("column 'whens' cannot be read; leave it out")
    assert isinstance(second, RowPairs)
