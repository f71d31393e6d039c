"""The store: torn records, kill -9 of a writer, an index that can be lost, one writer, one study."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_sweep_common import SMALL, here, sweep, write_study

from crosstile.errors import CrosstileError, OutputError
from crosstile.sweep.export import load_sweep
from crosstile.sweep.run import run_sweep
from crosstile.sweep.spec import load_study
from crosstile.sweep.store import INDEX, RECORDS, STUDY, Store, scan, seal, unseal

ENDLESS = """
import json, sys
from pathlib import Path
from crosstile.sweep.spec import load_study
from crosstile.sweep.store import Store

with Store(Path(sys.argv[2]), load_study(sys.argv[1])) as store:
    print("open", flush=True)
    for number in range(10**6):
        store.append([json.dumps({"id": f"{number}-{i}", "status": "done", "filler": "x" * 5000}) for i in range(3)])
        print(number, flush=True)  # said only once it is recorded
"""


def test_every_cut_and_every_changed_byte_is_noticed() -> None:
    line = seal(json.dumps({"id": "a", "status": "done", "values": {"energy_j": 1.25e-9}}))[:-1]
    assert unseal(line) == {"id": "a", "status": "done", "values": {"energy_j": 1.25e-9}}
    assert json.loads(line)["values"] == {"energy_j": 1.25e-9}  # plain JSON for other programs
    assert all(unseal(line[:cut]) is None for cut in range(len(line)))
    for place in range(len(line)):
        damaged = bytes([*line[:place], line[place] ^ 1, *line[place + 1 :]])
        assert unseal(damaged) is None


@pytest.mark.parametrize("round_", range(3))
def test_kill_9_of_a_writer_loses_nothing_that_it_recorded(tmp_path: Path, round_: int) -> None:
    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS, str(study), str(out)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(10 + 7 * round_):
        last = writer.stdout.readline()
    time.sleep(0.002 * round_)
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait()
    told = int(rest[-1] if rest else last)
    with Store(out, load_study(study)) as store:  # the lock of the dead is no hindrance
        status = store.status()
        assert {f"{n}-{i}" for n in range(told + 1) for i in range(3)} <= set(status)
        assert len(status) <= 3 * (told + 2)
        assert store.append([json.dumps({"id": "after", "status": "done"})]) == 0
    found = [record["id"] for _, _, record in scan(out / RECORDS) if record is not None]
    assert found[-1] == "after"
    assert set(found) == set(status) | {"after"}


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n" + ENDLESS
    found = subprocess.run([sys.executable, "-c", limited, str(study), str(out)], capture_output=True, text=True)
    assert found.returncode == 1
    assert "run the same command again to go on" in found.stderr.splitlines()[-1]
    assert "During handling" not in found.stderr
    told = int(found.stdout.split()[-1])
    assert told >= 5
    with Store(out, load_study(study)) as store:
        assert {f"{n}-{i}" for n in range(told + 1) for i in range(3)} <= set(store.status())


def test_a_torn_record_is_ignored_and_its_trial_done_again(tmp_path: Path) -> None:
    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    whole, _ = sweep(study, out)
    assert (whole.total, whole.done, whole.failed, whole.torn) == (9, 9, 0, 0)
    records = out / RECORDS
    before = records.read_bytes()
    records.write_bytes(before[:-300])
    assert len(load_sweep(out).records) == 8  # reading needs no repair
    again, _ = sweep(study, out)
    assert (again.before, again.done, again.torn) == (8, 1, 1)
    last = [record["values"] for record in load_sweep(out).records]
    records.write_bytes(before)
    assert last == [record["values"] for record in load_sweep(out).records]


@pytest.mark.parametrize("damage", ["missing", "garbage", "truncated", "other", "behind"])
def test_the_index_is_made_again(tmp_path: Path, damage: str) -> None:
    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    sweep(study, out)
    index = out / INDEX
    with Store(out, load_study(study)) as store:
        good = store.status()
        assert not store.index.rebuilt
    if damage == "missing":
        index.unlink()
    elif damage == "garbage":
        index.write_bytes(os.urandom(8192))
    elif damage == "truncated":
        index.write_bytes(index.read_bytes()[:5000])
    else:
        base = sqlite3.connect(index)
        with base:
            if damage == "other":
                base.execute("UPDATE fact SET value = 'x' WHERE name = 'study'")
            else:  # as a client leaves it that is killed between record and index
                offset = base.execute("SELECT max(offset) FROM trial").fetchone()[0]
                base.execute("DELETE FROM trial WHERE offset = ?", (offset,))
                base.execute("UPDATE fact SET value = ? WHERE name = 'covered'", (str(offset),))
        base.close()
    with Store(out, load_study(study)) as store:
        assert store.status() == good
    outcome, _ = sweep(study, out)
    assert (outcome.before, outcome.done) == (9, 0)


def test_a_second_client_is_refused_with_the_owner(tmp_path: Path) -> None:
    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    owner = subprocess.Popen([sys.executable, "-c", ENDLESS, str(study), str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(OutputError, match=f"process {owner.pid} on "):
            sweep(study, out)
    finally:
        owner.kill()
        owner.communicate()
    assert sweep(study, out)[0].done == 9


def test_a_changed_study_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep(write_study(tmp_path, SMALL), out)
    before = (out / RECORDS).read_bytes(), (out / STUDY).read_bytes()
    for changes, told in (
        ({"seed": 4}, "(seed)"),
        ({"chip": "isaac"}, "the base chip's description"),
        ({"vary": {"adc.bits": [6]}}, "(vary)"),
    ):
        with pytest.raises(CrosstileError, match="another study") as error:
            sweep(write_study(tmp_path, SMALL, **changes), out)
        assert told in str(error.value)
    assert before == ((out / RECORDS).read_bytes(), (out / STUDY).read_bytes())
    outcome, _ = sweep(write_study(tmp_path, SMALL, description="said in other words"), out)
    assert outcome.before == 9


def test_a_file_that_the_study_uses_counts_by_content(tmp_path: Path) -> None:
    cell = (Path(load_study("adc-and-array").origin).parents[1] / "chips" / "reram-8b.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(cell, encoding="utf-8")
    path = write_study(tmp_path, SMALL, chip="mine.yaml", vary={"adc.bits": [6, 7]})
    sweep(path, tmp_path / "out")
    (tmp_path / "mine.yaml").write_text(cell.replace("clock: 1 GHz", "clock: 2 GHz"), encoding="utf-8")
    with pytest.raises(CrosstileError, match="base chip"):
        sweep(path, tmp_path / "out")


def test_other_folders_and_versions_are_told(tmp_path: Path) -> None:
    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    with pytest.raises(CrosstileError, match="holds no sweep"):
        load_sweep(tmp_path)
    sweep(study, out)
    with pytest.raises(CrosstileError, match="--no-resume"):
        sweep(study, out, resume=False)
    kept = json.loads((out / STUDY).read_text(encoding="utf-8"))
    kept["versions"]["crosstile"] = "0.0.9"
    (out / STUDY).write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(CrosstileError, match=r"begun with crosstile 0\.0\.9"):
        sweep(study, out)
    (out / STUDY).write_text("{}", encoding="utf-8")
    with pytest.raises(CrosstileError, match="not of the format"):
        load_sweep(out)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CrosstileError, match="cannot be written"):
        sweep(study, tmp_path / "file")


def test_ten_thousand_records_load_in_two_seconds(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, SMALL))
    run_sweep(study, tmp_path / "out", here)
    record = load_sweep(tmp_path / "out").records[0]
    del record["id"]
    with Store(tmp_path / "out", study) as store:
        store.append(json.dumps({**record, "id": f"{n:020d}", "variant": n}) for n in range(10_000))
    begin = time.process_time()  # of this process: others may be busy
    assert len(load_sweep(tmp_path / "out").records) == 10_009
    assert time.process_time() - begin < 2.0
    begin = time.process_time()
    with Store(tmp_path / "out", study) as store:
        assert len(store.status()) == 10_009
    assert time.process_time() - begin < 0.5  # by the index, without reading the records
