"""The commit of a result: of the repository that tracks the code, and of no other."""

import subprocess
from pathlib import Path

import pytest

from analysis.output import context


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, which tracks what the module takes for its own file."""
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "context.py").write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "context.py")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-q", "-m", "one")
    monkeypatch.setattr(context, "__file__", str(tmp_path / "context.py"))
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_that_tracks_the_code(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    (repository / "untracked.txt").write_text("of the user's own\n")
    assert context._commit() == head and len(head) == 40
    (repository / "context.py").write_text("2\n")
    assert context._commit() == f"{head}-modified"


def test_a_repository_that_does_not_track_the_code_has_no_say(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "installed.py").write_text("1\n")
    monkeypatch.setattr(context, "__file__", str(repository / "installed.py"))
    assert context._commit() is None


@pytest.mark.parametrize(
    ("program", "called"), [("/somewhere/bin/hwsim", "hwsim"), ("/somewhere/hwsim/__main__.py", "python -m hwsim")]
)
def test_the_command_is_what_a_user_types(program: str, called: str) -> None:
    assert context.context([program, "run", "a b"], None, 1.0).command == f"{called} run 'a b'"


def test_no_repository_no_commit(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (repository / ".git").rename(tmp_path_factory.mktemp("elsewhere") / "git")
    assert context._commit() is None
