"""The examples of the documents work: files written as shown, commands run as shown."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl
import pytest
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from tests.cli.test_lessons import LESSONS
from tests.commands import ROOT, run_command
from tests.data.images.photos import class_folders, written
from tests.helpers import shared_file

PAGES = sorted(path.relative_to(ROOT / "docs/ko").as_posix() for path in (ROOT / "docs/ko").rglob("*.md"))
ENGLISH = ("README.md", *(f"docs/{page}" for page in PAGES))
KOREAN = ("README.ko.md", *(f"docs/ko/{page}" for page in PAGES))
DOCUMENTS = ENGLISH + KOREAN
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall((ROOT / document).read_text()) if kind == language]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the files that CONTRIBUTING.md adds."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("train.py", "conf", "src"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    files = 0
    for body in blocks("CONTRIBUTING.md", "python") + blocks("CONTRIBUTING.md", "yaml"):
        path = body.splitlines()[0].removeprefix("# ")
        (folder / path).write_text(body.partition("\n")[2])
        files += 1
    assert files == 6
    return folder


CONTRIBUTING = [line for body in blocks("CONTRIBUTING.md", "bash") for line in body.splitlines() if line.strip()]


@pytest.mark.slow
@pytest.mark.parametrize("line", CONTRIBUTING)
def test_contributing(checkout: Path, line: str) -> None:
    program, script, *arguments = shlex.split(line)
    assert program == "python"
    process = run_command(script, *arguments, cwd=checkout, checkout=checkout)
    assert process.returncode == 0, process.stderr


LESSON = re.compile(r"python train\.py experiment=lessons/(\w+)")


def trainings(document: str) -> list[str]:
    """The commands of a document that train, in its blocks and tables, but for lessons."""
    text = (ROOT / document).read_text(encoding="utf-8")
    lines = [
        line for body in blocks(document, "bash") for line in body.splitlines() if line.startswith("python train.py")
    ]
    lines += re.findall(r"^\| `(python train\.py [^`]+)` \|", text, re.M)
    elsewhere = re.compile(r"resume=|data\.path=")  # what these name is in `workplace`
    return [line for line in dict.fromkeys(lines) if not elsewhere.search(line) and not LESSON.fullmatch(line)]


TRAINED = list(dict.fromkeys(line for document in ENGLISH for line in trainings(document)))


def test_the_lessons_of_the_documents_are_those_that_are_run() -> None:
    """Each takes a while, so they run once, in `tests.cli.test_lessons`."""
    for document in ("docs/lessons.md", "docs/notebook.md", "docs/ko/lessons.md", "docs/ko/notebook.md"):
        assert sorted(set(LESSON.findall((ROOT / document).read_text(encoding="utf-8")))) == LESSONS


@pytest.mark.slow
@pytest.mark.parametrize("line", TRAINED)
def test_training(tmp_path_factory: pytest.TempPathFactory, line: str) -> None:
    folder = tmp_path_factory.mktemp("readme")
    if "hand_written_continued" in line:
        assert run_command("train.py", "experiment=notebook/hand_written", cwd=folder).returncode == 0
    process = run_command(*shlex.split(line, comments=True)[1:], cwd=folder, timeout=600)
    assert process.returncode == 0, process.stderr


def commands(document: str) -> list[str]:
    """Every command of a document that begins with ``python``: in its blocks, after a prompt, inside its lines."""
    text = (ROOT / document).read_text(encoding="utf-8")
    lines = [line for body in blocks(document, "bash") for line in body.splitlines()]
    session = [line for body in blocks(document, "text") for line in body.splitlines()]
    lines += [line.removeprefix("$ ") for line in session if line.startswith("$ ")]
    lines += [" ".join(code.split()) for code in re.findall(r"`(python\s[^`]+)`", BLOCK.sub("", text))]
    return [line for line in dict.fromkeys(lines) if line.startswith("python ")]


ELSEWHERE = "each benchmark takes minutes; two of them are run below, with --repeats 1"
NOT_RUN = {  # and why
    "python -m venv .venv && source .venv/bin/activate": "`make`, which CI calls, installs in the same way",
    "python scripts/benchmark.py …": "stands for any benchmark",
    "python scripts/benchmark.py sweep": ELSEWHERE,
    "python scripts/benchmark.py images": ELSEWHERE,
    "python scripts/benchmark.py path": ELSEWHERE,
    "python scripts/benchmark.py tables --repeats 5": ELSEWHERE,
    "python scripts/benchmark.py solvers --a9a=a9a.svm": ELSEWHERE,
    "python scripts/benchmark.py memory --rows 100000000": ELSEWHERE,
    "python train.py experiment=lessons/<name>": "stands for any lesson; all are run in `tests.cli.test_lessons`",
}
SUBSTITUTED = {  # what a reader puts his own directory for; the first that stands in a command counts
    "outputs/runs/toy/2026-11-29_01-19-40_fe4f5a": "outputs/runs/toy/example",
    "outputs/runs/table/…": "outputs/runs/table/example",
    "outputs/runs/images/…": "outputs/runs/images/example",
    "outputs/runs/…": "outputs/runs/toy/example",
    "<run directory>": "outputs/runs/toy/example",
    "outputs/sweeps/toy/…/": "outputs/sweeps/toy/example/",
    "outputs/sweeps/…": "outputs/sweeps/toy/example",
    "--cfg job …": "--cfg job lr=0.1",
}
OTHERS = [
    line
    for line in dict.fromkeys(line for document in DOCUMENTS for line in commands(document))
    if line not in TRAINED and line not in NOT_RUN and not LESSON.fullmatch(line)
]


def as_run(line: str) -> str:
    """A command of a document with the examples of `workplace` in place of what only its reader has."""
    name = next((name for name in SUBSTITUTED if name in line), None)
    return line if name is None else line.replace(name, SUBSTITUTED[name])


def test_the_documents_have_the_commands_that_are_not_run_and_the_substitutes() -> None:
    """Every other command is run: by `test_readme`, by `test_every_other_command` or, of a lesson, with the lessons."""
    assert set(NOT_RUN) <= {line for document in DOCUMENTS for line in commands(document)}
    assert not {name for name in SUBSTITUTED if not any(name in line for line in OTHERS)}
    assert not [line for line in OTHERS if "…" in as_run(line) or "<" in as_run(line) or line.endswith("\\")]
    assert {line.split()[1] for line in OTHERS} == {
        "train.py", "scripts/evaluate.py", "scripts/predict.py", "scripts/export.py", "scripts/report.py",
    }  # fmt: skip


def write_tables(folder: Path) -> None:
    """Small tables with the columns and the peculiarities of those that README.md names."""
    random = np.random.default_rng(0)
    n = 300
    z = random.normal(size=n)
    chance = random.random(n) < 1 / (1 + np.exp(-z))
    tenure = np.round(10 * z + 40).astype(int)
    contract = random.choice(["Month-to-month", "One year", "Two year"], n)
    churn = pl.DataFrame(
        {"rownames": np.arange(n), "churn": np.where(chance, "Yes", "No"), "tenure": tenure, "contract": contract}
    )
    for name in ("churn", "train", "test", "new"):
        churn.write_csv(folder / f"{name}.csv")
    births = {name: random.integers(0, 2, n) for name in ("smoke", "ht", "ui")}
    births |= {"id": np.arange(n), "low": chance.astype(int), "lwt": tenure, "bwt": 3000 - 900 * chance}
    births |= {"age": random.integers(15, 45, n), "ptl": random.integers(0, 3, n), "ftv": random.integers(0, 5, n)}
    pl.DataFrame(births | {"race": random.choice(["white", "black", "other"], n)}).write_csv(folder / "lbw.csv")
    quasi = {"NV": (chance & (random.random(n) < 0.3)).astype(int), "PI": tenure, "EH": random.normal(size=n)}
    pl.DataFrame(quasi | {"HG": chance.astype(int)}).write_csv(folder / "endometrial.csv")


def write_photos(folder: Path) -> None:
    """Photos in folders that are called as those of README.md, the one that it names among them."""
    for number, (split, each) in enumerate((("train", 8), ("val", 4))):
        class_folders(folder / split, each=each, classes=("ants", "bees"), first=100 * number)
    written(folder / "val" / "bees" / "10870992_eebeeb3a12.jpg", seed=1000)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the documents name, and the runs and the sweep that stand for a reader's own."""
    folder = tmp_path_factory.mktemp("workplace")
    write_tables(folder)
    write_photos(folder / "hymenoptera_small")
    for arguments in (
        ["figures=false", "hydra.run.dir=outputs/runs/toy/example"],
        ["data=table", "data.path=churn.csv", "data.target=churn", "figures=false",
         "hydra.run.dir=outputs/runs/table/example"],
        ["data=images", "data.path=hymenoptera_small", "data.positive=bees", "epochs=2", "figures=false",
         "hydra.run.dir=outputs/runs/images/example"],
        ["-m", "lr=0.01,0.1", "seed=2,1", "hydra.sweep.dir=outputs/sweeps/toy/example"],
    ):  # fmt: skip
        process = run_command("train.py", *arguments, cwd=folder)
        assert process.returncode == 0, process.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("line", OTHERS)
