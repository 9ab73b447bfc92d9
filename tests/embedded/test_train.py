"""Training: the same weights twice, no padding, progress, whole files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mi.embedded import corpus, train
from mi.tasks import tokenizer

torch = pytest.importorskip("torch")

STEPS = 50
FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    """Training fixes threads and kernels for its process; tests share theirs."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> dict[str, str]:
    """What `python -m mi.embedded.train` makes: file name -> digest."""
    arguments = ["train", "--steps", str(STEPS), "--threads", "1", "--out", str(folder), *flags]
    monkeypatch.setattr("sys.argv", arguments)
    train.main()
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.usefixtures("torch_as_it_was")
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = run(tmp_path / "one", monkeypatch)
    torch.manual_seed(99)  # what went before does not matter
    assert run(tmp_path / "two", monkeypatch) == one
    assert set(one) == FILES
    other = run(tmp_path / "three", monkeypatch, "--seed", "1")
    assert {name for name in FILES if one[name] != other[name]} == {"model.safetensors"}
    err = capsys.readouterr().err
    assert f"step {STEPS}/{STEPS}  loss " in err
    assert f"wrote {tmp_path / 'one'}" in err
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in (tmp_path / "one").iterdir())


@pytest.mark.usefixtures("torch_as_it_was")
def test_the_loss_falls() -> None:
    settings = train.Settings(steps=80, threads=1, batch=16, width=32, layers=1, heads=2, warmup=5, learning_rate=1e-2)
    chosen = tokenizer.load(_tokenizer_folder())
    model = train.train(settings, chosen)
    data = corpus.build(chosen, 77, 64)
    ids, weights = torch.from_numpy(data.ids), torch.from_numpy(data.weights)
    with torch.no_grad():
        after = train.loss_of(model(ids).logits, ids, weights, 0.0).item()
    assert after < math.log(chosen.vocab_size) - 0.5


def _tokenizer_folder() -> Path:
    from mi import embedded

    return embedded.path("default")


def test_the_loss_against_plain_loops() -> None:
    seed = np.random.SeedSequence().entropy
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    logits, ids = rng.normal(size=(2, 5, 7)), rng.integers(0, 7, (2, 5))
    weights = rng.random((2, 5)) * (rng.random((2, 5)) > 0.3)
    weights[0, 1] = 1.0
    for smoothing in (0.0, 0.1):
        total = 0.0
        for row in range(2):
            for position in range(1, 5):
                z = logits[row, position - 1]
                log_p = z - np.log(np.exp(z).sum())
                target = (1 - smoothing) * np.eye(7)[ids[row, position]] + smoothing / 7
                total -= weights[row, position] * (target * log_p).sum()
        expected = total / weights[:, 1:].sum()
        found = train.loss_of(torch.tensor(logits), torch.tensor(ids), torch.tensor(weights), smoothing).item()
        assert found == pytest.approx(expected, rel=1e-9)


def test_batches_hold_one_length_and_every_row_once_an_epoch() -> None:
    lengths = torch.tensor([5, 6, 5, 6, 5, 6, 5, 7] * 4)
    drawn = train.batches(lengths, 4, torch.Generator().manual_seed(0))
    epoch = [next(drawn) for _ in range(8)]
    for rows in epoch:
        assert len(rows) == 4
        assert len(lengths[rows].unique()) == 1
    assert sorted(torch.cat(epoch).tolist()) == list(range(32))
    assert [rows.tolist() for rows in epoch] != [next(drawn).tolist() for _ in range(8)]


def test_induction_comes_first_and_alone() -> None:
    settings = train.Settings(steps=40, first=0.25, batch=8)
    chosen = tokenizer.load(_tokenizer_folder())
    steps = list(train.curriculum(settings, chosen))
    assert len(steps) == 40
    plain = chosen.encode("The in")  # words that no random sequence holds together
    has_the = [bool((ids == plain[0]).any()) for ids, _ in steps]
    assert not any(has_the[:10])
    assert any(has_the[10:])


def test_the_rate_rises_and_falls() -> None:
    settings = train.Settings(steps=1000, warmup=100)
    rates = [train._rate(step, settings) for step in range(1000)]
    assert rates[0] == 0.01
    assert rates[100] == 1.0
    assert rates[550] == pytest.approx(0.5)
    assert 0 < rates[-1] < 1e-4
    assert max(rates) == 1.0


def test_saving_leaves_nothing_else_behind(tmp_path: Path) -> None:
    model = train.new_model(train.Settings(width=8, heads=2, layers=1), 11, 0)
    train.save(model, tmp_path)
    train.save(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
