"""Execute notebooks at demo size and store them with their outputs: make notebooks, or python notebooks/execute.py NAME ...

A notebook that is stored from a run on other data is executed all the same, but stays as it is.
"""
import os
import pathlib
import sys
import tempfile
import time

import nbformat
import papermill

FOLDER = pathlib.Path(__file__).parent
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore:IProgress not found"}  # tqdm's, where ipywidgets are missing


def execute(path, folder, parameters=None):
    """A notebook as it is after a run with its own parameters in a folder, with nothing of the machine that ran it.

    Parameters, {name: value}, replace some of its own.
    """
    os.environ.update(QUIET)
    notebook = nbformat.read(path, 4)
    notebook.cells = [cell for cell in notebook.cells if not is_injected(cell)]
    with tempfile.TemporaryDirectory() as temporary:
        plain, done = (pathlib.Path(temporary, name) for name in ("plain.ipynb", "done.ipynb"))
        nbformat.write(notebook, plain)
        papermill.execute_notebook(plain, done, parameters, cwd=str(folder), kernel_name="python3",
                                   progress_bar=False)
        return _cleaned(nbformat.read(done, 4))


def is_of_demo(path):
    """Whether a notebook's stored outputs are those of its own parameters."""
    return not any(is_injected(cell) for cell in nbformat.read(path, 4).cells)


def is_injected(cell):
    """Whether a cell holds parameters that replace the notebook's own."""
    return "injected-parameters" in cell.metadata.get("tags", ())


def _cleaned(notebook):
    """Without times, paths and versions; a cell's name is its place."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    for place, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags")
        cell.id, cell.metadata = f"cell-{place:02d}", nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs):
    """Where one print ends and the next begins is the kernel's chance: texts in a row are one."""
    joined = []
    for output in outputs:
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def main(names):
    """Execute the notebooks of these names, or all, in the working directory."""
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        begin, stored = time.monotonic(), is_of_demo(path)
        notebook = execute(path, pathlib.Path.cwd())
        if stored:
            nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - begin:.0f} s{'' if stored else '; stays as it is, with its own data'}")


if __name__ == "__main__":
    main(sys.argv[1:])
