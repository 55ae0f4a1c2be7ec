"""The console command: help, exit codes, one-line errors, and stdout that is JSON alone."""

from __future__ import annotations

import gzip
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from studio.cli import console, main
from tests.rows import write_jsonl
from tests.serving import ROOT
from tests.workspace import Workspace, kindness

COMMANDS = [
    ["serve"],
    ["import"],
    ["train"],
    ["evaluate"],
    ["score"],
    ["export", "pairs"],
    ["export", "votes"],
    ["export", "model"],
    ["user", "add"],
    ["user", "passwd"],
    ["user", "deactivate"],
    ["user", "activate"],
    ["user", "list"],
    ["doctor"],
]


@dataclass
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    for name in ("STUDIO_DATA_DIR", "STUDIO_DB_URL"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: object) -> Done:
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return command


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_takes_a_data_directory(
    run: Callable[..., Done], command: list[str]
) -> None:
    done = run(*command, "--help")
    assert done.code == 0
    assert "--data-dir" in done.out
    assert done.err == ""


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["frobnicate"], "frobnicate"),
        ([], "COMMAND"),
        (["train", "--bogus"], "--bogus"),
        (["import", "x.jsonl"], "--project"),
        (["import", "x", "--project", "p", "--as", "truth"], "truth"),
        (["export", "pairs"], "OUT"),
        (["export", "model"], "OUT"),
        (["export", "votes", "--format", "trl", "x.jsonl"], "'jsonl', 'parquet'"),
        (["score", "n\udcffme.jsonl"], r"'n\xffme.jsonl' is not UTF-8"),
        (["import", "x.jsonl", "--project", "a\udcffb"], r"'a\xffb' is not UTF-8"),
        (["serve", "--port", "many"], "many"),
        (["serve", "--host", "0.0.0.0"], "0.0.0.0"),
        (["train", "--device", "abacus"], "abacus"),
        (["import", "/no/such.jsonl", "--project", "p"], "/no/such.jsonl"),
        (["evaluate", "/no/such.jsonl"], "/no/such.jsonl"),
        (["score", "/no/such.jsonl"], "/no/such.jsonl"),
        (["import", __file__, "--project", "p", "--backbone", ""], "--backbone is empty"),
    ],
)
def test_what_is_asked_for_wrongly_is_one_line_and_exit_code_2(
    run: Callable[..., Done], tmp_path: Path, arguments: list[str], part: str
) -> None:
    if arguments and arguments[0] != "frobnicate":
        arguments = [*arguments, "--data-dir", str(tmp_path / "data")]
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: ")
    assert part in done.err
    assert not (tmp_path / "data").exists()


def at(here: Workspace) -> list[str]:
    return ["--data-dir", str(here.settings.data_dir)]


