"""The notebook runs from the first cell to the last."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "from_python.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, imported):
    imported("ipykernel")
    nbformat, nbclient = imported("nbformat"), imported("nbclient")
    notebook = nbformat.read(NOTEBOOK, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells), "kept without outputs"
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=place).execute()
    shown = [kind for cell in cells for out in cell.outputs for kind in out.get("data", {})]
    assert shown.count("image/png") == 3 and shown.count("text/html") == 2
    assert "array([0, 1])" in cells[-1].outputs[0]["data"]["text/plain"]
