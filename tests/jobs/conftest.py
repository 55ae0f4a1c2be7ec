"""Data directories with the tiny backbone; see tests/workspace.py."""

from tests.workspace import empty_workspace, judged_workspace, trained

__all__ = ["empty_workspace", "judged_workspace", "trained"]
