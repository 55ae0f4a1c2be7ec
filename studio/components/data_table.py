"""A plain table of text: a caption, columns, rows. Cells are text nodes, whatever is in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr


def table_value(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "", empty: str = ""
) -> str:
    """The component's value; `empty` is shown instead of a table without rows."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    value = {"columns": list(columns), "rows": cells, "caption": caption, "empty": empty}
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def data_table(elem_id: str, label: str) -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<div class="rs-table" data-part="table"></div>',
        css_template=style("data_table.css"),
        js_on_load=script("dom.js", "data_table.js"),
        apply_default_css=False,
        elem_id=elem_id,
        table_label=label,
    )