def test_every_other_command(workplace: Path, line: str) -> None:
    process = run_command(*shlex.split(as_run(line), comments=True)[1:], cwd=workplace)
    assert process.returncode == 0, process.stderr
    for argument in shlex.split(line, comments=True):
        if argument.startswith("output="):
            assert (workplace / argument.removeprefix("output=")).stat().st_size > 0


# --- the output that the documents show -------------------------------------------------------------------------------

NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\w)", re.IGNORECASE)
# What depends on the machine, the day or the last bit: times, directories, sizes, rounding, iterations of a solver.
VOLATILE = re.compile(
    r"run directory|look at it|leaderboard:|refitted|prepared |outputs/|wrote |differ by| s\b|completed after"
    r"|within \d|\.\.\.|…"
)
TABLES = {"churn.csv": "wa_churn.csv", "lbw.csv": "lbw.csv", "endometrial.csv": "endometrial.csv"}


def sessions(document: str) -> list[tuple[str, list[str]]]:
    """The commands after a prompt, each with the lines of output that stand under it."""
    shown: list[tuple[str, list[str]]] = []
    for body in blocks(document, "text"):
        if body.startswith("$ "):
            for line in filter(str.strip, body.splitlines()):
                if line.startswith("$ "):
                    shown.append((line.removeprefix("$ "), []))
                else:
                    shown[-1][1].append(line)
    return shown


