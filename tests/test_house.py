"""The house keeps its measures: they fail here, and nobody has to say it in review."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "antiphon"
FILE_LINES = 300
FUNCTION_LINES = 40

FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_is_one_idea_of_at_most_300_lines(path):
    assert len(path.read_text().splitlines()) <= FILE_LINES


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            first = node.body[1] if has_docstring and len(node.body) > 1 else node.body[0]
            yield node.name, node.end_lineno - first.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_function_has_at_most_40_lines(path):
    assert [(name, lines) for name, lines in functions(path) if lines > FUNCTION_LINES] == []


def test_no_module_has_state_of_its_own():
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert not any(isinstance(node, ast.Global) for node in ast.walk(tree)), path
        for node in tree.body:
            is_mutable = isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.List | ast.Set)
            assert not is_mutable, f"{path}: a mutable value at module level, line {node.lineno}"


def test_nothing_unpickles_evaluates_or_shells_out():
    """SUP-02, in small."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "__import__"}, path
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "marshal", "yaml"}, path
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(path)
