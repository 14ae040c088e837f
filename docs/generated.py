"""Sphinx extension that fills pages at build time.

The zoo's table comes from PRESETS, the commands' options from their parsers, and the reference and the list of rooms
from the modules' docstrings. Some pages are files of the repository.
"""
import argparse
import ast
import os
import pathlib
import re

from docutils import nodes
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = {"readme": "README.md", "contributing": "CONTRIBUTING.md", "contract": "saved_models/README.md",
         "everyday": "saved_models/everyday/README.md", "yamnet_audioset": "saved_models/yamnet_audioset/README.md"}
BASE = "errors", "files", "progress"  # the modules that stand in no room, on one page of the reference
HEADER = ("preset", "in the paper", "tasks", "backbone, head", "weights", "million multiply-adds / s",
          "GB to train, batch of 32")


def rooms():
    """Return ORDER of tests/test_layers.py: packages and modules, each after those that it may import."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text("utf-8"))
    (order,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "ORDER")
    return ast.literal_eval(order)


def modules_of(room):
    """Return {dotted name after the package's: path} of a room's modules, each package before its modules."""
    folder = ROOT / "polysed_keras" / room
    paths = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
    names = {}
    for path in paths:
        parts = path.relative_to(ROOT / "polysed_keras").with_suffix("").parts
        names[".".join(parts[:-1] if path.name == "__init__.py" else parts)] = path
    return dict(sorted(names.items()))


def caption(path):
    """Return the first sentence of a module's docstring."""
    paragraph = " ".join((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n\n")[0].split())
    return re.match(r".*?(?:\.(?= |$)|$)", paragraph)[0].replace("::", ".")


def architecture():
    """Return Markdown: a section per room with its caption and its modules."""
    lines = []
    for room in rooms():
        modules = modules_of(room)
        page = "base" if room in BASE else room
        lines += [f"### {room}", "", f"{caption(modules.pop(room))}" +
                  ("" if room == "__main__" else f" ([reference](reference/{page}.rst))"), ""]
        lines += [f"- `{name.partition('.')[2]}`: {caption(path)}" for name, path in modules.items()] + [""]
    return "\n".join(lines)


def reference(page):
    """Return reStructuredText: the title of a room's page, and what is in each of its modules."""
    names = BASE if page == "base" else (page,)
    lines = [" and ".join(names), "=" * 80, ""]
    for room in names:
        for name, path in modules_of(room).items():
            lines += [*([name, "-" * 80, ""] if name != page else []), f".. automodule:: polysed_keras.{name}"]
            lines += ["   :no-members:"] * (path.name == "__init__.py") + [""]  # its names are in the modules, once
    return "\n".join(lines)


def include_page(app, docname, source):
    """Fill a page with a file of the repository, whose links then begin at this folder, or from docstrings."""
    folder, _, page = docname.rpartition("/")
    if folder == "reference" and page != "index":
        source[0] = reference(page)
    elif docname == "architecture":
        source[0] = source[0].replace("<!-- rooms -->", architecture())
    if docname in PAGES:
        path = ROOT / PAGES[docname]
        source[0] = re.sub(r"\[([^\]]*)\]\(([^)#]+)\)", lambda match: _link(path.parent, match),
                           path.read_text("utf-8"))
        app.env.note_dependency(str(path))


def _link(folder, match):
    target = (folder / match[2]).resolve()
    if not target.is_relative_to(ROOT) or not target.exists():
        return match[0]
    pages = {(ROOT / file): f"{page}.md" for page, file in PAGES.items()}
    path = pages.get(target) or os.path.relpath(target, ROOT / "docs")
    return match[1] if target.is_dir() else f"[{match[1]}]({path})"


def _tasks_text(tasks):
    encodings = [task.encoding for task in tasks]
    return " + ".join(f"{encodings.count(encoding)} {encoding}" for encoding in dict.fromkeys(encodings))


def zoo_rows(clip_level):
    """Yield a tuple of texts, as HEADER names them, per preset of clips or of recordings."""
    from polysed_keras.models import experiment_cost, with_example_labels
    from polysed_keras.specs import PRESETS
    for name, experiment in PRESETS.items():
        if experiment.clip_level == clip_level:
            experiment = with_example_labels(experiment)
            cost = experiment_cost(experiment)
            reference = experiment.reference.partition(" after ")[0].partition(", ")
            yield (name, (reference[2] or reference[0]).replace(" %", "\N{NO-BREAK SPACE}%"),
                   _tasks_text(experiment.tasks), f"{experiment.model.backbone}, {experiment.model.head}",
                   f"{cost.weights:,}", f"{cost.multiply_adds / 1e6:,.1f}",
                   f"{cost.training_memory() / 1e9:.1f}" if experiment.learns else "")


class Zoo(SphinxDirective):
    """``{zoo} recordings`` or ``{zoo} clips``: a table of the presets."""

    required_arguments = 1

    def run(self):
        rows = [HEADER, *zoo_rows(self.arguments[0] == "clips")]
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in HEADER), cols=len(HEADER))
        group += [nodes.thead("", _row(rows[0])), nodes.tbody("", *map(_row, rows[1:]))]
        return [nodes.table("", group, classes=["zoo", "colwidths-auto"])]


def _row(texts):
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", nodes.literal(text=text) if not index and
                                                           text not in HEADER else nodes.Text(text)))
                           for index, text in enumerate(texts)))


class Commands(SphinxDirective):
    """``{commands}``: a section per group of commands, in it one with the help of each."""

    def run(self):
        from polysed_keras.cli import build_parser
        from polysed_keras.cli.parsers import GROUPS
        sections = {group: nodes.section("", nodes.title(text=group[0].upper() + group[1:]), ids=[nodes.make_id(group)],
                                         names=[group]) for group in GROUPS}
        for name, parser in build_parser().commands.items():
            sections[parser.get_default("group")] += _section(name, parser.get_default("summary"), parser)
        return list(sections.values())


def _section(name, summary, parser):
    parser.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=88)
    text = parser.format_help()
    section = nodes.section("", nodes.title(text=name), ids=[f"polysed-{name}"], names=[f"polysed-{name}"])
    section += [nodes.paragraph(text=f"{summary[0].upper()}{summary[1:]}."),
                nodes.literal_block(text, text, language="none")]
    return section


def _words(docstring, preprocess_types=False):
    return [("", "", docstring._dedent(docstring._consume_to_next_section()))]


def dashes(app, doctree):
    """Between a parameter and its text; smartquotes, which would do it, is off for the sake of --set."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def short_name(app, env, node, contnode):
    """Link `module.name` and `Class` of a docstring to what has this name in the whole package, if one thing has."""
    target = node.get("reftarget", "")
    if node.get("refdomain") == "py" and ("." in target or target[:1].isupper()):
        domain = env.domains["py"]
        found = [name for name in domain.objects if name.endswith(f".{target}")]
        if len(found) == 1:
            page = domain.objects[found[0]].docname
            return make_refnode(app.builder, node["refdoc"], page, domain.objects[found[0]].node_id, contnode)


def setup(app):
    # What is returned is said in words, such as {task name: posteriors}, and no type before a colon.
    GoogleDocstring._consume_returns_section = _words
    app.add_directive("zoo", Zoo)
    app.add_directive("commands", Commands)
    app.connect("source-read", include_page)
    app.connect("doctree-read", dashes)
    app.connect("missing-reference", short_name)
    return {"parallel_read_safe": True}
