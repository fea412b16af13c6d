"""What decides where programs run, and how often they are compiled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from vlp_fast.kernels import launch

COMPILED = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}


def run_python(*words: str, env: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_hundred_batch_sizes_compile_once() -> None:
    script = Path(__file__).with_name("specialisations.py")
    lines = [line.split() for line in run_python(str(script), env=COMPILED).splitlines()]
    found = {name: (int(launches), int(keys)) for name, launches, keys in lines}
    once = {"place_kernel", "plan_kernel", "sum_chunks_kernel", "add_chunks_kernel"}
    once |= {"add_rows_kernel", "residual_norm_kernel", "residual_norm_backward_kernel"}
    once |= {"add_norm_chunks_kernel", "linear_with_positions_kernel"}
    once |= {"attention_kernel", "delta_kernel", "grad_keys_kernel", "grad_queries_kernel"}
    assert {name for name, (launches, _) in found.items() if launches == 100} == once
    assert found["assign_kernel"] == found["resolve_kernel"] == (300, 1)
    assert found["label_kernel"] == (200, 2)  # one for each way of adding
    assert all(keys == 1 for name, (_, keys) in found.items() if name != "label_kernel")


def test_programs_are_imported_when_called_and_refuse_tensors_of_the_cpu() -> None:
    code = (
        "import sys, torch\n"
        "from vlp_fast import ops\n"
        "assert 'vlp_fast.kernels.dictionary' not in sys.modules\n"
        "x = torch.randn(4, 3)\n"
        "calls = [\n"
        "    lambda: ops.nearest_code(x, x),\n"
        "    lambda: ops.code_statistics(x, torch.zeros(4, dtype=torch.int64), 2),\n"
        "    lambda: ops.ema_update(x, x, torch.ones(4), momentum=0.5),\n"
        "    lambda: ops.laplace_ema_update(x, x, x[:, 0], x, x[:, 0], momentum=0.5),\n"
        "    lambda: ops.residual_norm(x, x, x[0], x[0], eps=1e-5),\n"
        "    lambda: ops.linear_with_positions(x, x, x[:, 0], x, x[:, :2].int()),\n"
        "]\n"
        "for call in calls:\n"
        "    with ops.use('triton'):\n"
        "        try:\n"
        "            call()\n"
        "        except ValueError as error:\n"
        "            print(error)\n"
    )
    lines = run_python("-c", code, env=COMPILED).splitlines()
    assert len(lines) == 6
    for line in lines:
        assert "received tensors on cpu for Triton, expected a CUDA device; move them" in line
        assert "TRITON_INTERPRET=1" in line


def test_volta_and_turing_are_refused(monkeypatch) -> None:
    class Elsewhere(torch.Tensor):
        is_cuda = True
        device = torch.device("cuda", 5)

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    message = "f: received tensors on cuda:5 of compute capability 7.5 for Triton, expected 8.0"
    with pytest.raises(ValueError, match=message):
        launch.on_device_of("f", Elsewhere())


def test_without_triton_there_is_no_such_backend() -> None:
    code = (
        "import sys\n"
        "sys.modules['triton'] = None\n"
        "import vlp_fast.kernels\n"
        "from vlp_fast import ops\n"
        "print([n for n, op in ops.operators().items() if 'triton' in op.backends])\n"
    )
    assert run_python("-c", code, env=COMPILED).strip() == "[]"