def words_and_numbers(line: str) -> tuple[str, list[float]]:
    """A line of output without its numbers, blanks and frames, and the numbers."""
    numbers = [float(number.replace(",", "")) for number in NUMBER.findall(line)]
    return " ".join(re.sub(r"[│┃─━┏┓┗┛┡┩└┘┳┻╇┴├┤┼]", " ", NUMBER.sub("#", line)).split()), numbers


def with_newest_runs(line: str, folder: Path) -> str:
    """A command with the newest run of a name in place of ``outputs/runs/<name>/…``."""

    def newest(match: re.Match[str]) -> str:
        runs = sorted((folder / match[1]).iterdir(), key=lambda run: run.stat().st_mtime)
        return runs[-1].relative_to(folder).as_posix()

    return re.sub(r"(outputs/runs/\w+)/…", newest, line)


@pytest.mark.slow
@pytest.mark.parametrize("document", [document for document in ENGLISH if sessions(document)])
def test_the_documents_show_what_their_commands_print(document: str, tmp_path: Path) -> None:
    """Every line of output that a document shows is printed, with the same numbers to three digits."""
    for name, source in TABLES.items():
        (tmp_path / name).symlink_to(shared_file(source))
    (tmp_path / "hymenoptera_small").symlink_to(shared_file("wa_churn.csv").parent / "hymenoptera_small")
    for line, lines in sessions(document):
        if line.startswith("python "):
            process = run_command(*shlex.split(with_newest_runs(line, tmp_path))[1:], cwd=tmp_path, timeout=600)
        else:
            process = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        printed = [words_and_numbers(each) for each in (process.stdout + process.stderr).splitlines()]
        for shown in lines:
            words, numbers = words_and_numbers(shown)
            if not VOLATILE.search(shown):
                assert any(
                    words == others and numbers == pytest.approx(given, rel=2e-3, abs=1e-6) for others, given in printed
                ), f"{line}\n{shown}"


