"""Run every notebook on the toy study in stage order and store its outputs in place (``make notebooks``).

What depends on the machine or the moment is stripped: execution times, papermill's metadata, standard error, and the
outputs of cells tagged ``no-stored-output`` (players and widgets).
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nbformat

from lib.study.tables import write_atomically
from workflow import dag, maps


def main():
    """Execute and store, then write the tables that come from the graph of jobs."""
    from nbclient import NotebookClient

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="notebooks, such as 30_knn; all by default")
    names = parser.parse_args().names
    os.environ |= {"WORKBOOK_LOG": os.devnull, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    for row in dag.ROWS:  # in stage order, the index last
        path = dag.NOTEBOOKS / f"{row.notebook}.ipynb"
        if names and path.stem not in names:
            continue
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook, kernel_name="python3", timeout=600, resources={"metadata": {"path": path.parent}}
        ).execute()
        with write_atomically(path) as beside:
            nbformat.write(stripped(notebook), beside)
        print(path.name, flush=True)
    maps.write()


def stripped(notebook):
    """A notebook without what changes from run to run."""
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        if "no-stored-output" in cell.metadata.get("tags", []):
            cell.outputs = []
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return notebook


if __name__ == "__main__":
    main()
