"""The engine runs with torch, tokenizers, safetensors and numpy alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_bare_environment_suffices() -> None:
    script = ROOT / "tests" / "model" / "bare_env.py"
    done = subprocess.run([sys.executable, script, "auto"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "completion_tokens=3" in done.stdout


def test_the_package_names_no_other_import() -> None:
    allowed = {"torch", "tokenizers", "safetensors", "numpy", "model"} | sys.stdlib_module_names
    for file in (ROOT / "model").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, file