@pytest.mark.slow
def test_readme_python(tmp_path: Path) -> None:
    assert run_command("train.py", "hydra.run.dir=first", cwd=tmp_path).returncode == 0
    loading = re.sub(r'load_run\("[^"]+"\)', 'load_run("first")', blocks("README.md", "python")[0])
    (tmp_path / "loading.py").write_text(loading)
    process = run_command(str(tmp_path / "loading.py"), cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    process = run_command("train.py", "resume=first", "epochs=2002", "hydra.run.dir=second", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "second" / "run.json").read_text())["updates"] == 2002


PYTHON = "docs/reference/python.md"


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks(PYTHON, "python"))))
def test_python_without_hydra_prints_what_the_page_shows(tmp_path: Path, number: int) -> None:
    (tmp_path / "training.py").write_text(blocks(PYTHON, "python")[number])
    process = run_command(str(tmp_path / "training.py"), cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    shown = blocks(PYTHON, "text")[number].splitlines()
    for line, printed in zip(shown, process.stdout.splitlines(), strict=True):
        (words, numbers), (others, given) = words_and_numbers(line), words_and_numbers(printed)
        assert words == others
        assert numbers == pytest.approx(given, rel=2e-3, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["notebook", "rows"])
def test_the_benchmarks_write_what_they_measured(tmp_path: Path, name: str) -> None:
    process = run_command("scripts/benchmark.py", name, "--repeats", "1", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    result = json.loads((tmp_path / "outputs" / "benchmarks" / f"{name}.json").read_text())
    assert result["time_ratio"] == pytest.approx(result["ours_seconds"] / result["theirs_seconds"])
    assert f"{result['time_ratio']:.2f}" in process.stdout


def korean(english: str) -> str:
    """The Korean counterpart of an English document."""
    return "README.ko.md" if english == "README.md" else english.replace("docs/", "docs/ko/", 1)


def english(document: str) -> str:
    """The English counterpart of a document of either language; of any other file itself."""
    return "README.md" if document == "README.ko.md" else document.replace("docs/ko/", "docs/", 1)


def anchor(title: str) -> str:
    """What GitHub makes of a heading, and the site too."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def anchors(document: str) -> list[str]:
    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse((ROOT / document).read_text(encoding="utf-8")))
    return [anchor(node.children[0].content) for node in tree.children if node.type == "heading"]


def code_in(node: SyntaxTreeNode) -> list[str]:
    return [" ".join(each.content.split()) for each in node.walk() if each.type == "code_inline"]


def target(document: str, href: str) -> str:
    """Where a link leads, in the same words for a document and its translation.

    Raises:
        ValueError: there is no such heading.
    """
    path, _, fragment = href.partition("#")
    if path.startswith("http"):
        return href
    leads_to = (ROOT / document).parent.joinpath(path).resolve().relative_to(ROOT).as_posix() if path else document
    section = f" section {anchors(leads_to).index(fragment)}" if fragment else ""
    if leads_to not in DOCUMENTS:
        return english(leads_to) + section
    own = (leads_to in KOREAN) == (document in KOREAN)
    return f"{english(leads_to)}{section} in {'its own' if own else 'the other'} language"


def links(document: str, text: str | None = None) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8") if text is None else text
    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(text))
    return [
        unquote(str(node.attrs.get("href") or node.attrs["src"]))
        for node in tree.walk()
        if node.type in ("link", "image")
    ]


@pytest.mark.parametrize("document", [*DOCUMENTS, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_link_leads_somewhere(document: str) -> None:
    for href in links(document):
        if not href.startswith("http"):
            path, _, fragment = href.partition("#")
            leads_to = (ROOT / document).parent / path if path else ROOT / document
            assert leads_to.is_file(), href
            assert not fragment or fragment in anchors(leads_to.resolve().relative_to(ROOT).as_posix()), href


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220
    assert len((ROOT / "README.ko.md").read_text().splitlines()) <= 220
    listed = {href.partition("#")[0] for href in links("README.md")}
    assert {f"docs/{page}" for page in PAGES} - listed == {"docs/index.md"}  # the site's own first page


def outline(document: str, text: str | None = None) -> dict[str, Any]:
    """What a document, or the text that it might have, has in common with its translation.

    Links and inline code are by section and without their order there, which the grammar of a language decides.
    """
    text = (ROOT / document).read_text() if text is None else text
    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(text))
    blocks, skeleton, first_cells, section = [], [], [], 0
    links, code = defaultdict[int, list[str]](list), defaultdict[int, set[str]](set)
    for node in tree.walk():
        section += node.type == "heading"
        if node.type in ("heading", "table", "tr", "th", "td"):
            skeleton.append(node.tag)
        if node.type == "fence":
            skeleton.append(node.info)
            blocks.append((node.info, node.content))
        if node.type == "image":
            skeleton.append(Path(str(node.attrs["src"])).name)
        if node.type == "tr":
            first_cells.append(code_in(node.children[0]))
        if node.type == "link":
            href = unquote(str(node.attrs["href"]))
            links[section].append(target(document, href))
        if node.type == "inline":
            code[section].update(code_in(node))
    return {
        "blocks": blocks,
        "skeleton": skeleton,
        "first cells": first_cells,
        "links": {number: sorted(hrefs) for number, hrefs in links.items()},
        "inline code": code,
    }


@pytest.mark.parametrize("english", ENGLISH)
@pytest.mark.parametrize("part", ["blocks", "skeleton", "first cells", "links", "inline code"])
def test_a_korean_document_has_what_the_english_one_has(english: str, part: str) -> None:
    assert outline(korean(english))[part] == outline(english)[part]


@pytest.mark.parametrize(
    ("english", "part", "old", "new"),
    [
        ("README.md", "blocks", "python train.py lr=0.1\n", "python train.py lr=0.1\npython train.py lr=0.2\n"),
        ("README.md", "blocks", "```bash\npython train.py lr=0.1", "```text\npython train.py lr=0.1"),
        ("docs/tables.md", "skeleton", "\n### ", "\n## "),
        ("docs/sweeps.md", "skeleton", "images/path.png", "images/reliability.png"),
        (
            "docs/reference/keys.md",
            "skeleton",
            "| `csv`: `metrics.csv`; `tensorboard`: `events.out.tfevents.*` |\n",
            "|\n| `one` | `more` | `row` | |\n",
        ),
        ("docs/reference/keys.md", "first cells", "| `logger` |", "| `loggers` |"),
        ("README.md", "links", "(CHANGELOG.md)", "(CONTRIBUTING.md)"),
        ("README.md", "links", "(docs/ko/notebook.md)", "(docs/notebook.md)"),
        ("docs/solvers.md", "links", "(lessons.md)", "(notebook.md)"),
        ("docs/reference/errors.md", "inline code", "`HYDRA_FULL_ERROR=1`", "`HYDRA_FULL_ERROR=2`"),
        ("docs/notebook.md", "blocks", "\npython train.py loss=mse\n", "\npython train.py loss=log_loss\n"),
        ("docs/notebook.md", "skeleton", "lesson_costs.png", "lesson_sigmoid.png"),
        ("docs/notebook.md", "inline code", "`data=toy`", "`data=breast_cancer`"),
    ],
)
def test_a_change_of_a_korean_document_alone_is_noticed(english: str, part: str, old: str, new: str) -> None:
    document = korean(english)
    text = (ROOT / document).read_text()
    assert old in text
    assert outline(document, text.replace(old, new, 1))[part] != outline(document, text)[part]


@pytest.mark.parametrize("english", ENGLISH)
def test_a_korean_document_has_no_marks_that_stay_visible(english: str) -> None:
    """Bold text that ends in a bracket does not end before a Korean particle: `**말(word)**은`."""
    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse((ROOT / korean(english)).read_text()))
    texts = [node.content for node in tree.walk() if node.type == "text"]
    assert not [text for text in texts if "*" in text or "`" in text or "](" in text]