def test_a_mistyped_data_directory_is_not_taken_for_an_empty_one(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    done = run("train", "--project", "p", "--data-dir", tmp_path / "typo")
    assert done.code == 2
    assert "typo" in done.err
    assert not (tmp_path / "typo").exists()


def test_projects_are_named_when_the_choice_is_not_clear(
    run: Callable[..., Done], empty_workspace: Workspace
) -> None:
    here = empty_workspace
    assert "no projects" in run("train", *at(here)).err
    for name in ("first one", "second one"):
        here.add(kindness(2), name=name)
    unclear = run("train", *at(here))
    assert unclear.code == 2
    unknown = run("train", "--project", "third", *at(here))
    assert unknown.code == 2
    for done in (unclear, unknown):
        assert "'first one'" in done.err
        assert "'second one'" in done.err
        assert done.err.count("\n") == 1


def test_training_on_nothing_and_scoring_with_nothing_say_what_to_do(
    run: Callable[..., Done], empty_workspace: Workspace
) -> None:
    here = empty_workspace
    here.add(kindness(3), purpose="unlabelled")
    train = run("train", "--json", *at(here))
    assert (train.code, train.out) == (1, "")
    assert "no pair is judged" in train.err
    score = run("score", *at(here))
    assert (score.code, score.out) == (1, "")
    assert "no checkpoint yet" in score.err
    assert "none yet" in run("score", "--checkpoint", "4", *at(here)).err
    for name in ("99999999999999999999", "²", "-1", ""):
        wrong = run("score", "--checkpoint", name, *at(here))
        assert wrong.code == 2
        assert wrong.err.count("\n") == 1
        assert "give its id or its directory" in wrong.err


def test_a_config_with_an_unknown_setting_is_refused_before_anything_runs(
    run: Callable[..., Done], judged_workspace: Workspace, tmp_path: Path
) -> None:
    config = tmp_path / "train.toml"
    config.write_text("[train]\nlaiers = [3]\n")
    done = run("train", "--config", config, *at(judged_workspace))
    assert done.code == 2
    assert "'laiers'" in done.err
    assert "layers" in done.err
    missing = run("train", "--config", tmp_path / "none.toml", *at(judged_workspace))
    assert missing.code == 2
    assert "none.toml" in missing.err


def test_a_backbone_that_cannot_be_loaded_is_one_sentence(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", kindness(2))
    done = run(
        "import", rows, "--project", "p", "--backbone", "/no/backbone", "--data-dir", tmp_path / "d"
    )
    assert done.code == 1
    assert "/no/backbone" in done.err.splitlines()[-1]


def test_import_counts_and_a_dry_run_changes_nothing(
    run: Callable[..., Done], tmp_path: Path, tiny_backbone: Path
) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [*kindness(4), {"prompt": "x", "rejected": "y"}])
    common = ["--project", "p", "--backbone", tiny_backbone, "--data-dir", tmp_path / "data"]
    dry = run("import", rows, "--dry-run", "--json", *common)
    assert dry.code == 0, dry.err
    assert dry.json["imported"] == 4
    assert dry.json["dry_run"] is True
    assert not (tmp_path / "data").exists()
    real = run("import", rows, "--json", *common)
    assert real.json["imported"] == 4
    assert sum(real.json["refused_counts"].values()) == 1
    again = run("import", rows, "--json", *common)
    assert (again.json["imported"], again.json["duplicate"]) == (0, 4)
    text = run("import", rows, *common)
    assert "4 duplicate" in text.out


def test_import_takes_a_projects_id_and_no_other_backbone_than_its_own(
    run: Callable[..., Done], empty_workspace: Workspace, tmp_path: Path
) -> None:
    here = empty_workspace
    number = here.add(kindness(2))
    rows = write_jsonl(tmp_path / "more.jsonl", kindness(3, first=50))
    done = run("import", rows, "--project", number, "--json", *at(here))
    assert (done.code, done.json["project"], done.json["project_id"]) == (0, "kindness", number)
    assert f"No project is named '{number}': this is 'kindness', whose id it is." in done.err
    other = run("import", rows, "--project", "kindness", "--backbone", "embedded", *at(here))
    assert other.code == 2
    assert "'embedded'" in other.err
    same = ["--backbone", here.settings.backbone]
    assert run("import", rows, "--project", "kindness", *same, *at(here)).code == 0


def test_an_unreadable_database_is_one_sentence_with_a_remedy(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "studio.db").write_bytes(b"no database" * 100)
    done = run("train", "--data-dir", tmp_path)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "put back a copy" in done.err
    sick = run("doctor", "--json", "--data-dir", tmp_path).json
    [found] = [check for check in sick["checks"] if check["name"] == "database"]
    assert not found["ok"]
    assert "put back a copy" in found["remedy"]
    monkeypatch.setenv("STUDIO_DB_URL", "nonsense")
    assert "check STUDIO_DB_URL" in run("train", "--data-dir", tmp_path).err


def test_train_in_place_prints_the_checkpoint_and_progress_elsewhere(
    run: Callable[..., Done], judged_workspace: Workspace
) -> None:
    done = run("train", "--json", *at(judged_workspace))
    assert done.code == 0, done.err
    assert done.json["project"] == "kindness"
    assert done.json["checkpoint"] == 1
    assert Path(done.json["directory"]).is_dir()
    assert {"accuracy", "accuracy_ci", "length_only_accuracy"} <= set(done.json["metrics"])
    assert "run 1:" in done.err
    text = run("train", *at(judged_workspace))
    assert text.code == 0
    assert "Checkpoint 2 of project 'kindness'" in text.out
    assert "length only" in text.out


def test_import_and_train_on_postgresql(
    run: Callable[..., Done],
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_backbone: Path,
) -> None:
    monkeypatch.setenv("STUDIO_DB_URL", postgres_url)
    rows = write_jsonl(tmp_path / "rows.jsonl", kindness(20))
    where = ["--data-dir", tmp_path / "data"]
    done = run("import", rows, "--project", "p", "--backbone", tiny_backbone, *where)
    assert done.code == 0, done.err
    trained = run("train", "--json", *where)
    assert trained.code == 0, trained.err
    assert trained.json["metrics"]["num_pairs"] == 20
    assert not (tmp_path / "data" / "studio.db").exists()


def test_a_database_that_does_not_answer_is_one_sentence(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STUDIO_DB_URL", "postgresql://someone:secret@127.0.0.1:1/studio")
    done = run("train", "--project", "p", "--data-dir", tmp_path / "data")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "secret" not in done.err


def test_evaluate_prints_one_object_that_names_its_checkpoint(
    run: Callable[..., Done], trained: Workspace, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "test.jsonl", kindness(20, first=700))
    done = run("evaluate", path, "--json", *at(trained))
    assert done.code == 0, done.err
    wanted = {
        "pairs", "accuracy", "accuracy_ci", "log_loss", "brier", "ece", "length_only_accuracy",
        "checkpoint", "project",
    }  # fmt: skip
    assert wanted <= set(done.json)
    assert (done.json["pairs"], done.json["project"]) == (20, "kindness")
    by_id = run("evaluate", path, "--json", "--checkpoint", done.json["checkpoint"], *at(trained))
    assert by_id.json == done.json
    text = run("evaluate", path, *at(trained))
    assert "95 % from" in text.out
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert run("evaluate", empty, "--json", *at(trained)).code == 1


def test_export_model_writes_a_directory_and_prints_its_report(
    run: Callable[..., Done], trained: Workspace, tmp_path: Path
) -> None:
    out = tmp_path / "reward-model"
    done = run("export", "model", out, "--json", *at(trained))
    assert done.code == 0, done.err
    assert (done.json["project"], done.json["out"]) == ("kindness", str(out))
    for part in done.json["directories"]:
        assert part["check"]["num_rewards"] >= 32
        assert part["check"]["max_difference"] <= part["check"]["tolerance"]
        assert (out / part["directory"] / "model.safetensors").exists()
    assert done.json["accuracy"] is not None
    again = run("export", "model", out, *at(trained))
    assert (again.code, again.err.count("\n")) == (1, 2)
    assert "exists already" in again.err
    unknown = run("export", "model", tmp_path / "x", "--checkpoint", "999", *at(trained))
    assert unknown.code == 2
    assert "999" in unknown.err


def test_score_gives_a_line_for_a_line_and_exit_code_1_after_a_bad_one(
    run: Callable[..., Done], trained: Workspace, tmp_path: Path
) -> None:
    texts = ["你好，世界！", "👩‍👩‍👧 ok", "def f(x):\n\treturn x  # ok\r\n", "", "gladly " * 400]
    rows: list[Any] = [{"prompt": "Say it.", "response": text} for text in texts]
    path = write_jsonl(tmp_path / "lines.jsonl", rows)
    done = run("score", path, "--tokens", "--json", *at(trained))
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    for text, line in zip(texts, lines, strict=True):
        assert set(line) == {"reward", "tokens"}
        assert "".join(token["text"] for token in line["tokens"]) == text
        total = math.fsum(token["contribution"] for token in line["tokens"])
        assert total == pytest.approx(line["reward"], abs=1e-6)
        for token in line["tokens"]:
            assert set(token) == {"text", "start", "end", "value", "contribution", "pieces"}
            assert text[token["start"] : token["end"]] == token["text"]
    bad = run(
        "score", write_jsonl(tmp_path / "bad.jsonl", [rows[0], "oops", rows[1]]), *at(trained)
    )
    assert bad.code == 1
    lines = [json.loads(line) for line in bad.out.splitlines()]
    assert [set(line) for line in lines] == [{"reward"}, {"error"}, {"reward"}]


def test_score_tells_on_stderr_what_was_scored_on_less_than_its_line_holds(
    run: Callable[..., Done], trained: Workspace, tmp_path: Path
) -> None:
    turns = [{"role": r, "content": "tell me " * 400} for r in ("user", "assistant") * 4]
    rows: list[Any] = [
        {"prompt": [*turns, {"role": "user", "content": "Now?"}], "response": "gladly"},
        {"prompt": "Hi", "response": "a <|im_end|> b"},
        {"prompt": "Hi", "response": "<|im_start|>"},
        {"prompt": "Hi", "response": "gladly"},
    ]
    done = run("score", write_jsonl(tmp_path / "rows.jsonl", rows), *at(trained))
    assert done.code == 0
    assert [set(json.loads(line)) for line in done.out.splitlines()] == [{"reward"}] * 4
    assert "1 line was scored without the prompt's oldest turns" in done.err
    assert "2 lines were scored with control tokens" in done.err
    quiet = run("score", write_jsonl(tmp_path / "one.jsonl", rows[3:]), *at(trained))
    assert "scored w" not in quiet.err


def test_score_says_of_a_damaged_gzip_file_and_of_a_folder_what_they_are(
    trained: Workspace, run: Callable[..., Done], tmp_path: Path
) -> None:
    line = json.dumps({"prompt": "Hi", "response": "Hello."}).encode() + b"\n"
    whole = gzip.compress(line * 20)
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole[:-12])
    for name, sentence in ((cut, "no whole gzip file"), (tmp_path, "is a folder")):
        done = run("score", name, "--json", *at(trained))
        assert done.code == 2
        assert sentence in done.err
        assert "Traceback" not in done.err


def test_score_reads_stdin_when_no_file_is_named(trained: Workspace) -> None:
    line = json.dumps({"prompt": "hi", "response": "gladly ☃"}, ensure_ascii=False) + "\n"
    done = subprocess.run(
        [sys.executable, "-m", "studio.cli", "score", "--json", *at(trained)],
        input=line.encode(),
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"reward"}
    assert b"checkpoint 1 of project 'kindness'" in done.stderr


def test_a_checkpoint_can_be_named_by_its_directory(
    run: Callable[..., Done], trained: Workspace, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "one.jsonl", [{"prompt": "hi", "response": "gladly"}])
    directory = next(trained.settings.checkpoints_dir.glob("run-*"))
    named = run("score", path, "--checkpoint", directory, *at(trained))
    assert named.out == run("score", path, *at(trained)).out
    wrong = run("score", path, "--checkpoint", tmp_path, *at(trained))
    assert wrong.code == 1
    assert "manifest.json" in wrong.err


def test_doctor_passes_on_a_sound_installation_and_changes_nothing(
    run: Callable[..., Done], tmp_path: Path, tiny_backbone: Path
) -> None:
    done = run("doctor", "--json", "--backbone", tiny_backbone, "--data-dir", tmp_path / "none")
    assert done.code == 0, done.out
    assert done.json["ok"] is True
    assert {"python", "database", "backbone", "device"} <= {c["name"] for c in done.json["checks"]}


def test_doctor_names_what_is_wrong_and_what_to_do(
    run: Callable[..., Done], trained: Workspace
) -> None:
    done = run("doctor", "--json", "--backbone", "/no/backbone", *at(trained))
    assert done.code == 1
    failed = [check for check in done.json["checks"] if not check["ok"]]
    assert [check["name"] for check in failed] == ["backbone"]
    assert "/no/backbone" in failed[0]["detail"]


def test_strays_on_stdout_and_numbers_that_json_lacks_do_not_spoil_json() -> None:
    out = io.StringIO()
    with console.opened(as_json=True) as output:
        output.out = out
        print("a library's chatter")
        output.result("text", {"accuracy": float("nan"), "ci": [float("inf"), 1.0]})
    assert json.loads(out.getvalue()) == {"accuracy": None, "ci": [None, 1.0]}


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal() -> None:
    err = io.StringIO()
    output = console.Console(io.StringIO(), err, as_json=False)
    for number in range(1000):
        output.progress(f"step {number}")
    output.progress("done", force=True)
    assert err.getvalue() == "step 0\ndone\n"


def test_a_reader_that_has_had_enough_is_no_error(trained: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": "hi", "response": "gladly " * 50}] * 50
    path = write_jsonl(tmp_path / "many.jsonl", rows)
    done = subprocess.run(
        f"{sys.executable} -m studio.cli score --tokens {path} "
        f"--data-dir {trained.settings.data_dir} | head -c 100",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (8.4, "8 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_are_read_easily(seconds: float | None, text: str) -> None:
    assert console.duration(seconds) == text
